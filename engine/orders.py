# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The order table: one row per client order id, a state machine, and the exposure it implies.

Writes ``orders``, the live list, ``working`` columns of ``positions`` and ``signals``, and ``quotes`` slots as they become
free. A client id lives at its counter modulo the rows, a power of two. Every non-terminal order, the unknown ones too,
counts its leaves as exposure; a terminal row stays readable for late fills until its row comes round again.
"""

from __future__ import annotations

from engine import tables
from engine.commands import count_reason, emit, order_record
from fabric import layout
from fabric.jit import kernel
from risk import account, rate
from risk import tables as risk

COUNTER_MASK = 0xFFFFFFFF
CANCEL_RETRY_NS = 250_000_000
QUOTE_BACKOFF_NS = 100_000_000
SKIPS = 512  # rows looked at for a new order: more than any profile lets rest side by side
AWAIT_FILLS_NS = 5_000_000_000  # several reconciliations: what has not come by then is for the position to tell


@kernel
def is_open(state):
    """States whose leaves are exposure: pending, live, partial, pending cancel or replace, unknown."""
    return layout.STATE_PENDING_NEW <= state <= layout.STATE_PENDING_REPLACE or state == layout.STATE_UNKNOWN


@kernel
def find(c, order_id):
    """Row of a client order id, or -1."""
    row = order_id & COUNTER_MASK & (len(c.orders) - 1)
    return row if order_id > 0 and c.orders[row, tables.OR_ID] == order_id else -1


@kernel
def parent(c, row):
    """Signal row that caused this order, or -1 when there is none or it was reused since."""
    o = c.orders[row]
    signal = o[tables.OR_SIGNAL_ROW]
    return signal if signal >= 0 and c.signals[signal, tables.SG_ID] == o[tables.OR_SIGNAL_ID] else -1


@kernel
def set_leaves(c, row, leaves):
    """Change what may still trade, here and in every sum over it."""
    o = c.orders[row]
    change = leaves - o[tables.OR_LEAVES]
    o[tables.OR_LEAVES] = leaves
    p = c.positions[o[tables.OR_INSTRUMENT]]
    is_exit = o[tables.OR_IS_EXIT] != 0
    if o[tables.OR_SIDE] == layout.SIDE_BUY:
        p[risk.PO_WORKING_BUY_LOTS] += change
        if is_exit:
            p[risk.PO_REDUCING_BUY_LOTS] += change
        if p[risk.PO_WORKING_BUY_LOTS] == 0:
            p[risk.PO_OWN_BID_TICKS] = 0
    else:
        p[risk.PO_WORKING_SELL_LOTS] += change
        if is_exit:
            p[risk.PO_REDUCING_SELL_LOTS] += change
        if p[risk.PO_WORKING_SELL_LOTS] == 0:
            p[risk.PO_OWN_ASK_TICKS] = 0
    account.expose(c.account, c.positions, c.books, c.instruments, o[tables.OR_INSTRUMENT])
    signal = parent(c, row)
    if signal >= 0:
        c.signals[signal, tables.SG_EXIT_WORKING if is_exit else tables.SG_WORKING] += change
    return 0


@kernel
def set_state(c, row, state):
    """Move between open states; keeps the count of unknown orders."""
    o = c.orders[row]
    if o[tables.OR_STATE] == layout.STATE_UNKNOWN and state != layout.STATE_UNKNOWN:
        c.account[risk.AC_UNKNOWN_ORDERS] -= 1
    elif o[tables.OR_STATE] != layout.STATE_UNKNOWN and state == layout.STATE_UNKNOWN:
        c.account[risk.AC_UNKNOWN_ORDERS] += 1
        c.counters[layout.EC_ORDERS_UNKNOWN] += 1
    o[tables.OR_STATE] = state
    return 0


@kernel
def free_row(c):
    """Row of the next counter; counters whose rows are taken by open orders are passed over, -1 after ``SKIPS`` of them.

    So an order that rests for hours costs one counter each time round, and does not stop those after it.
    """
    for _ in range(SKIPS):
        row = c.scalars[tables.K_NEXT_COUNTER] & COUNTER_MASK & (len(c.orders) - 1)
        if not is_open(c.orders[row, tables.OR_STATE]):
            return row
        c.scalars[tables.K_NEXT_COUNTER] += 1
    return -1


@kernel
def bound_price(p, side, price_ticks):
    """An own order of this price is open: neither bound of ``own_bid`` and ``own_ask`` may be behind it."""
    if side == layout.SIDE_BUY:
        p[risk.PO_OWN_BID_TICKS] = max(p[risk.PO_OWN_BID_TICKS], price_ticks)
    elif p[risk.PO_OWN_ASK_TICKS] == 0 or price_ticks < p[risk.PO_OWN_ASK_TICKS]:
        p[risk.PO_OWN_ASK_TICKS] = price_ticks
    return 0


@kernel
def next_id(c):
    """The client order id that the next order gets."""
    k = c.scalars
    life = k[tables.K_INSTANCE] << layout.ID_EPOCH_BITS | k[tables.K_EPOCH]
    return life << layout.ID_COUNTER_BITS | k[tables.K_NEXT_COUNTER]


@kernel
def open_order(c, row, order_in, signal_id, now_ns):
    """Fill the free ``row`` from a judged order, take the next client id, link it and count its exposure."""
    k = c.scalars
    o = c.orders[row]
    for column in range(len(tables.ORDER)):
        o[column] = 0
    o[tables.OR_ID] = next_id(c)
    k[tables.K_NEXT_COUNTER] += 1
    o[tables.OR_OWNER] = order_in[risk.OI_OWNER]
    o[tables.OR_INSTRUMENT] = order_in[risk.OI_INSTRUMENT]
    o[tables.OR_SIDE] = order_in[risk.OI_SIDE]
    o[tables.OR_TYPE] = order_in[risk.OI_TYPE]
    o[tables.OR_PRICE_TICKS] = order_in[risk.OI_PRICE_TICKS]
    o[tables.OR_LOTS] = order_in[risk.OI_LOTS]
    o[tables.OR_SIGNAL_ROW] = order_in[risk.OI_SIGNAL_ROW]
    o[tables.OR_SIGNAL_ID] = signal_id
    o[tables.OR_SENT_NS] = now_ns
    o[tables.OR_DEADLINE_NS] = now_ns + k[tables.K_ORDER_DEADLINE_NS]
    o[tables.OR_DECISION_X2_TICKS] = order_in[risk.OI_DECISION_X2_TICKS]
    o[tables.OR_MODEL_HASH] = order_in[risk.OI_MODEL_HASH]
    o[tables.OR_PROMPT_HASH] = order_in[risk.OI_PROMPT_HASH]
    o[tables.OR_IS_EXIT] = order_in[risk.OI_IS_EXIT]
    o[tables.OR_AHEAD_LOTS] = -1
    o[tables.OR_SLOT] = order_in[risk.OI_SLOT] if order_in[risk.OI_IS_QUOTE] != 0 else -1
    o[tables.OR_STATE] = layout.STATE_PENDING_NEW
    head = k[tables.K_LIVE_HEAD]
    o[tables.OR_NEXT_LIVE] = head
    o[tables.OR_PREVIOUS_LIVE] = -1
    if head >= 0:
        c.orders[head, tables.OR_PREVIOUS_LIVE] = row
    k[tables.K_LIVE_HEAD] = row
    k[tables.K_LIVE_COUNT] += 1
    c.account[risk.AC_OPEN_ORDERS] += 1
    set_leaves(c, row, o[tables.OR_LOTS])
    bound_price(c.positions[o[tables.OR_INSTRUMENT]], o[tables.OR_SIDE], o[tables.OR_PRICE_TICKS])
    if o[tables.OR_SLOT] >= 0:
        c.quotes[o[tables.OR_SLOT], tables.QS_ROW] = row
    return row


@kernel
def close_order(c, row, state, reason, now_ns):
    """End an open order: no leaves, out of the live list, its quote slot free. A terminal one stays as it is (returns 0)."""
    o = c.orders[row]
    if not is_open(o[tables.OR_STATE]):
        return 0
    set_leaves(c, row, 0)
    set_state(c, row, state)
    o[tables.OR_REASON] = reason
    following, previous = o[tables.OR_NEXT_LIVE], o[tables.OR_PREVIOUS_LIVE]
    if previous >= 0:
        c.orders[previous, tables.OR_NEXT_LIVE] = following
    else:
        c.scalars[tables.K_LIVE_HEAD] = following
    if following >= 0:
        c.orders[following, tables.OR_PREVIOUS_LIVE] = previous
    c.scalars[tables.K_LIVE_COUNT] -= 1
    c.account[risk.AC_OPEN_ORDERS] -= 1
    slot = o[tables.OR_SLOT]
    if slot >= 0 and c.quotes[slot, tables.QS_ROW] == row:
        c.quotes[slot, tables.QS_ROW] = -1
        if state == layout.STATE_REJECTED:
            c.quotes[slot, tables.QS_RETRY_NS] = now_ns + QUOTE_BACKOFF_NS
    return 1


@kernel
def want_cancel(c, row, reason, now_ns):
    """Ask for the end of an open order; said once, then again by the timer until the venue answers."""
    o = c.orders[row]
    if not is_open(o[tables.OR_STATE]) or o[tables.OR_ENDED_NS] != 0:
        return 0
    if o[tables.OR_CANCEL_WANTED] != 0 and now_ns - o[tables.OR_CANCEL_SENT_NS] < CANCEL_RETRY_NS:
        return 0
    if o[tables.OR_CANCEL_WANTED] == 0:
        o[tables.OR_CANCEL_WANTED] = 1
        o[tables.OR_REASON] = reason
        o[tables.OR_CANCEL_SENT_NS] = now_ns - CANCEL_RETRY_NS
    if c.scalars[tables.K_SESSION_UP] == 0:
        return 0  # it stays wanted; the timer says it when there is somebody to say it to
    if emit(c, tables.COMMAND_CANCEL, row, reason) == 0:
        return 0
    rate.take_message(c.rate, now_ns)
    o[tables.OR_CANCEL_SENT_NS] = now_ns
    o[tables.OR_CANCEL_TRIES] += 1
    if is_known(o[tables.OR_STATE]):
        set_state(c, row, layout.STATE_PENDING_CANCEL)
    order_record(c, layout.JOURNAL_CANCEL_INTENT, row, reason, 0, now_ns)
    return 1


@kernel
def is_known(state):
    """The venue has the order and has not been asked to end it."""
    return state == layout.STATE_LIVE or state == layout.STATE_PARTIALLY_FILLED or state == layout.STATE_PENDING_REPLACE


@kernel
def cancel_matching(c, instrument, owner, increasing_only, reason, now_ns):
    """Cancel all live orders of an instrument and an owner (-1: any); with ``increasing_only`` the exits stay."""
    row = c.scalars[tables.K_LIVE_HEAD]
    cancelled = 0
    for _ in range(len(c.orders)):
        if row < 0:
            break
        o = c.orders[row]
        fits = (instrument < 0 or o[tables.OR_INSTRUMENT] == instrument) and (owner < 0 or o[tables.OR_OWNER] == owner)
        if fits and not (increasing_only != 0 and o[tables.OR_IS_EXIT] != 0):
            cancelled += want_cancel(c, row, reason, now_ns)
        row = o[tables.OR_NEXT_LIVE]
    return cancelled


@kernel
def on_ack(c, row, venue_id):
    """The venue has the order."""
    o = c.orders[row]
    if not is_open(o[tables.OR_STATE]):
        c.counters[layout.EC_EVENTS_LATE] += 1
        return 0
    o[tables.OR_VENUE_ID] = venue_id
    c.counters[layout.EC_ORDERS_ACKED] += 1
    known(c, row)
    return 1


@kernel
def known(c, row):
    """An order that the venue just spoke of as open is pending or unknown no more; one that has ended there stays unknown."""
    o = c.orders[row]
    if o[tables.OR_ENDED_NS] != 0:
        return 0
    if o[tables.OR_CANCEL_TRIES] > 0:
        set_state(c, row, layout.STATE_PENDING_CANCEL)
    elif o[tables.OR_AMEND_LOTS] > 0:
        set_state(c, row, layout.STATE_PENDING_REPLACE)
    elif o[tables.OR_FILLED] > 0:
        set_state(c, row, layout.STATE_PARTIALLY_FILLED)
    else:
        set_state(c, row, layout.STATE_LIVE)
    return 0


@kernel
def on_reject(c, row, reason, now_ns):
    """The venue refused it. ``duplicate_id`` proves nothing about the order that carries the id: it becomes unknown."""
    o = c.orders[row]
    if not is_open(o[tables.OR_STATE]):
        c.counters[layout.EC_EVENTS_LATE] += 1
        return 0
    if reason == layout.REASON_DUPLICATE_ID:
        make_unknown(c, row, now_ns)
        return 0
    c.counters[layout.EC_ORDERS_REJECTED] += 1
    count_reason(c, reason)
    return close_order(c, row, layout.STATE_REJECTED, reason, now_ns)


@kernel
def on_closed(c, row, state, reason, cumulative, now_ns):
    """Cancelled or expired at the venue, asked for or not. More filled there than here asks for a reconciliation."""
    o = c.orders[row]
    if cumulative >= 0 and cumulative != o[tables.OR_FILLED]:
        c.scalars[tables.K_RECONCILE_WANTED] = 1
    if not is_open(o[tables.OR_STATE]):
        c.counters[layout.EC_EVENTS_LATE] += 1
        return 0
    if cumulative > o[tables.OR_FILLED] and awaits_fills(c, row, cumulative, now_ns) != 0:
        return 0
    if state == layout.STATE_EXPIRED:
        c.counters[layout.EC_ORDERS_EXPIRED] += 1
    else:
        c.counters[layout.EC_ORDERS_CANCELLED] += 1
        if c.scalars[tables.K_STOPPING] != 0 and o[tables.OR_CANCEL_WANTED] != 0:
            c.counters[layout.EC_ORDERS_CANCELLED_AT_EXIT] += 1
    return close_order(c, row, state, reason, now_ns)


@kernel
def awaits_fills(c, row, cumulative, now_ns):
    """1 while fills of an order that has ended are still to come: they are exposure, so it stays open, as unknown.

    It becomes as large as what has traded, so that its last fill ends it. Without them it ends by the venue's next word
    after AWAIT_FILLS_NS; until then every reconciliation has asked for them.
    """
    o = c.orders[row]
    if o[tables.OR_ENDED_NS] == 0:
        o[tables.OR_ENDED_NS] = now_ns
    elif now_ns - o[tables.OR_ENDED_NS] > AWAIT_FILLS_NS:
        return 0
    o[tables.OR_LOTS] = min(cumulative, o[tables.OR_LOTS])
    set_leaves(c, row, max(o[tables.OR_LOTS] - o[tables.OR_FILLED], 0))
    make_unknown(c, row, now_ns)
    return 1


@kernel
def on_cancel_reject(c, row, reason, now_ns):
    """The venue will not cancel: if it says the order is gone, its end is unknown until asked; else it is said again.

    At once only the first time: a venue that finds each of our cancels too late must not get them as fast as it answers.
    """
    o = c.orders[row]
    c.counters[layout.EC_CANCEL_REJECTS] += 1
    if not is_open(o[tables.OR_STATE]):
        return 0
    if reason == layout.REASON_DEADLINE_PASSED:
        if o[tables.OR_CANCEL_TRIES] <= 1:
            o[tables.OR_CANCEL_SENT_NS] = now_ns - CANCEL_RETRY_NS
        return 0
    make_unknown(c, row, now_ns)
    return 1


@kernel
def make_unknown(c, row, now_ns):
    """Doubt: still exposure, asked about at the venue, and a reconciliation is due."""
    if c.orders[row, tables.OR_STATE] != layout.STATE_UNKNOWN:
        set_state(c, row, layout.STATE_UNKNOWN)
        c.scalars[tables.K_RECONCILE_WANTED] = 1
        query(c, row, now_ns)
    return 0


@kernel
def query(c, row, now_ns):
    """Ask the venue about one order."""
    if emit(c, tables.COMMAND_QUERY, row, layout.REASON_NONE) != 0:
        c.orders[row, tables.OR_QUERIED_NS] = now_ns
    return 0
