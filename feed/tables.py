"""Columns of the feed loop's private address table: where everything is that the compiled pass touches.

One int64 row, filled by the control thread before the loop starts; every entry is an address unless it says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.layout import words

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...


_here = globals()

FEED = words(
    _here,
    "FD",
    "market stats session stop scratch frame decoded levels symbols grids instruments send send_end send_capacity resync "
    "resync_lengths books passes duty record state_row samples samples_count source_last told_ns slots mask hash_every "
    "last_resync_ns understudy rehearsed_ns sample_bytes wall_offset_ns offset_at_ns more ticks touched",
)  # numbers, not addresses: times, counts, instruments, send_end, send_capacity, passes, source_last, hash_every, sample_bytes
SAMPLES = 64  # ring of top-of-book samples for the hash: index, then LEVELS x 4 words
SAMPLE_WORDS = 96
RESYNC_BYTES = 256  # one ready resync request per instrument
OFFSET_EVERY_NS = 10_000_000  # how often the wall clock is compared with the monotonic one, between messages
REHEARSE_NS = 50_000  # an idle loop takes a sample tick through the whole path so often
RESYNC_EVERY_NS = 250_000_000  # ask again at most this often while a book is dirty
