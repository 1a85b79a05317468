# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""A resting order made smaller at its place in the queue: asked for, answered, refused, or left without an answer.

Until the venue has answered, the order counts in full; what it says is the size in all, with what has been filled
(``docs/adr/0008-amends-only-make-smaller.md``).
"""

from __future__ import annotations

from engine import orders, tables
from engine.commands import emit, has_room, order_record
from fabric import layout
from fabric.jit import kernel
from risk import rate


@kernel
def want(c, row, lots, now_ns):
    """Ask for a smaller order, ``lots`` in all, at its place in the queue. It counts in full until the venue has answered."""
    o = c.orders[row]
    resting = o[tables.OR_STATE] == layout.STATE_LIVE or o[tables.OR_STATE] == layout.STATE_PARTIALLY_FILLED
    if not resting or o[tables.OR_CANCEL_WANTED] != 0 or lots >= o[tables.OR_LOTS] or lots <= o[tables.OR_FILLED]:
        return 0
    if has_room(c) == 0 or emit(c, tables.COMMAND_AMEND, row, layout.REASON_REQUESTED) == 0:
        return 0
    c.commands[c.scalars[tables.K_COMMANDS] - 1, tables.CM_LOTS] = lots
    rate.take_message(c.rate, now_ns)
    o[tables.OR_AMEND_LOTS] = lots
    o[tables.OR_AMEND_SENT_NS] = now_ns
    orders.set_state(c, row, layout.STATE_PENDING_REPLACE)
    order_record(c, layout.JOURNAL_AMEND_INTENT, row, layout.REASON_REQUESTED, lots, now_ns)
    return 1


@kernel
def resize(c, row, lots):
    """The venue says how large the order is in all; a size that it cannot have asks for a reconciliation."""
    o = c.orders[row]
    o[tables.OR_AMEND_LOTS] = 0
    if lots > o[tables.OR_LOTS] or lots < o[tables.OR_FILLED]:
        c.scalars[tables.K_RECONCILE_WANTED] = 1
    o[tables.OR_LOTS] = max(lots, o[tables.OR_FILLED])
    orders.set_leaves(c, row, o[tables.OR_LOTS] - o[tables.OR_FILLED])
    return 0


@kernel
def on_amended(c, row, lots, now_ns):
    """The order is ``lots`` in all now. Fills that were on their way meanwhile count against that."""
    if not orders.is_open(c.orders[row, tables.OR_STATE]) or c.orders[row, tables.OR_ENDED_NS] != 0 or lots <= 0:
        c.counters[layout.EC_EVENTS_LATE] += 1
        return 0
    c.counters[layout.EC_ORDERS_AMENDED] += 1
    resize(c, row, lots)
    orders.known(c, row)
    return 1


@kernel
def on_reject(c, row, reason, now_ns):
    """It is as large as it was; if the venue says that it is gone, or says nothing usable, it is asked about."""
    o = c.orders[row]
    c.counters[layout.EC_AMEND_REJECTS] += 1
    o[tables.OR_AMEND_LOTS] = 0
    if not orders.is_open(o[tables.OR_STATE]):
        return 0
    if reason == layout.REASON_DEADLINE_PASSED:
        orders.known(c, row)
        return 0
    orders.make_unknown(c, row, now_ns)
    return 1
