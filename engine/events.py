# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What the venue says about own orders, and what a reconciliation finds, applied to the tables.

Every event is one EVENT row; -1 means "not said". A trade id is applied once. What no own order explains goes to the owner
``unowned`` and sets the instrument's bit in ``K_UNOWNED_MASK``, which the gate reads.

A reconciliation is: ``reconcile_begin``, fills (with trade ids), ``found_open`` per open order, ``position`` per instrument
(lots of the venue, baseline included), ``balance`` (extra = cash, 1e-8), ``reconcile_end``. An order that was sent before it
began and is not found open becomes unknown and is asked about; ``found_missing`` ends it only after its deadline.
"""

from __future__ import annotations

from engine import amends, markouts, orders, signals, tables
from engine.commands import emit_foreign_cancel, journal, order_record
from fabric import layout
from fabric.jit import kernel
from risk import account, breakers
from risk import tables as risk

COUNTER_MASK = 0xFFFFFFFF
SETTLE_NS = 1_000_000_000  # a venue difference is believed only this long after the last fill


@kernel
def seen_before(c, trade_id, side):
    """Whether this venue trade was applied; remembers it. A trade without an id is never a duplicate."""
    if trade_id < 0:
        return False
    key = trade_id * 2 + side
    place = key % tables.TRADES_SEEN
    if c.seen_trades[place] == key:
        return True
    c.seen_trades[place] = key
    return False


@kernel
def book_trade(c, instrument, owner, side, lots, price_ticks, fee_e8, now_ns):
    """Account, position, sub-book; (realised result net of fee, lots by which it reduced the owner's position)."""
    subbook = owner * c.scalars[tables.K_INSTRUMENTS] + instrument
    held = c.subbooks[subbook, risk.SB_LOTS]
    reducing = -held if side == layout.SIDE_BUY else held
    realised = account.apply_fill(
        c.account,
        c.positions,
        c.instruments,
        c.subbooks,
        c.owners,
        instrument,
        owner,
        side,
        lots,
        price_ticks,
        fee_e8,
        subbook,
    )
    account.expose(c.account, c.positions, c.books, c.instruments, instrument)
    c.positions[instrument, risk.PO_LAST_FILL_NS] = now_ns
    c.scalars[tables.K_FILLS] += 1
    c.counters[layout.EC_FILLS] += 1
    return realised, max(min(reducing, lots), 0)


@kernel
def on_fill(c, event, now_ns):
    """One trade of ours, whatever the state of its order: before the ack, after the cancel, beyond the leaves."""
    side, lots, price = event[tables.EV_SIDE], event[tables.EV_LOTS], event[tables.EV_PRICE_TICKS]
    row = orders.find(c, event[tables.EV_ORDER_ID])
    instrument = c.orders[row, tables.OR_INSTRUMENT] if row >= 0 else event[tables.EV_INSTRUMENT]
    side = c.orders[row, tables.OR_SIDE] if row >= 0 else side
    if instrument < 0 or instrument >= c.scalars[tables.K_INSTRUMENTS] or lots <= 0 or price <= 0 or not 0 <= side <= 1:
        c.counters[layout.EC_EVENTS_UNKNOWN_ORDER] += 1
        c.scalars[tables.K_RECONCILE_WANTED] = 1
        return 0
    if seen_before(c, event[tables.EV_TRADE_ID], side):
        c.counters[layout.EC_FILLS_DUPLICATE] += 1
        return 0
    markouts.note(c, event, row, instrument, side, now_ns)
    if row < 0:
        book_trade(c, instrument, risk.OWNER_UNOWNED, side, lots, price, event[tables.EV_FEE_E8], now_ns)
        c.counters[layout.EC_UNOWNED_FILLS] += 1
        c.scalars[tables.K_UNOWNED_MASK] |= 1 << instrument
        return journal(c, layout.JOURNAL_FILL, -1, instrument, lots, price, layout.REASON_UNOWNED_POSITION, 0, now_ns)
    apply_to_order(c, row, event, lots, price, now_ns)
    return 1


@kernel
def apply_to_order(c, row, event, lots, price, now_ns):
    """Book an own order's trade and move its state; an overfill or a cumulative that differs asks for reconciliation."""
    o = c.orders[row]
    side, owner, instrument = o[tables.OR_SIDE], o[tables.OR_OWNER], o[tables.OR_INSTRUMENT]
    fee = event[tables.EV_FEE_E8]
    realised, reduced = book_trade(c, instrument, owner, side, lots, price, fee, now_ns)
    o[tables.OR_FILLED] += lots
    o[tables.OR_COST_E8] += lots * price * c.instruments[instrument, risk.IN_MULT]
    o[tables.OR_FEES_E8] += fee
    o[tables.OR_LAST_TRADE_ID] = event[tables.EV_TRADE_ID]
    if reduced > 0:
        o[tables.OR_REALISED_E8] += realised
    order_record(c, layout.JOURNAL_FILL, row, layout.REASON_NONE, event[tables.EV_TRADE_ID], now_ns)
    if c.journal_count[0] > 0:
        c.journal[c.journal_count[0] - 1, layout.J_LOTS] = lots
        c.journal[c.journal_count[0] - 1, layout.J_PRICE_TICKS] = price
    signals.on_fill(c, row, lots, now_ns)
    if event[tables.EV_LIQUIDITY] == layout.LIQUIDITY_TAKER:
        breakers.slippage(c.account, c.limits, side, o[tables.OR_DECISION_X2_TICKS], price)
    cumulative = event[tables.EV_CUMULATIVE]
    if o[tables.OR_FILLED] > o[tables.OR_LOTS] or (cumulative >= 0 and cumulative != o[tables.OR_FILLED]):
        c.scalars[tables.K_RECONCILE_WANTED] = 1
    if not orders.is_open(o[tables.OR_STATE]):
        c.counters[layout.EC_EVENTS_LATE] += 1
        return settle(c, row, now_ns)
    orders.set_leaves(c, row, max(o[tables.OR_LOTS] - o[tables.OR_FILLED], 0))
    if o[tables.OR_LEAVES] == 0:
        end(c, row, layout.STATE_FILLED, layout.REASON_NONE, now_ns)
    else:
        orders.known(c, row)
    return 0


@kernel
def settle(c, row, now_ns):
    """A parent order has ended: what it realised by reducing is a gain or a loss of its owner, told once."""
    o = c.orders[row]
    if o[tables.OR_REALISED_E8] != 0:
        paused = breakers.owner_result(c.owners, o[tables.OR_OWNER], o[tables.OR_REALISED_E8], c.limits, now_ns)
        o[tables.OR_REALISED_E8] = 0
        if paused != 0:
            c.counters[layout.EC_PAUSES] += 1
            c.scalars[tables.K_PULL_SENT] = 0
    return 0


@kernel
def end(c, row, state, reason, now_ns):
    """Close an open order and settle its result; its instrument's strategies may act on the free slot."""
    if orders.close_order(c, row, state, reason, now_ns) != 0:
        c.scalars[tables.K_POKE_MASK] |= 1 << c.orders[row, tables.OR_INSTRUMENT]
        settle(c, row, now_ns)
    return 0


@kernel
def on_reject(c, row, reason, now_ns):
    """Refused by the venue: its strategy hears why; a storm pauses the owner, a post-only that would cross is no storm."""
    o = c.orders[row]
    slot, owner = o[tables.OR_SLOT], o[tables.OR_OWNER]
    closed = orders.on_reject(c, row, reason, now_ns)
    if closed != 0:
        settle(c, row, now_ns)
        if slot >= 0:
            c.strategy_memory[slot // 2, tables.SV_REASON] = reason
        if reason != layout.REASON_POST_ONLY_WOULD_CROSS:
            if breakers.order_result(c.account, c.owners, owner, 1, c.limits, now_ns) != 0:
                c.counters[layout.EC_PAUSES] += 1
    return closed


@kernel
def on_unknown(c, event, now_ns):
    """The venue speaks of an order that is not in the table: an earlier life's is cancelled, anybody else's alarms."""
    order_id, instrument = event[tables.EV_ORDER_ID], event[tables.EV_INSTRUMENT]
    c.counters[layout.EC_EVENTS_UNKNOWN_ORDER] += 1
    known = 0 <= instrument < c.scalars[tables.K_INSTRUMENTS]
    journal(c, layout.JOURNAL_UNKNOWN_ORDER, -1, instrument, event[tables.EV_LOTS], 0, 0, order_id, now_ns)
    if event[tables.EV_KIND] != layout.EVENT_FOUND_OPEN:
        return 0
    c.scalars[tables.K_DIFFERENCES] += 1
    c.counters[layout.EC_RECONCILE_DIFFERENCES] += 1
    instance = order_id >> (layout.ID_COUNTER_BITS + layout.ID_EPOCH_BITS)
    ours = order_id > 0 and instance == c.scalars[tables.K_INSTANCE]
    if ours and order_id & COUNTER_MASK < layout.ID_WATCHDOG_COUNTER:
        return emit_foreign_cancel(c, order_id, instrument, layout.REASON_UNKNOWN_ORDER)
    if known:
        c.scalars[tables.K_UNOWNED_MASK] |= 1 << instrument
    return 0


@kernel
def on_order_event(c, event, row, now_ns):
    """Everything but fills that is about one order of ours."""
    kind, reason = event[tables.EV_KIND], event[tables.EV_REASON]
    cumulative = event[tables.EV_CUMULATIVE]
    o = c.orders[row]
    was_open = orders.is_open(o[tables.OR_STATE])
    if kind == layout.EVENT_ACK:
        order_record(c, layout.JOURNAL_ACK, row, 0, event[tables.EV_VENUE_ID], now_ns)
        if orders.on_ack(c, row, event[tables.EV_VENUE_ID]) != 0:
            breakers.order_result(c.account, c.owners, o[tables.OR_OWNER], 0, c.limits, now_ns)
    elif kind == layout.EVENT_REJECT:
        order_record(c, layout.JOURNAL_REJECT, row, reason, 0, now_ns)
        on_reject(c, row, reason, now_ns)
    elif kind == layout.EVENT_CANCELLED or kind == layout.EVENT_EXPIRED or kind == layout.EVENT_FOUND_CLOSED:
        order_record(c, layout.JOURNAL_CANCELLED, row, reason, cumulative, now_ns)
        state = layout.STATE_EXPIRED if kind == layout.EVENT_EXPIRED else layout.STATE_CANCELLED
        if was_open and cumulative == o[tables.OR_LOTS] == o[tables.OR_FILLED]:
            state = layout.STATE_FILLED
        if orders.on_closed(c, row, state, reason, cumulative, now_ns) != 0:
            c.scalars[tables.K_POKE_MASK] |= 1 << o[tables.OR_INSTRUMENT]
            settle(c, row, now_ns)
    elif kind == layout.EVENT_CANCEL_REJECT:
        orders.on_cancel_reject(c, row, reason, now_ns)
    elif kind == layout.EVENT_AMENDED:
        on_amended(c, row, event[tables.EV_LOTS], now_ns)
    elif kind == layout.EVENT_AMEND_REJECT:
        amends.on_reject(c, row, reason, now_ns)
    elif kind == layout.EVENT_FOUND_OPEN:
        found_open(c, row, event, now_ns)
    elif kind == layout.EVENT_FOUND_MISSING:
        if was_open and now_ns > o[tables.OR_DEADLINE_NS] + c.scalars[tables.K_ORDER_DEADLINE_NS]:
            order_record(c, layout.JOURNAL_CANCELLED, row, layout.REASON_NOT_FOUND, 0, now_ns)
            end(c, row, layout.STATE_EXPIRED, layout.REASON_NOT_FOUND, now_ns)
    return 0


@kernel
def on_amended(c, row, lots, now_ns):
    """Smaller at the venue; filled to the new size before we heard of it means that it has ended."""
    if amends.on_amended(c, row, lots, now_ns) != 0 and c.orders[row, tables.OR_LEAVES] == 0:
        end(c, row, layout.STATE_FILLED, layout.REASON_NONE, now_ns)
    return 0


@kernel
def found_open(c, row, event, now_ns):
    """A reconciliation or a query found it resting: known again; one that has ended here is cancelled there."""
    o = c.orders[row]
    if not orders.is_open(o[tables.OR_STATE]):
        c.scalars[tables.K_DIFFERENCES] += 1
        c.counters[layout.EC_RECONCILE_DIFFERENCES] += 1
        return emit_foreign_cancel(c, o[tables.OR_ID], o[tables.OR_INSTRUMENT], layout.REASON_UNKNOWN_ORDER)
    o[tables.OR_QUERIED_NS] = now_ns
    open_there = event[tables.EV_LOTS] > 0 and o[tables.OR_ENDED_NS] == 0
    if open_there and (event[tables.EV_LOTS] != o[tables.OR_LOTS] or o[tables.OR_AMEND_LOTS] > 0):
        stale = o[tables.OR_AMEND_LOTS] > 0 and now_ns - o[tables.OR_AMEND_SENT_NS] <= c.scalars[tables.K_ORDER_DEADLINE_NS]
        if not stale:  # an amend that is still on its way may land after the venue looked
            amends.resize(c, row, event[tables.EV_LOTS])
    if event[tables.EV_CUMULATIVE] > o[tables.OR_FILLED]:
        c.scalars[tables.K_RECONCILE_WANTED] = 1
    if o[tables.OR_STATE] == layout.STATE_UNKNOWN or o[tables.OR_STATE] == layout.STATE_PENDING_NEW:
        orders.known(c, row)
    return 1
