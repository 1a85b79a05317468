# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""A halt: everything that could increase goes, and with ``on_halt`` = exit what is held is left, inside the collar, for 30 s.

Called by the timer while the account is halted or killed. Signals leave by themselves (``engine.signals``); here the
sub-books of every other owner are left, an exit each, immediate or cancelled, at the collar of the touch or of the last good
mark, again every 100 ms. What nobody owns is left to the operator. What is still held after 30 s is held from then on:
counted, journaled and told once.
"""

from __future__ import annotations

from engine import orders, router, signals, submit, tables
from engine.commands import count_reason, journal
from fabric import layout
from fabric.jit import kernel
from risk import account
from risk import tables as risk


@kernel
def halt(c, reason, now_ns):
    """Working orders, queue and signals go; positions are kept or left as ``on_halt`` says."""
    k = c.scalars
    submit.drop_queue(c)
    signals.drop_all(c, reason, now_ns)
    if k[tables.K_HALTED_NS] == 0:
        k[tables.K_HALTED_NS] = now_ns
    leaving = signals.may_leave_halted(c, now_ns)
    cancelled = orders.cancel_matching(c, -1, -1, leaving, reason, now_ns)
    if leaving != 0:
        if now_ns - k[tables.K_HALT_EXIT_NS] >= signals.RETRY_NS and c.account[risk.AC_STATE] == layout.RISK_HALTED:
            k[tables.K_HALT_EXIT_NS] = now_ns
            leave_all(c, now_ns)
    elif k[tables.K_ON_HALT] != 0 and k[tables.K_HALT_OVER] == 0:
        k[tables.K_HALT_OVER] = 1
        tell_what_is_held(c, now_ns)
    return cancelled


@kernel
def leave_all(c, now_ns):
    """One exit for each sub-book that holds something, but for the signals' and nobody's."""
    instruments = c.scalars[tables.K_INSTRUMENTS]
    for owner in range(risk.OWNER_OPERATOR, len(c.owners)):
        for instrument in range(instruments):
            held = c.subbooks[owner * instruments + instrument, risk.SB_LOTS]
            if held != 0 and owner != risk.OWNER_SIGNALS:
                leave(c, owner, instrument, held, now_ns)
    return 0


@kernel
def leave(c, owner, instrument, held, now_ns):
    """An exit of what this owner holds, as far as it can only reduce."""
    side = layout.SIDE_SELL if held > 0 else layout.SIDE_BUY
    lots = min(abs(held), account.reducible_lots(c.positions, instrument, side), c.instruments[instrument, risk.IN_MAX_LOTS])
    touch = signals.exit_touch(c, instrument, side)
    if lots <= 0 or touch <= 0:
        return 0
    price = router.collar_price(side, touch, max(c.limits[risk.LM_COLLAR_PPM], 0))
    q = c.order_in
    submit.clear_order_in(c)
    q[risk.OI_INSTRUMENT] = instrument
    q[risk.OI_OWNER] = owner
    q[risk.OI_SIDE] = side
    q[risk.OI_TYPE] = layout.TYPE_IOC
    q[risk.OI_PRICE_TICKS] = signals.inside_collar(c, instrument, side, price, now_ns)
    q[risk.OI_LOTS] = lots
    q[risk.OI_IS_EXIT] = q[risk.OI_REDUCE_ONLY] = 1
    q[risk.OI_DECISION_X2_TICKS] = c.books[instrument, risk.BK_MARK_X2_TICKS]
    c.counters[layout.EC_HALT_EXITS] += 1
    return submit.submit(c, now_ns, 0)


@kernel
def tell_what_is_held(c, now_ns):
    """The time is over: every position that is left is journaled; how many."""
    left = 0
    for instrument in range(c.scalars[tables.K_INSTRUMENTS]):
        lots = c.positions[instrument, risk.PO_LOTS]
        if lots != 0:
            left += 1
            journal(c, layout.JOURNAL_BREACH, -1, instrument, lots, 0, layout.REASON_HALT_EXIT_OVER, 0, now_ns)
    if left > 0:
        c.counters[layout.EC_HALT_EXITS_OVER] += 1
        count_reason(c, layout.REASON_HALT_EXIT_OVER)
    return left
