"""The breakers that look back: daily loss, drawdown, losing owners, slippage, reject storms.

They only move state words of the account and of owners; `risk.gate` reads those words, and the engine does what the
return value says to working orders. Nothing here ever clears a halt or a latched owner: that takes an operator.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from fabric import layout
from fabric.jit import kernel
from risk import money, tables

BREACH_HALT = 1  # cancel everything, drop queue and signals
BREACH_REDUCE = 2  # a higher drawdown step: cancel what exceeds the smaller caps
BREACH_RELEASE = 4  # sizes are whole again
OWNER_PAUSED, OWNER_LATCHED = 1, 2
LIMIT_ONLY_ENTERED, LIMIT_ONLY_LEFT = 1, 2
SLIPPAGE_WEIGHT = 8  # the newest fill weighs one eighth


@kernel
def after_mark(account, owners, limits, now_ns):
    """Judge NAV after a mark; returns the BREACH bits that are new."""
    return day_loss(account, limits) | drawdown(account, limits)


@kernel
def day_loss(account, limits):
    """Halt when NAV <= 0 or the loss since day start reaches its share of min(NAV, day start); BREACH_HALT if new.

    Not judged: an account that is disarmed, or of which the venue has told nothing yet (armed, but still without funds).
    """
    state = account[tables.AC_STATE]
    if (state != layout.RISK_ACTIVE and state != layout.RISK_PAUSED) or account[tables.AC_RECONCILED] == 0:
        return 0
    nav = account[tables.AC_NAV_E8]
    loss = account[tables.AC_DAY_START_NAV_E8] - nav
    reason = 0
    if nav <= 0:
        reason = layout.REASON_HALTED_NAV
    elif loss > 0 and limits[tables.LM_DAY_LOSS_PPM] >= 0:
        if loss >= money.mul_ppm_floor(min(nav, nav + loss), limits[tables.LM_DAY_LOSS_PPM]):
            reason = layout.REASON_HALTED_DAILY_LOSS
    if reason == 0:
        return 0
    account[tables.AC_STATE] = layout.RISK_HALTED
    account[tables.AC_REASON] = reason
    return BREACH_HALT


@kernel
def drawdown(account, limits):
    """Step 1 from the limit on, step 2 beyond one and a half of it, back to 0 only at half of it or less."""
    limit_ppm, hwm = limits[tables.LM_DRAWDOWN_PPM], account[tables.AC_HWM_E8]
    if limit_ppm < 0 or hwm <= 0:
        return 0
    down, step = hwm - account[tables.AC_NAV_E8], account[tables.AC_DRAWDOWN_STEP]
    limit_e8 = money.mul_ppm_floor(hwm, limit_ppm)
    if down > 0 and down >= limit_e8:
        wanted = 2 if down - limit_e8 > limit_e8 // 2 else 1
        account[tables.AC_DRAWDOWN_STEP] = max(step, wanted)
        return BREACH_REDUCE if wanted > step else 0
    if step > 0 and down <= limit_e8 // 2:
        account[tables.AC_DRAWDOWN_STEP] = 0
        return BREACH_RELEASE
    return 0


@kernel
def pause_owner(owners, owner, limits, now_ns):
    """Pause one owner; the pause that reaches the day's number latches it. Returns OWNER_PAUSED or OWNER_LATCHED."""
    owners[owner, tables.OW_PAUSED_UNTIL_NS] = now_ns + max(limits[tables.LM_PAUSE_NS], 0)
    owners[owner, tables.OW_PAUSES_TODAY] += 1
    if owners[owner, tables.OW_PAUSES_TODAY] < limits[tables.LM_PAUSES_TO_LATCH]:
        return OWNER_PAUSED
    owners[owner, tables.OW_LATCHED] = 1
    return OWNER_LATCHED


@kernel
def owner_result(owners, owner, realised_e8, limits, now_ns):
    """A reducing parent order closed with this result, net of fees: 0, OWNER_PAUSED or OWNER_LATCHED.

    A loss adds to the streak, a gain ends it, zero does neither; a pause ends it too.
    """
    if realised_e8 > 0:
        owners[owner, tables.OW_LOSS_STREAK] = 0
    if realised_e8 >= 0 or limits[tables.LM_LOSSES_IN_ROW] < 0:
        return 0
    owners[owner, tables.OW_LOSS_STREAK] += 1
    if owners[owner, tables.OW_LOSS_STREAK] < limits[tables.LM_LOSSES_IN_ROW]:
        return 0
    owners[owner, tables.OW_LOSS_STREAK] = 0
    return pause_owner(owners, owner, limits, now_ns)


@kernel
def order_result(account, owners, owner, rejected, limits, now_ns):
    """The venue accepted (rejected = 0) or rejected an order; a storm of rejects pauses the owner of the last one.

    Rejects that are part of the game (a post-only order that would cross) are not reported here.
    """
    if rejected == 0:
        account[tables.AC_REJECTS_IN_ROW] = 0
        return 0
    account[tables.AC_REJECTS_IN_ROW] += 1
    if limits[tables.LM_REJECTS_IN_ROW] < 0 or account[tables.AC_REJECTS_IN_ROW] < limits[tables.LM_REJECTS_IN_ROW]:
        return 0
    account[tables.AC_REJECTS_IN_ROW] = 0
    return pause_owner(owners, owner, limits, now_ns)


@kernel
def slippage(account, limits, side, decision_x2_ticks, fill_price_ticks):
    """A taking order filled: limit-only from the limit on, until half of it; LIMIT_ONLY_ENTERED, _LEFT or 0.

    Measured against the mid at decision, signed against us, rounded up, averaged with weight 1/8; the first fill
    counts whole, so a single bad one trips when there is no history.
    """
    if decision_x2_ticks <= 0 or fill_price_ticks <= 0:
        return 0
    worse_x2 = 2 * fill_price_ticks - decision_x2_ticks
    if side != layout.SIDE_BUY:
        worse_x2 = -worse_x2
    sample = money.ceil_div(worse_x2 * money.PPM, decision_x2_ticks)
    average = sample
    if account[tables.AC_SLIPPAGE_FILLS] > 0:
        average = money.ceil_div(account[tables.AC_SLIPPAGE_PPM] * (SLIPPAGE_WEIGHT - 1) + sample, SLIPPAGE_WEIGHT)
    account[tables.AC_SLIPPAGE_PPM] = average
    account[tables.AC_SLIPPAGE_FILLS] += 1
    limit = limits[tables.LM_SLIPPAGE_PPM]
    if limit < 0:
        return 0
    if account[tables.AC_LIMIT_ONLY] == 0 and average >= limit:
        account[tables.AC_LIMIT_ONLY] = 1
        return LIMIT_ONLY_ENTERED
    if account[tables.AC_LIMIT_ONLY] != 0 and average <= limit // 2 and average < limit:
        account[tables.AC_LIMIT_ONLY] = 0
        return LIMIT_ONLY_LEFT
    return 0
