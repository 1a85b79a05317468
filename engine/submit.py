# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The one way a new order leaves the core: prechecks, own-cross, the risk gate, the queue, then the order table.

Reads ``order_in`` (filled by the caller, sizes in lots, prices in ticks). Answers a row >= 0 (intent journaled, command
emitted), ``REFUSED`` (counted by reason, which is left in ``outputs[OUT_REASON]``) or ``QUEUED``.
"""

from __future__ import annotations

from engine import orders, tables
from engine.commands import account_record, count_reason, emit, has_room, journal, order_record
from fabric import layout
from fabric.jit import kernel
from risk import gate
from risk import tables as risk

REFUSED, QUEUED = -1, -2
OUT_REASON = 8  # outputs[8]: why the last submit was refused; 0..7 belong to the gate
PARAMETER_BASE = -2  # OI_SIGNAL_ROW <= -2: the parameter record at row -2 - value; -1: no record caused it
PARAMETERS = len(layout.PARAMETER)


@kernel
def clear_order_in(c):
    """All columns zero, no signal, no slot."""
    for column in range(len(risk.ORDER_IN)):
        c.order_in[column] = 0
    c.order_in[risk.OI_SIGNAL_ROW] = -1
    c.order_in[risk.OI_SLOT] = -1
    return 0


@kernel
def refuse(c, reason):
    """Count a refusal and remember why."""
    c.outputs[OUT_REASON] = reason
    c.scalars[tables.K_ORDERS_BLOCKED] += 1
    lease = reason == layout.REASON_LEASE_LAPSED or reason == layout.REASON_EPOCH_STALE
    c.counters[layout.EC_BLOCKED_LEASE if lease else layout.EC_BLOCKED_RISK] += 1
    count_reason(c, reason)
    return REFUSED


@kernel
def standing(c):
    """Reason why no new order at all may leave now, or REASON_NONE."""
    k = c.scalars
    if k[tables.K_STOPPING] != 0:
        return layout.REASON_SHUTDOWN
    if k[tables.K_LEASE_OK] == 0 or k[tables.K_LAPSED] != 0 or k[tables.K_ARMED] == 0:
        return layout.REASON_LEASE_LAPSED
    if k[tables.K_EPOCH] <= 0:
        return layout.REASON_EPOCH_STALE
    if k[tables.K_SESSION_UP] == 0:
        return layout.REASON_SESSION_DOWN
    if c.account[risk.AC_RECONCILED] == 0 or k[tables.K_RECONCILE_DUE] != 0:
        return layout.REASON_RECONCILE_PENDING
    if k[tables.K_JOURNAL_FULL] != 0 or has_room(c) == 0:
        return layout.REASON_JOURNAL_FULL
    return layout.REASON_NONE


@kernel
def may_cross(c):
    """Whether an open own order on the other side can be within reach of ``order_in``: the bounds may be too wide."""
    q = c.order_in
    if not 0 <= q[risk.OI_INSTRUMENT] < len(c.positions):
        return False
    p, price = c.positions[q[risk.OI_INSTRUMENT]], q[risk.OI_PRICE_TICKS]
    if q[risk.OI_SIDE] == layout.SIDE_BUY:
        return p[risk.PO_WORKING_SELL_LOTS] != 0 and price >= p[risk.PO_OWN_ASK_TICKS]
    return p[risk.PO_WORKING_BUY_LOTS] != 0 and price <= p[risk.PO_OWN_BID_TICKS]


@kernel
def clear_own_cross(c, now_ns):
    """Cancel every own order on the other side that ``order_in`` would meet; how many still stand in the way.

    Open orders are walked only when one can be met, and the bounds are exact again afterwards.
    """
    if not may_cross(c):
        return 0
    q = c.order_in
    p = c.positions[q[risk.OI_INSTRUMENT]]
    buy = q[risk.OI_SIDE] == layout.SIDE_BUY
    p[risk.PO_OWN_ASK_TICKS if buy else risk.PO_OWN_BID_TICKS] = 0
    row = c.scalars[tables.K_LIVE_HEAD]
    crossing = 0
    for _ in range(len(c.orders)):
        if row < 0:
            break
        o = c.orders[row]
        following = o[tables.OR_NEXT_LIVE]
        if o[tables.OR_INSTRUMENT] == q[risk.OI_INSTRUMENT] and o[tables.OR_SIDE] != q[risk.OI_SIDE]:
            price, resting = q[risk.OI_PRICE_TICKS], o[tables.OR_PRICE_TICKS]
            orders.bound_price(p, o[tables.OR_SIDE], resting)
            if (price >= resting) if buy else (price <= resting):
                crossing += 1
                orders.want_cancel(c, row, layout.REASON_OWN_CROSS, now_ns)
        row = following
    return crossing


@kernel
def signal_id_of(c, order_in):
    """Id of the record behind an order: a one-shot's id, a parameter record's sequence, or 0."""
    source = order_in[risk.OI_SIGNAL_ROW]
    if source >= 0:
        return c.signals[source, tables.SG_ID]
    if source <= PARAMETER_BASE:
        return c.parameters[PARAMETER_BASE - source, tables.PF_SIGNAL_ID]
    return 0


@kernel
def submit(c, now_ns, queue_allowed):
    """Judge ``order_in`` and say it; see the module text for the answers."""
    q = c.order_in
    reason = standing(c)
    if reason != layout.REASON_NONE:
        return refuse(c, reason)
    if clear_own_cross(c, now_ns) > 0:
        return refuse(c, layout.REASON_OWN_CROSS)
    row = orders.free_row(c)
    if row < 0:
        return refuse(c, layout.REASON_ORDER_TABLE_FULL)
    q[risk.OI_ID] = orders.next_id(c)
    action = judge(c, q, c.outputs, now_ns)
    if action == layout.ACTION_QUEUE:
        if queue_allowed == 0:
            return QUEUED
        return QUEUED if enqueue(c, now_ns) != 0 else refuse(c, layout.REASON_RATE_QUEUE_FULL)
    if action == layout.ACTION_KILL and c.outputs[risk.OUT_REASON] == layout.REASON_EXIT_RUNAWAY:
        run_away(c, now_ns)
    if action > layout.ACTION_REDUCE:
        return refuse(c, c.outputs[risk.OUT_REASON])
    gate.sent(q, c.account, c.owners, c.rate, now_ns)  # as asked for: a repeat is recognised before what became of it
    q[risk.OI_TYPE] = c.outputs[risk.OUT_TYPE]
    q[risk.OI_PRICE_TICKS] = c.outputs[risk.OUT_PRICE_TICKS]
    q[risk.OI_LOTS] = c.outputs[risk.OUT_LOTS]
    orders.open_order(c, row, q, signal_id_of(c, q), now_ns)
    emit(c, tables.COMMAND_PLACE, row, layout.REASON_NONE)
    basis = 2 * q[risk.OI_DECISION_X2_TICKS] + (1 if q[risk.OI_IS_EXIT] != 0 else 0)  # engine.fold takes it apart again
    order_record(c, layout.JOURNAL_INTENT, row, c.outputs[risk.OUT_REASON], basis, now_ns)
    return row


@kernel
def run_away(c, now_ns):
    """More exits than any sound engine sends: killed until an operator returns it; the timer cancels what works."""
    c.account[risk.AC_STATE], c.account[risk.AC_REASON] = layout.RISK_KILLED, layout.REASON_EXIT_RUNAWAY
    c.counters[layout.EC_HALTS] += 1
    journal(c, layout.JOURNAL_BREACH, -1, -1, 0, 0, layout.REASON_EXIT_RUNAWAY, 0, now_ns)
    return account_record(c, now_ns)


@kernel
def judge(c, order_in, out, now_ns):
    """The risk gate's action; ``out`` holds its reason and the order as it may be sent."""
    return gate.gate(
        order_in,
        c.account,
        c.positions,
        c.books,
        c.instruments,
        c.limits,
        c.owners,
        c.rate,
        c.scalars[tables.K_LEASE_OK],
        c.scalars[tables.K_UNOWNED_MASK],
        now_ns,
        out,
    )


@kernel
def same_wish(c, entry):
    """Whether a queued entry is for the same quote slot, or the same signal and direction, as ``order_in``."""
    q, e = c.order_in, c.queue[entry]
    if q[risk.OI_IS_QUOTE] != 0:
        return e[risk.OI_IS_QUOTE] != 0 and e[risk.OI_SLOT] == q[risk.OI_SLOT]
    source = q[risk.OI_SIGNAL_ROW]
    return source >= 0 and e[risk.OI_SIGNAL_ROW] == source and e[risk.OI_IS_EXIT] == q[risk.OI_IS_EXIT]


@kernel
def enqueue(c, now_ns):
    """Keep ``order_in`` until the rate allows it: newest wins per quote slot and per signal, else first in first out."""
    k, columns = c.scalars, len(risk.ORDER_IN)
    place = -1
    for n in range(k[tables.K_QUEUE_COUNT]):
        entry = (k[tables.K_QUEUE_HEAD] + n) % tables.QUEUE
        if same_wish(c, entry):
            place = entry
    if place < 0:
        if k[tables.K_QUEUE_COUNT] >= min(c.limits[risk.LM_QUEUE_SLOTS], tables.QUEUE):
            return 0
        place = (k[tables.K_QUEUE_HEAD] + k[tables.K_QUEUE_COUNT]) % tables.QUEUE
        k[tables.K_QUEUE_COUNT] += 1
        c.counters[layout.EC_QUEUED] += 1
        count_reason(c, layout.REASON_RATE_QUEUED)
    for column in range(columns):
        c.queue[place, column] = c.order_in[column]
    c.queue[place, columns + tables.QU_QUEUED_NS] = now_ns
    c.queue[place, columns + tables.QU_EXPIRES_NS] = now_ns + c.limits[risk.LM_QUEUE_TTL_NS]
    c.queue[place, columns + tables.QU_STATE] = signal_id_of(c, c.order_in)
    return 1


@kernel
def still_wanted(c, now_ns):
    """Re-check of a dequeued ``order_in``: its slot is free, or its signal still lacks that much. May reduce the lots."""
    q = c.order_in
    if q[risk.OI_IS_QUOTE] != 0:
        return 1 if c.quotes[q[risk.OI_SLOT], tables.QS_ROW] < 0 else 0
    if q[risk.OI_SIGNAL_ROW] < 0:
        return 1
    s = c.signals[q[risk.OI_SIGNAL_ROW]]
    if q[risk.OI_IS_EXIT] != 0:
        left = s[tables.SG_FILLED] - s[tables.SG_EXITED] - s[tables.SG_EXIT_WORKING]
    elif now_ns >= s[tables.SG_EXPIRES_NS]:
        left = 0
    else:
        left = s[tables.SG_LOTS] - s[tables.SG_FILLED] - s[tables.SG_WORKING]
    q[risk.OI_LOTS] = min(q[risk.OI_LOTS], left)
    return 1 if left > 0 else 0


@kernel
def drain_queue(c, now_ns):
    """Send what the rate allows now, oldest first, each judged again; what waited too long is dropped and counted."""
    k, columns = c.scalars, len(risk.ORDER_IN)
    for _ in range(tables.QUEUE):
        if k[tables.K_QUEUE_COUNT] == 0 or standing(c) != layout.REASON_NONE:
            break
        e = c.queue[k[tables.K_QUEUE_HEAD]]
        for column in range(columns):
            c.order_in[column] = e[column]
        source = e[risk.OI_SIGNAL_ROW]
        gone = source != -1 and signal_id_of(c, c.order_in) != e[columns + tables.QU_STATE]
        if now_ns >= e[columns + tables.QU_EXPIRES_NS]:
            c.counters[layout.EC_QUEUE_EXPIRED] += 1
            count_reason(c, layout.REASON_RATE_QUEUE_EXPIRED)
        elif not gone and still_wanted(c, now_ns) != 0:
            if submit(c, now_ns, 0) == QUEUED:
                break
        k[tables.K_QUEUE_HEAD] = (k[tables.K_QUEUE_HEAD] + 1) % tables.QUEUE
        k[tables.K_QUEUE_COUNT] -= 1
    return 0


@kernel
def drop_queue(c):
    """Forget every waiting order."""
    c.scalars[tables.K_QUEUE_COUNT] = 0
    return 0
