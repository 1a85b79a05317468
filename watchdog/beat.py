"""What the watchdog reads in other processes' segments: execution's beat, and the supervisor's stop word.

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


class SegmentError(Exception):
    """The segment is missing, unfinished, or not the expected one."""


class Segment:
    """The first two pages of somebody else's segment, as words."""

    def __init__(self, shm_dir: Path, name: str, kind: int, owner: Process) -> None:
        try:
            fd = os.open(shm_dir / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SegmentError(f"segment {name}: {error.strerror}") from None
        try:
            if os.fstat(fd).st_size < layout.SIZE_OF_KIND[kind]:
                raise SegmentError(f"segment {name} is too short")
            self.map = mmap.mmap(fd, WINDOW_BYTES, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        self.words = memoryview(self.map).cast("q")
        expected = {
            layout.H_MAGIC: layout.MAGIC,
            layout.H_KIND: kind,
            layout.H_SCHEMA_HASH: layout.schema_hash(),
            layout.H_OWNER_PID: owner.pid,
            layout.H_OWNER_START: owner.start,
        }
        for word, value in expected.items():
            if self.words[word] != value:
                field = layout.HEADER[word]
                found = self.words[word]
                self.close()
                raise SegmentError(f"segment {name}: {field} is {found}, not {value}")

    def beat(self) -> Beat:
        base = layout.BEAT_OFFSET // layout.WORD
        return Beat._make(self.words[base : base + len(layout.BEAT)])

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
