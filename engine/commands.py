# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What the core says in a pass: command rows for the venue, journal rows for the record, counts.

Writes ``commands``, ``journal``, ``counters``; the shell drains the first two after each pass. Half of the command rows
are kept for cancels: ``has_room`` is what a new order asks for. A cancel that finds no row stays wanted and the timer
says it again.
"""

from __future__ import annotations

from engine import tables
from fabric import layout
from fabric.jit import kernel
from risk import tables as risk

JOURNAL_RESERVE = 64  # rows that only events, cancels and outcomes may take
NS_PER_MS = 1_000_000


@kernel
def has_room(c):
    """Whether a new order may be said in this pass; 0 when command or journal rows run out."""
    if c.scalars[tables.K_COMMANDS] >= tables.COMMANDS // 2:
        return 0
    return 1 if c.journal_count[0] < tables.JOURNAL_BATCH - JOURNAL_RESERVE else 0


@kernel
def journal(c, kind, row, instrument, lots, price_ticks, reason, value, now_ns):
    """Append one journal record; ``row`` >= 0 names the order it is about. A full batch is counted and blocks orders."""
    count = c.journal_count[0]
    if count >= tables.JOURNAL_BATCH:
        c.counters[layout.EC_JOURNAL_FULL] += 1
        c.scalars[tables.K_JOURNAL_FULL] = 1
        return 0
    c.journal_count[0] = count + 1
    j = c.journal[count]
    for word in range(len(layout.JOURNAL_RECORD)):
        j[word] = 0
    j[layout.J_KIND] = kind
    j[layout.J_NOW_NS] = now_ns
    j[layout.J_INSTRUMENT] = instrument
    j[layout.J_PRICE_TICKS] = price_ticks
    j[layout.J_LOTS] = lots
    j[layout.J_REASON] = reason
    j[layout.J_VALUE] = value
    j[layout.J_WALL_NS] = now_ns + c.scalars[tables.K_WALL_OFFSET_NS]
    if row >= 0:
        o = c.orders[row]
        j[layout.J_ORDER_ID] = o[tables.OR_ID]
        j[layout.J_OWNER] = o[tables.OR_OWNER]
        j[layout.J_SIDE] = o[tables.OR_SIDE]
        j[layout.J_TYPE] = o[tables.OR_TYPE]
        j[layout.J_SIGNAL_ID] = o[tables.OR_SIGNAL_ID]
        j[layout.J_MODEL_HASH] = o[tables.OR_MODEL_HASH]
        j[layout.J_PROMPT_HASH] = o[tables.OR_PROMPT_HASH]
    return 1


@kernel
def order_record(c, kind, row, reason, value, now_ns):
    """Journal record of an order's own price and size."""
    o = c.orders[row]
    instrument, lots, price = o[tables.OR_INSTRUMENT], o[tables.OR_LOTS], o[tables.OR_PRICE_TICKS]
    return journal(c, kind, row, instrument, lots, price, reason, value, now_ns)


@kernel
def account_record(c, now_ns):
    """Journal what time alone has changed in the account, as it is now: a restart takes these words over."""
    a = c.account
    if journal(
        c,
        layout.JOURNAL_TIMER,
        -1,
        -1,
        a[risk.AC_NAV_E8],
        a[risk.AC_DAY_START_NAV_E8],
        a[risk.AC_REASON],
        a[risk.AC_HWM_E8],
        now_ns,
    ):
        j = c.journal[c.journal_count[0] - 1]
        j[layout.J_OWNER] = a[risk.AC_STATE]
        j[layout.J_SIDE] = a[risk.AC_DRAWDOWN_STEP]
        j[layout.J_SIGNAL_ID] = a[risk.AC_DAY]
    return 0


@kernel
def emit(c, kind, row, reason):
    """Append one command about the order in ``row`` (-1: about none); 0 when the rows are full."""
    count = c.scalars[tables.K_COMMANDS]
    if count >= tables.COMMANDS:
        return 0
    c.scalars[tables.K_COMMANDS] = count + 1
    m = c.commands[count]
    for word in range(len(tables.COMMAND)):
        m[word] = 0
    m[tables.CM_KIND] = kind
    m[tables.CM_ROW] = row
    m[tables.CM_INSTRUMENT] = -1
    m[tables.CM_REASON] = reason
    m[tables.CM_DEADLINE_MS] = c.scalars[tables.K_ORDER_DEADLINE_NS] // NS_PER_MS
    if row >= 0:
        o = c.orders[row]
        instrument = o[tables.OR_INSTRUMENT]
        m[tables.CM_ORDER_ID] = o[tables.OR_ID]
        m[tables.CM_INSTRUMENT] = instrument
        m[tables.CM_SIDE] = o[tables.OR_SIDE]
        m[tables.CM_TYPE] = o[tables.OR_TYPE]
        m[tables.CM_PRICE_TICKS] = o[tables.OR_PRICE_TICKS]
        m[tables.CM_LOTS] = o[tables.OR_LOTS]
        m[tables.CM_RECV_NS] = c.books[instrument, risk.BK_RECV_NS]
        m[tables.CM_MESSAGE] = c.books[instrument, risk.BK_MESSAGE]
    return 1


@kernel
def emit_foreign_cancel(c, order_id, instrument, reason):
    """Cancel by id an order that has no row here (an earlier life of this engine)."""
    if emit(c, tables.COMMAND_CANCEL, -1, reason) == 0:
        return 0
    m = c.commands[c.scalars[tables.K_COMMANDS] - 1]
    m[tables.CM_ORDER_ID] = order_id
    m[tables.CM_INSTRUMENT] = instrument
    return 1


@kernel
def count_reason(c, reason):
    """One refusal, by its reason."""
    if 0 <= reason < len(layout.REASON):
        c.counters[layout.EXEC_REASON_BASE + reason] += 1
    return 0
