# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What a fill was worth a little later: the mid at each horizon against the price that was traded, signed for us.

Every fill of ours takes a row of the ring ``markouts``; each horizon walks the ring with a place of its own, in the order of
the fills. A book that is in doubt when a fill is due, or a ring that has come round, is a miss and counted: no price is
made up. Sums and the notional that they stand for are money in 1e-8 (``K_MARKOUT_*``, ``K_MARKED_*``), so that their ratio
is the mean in parts of the price; a negative one means that those who traded with us knew better.
"""

from __future__ import annotations

from engine import tables
from engine.commands import journal
from fabric import layout
from fabric.jit import kernel
from risk import tables as risk

FIRST_NS, HORIZONS = 100_000_000, 3  # each horizon is ten times the one before it
DUE_PER_CALL = 16


@kernel
def note(c, event, row, instrument, side, now_ns):
    """Remember a fill of the order in ``row`` (-1: of none of ours); one that a reconciliation tells late is a miss."""
    told_ns = now_ns + c.scalars[tables.K_WALL_OFFSET_NS]
    if event[tables.EV_VENUE_NS] > 0 and told_ns - event[tables.EV_VENUE_NS] > FIRST_NS:
        c.counters[layout.EC_MARKOUTS_MISSED] += HORIZONS
        return 0
    m = c.markouts[c.scalars[tables.K_MARKOUT_HEAD] % tables.MARKOUTS]
    c.scalars[tables.K_MARKOUT_HEAD] += 1
    m[tables.MO_FILL_NS] = now_ns
    m[tables.MO_ORDER_ID] = c.orders[row, tables.OR_ID] if row >= 0 else 0
    m[tables.MO_OWNER] = c.orders[row, tables.OR_OWNER] if row >= 0 else risk.OWNER_UNOWNED
    m[tables.MO_INSTRUMENT] = instrument
    m[tables.MO_SIDE] = side
    m[tables.MO_LOTS] = event[tables.EV_LOTS]
    m[tables.MO_PRICE_TICKS] = event[tables.EV_PRICE_TICKS]
    return 1


@kernel
def judge(c, m, horizon, horizon_ns, now_ns):
    """One fill at one horizon."""
    instrument = m[tables.MO_INSTRUMENT]
    b, mult = c.books[instrument], c.instruments[instrument, risk.IN_MULT]
    if b[risk.BK_STATUS] != layout.BOOK_READY:
        c.counters[layout.EC_MARKOUTS_MISSED] += 1
        return 0
    lots, price = m[tables.MO_LOTS], m[tables.MO_PRICE_TICKS]
    gain_x2 = (b[risk.BK_BID_TICKS] + b[risk.BK_ASK_TICKS] - 2 * price) * lots * mult
    gain = (gain_x2 if m[tables.MO_SIDE] == layout.SIDE_BUY else -gain_x2) // 2
    c.scalars[tables.K_MARKOUT_100MS_E8 + horizon] += gain
    c.scalars[tables.K_MARKED_100MS_E8 + horizon] += lots * price * mult
    c.counters[layout.EC_MARKOUTS] += 1
    if journal(c, layout.JOURNAL_MARKOUT, -1, instrument, lots, price, layout.REASON_NONE, gain, now_ns) != 0:
        j = c.journal[c.journal_count[0] - 1]
        j[layout.J_ORDER_ID], j[layout.J_OWNER], j[layout.J_SIDE] = m[tables.MO_ORDER_ID], m[tables.MO_OWNER], m[tables.MO_SIDE]
        j[layout.J_SIGNAL_ID] = horizon_ns
    return 1


@kernel
def due(c, now_ns):
    """Judge what has come of age, a few at a time."""
    k = c.scalars
    head, left, horizon_ns = k[tables.K_MARKOUT_HEAD], DUE_PER_CALL, FIRST_NS
    for horizon in range(HORIZONS):
        place = k[tables.K_MARKOUT_AT_100MS + horizon]
        oldest = head - tables.MARKOUTS
        if place < oldest:
            c.counters[layout.EC_MARKOUTS_MISSED] += oldest - place
            place = oldest
        while place < head and left > 0:
            m = c.markouts[place % tables.MARKOUTS]
            if now_ns - m[tables.MO_FILL_NS] < horizon_ns:
                break
            judge(c, m, horizon, horizon_ns, now_ns)
            place += 1
            left -= 1
        k[tables.K_MARKOUT_AT_100MS + horizon] = place
        horizon_ns *= 10
    return 0
