# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The entry points of the pure core: one input and ``now_ns`` in, tables, command rows and journal rows out.

The shell calls these and nothing else, drains ``commands[:K_COMMANDS]`` and ``journal[:journal_count[0]]`` after each pass
(setting both counts to 0), and answers every PLACE with ``placed``, CANCEL with ``cancel_said`` and AMEND with
``amend_said``. Live, replay and backtest call the same functions; a pass without input changes state only through ``on_timer``.
"""

from __future__ import annotations

from engine import events, market, markouts, orders, quotes, reconcile, records, signals, strategies, submit, tables, timers
from engine.commands import count_reason, emit, order_record
from fabric import layout
from fabric.jit import kernel
from risk import account
from risk import tables as risk

NOT_SENT, SENT, IN_DOUBT = 0, 1, 2  # what the shell knows after a send
PARAMETERS = len(layout.PARAMETER)


@kernel
def on_market(c, slot, now_ns):
    """A market slot: book row, then the instrument's signals, then its strategies. The instrument, or -1."""
    c.scalars[tables.K_NOW_NS] = now_ns
    c.counters[layout.EC_MARKET_EVENTS] += 1
    instrument = market.apply(c, slot, now_ns)
    if instrument < 0 or instrument >= c.scalars[tables.K_INSTRUMENTS]:
        return -1
    act(c, instrument, now_ns)
    return instrument


@kernel
def act(c, instrument, now_ns):
    """Signals and strategies on the book as it is; a book in doubt pulls quotes instead."""
    if c.books[instrument, risk.BK_STATUS] != layout.BOOK_READY:
        return quotes.pull_instrument(c, instrument, layout.REASON_BOOK_DIRTY, now_ns)
    if submit.standing(c) == layout.REASON_NONE:
        signals.evaluate(c, instrument, now_ns)
        strategies.run_all(c, instrument, now_ns)
    return 0


@kernel
def on_lost(c, now_ns):
    """The market ring lapped us: all books are in doubt, quotes are pulled; the shell then replays the state table."""
    c.counters[layout.EC_MARKET_RESYNCS] += 1
    market.lose_all(c, now_ns)
    for instrument in range(c.scalars[tables.K_INSTRUMENTS]):
        quotes.pull_instrument(c, instrument, layout.REASON_BOOK_DIRTY, now_ns)
    return 0


@kernel
def on_signal(c, slot, now_ns):
    """A record of the signal ring: REASON_NONE when taken, else why it was refused. It acts on the book as it is."""
    reason = records.ingest(c, slot, now_ns)
    instrument = slot[layout.S_INSTRUMENT]
    if reason == layout.REASON_NONE and c.books[instrument, risk.BK_STATUS] == layout.BOOK_READY:
        if submit.standing(c) == layout.REASON_NONE:
            signals.evaluate(c, instrument, now_ns)
    return reason


@kernel
def on_event(c, event, now_ns):
    """One EVENT row from the venue or from a reconciliation."""
    kind = event[tables.EV_KIND]
    c.scalars[tables.K_EVENTS_SEEN] += 1
    if kind == layout.EVENT_FILL:
        events.on_fill(c, event, now_ns)
    elif kind == layout.EVENT_RECONCILE_BEGIN:
        reconcile.begin(c, now_ns)
    elif kind == layout.EVENT_POSITION:
        reconcile.position(c, event, now_ns)
    elif kind == layout.EVENT_BALANCE:
        reconcile.balance(c, event)
    elif kind == layout.EVENT_RECONCILE_END:
        reconcile.finish(c, now_ns)
    elif kind == layout.EVENT_CAPITAL_FLOW:
        account.capital_flow(c.account, event[tables.EV_EXTRA])
    elif kind == layout.EVENT_BUST:
        c.scalars[tables.K_RECONCILE_WANTED] = 1
    elif kind == layout.EVENT_SESSION_UP or kind == layout.EVENT_SESSION_DOWN:
        on_session(c, 1 if kind == layout.EVENT_SESSION_UP else 0, now_ns)
    elif is_order_event(kind):
        row = orders.find(c, event[tables.EV_ORDER_ID])
        if row < 0:
            events.on_unknown(c, event, now_ns)
        else:
            events.on_order_event(c, event, row, now_ns)
    poke(c, now_ns)
    return 0


@kernel
def is_order_event(kind):
    """Kinds that are about one order."""
    if layout.EVENT_ACK <= kind <= layout.EVENT_EXPIRED or kind == layout.EVENT_AMENDED or kind == layout.EVENT_AMEND_REJECT:
        return True
    return layout.EVENT_FOUND_OPEN <= kind <= layout.EVENT_FOUND_MISSING


@kernel
def poke(c, now_ns):
    """A quote slot became free: its instrument's strategies may fill it in this pass."""
    mask = c.scalars[tables.K_POKE_MASK]
    if mask != 0:
        c.scalars[tables.K_POKE_MASK] = 0
        for instrument in range(c.scalars[tables.K_INSTRUMENTS]):
            if mask >> instrument & 1 != 0:
                act(c, instrument, now_ns)
    return 0


@kernel
def on_timer(c, now_ns):
    """Everything that time alone causes."""
    c.scalars[tables.K_NOW_NS] = now_ns
    timers.day(c, now_ns)
    timers.live_orders(c, now_ns)
    timers.breakers_at_mark(c, now_ns)
    timers.pulls(c, now_ns)
    signals.on_timer(c, now_ns)
    markouts.due(c, now_ns)
    if c.scalars[tables.K_QUEUE_COUNT] > 0:
        submit.drain_queue(c, now_ns)
    if c.scalars[tables.K_LAPSED] != 0 or c.scalars[tables.K_STOPPING] != 0:
        orders.cancel_matching(c, -1, -1, 0, layout.REASON_LEASE_LAPSED, now_ns)
    return 0


@kernel
def cancel_all(c, reason, now_ns):
    """One cancel-all, and one cancel per order in case that is refused; the queue is dropped."""
    submit.drop_queue(c)
    emit(c, tables.COMMAND_CANCEL_ALL, -1, reason)
    c.scalars[tables.K_CANCEL_ALL_SENT_NS] = now_ns
    return orders.cancel_matching(c, -1, -1, 0, reason, now_ns)


@kernel
def on_lease(c, ok, now_ns):
    """Lease state as read in this pass. Its loss is a lapse: cancels only, all of ours; a later grant resumes."""
    k = c.scalars
    k[tables.K_LEASE_OK] = ok
    if ok != 0:
        k[tables.K_LAPSED] = 0
        return 0
    if k[tables.K_LAPSED] != 0:
        return 0
    k[tables.K_LAPSED] = 1
    return cancel_all(c, layout.REASON_LEASE_LAPSED, now_ns)


@kernel
def on_session(c, up, now_ns):
    """Order session up or down. Down: nothing that was open or pending is known any more, until reconciled."""
    was_up = c.scalars[tables.K_SESSION_UP]
    c.scalars[tables.K_SESSION_UP] = up
    if up != 0 or was_up == 0:
        return 0
    c.scalars[tables.K_RECONCILE_WANTED] = 1
    c.scalars[tables.K_RECONCILE_DUE] = 1
    c.scalars[tables.K_RECONCILING] = 0
    row = c.scalars[tables.K_LIVE_HEAD]
    for _ in range(len(c.orders)):
        if row < 0:
            break
        state = c.orders[row, tables.OR_STATE]
        if state != layout.STATE_LIVE and state != layout.STATE_PARTIALLY_FILLED:
            orders.set_state(c, row, layout.STATE_UNKNOWN)
        row = c.orders[row, tables.OR_NEXT_LIVE]
    return 0


@kernel
def stop(c, now_ns):
    """Orderly end: no new orders from here on, everything cancelled; ``K_LIVE_COUNT`` 0 says that it is done."""
    if c.scalars[tables.K_STOPPING] != 0:
        return 0
    c.scalars[tables.K_STOPPING] = 1
    signals.drop_all(c, layout.REASON_SHUTDOWN, now_ns)
    return cancel_all(c, layout.REASON_SHUTDOWN, now_ns)


@kernel
def placed(c, row, outcome, reason, now_ns):
    """What became of a PLACE: SENT, NOT_SENT (the order never existed) or IN_DOUBT (part of it left: unknown)."""
    o = c.orders[row]
    if outcome == NOT_SENT:
        order_record(c, layout.JOURNAL_NOT_SENT, row, reason, 0, now_ns)
        count_reason(c, reason)
        return orders.close_order(c, row, layout.STATE_REJECTED, reason, now_ns)
    order_record(c, layout.JOURNAL_SENT, row, reason, outcome, now_ns)
    c.scalars[tables.K_ORDERS_SENT] += 1
    c.counters[layout.EC_ORDERS_SENT] += 1
    c.owners[o[tables.OR_OWNER], risk.OW_ORDERS] += 1
    mark_used(c, row)
    if outcome == IN_DOUBT:
        orders.make_unknown(c, row, now_ns)
    return 1


@kernel
def mark_used(c, row):
    """The first sent order of a record makes it used."""
    o = c.orders[row]
    used = 0
    signal = orders.parent(c, row)
    if signal >= 0 and c.signals[signal, tables.SG_USED] == 0:
        c.signals[signal, tables.SG_USED] = 1
        used = 1
    elif o[tables.OR_SIGNAL_ROW] <= submit.PARAMETER_BASE:
        record = c.parameters[submit.PARAMETER_BASE - o[tables.OR_SIGNAL_ROW]]
        if record[tables.PF_USED] == 0 and record[tables.PF_SIGNAL_ID] == o[tables.OR_SIGNAL_ID]:
            record[tables.PF_USED] = 1
            c.counters[layout.EC_PARAMETERS_USED] += 1
            used = 1
    c.scalars[tables.K_SIGNALS_USED] += used
    c.counters[layout.EC_SIGNALS_USED] += used
    return used


@kernel
def cancel_said(c, row, outcome, now_ns):
    """What became of a CANCEL: one that did not leave is said again by the timer. ``row`` -1: not in the table."""
    if row < 0:
        return 0
    if outcome == NOT_SENT:
        c.orders[row, tables.OR_CANCEL_SENT_NS] = now_ns - orders.CANCEL_RETRY_NS
        return 0
    c.counters[layout.EC_CANCELS_SENT] += 1
    order_record(c, layout.JOURNAL_CANCEL_SENT, row, c.orders[row, tables.OR_REASON], 0, now_ns)
    return 1


@kernel
def amend_said(c, row, outcome, now_ns):
    """What became of an AMEND: one that did not leave was never asked for; the venue's answer tells about the others."""
    o = c.orders[row]
    if outcome != NOT_SENT:
        c.counters[layout.EC_AMENDS_SENT] += 1
        order_record(c, layout.JOURNAL_AMEND_SENT, row, layout.REASON_REQUESTED, outcome, now_ns)
        return 1
    o[tables.OR_AMEND_LOTS] = 0
    if o[tables.OR_STATE] == layout.STATE_PENDING_REPLACE:
        orders.known(c, row)
    return 0


@kernel
def arm(c, armed, now_ns):
    """The supervisor's word: armed lets new orders through (lease, session and reconcile permitting), 0 takes it back."""
    c.scalars[tables.K_ARMED] = armed
    state = c.account[risk.AC_STATE]
    if armed != 0 and state == layout.RISK_DISARMED:
        c.account[risk.AC_STATE] = layout.RISK_ACTIVE
    elif armed == 0 and state == layout.RISK_ACTIVE:
        c.account[risk.AC_STATE] = layout.RISK_DISARMED
        return cancel_all(c, layout.REASON_HALTED_OPERATOR, now_ns)
    return 0


@kernel
def new_epoch(c, epoch, now_ns):
    """A new permission: ids start over in the new epoch, and nothing leaves before the account is reconciled again."""
    c.scalars[tables.K_EPOCH] = epoch
    c.scalars[tables.K_NEXT_COUNTER] = 1
    c.scalars[tables.K_RECONCILE_WANTED] = 1
    c.scalars[tables.K_RECONCILE_DUE] = 1
    return 0
