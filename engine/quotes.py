# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The quote keeper: one live order per (strategy, instrument, side), moved as rarely as the wish allows.

A quote whose price matches and whose size is near the wish is kept. Another wish (after the minimum quote life) costs as
little as it can: a smaller size amends the order, which keeps its place in the queue; a larger one at the same price waits
while the order stands in the front half of its level, because a new one would stand behind everybody; all else cancels,
and the slot is filled again when the venue has confirmed. A protective pull ignores the minimum life.
"""

from __future__ import annotations

from engine import amends, orders, router, submit, tables
from fabric import layout
from fabric.jit import kernel
from risk import account, gate
from risk import tables as risk

SIZE_TOLERANCE = 4  # a quote is kept when its leaves are within a quarter of the wish


@kernel
def slot_of(strategy, instrument, side):
    """Row of the quote slot."""
    return (strategy * layout.INSTRUMENTS_MAX + instrument) * 2 + side


@kernel
def near(leaves, lots):
    """Whether what rests is within the tolerance of a size."""
    return abs(leaves - lots) * SIZE_TOLERANCE <= lots


@kernel
def note_place(c, row):
    """Lower the bound on what stands ahead of a resting quote: never more than its level shows, our own lots included."""
    o = c.orders[row]
    b = c.books[o[tables.OR_INSTRUMENT]]
    buy = o[tables.OR_SIDE] == layout.SIDE_BUY
    if (
        not orders.is_known(o[tables.OR_STATE])
        or o[tables.OR_PRICE_TICKS] != b[risk.BK_BID_TICKS if buy else risk.BK_ASK_TICKS]
    ):
        return o[tables.OR_LEAVES] * 0
    shown = b[risk.BK_BID_LOTS if buy else risk.BK_ASK_LOTS]
    if o[tables.OR_AHEAD_LOTS] < 0 or shown < o[tables.OR_AHEAD_LOTS]:
        o[tables.OR_AHEAD_LOTS] = shown
    return shown


@kernel
def in_front(c, row, shown):
    """Whether at least as much of its level came after the quote as stands ahead of it; 0 when it is alone or unknown."""
    o = c.orders[row]
    others = shown - o[tables.OR_LEAVES]
    return 1 if others > 0 and 0 <= o[tables.OR_AHEAD_LOTS] * 2 <= others else 0


@kernel
def may_shrink(c, row, lots):
    """Whether ``lots`` is an order that the venue takes, and the engine's state lets orders become smaller."""
    o = c.orders[row]
    t = c.instruments[o[tables.OR_INSTRUMENT]]
    state = gate.engine_state(c.account, c.scalars[tables.K_LEASE_OK])
    if gate.state_action(state, risk.OPERATION_AMEND_DOWN) != layout.ACTION_PASS or lots < t[risk.IN_MIN_LOTS]:
        return 0
    return 1 if lots * o[tables.OR_PRICE_TICKS] * t[risk.IN_MULT] >= t[risk.IN_MIN_NOTIONAL_E8] else 0


@kernel
def move(c, row, price_ticks, lots, now_ns):
    """Bring a live quote to another wish, or leave it; 1 when something was said."""
    o = c.orders[row]
    shown = note_place(c, row)
    reduced = lots // account.drawdown_divisor(c.account)  # what the gate may have made of it
    same_price = o[tables.OR_PRICE_TICKS] == price_ticks
    if same_price and (near(o[tables.OR_LEAVES], lots) or near(o[tables.OR_LEAVES], reduced)):
        c.counters[layout.EC_QUOTES_KEPT] += 1
        return 0
    if (
        now_ns - o[tables.OR_SENT_NS] < c.limits[risk.LM_MIN_QUOTE_LIFE_NS]
        or o[tables.OR_STATE] == layout.STATE_PENDING_REPLACE
    ):
        return 0
    if same_price and reduced < o[tables.OR_LEAVES]:
        if may_shrink(c, row, reduced) != 0:
            return amends.want(c, row, o[tables.OR_FILLED] + reduced, now_ns)
    elif same_price and in_front(c, row, shown) != 0:
        c.counters[layout.EC_QUOTES_KEPT] += 1
        return 0
    return orders.want_cancel(c, row, layout.REASON_REQUESTED, now_ns)


@kernel
def keep(c, strategy, instrument, owner, side, price_ticks, lots, order_kind, source, now_ns):
    """Bring one side to the wish; ``source`` is the OI_SIGNAL_ROW of a new order. 1 when something was said."""
    b = c.books[instrument]
    slot = slot_of(strategy, instrument, side)
    if order_kind == layout.TYPE_POST_ONLY:
        price_ticks = router.without_crossing(side, price_ticks, b[risk.BK_BID_TICKS], b[risk.BK_ASK_TICKS])
    row = c.quotes[slot, tables.QS_ROW]
    if row >= 0:
        return move(c, row, price_ticks, lots, now_ns)
    if now_ns < c.quotes[slot, tables.QS_RETRY_NS] or lots <= 0 or price_ticks <= 0:
        return 0
    q = c.order_in
    submit.clear_order_in(c)
    q[risk.OI_INSTRUMENT] = instrument
    q[risk.OI_OWNER] = owner
    q[risk.OI_SIDE] = side
    q[risk.OI_TYPE] = order_kind
    q[risk.OI_PRICE_TICKS] = price_ticks
    q[risk.OI_LOTS] = lots
    q[risk.OI_IS_QUOTE] = 1
    q[risk.OI_SLOT] = slot
    q[risk.OI_DECISION_X2_TICKS] = b[risk.BK_MARK_X2_TICKS]
    q[risk.OI_SIGNAL_ROW] = source
    if source <= submit.PARAMETER_BASE:
        record = c.parameters[submit.PARAMETER_BASE - source]
        q[risk.OI_MODEL_HASH] = record[tables.PF_MODEL_HASH]
        q[risk.OI_PROMPT_HASH] = record[tables.PF_PROMPT_HASH]
    return 1 if submit.submit(c, now_ns, 1) >= 0 else 0


@kernel
def pull_side(c, strategy, instrument, side, protective, reason, now_ns):
    """Cancel the quote of one side, if there is one; unprotected pulls wait for the minimum quote life."""
    row = c.quotes[slot_of(strategy, instrument, side), tables.QS_ROW]
    if row < 0:
        return 0
    young = now_ns - c.orders[row, tables.OR_SENT_NS] < c.limits[risk.LM_MIN_QUOTE_LIFE_NS]
    if young and protective == 0:
        return 0
    return orders.want_cancel(c, row, reason, now_ns)


@kernel
def pull(c, strategy, instrument, protective, reason, now_ns):
    """Cancel both sides of one strategy in one instrument."""
    said = pull_side(c, strategy, instrument, layout.SIDE_BUY, protective, reason, now_ns)
    return said + pull_side(c, strategy, instrument, layout.SIDE_SELL, protective, reason, now_ns)


@kernel
def pull_instrument(c, instrument, reason, now_ns):
    """Protective: every strategy's quotes in one instrument."""
    said = 0
    for strategy in range(c.scalars[tables.K_STRATEGIES]):
        said += pull(c, strategy, instrument, 1, reason, now_ns)
    return said


@kernel
def pull_strategy(c, strategy, reason, now_ns):
    """Protective: one strategy's quotes everywhere."""
    said = 0
    for instrument in range(c.scalars[tables.K_INSTRUMENTS]):
        said += pull(c, strategy, instrument, 1, reason, now_ns)
    return said
