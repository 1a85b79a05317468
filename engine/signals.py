# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""One-shot signals at work, as parent orders of what is sent for them (``engine.records`` takes them in).

Writes ``signals``. A one-shot waits until the touch reaches its limit (a buy watches the ask, a sell the
bid), then sends children so that filled + working + unknown never exceed its lots, and once filled it is left by its stop
(``stop_ticks`` is a price level) or its holding time. No signal waits for another one.
"""

from __future__ import annotations

from engine import orders, router, tables
from engine import submit as submits
from engine.commands import count_reason
from fabric import layout
from fabric.jit import kernel
from risk import account, checks
from risk import tables as risk

RETRY_NS = 100_000_000  # between two children of one signal
HALT_EXIT_NS = 30_000_000_000  # so long a halt that says "exit" tries to leave what is held


@kernel
def is_active(state):
    """Waiting for its price, or with children or a position."""
    return state == layout.SIG_WAITING or state == layout.SIG_WORKING


@kernel
def evaluate(c, instrument, now_ns):
    """Give every active signal of an instrument its chance; none waits for another."""
    for row in range(c.scalars[tables.K_SIGNAL_TOP]):
        s = c.signals[row]
        if is_active(s[tables.SG_STATE]) and s[tables.SG_INSTRUMENT] == instrument:
            step(c, row, now_ns)
    return 0


@kernel
def step(c, row, now_ns):
    """One signal: expire it, enter, leave, or end it."""
    s = c.signals[row]
    lots, filled, working = s[tables.SG_LOTS], s[tables.SG_FILLED], s[tables.SG_WORKING]
    entering = now_ns < s[tables.SG_EXPIRES_NS] and s[tables.SG_EXITING] == 0 and filled < lots
    if not entering and working > 0:
        cancel_children(c, row, layout.REASON_SIGNAL_EXPIRED, now_ns)
    if entering and working == 0 and triggered(c, row):
        enter(c, row, now_ns)
    if filled > 0:
        leave(c, row, now_ns)
    held = s[tables.SG_FILLED] - s[tables.SG_EXITED]
    if not entering and held <= 0 and s[tables.SG_WORKING] == 0 and s[tables.SG_EXIT_WORKING] == 0:
        end(c, row)
    return 0


@kernel
def end(c, row):
    """Nothing works, nothing is held, no entry is possible any more."""
    s = c.signals[row]
    if s[tables.SG_FILLED] > 0:
        s[tables.SG_STATE] = layout.SIG_DONE
        c.counters[layout.EC_SIGNALS_DONE] += 1
    else:
        s[tables.SG_STATE] = layout.SIG_EXPIRED
        c.scalars[tables.K_SIGNALS_EXPIRED] += 1
        c.counters[layout.EC_SIGNALS_EXPIRED] += 1
        count_reason(c, layout.REASON_SIGNAL_EXPIRED)
    return 0


@kernel
def cancel_children(c, row, reason, now_ns):
    """Cancel the entry orders of one signal; its exits stay."""
    child = c.scalars[tables.K_LIVE_HEAD]
    for _ in range(len(c.orders)):
        if child < 0:
            break
        o = c.orders[child]
        following = o[tables.OR_NEXT_LIVE]
        if o[tables.OR_IS_EXIT] == 0 and orders.parent(c, child) == row:
            orders.want_cancel(c, child, reason, now_ns)
        child = following
    return 0


@kernel
def triggered(c, row):
    """Whether the ready book's far touch is within the signal's limit."""
    s = c.signals[row]
    b = c.books[s[tables.SG_INSTRUMENT]]
    if b[risk.BK_STATUS] != layout.BOOK_READY:
        return False
    if s[tables.SG_SIDE] == layout.SIDE_BUY:
        return b[risk.BK_ASK_TICKS] <= s[tables.SG_LIMIT_TICKS]
    return b[risk.BK_BID_TICKS] >= s[tables.SG_LIMIT_TICKS]


@kernel
def order_of(c, row, side, kind, price_ticks, lots, is_exit):
    """Fill ``order_in`` for a child of a signal."""
    s = c.signals[row]
    q = c.order_in
    submits.clear_order_in(c)
    q[risk.OI_INSTRUMENT] = s[tables.SG_INSTRUMENT]
    q[risk.OI_OWNER] = s[tables.SG_OWNER]
    q[risk.OI_SIDE] = side
    q[risk.OI_TYPE] = kind
    q[risk.OI_PRICE_TICKS] = price_ticks
    q[risk.OI_LOTS] = lots
    q[risk.OI_IS_EXIT] = is_exit
    q[risk.OI_REDUCE_ONLY] = is_exit
    q[risk.OI_DECISION_X2_TICKS] = c.books[s[tables.SG_INSTRUMENT], risk.BK_MARK_X2_TICKS]
    q[risk.OI_SIGNAL_ROW] = row
    q[risk.OI_MODEL_HASH] = s[tables.SG_MODEL_HASH]
    q[risk.OI_PROMPT_HASH] = s[tables.SG_PROMPT_HASH]
    return 0


@kernel
def inside_collar(c, instrument, side, price, now_ns):
    """The gate's collar is around the mid, the router's beyond the touch: the tighter one is sent."""
    middle_x2 = checks.reference_x2(c.books[instrument], c.limits, now_ns)
    if price <= 0 or middle_x2 <= 0:
        return price
    return router.bounded(price, checks.collar_price(side, middle_x2, max(c.limits[risk.LM_COLLAR_PPM], 0)), side)


@kernel
def enter(c, row, now_ns):
    """Send the next child of a triggered signal, through the router."""
    s = c.signals[row]
    if now_ns - s[tables.SG_LAST_ORDER_NS] < RETRY_NS:
        return 0
    instrument, side = s[tables.SG_INSTRUMENT], s[tables.SG_SIDE]
    b, t = c.books[instrument], c.instruments[instrument]
    bid, ask, urgency = b[risk.BK_BID_TICKS], b[risk.BK_ASK_TICKS], s[tables.SG_URGENCY]
    kind = router.order_type(urgency, bid, ask, s[tables.SG_FILLED], s[tables.SG_LOTS], t[risk.IN_MAKER_FEE_PPM])
    cross, collar = max(c.limits[risk.LM_CROSS_TICKS], 0), max(c.limits[risk.LM_COLLAR_PPM], 0)
    price = router.order_price(kind, side, urgency, bid, ask, s[tables.SG_LIMIT_TICKS], cross, collar)
    price = inside_collar(c, instrument, side, price, now_ns) if kind == layout.TYPE_MARKET else price
    if price <= 0:
        count_reason(c, layout.REASON_NOT_MARKETABLE)
        return 0
    order_of(c, row, side, router.wire_type(kind), price, s[tables.SG_LOTS] - s[tables.SG_FILLED], 0)
    answer = submits.submit(c, now_ns, 1)
    if answer != submits.REFUSED or c.outputs[submits.OUT_REASON] != layout.REASON_OWN_CROSS:
        s[tables.SG_LAST_ORDER_NS] = now_ns  # a cleared own cross may try again at once
    if answer >= 0:
        s[tables.SG_STATE] = layout.SIG_WORKING
    return 0


@kernel
def may_leave_halted(c, now_ns):
    """Whether positions may be left now that trading is halted: as ``on_halt`` says, and only so long."""
    began = c.scalars[tables.K_HALTED_NS]
    return 1 if c.scalars[tables.K_ON_HALT] != 0 and began > 0 and now_ns - began < HALT_EXIT_NS else 0


@kernel
def leave_due(c, row, now_ns):
    """Whether the position of a signal is to go: its stop touched, its time over, already leaving, or halted."""
    s = c.signals[row]
    b = c.books[s[tables.SG_INSTRUMENT]]
    if c.account[risk.AC_STATE] == layout.RISK_HALTED and c.scalars[tables.K_ON_HALT] != 0:
        return True
    if s[tables.SG_EXITING] != 0 or now_ns - s[tables.SG_ENTERED_NS] >= s[tables.SG_HOLDING_NS]:
        return True
    if b[risk.BK_STATUS] != layout.BOOK_READY:
        return False
    if s[tables.SG_SIDE] == layout.SIDE_BUY:
        return b[risk.BK_BID_TICKS] <= s[tables.SG_STOP_TICKS]
    return b[risk.BK_ASK_TICKS] >= s[tables.SG_STOP_TICKS]


@kernel
def exit_touch(c, instrument, side):
    """The touch that an exit takes; from the last good mark when the book is not ready; 0 when there is neither."""
    b = c.books[instrument]
    if b[risk.BK_STATUS] == layout.BOOK_READY:
        return b[risk.BK_ASK_TICKS] if side == layout.SIDE_BUY else b[risk.BK_BID_TICKS]
    return b[risk.BK_GOOD_MARK_X2_TICKS] // 2


@kernel
def leave(c, row, now_ns):
    """Sell what was bought (or the reverse) as an exit inside the collar, entries cancelled first; held when halted."""
    s = c.signals[row]
    held = s[tables.SG_FILLED] - s[tables.SG_EXITED] - s[tables.SG_EXIT_WORKING]
    if held <= 0 or not leave_due(c, row, now_ns):
        return 0
    s[tables.SG_EXITING] = 1
    if c.account[risk.AC_STATE] >= layout.RISK_HALTED and may_leave_halted(c, now_ns) == 0:
        return 0
    if s[tables.SG_WORKING] > 0:
        return cancel_children(c, row, layout.REASON_REQUESTED, now_ns)
    if now_ns - s[tables.SG_LAST_ORDER_NS] < RETRY_NS:
        return 0
    instrument, side = s[tables.SG_INSTRUMENT], 1 - s[tables.SG_SIDE]
    lots = min(held, account.reducible_lots(c.positions, instrument, side))
    touch = exit_touch(c, instrument, side)
    if lots <= 0 or touch <= 0:
        return 0
    price = router.collar_price(side, touch, max(c.limits[risk.LM_COLLAR_PPM], 0))
    price = inside_collar(c, instrument, side, price, now_ns)
    order_of(c, row, side, layout.TYPE_IOC, price, lots, 1)
    answer = submits.submit(c, now_ns, 1)
    if answer != submits.REFUSED or c.outputs[submits.OUT_REASON] != layout.REASON_OWN_CROSS:
        s[tables.SG_LAST_ORDER_NS] = now_ns
    if answer >= 0:
        s[tables.SG_EXIT_ORDER_ROW] = answer
    return 0


@kernel
def on_fill(c, order_row, lots, now_ns):
    """A child traded; a late one wakes its ended parent, because what it bought has to be left as well."""
    row = orders.parent(c, order_row)
    if row < 0:
        return 0
    s = c.signals[row]
    if c.orders[order_row, tables.OR_IS_EXIT] != 0:
        s[tables.SG_EXITED] += lots
    else:
        s[tables.SG_FILLED] += lots
        if s[tables.SG_ENTERED_NS] == 0:
            s[tables.SG_ENTERED_NS] = now_ns
    s[tables.SG_STATE] = layout.SIG_WORKING
    return 0


@kernel
def on_timer(c, now_ns):
    """Every active signal: expiry, stop, holding time."""
    for row in range(c.scalars[tables.K_SIGNAL_TOP]):
        s = c.signals[row]
        if is_active(s[tables.SG_STATE]):
            if now_ns >= s[tables.SG_EXPIRES_NS] or s[tables.SG_FILLED] > 0:
                step(c, row, now_ns)
    return 0


@kernel
def drop_all(c, reason, now_ns):
    """Halt or shutdown: nothing enters any more; what holds a position keeps its row until it has left."""
    for row in range(c.scalars[tables.K_SIGNAL_TOP]):
        s = c.signals[row]
        if is_active(s[tables.SG_STATE]) and now_ns < s[tables.SG_EXPIRES_NS]:
            s[tables.SG_EXPIRES_NS] = now_ns
            s[tables.SG_REASON] = reason
            if s[tables.SG_WORKING] == 0 and s[tables.SG_FILLED] == 0:
                s[tables.SG_STATE] = layout.SIG_REFUSED
                c.scalars[tables.K_SIGNALS_REFUSED] += 1
                c.counters[layout.EC_SIGNALS_REFUSED] += 1
                count_reason(c, reason)
    return 0
