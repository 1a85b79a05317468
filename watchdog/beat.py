"""What the watchdog reads in other processes' segments: beat and account of execution, feed cursor and heart, stop word.

The maps are read-only. A segment counts only when its header is complete and names the owner that was expected.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import NamedTuple

from fabric import layout
from watchdog.processes import Process

WINDOW_BYTES = layout.BODY_OFFSET + layout.PAGE
READS = 8  # of a page that is being written; the next poll tries again


class Beat(NamedTuple):
    """Progress of execution's work loop, in the order of ``layout.BEAT``; durations and times in ns."""

    epoch: int
    passes: int
    market_seq: int
    order_id: int
    mono_ns: int
    orders_sent: int
    state: int
    stall_max_ns: int


assert Beat._fields == layout.BEAT
SCHEMA_HASH = layout.schema_hash()


class Account(NamedTuple):
    """What execution believes it holds: lots beyond the baseline and working lots, one entry per instrument."""

    reconciled: int
    open_orders: int
    positions: tuple[int, ...]


class SegmentError(Exception):
    """The segment is missing, unfinished, or not the expected one."""


class Segment:
    """The first two pages of somebody else's segment, or its first ``size`` bytes, as words."""

    def __init__(self, shm_dir: Path, name: str, kind: int, owner: Process, size: int | None = None) -> None:
        try:
            fd = os.open(shm_dir / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SegmentError(f"segment {name}: {error.strerror}") from None
        try:
            if os.fstat(fd).st_size < layout.SIZE_OF_KIND[kind]:
                raise SegmentError(f"segment {name} is too short")
            self.map = mmap.mmap(fd, size or WINDOW_BYTES, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        self.words = memoryview(self.map).cast("q")
        self.name = name
        self.expected = {
            layout.H_MAGIC: layout.MAGIC,
            layout.H_KIND: kind,
            layout.H_SCHEMA_HASH: SCHEMA_HASH,
            layout.H_OWNER_PID: owner.pid,
            layout.H_OWNER_START: owner.start,
        }
        wrong = self.wrong()
        if wrong:
            self.close()
            raise SegmentError(wrong)

    def wrong(self) -> str:
        """What of the header is not as expected, now; "" when all is."""
        for word, value in self.expected.items():
            if self.words[word] != value:
                return f"segment {self.name}: {layout.HEADER[word]} is {self.words[word]}, not {value}"
        return ""

    def beat(self) -> Beat:
        base = layout.BEAT_OFFSET // layout.WORD
        return Beat._make(self.words[base : base + len(layout.BEAT)])

    def heart_ns(self) -> int:
        return self.words[layout.HEARTBEAT_OFFSET // layout.WORD]

    def account(self, instruments: int) -> Account | None:
        """Execution's account page, whole; None when it was being written each time we looked."""
        base, length = layout.ACCOUNT_OFFSET // layout.WORD, layout.ACCOUNT_BYTES // layout.WORD
        for _ in range(READS):
            page = self.words[base : base + length].tolist()
            if page[layout.AP_LOCK] % 2 == 0 and self.words[base + layout.AP_LOCK] == page[layout.AP_LOCK]:
                rows = range(layout.ACCOUNT_ROWS_WORD, length, len(layout.ACCOUNT_ROW))
                held = tuple(page[row + layout.AR_POSITION_LOTS] for row in rows)[:instruments]
                return Account(page[layout.AP_RECONCILED], page[layout.AP_OPEN_ORDERS], held)
        return None

    def word(self, byte_offset: int) -> int:
        return self.words[byte_offset // layout.WORD]

    def close(self) -> None:
        self.words.release()
        self.map.close()


def stop_requested(shm_dir: Path, supervisor: Process) -> bool:
    """Whether the supervisor has asked everybody for an orderly stop; False when its page cannot be trusted."""
    try:
        control = Segment(shm_dir, "control", layout.SEGMENT_CONTROL, supervisor)
    except (SegmentError, OSError, ValueError):
        return False
    try:
        return control.word(layout.CONTROL_OFFSET + layout.C_STOP * layout.WORD) != layout.STOP_RUN
    finally:
        control.close()
