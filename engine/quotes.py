# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The quote keeper: one live order per (strategy, instrument, side), moved as rarely as the wish allows.

A quote whose price matches and whose size is near the wish is kept. Another wish cancels it at once (after the minimum
quote life); its slot is filled again when the venue has confirmed. A protective pull ignores the minimum life.
"""

from __future__ import annotations

from engine import orders, router, submit, tables
from fabric import layout
from fabric.jit import kernel
from risk import account
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
def keep(c, strategy, instrument, owner, side, price_ticks, lots, order_kind, source, now_ns):
    """Bring one side to the wish; ``source`` is the OI_SIGNAL_ROW of a new order. 1 when something was said."""
    b = c.books[instrument]
    slot = slot_of(strategy, instrument, side)
    if order_kind == layout.TYPE_POST_ONLY:
        price_ticks = router.without_crossing(side, price_ticks, b[risk.BK_BID_TICKS], b[risk.BK_ASK_TICKS])
    row = c.quotes[slot, tables.QS_ROW]
    if row >= 0:
        o = c.orders[row]
        reduced = lots // account.drawdown_divisor(c.account)  # what the gate may have made of it
        if o[tables.OR_PRICE_TICKS] == price_ticks and (near(o[tables.OR_LEAVES], lots) or near(o[tables.OR_LEAVES], reduced)):
            c.counters[layout.EC_QUOTES_KEPT] += 1
            return 0
        if now_ns - o[tables.OR_SENT_NS] < c.limits[risk.LM_MIN_QUOTE_LIFE_NS]:
            return 0
        return orders.want_cancel(c, row, layout.REASON_REQUESTED, now_ns)
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
