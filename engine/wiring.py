"""Columns of the execution loop's private address table: where everything is that the compiled passes touch.

One int64 row, filled by the control thread before the loop starts. Addresses, but for ``new_epoch`` (a number);
``control`` is the address of the CONTROL words. A restarted feed, signal or journal process has a new file: the control
thread maps it, stores the new address in the ``new_`` word and then bumps ``remap``; the loop takes them over at the
start of its next pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.layout import words

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...


_here = globals()

WIRING = words(
    _here,
    "WI",
    "core exec stats lease session stop control scratch frame event slot record symbols grids slots mask send inbox "
    "outbox journal_cached market signal journal new_market new_signal new_journal new_lease new_epoch remap account_words "
    "state_words duty gate understudy",
)
# Numbers that the loop keeps; the second row of the table.
NUMBERS = words(
    _here,
    "WN",
    "remap_seen market_next signal_next send_end send_capacity inbox_done outbox_count last_order_poll_ns last_timer_ns "
    "last_page_ns passes trigger_recv_ns trigger_message lease_ok gap_ns orders_sent placed rehearsed_ns touched "
    "lapsed_ns recv_window_ms lease_ttl_ns lease_seen instruments journal_ok session_up armed unsent_max unsent",
)
ROWS = 36  # words of each row
INBOX = 256  # rows of EVENT that the control thread hands in (reconciliation): count word, then rows
OUTBOX = 256  # rows of COMMAND that the loop hands out (queries)
FRAMES_PER_PASS = 64
MARKET_PER_PASS = 32
SIGNALS_PER_PASS = 16
MESSAGE_MAX = 65536
ORDER_POLL_NS = 20_000
TIMER_NS = 200_000
PAGE_NS = 2_000_000
REHEARSE_NS = 50_000  # an idle loop goes through the path of an order so often (``engine.rehearsal``)
LAPSE_CLOSE_NS = 400_000_000  # after a lapse the order session is closed once all is cancelled, or after this
