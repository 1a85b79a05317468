# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What an idle loop does so that the next order finds its path warm: it goes through it, on memory of its own.

Between two ticks that matter milliseconds pass, and other programs take the caches: the same decision then costs five
times as much. So an idle loop decides, routes, gates and encodes for its understudy (``engine.understudy``): another core
with the same code, its own wiring, stats page and rings, and a session that is never opened. A rehearsed order ends in a
buffer that no socket knows; there is no send in this module. It is then told to the understudy as never sent. Of the real
memory a rehearsal only reads: so its lines are near, too.
"""

from __future__ import annotations

from engine import core, outbound
from engine import tables as et
from engine import wiring as wi
from fabric import layout as lay
from fabric.atomics import load_relaxed, row
from fabric.duty import touch_lines
from fabric.jit import kernel
from fabric.rings import SLOT_BYTES
from risk import tables as rt
from venue import tables as vt

NS_PER_MS = 1_000_000
TABLES = len(et.CoreTables._fields)
JOURNALED = 4  # records that one tick and its order leave
TOUCHED_BYTES = 1024  # of each table: the first instrument's and the first strategies' rows


@kernel
def touch(w, c):
    """Read what the next real order will need: the head of each table, its order row, what encodes it, journal slots."""
    tables = w[wi.WI_CORE]  # rows of address, rows, columns (0 = one-dimensional)
    seen = 0
    for k in range(TABLES):
        rows, columns = load_relaxed(tables + k * 24 + 8), max(load_relaxed(tables + k * 24 + 16), 1)
        seen += touch_lines(load_relaxed(tables + k * 24), min(rows * columns * 8, TOUCHED_BYTES))
    order = c.orders[c.scalars[et.K_NEXT_COUNTER] & (len(c.orders) - 1)]
    for column in range(0, len(et.ORDER), 8):
        seen += order[column]
    seen += touch_lines(w[wi.WI_SEND], TOUCHED_BYTES) + touch_lines(w[wi.WI_SESSION], len(vt.SESSION) * 8)
    seen += touch_lines(w[wi.WI_SYMBOLS], vt.SYMBOL_BYTES) + touch_lines(w[wi.WI_GRIDS], len(vt.GRID) * 8)
    ring = w[wi.WI_EXEC] + lay.JOURNAL_RING_OFFSET
    following = load_relaxed(w[wi.WI_EXEC] + lay.EXEC_JOURNAL_CURSOR_OFFSET) + 1
    for k in range(JOURNALED):
        seen += touch_lines(ring + ((following + k) & (lay.JOURNAL_SLOTS - 1)) * SLOT_BYTES, SLOT_BYTES)
    return seen


@kernel
def rewind(c):
    """Everything that would make the next rehearsal another one: ids, rates and waiting times start over."""
    c.scalars[et.K_NEXT_COUNTER] = 1
    c.account[rt.AC_LAST_ORDER_ID] = c.account[rt.AC_REJECTS_IN_ROW] = 0
    for word in range(len(rt.RATE)):
        c.rate[word] = 0
    for slot in range(2):
        c.quotes[slot, et.QS_RETRY_NS] = 0
    c.scalars[et.K_COMMANDS] = c.journal_count[0] = 0


@kernel
def rehearse(w, n, c, book, now_ns):
    """One tick at the touch of the real ``book`` through the understudy ``(w, n, c)``; how many orders it would have sent."""
    slot = row(w[wi.WI_SLOT], 16)
    slot[lay.M_KIND], slot[lay.M_STATUS] = lay.MARKET_TICK, lay.BOOK_READY
    slot[lay.M_BID_TICKS], slot[lay.M_BID_LOTS] = book[rt.BK_BID_TICKS], book[rt.BK_BID_LOTS]
    slot[lay.M_ASK_TICKS], slot[lay.M_ASK_LOTS] = book[rt.BK_ASK_TICKS], book[rt.BK_ASK_LOTS]
    rewind(c)
    core.on_market(c, slot, now_ns)
    count = c.scalars[et.K_COMMANDS]
    wall_ms = now_ns // NS_PER_MS
    outbound.encode_cancels(w, n, c, count, wall_ms)
    places = outbound.encode_places(w, n, c, count, wall_ms, lay.REASON_NONE, now_ns)
    n[wi.WN_SEND_END] = 0
    outbound.report_places(w, c, count, core.NOT_SENT, lay.REASON_SESSION_DOWN, now_ns)
    outbound.report_cancels(c, count, 0, now_ns)
    rewind(c)
    return places
