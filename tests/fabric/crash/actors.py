# mypy: disable-error-code="no-untyped-call"
"""The two processes, forked from a warm parent: nothing is imported or compiled here, and only a signal ends them.

The writer makes a new generation and publishes. The reader makes a new generation of its own segment with the count of its
predecessor in it, follows the newest writer, and tells dead (the lock is free) from stalled (the lock is held, the beat is
old). It leaves a generation when a newer one is there and everything that had been published by then is done.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time

import numpy as np

from crash import kernels as k
from crash.shared import Shared, wiring
from fabric import layout, rings
from fabric.segment import Segment, SegmentError

STALLED_NS = 20_000_000
NOT_JUDGED, HEALTHY, STALLED, DEAD = range(4)
WAIT_S = 0.0002


class Follower:
    """The newest generation of another's segment, attached again when its name has moved."""

    def __init__(self, directory: pathlib.Path, name: str) -> None:
        self._directory, self._name = directory, name
        self.segment: Segment | None = None

    def look(self) -> Segment | None:
        """None while there never was one; an older object is kept by whoever still reads it."""
        with contextlib.suppress(SegmentError, OSError):
            if self.segment is None or os.readlink(self._directory / self._name) != self.segment.path.name:
                newest = Segment.attach(self._directory, self._name)
                if self.segment is not None and newest.generation == self.segment.generation:
                    os.close(newest.fd)
                else:
                    self.segment = newest
        return self.segment


def take_over_in_place(directory: pathlib.Path) -> Segment:
    """What no writer may do: the file of its predecessor, zeroed and filled again. A control."""
    path = (directory / "market").resolve(strict=True)
    segment = Segment(path, os.open(path, os.O_RDWR | os.O_CLOEXEC), layout.MARKET_BYTES, writable=True)
    segment.words[layout.BODY_OFFSET // layout.WORD :] = memoryview(bytes(layout.MARKET_BYTES - layout.BODY_OFFSET)).cast("q")
    segment.words[layout.H_CREATED_NS] = time.monotonic_ns()
    return segment


def alone_on(cpu: int) -> None:
    """Where there are two cpus, the actors have one each: they meet at every instruction, not only where a clock ticks."""
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[cpu]})


def write(directory: pathlib.Path, shared: Shared, flaw: int) -> None:
    """The writer, for ever."""
    alone_on(-1)
    if flaw == k.FLAW_IN_PLACE and (directory / "market").exists():
        own = take_over_in_place(directory)
    else:
        own = Segment.create(directory, "market", "feed")
    own.beat()
    report = shared.wrote(own.generation)
    report[:] = 0
    report[k.WR_PID], report[k.WR_GENERATION] = os.getpid(), own.generation
    w, cached = wiring(own, report, flaw), np.zeros(1, np.int64)
    record, values = np.zeros(rings.SLOT_WORDS, np.int64), np.zeros(k.ROW_WORDS, np.int64)
    readers = Follower(directory, "journal")
    while True:
        page = readers.look()
        w[k.W_PROGRESS] = page.address if page else 0
        k.write_some(w, cached, record, values)
        own.beat()


class Reader:
    """Everything about the reader but its compiled loop."""

    def __init__(self, directory: pathlib.Path, shared: Shared, flaw: int) -> None:
        self.shared, self.flaw = shared, flaw
        followed, done = 0, 0
        with contextlib.suppress(SegmentError):
            before = Segment.attach(directory, "journal")
            followed, done = before.word(k.FOLLOWED), before.word(k.CONSUMED)
        if flaw == k.FLAW_FORGETS:
            done = 0

        def fill(segment: Segment) -> None:
            segment.set_word(k.CONSUMED, done)
            segment.set_word(k.FOLLOWED, followed)

        self.own = Segment.create(directory, "journal", "journal", fill=fill)
        self.writers = Follower(directory, "market")
        while (newest := self.writers.look()) is None:
            time.sleep(WAIT_S)
        if followed == newest.generation:
            self.join(newest, done)
        else:
            shared.wrong[k.X_ABANDONED] += followed != 0
            self.follow(newest)

    def follow(self, source: Segment) -> None:
        """Leave the generation before, whose records are all done; a reader killed in here finds "of none"."""
        self.own.set_word(k.FOLLOWED, 0)
        self.own.set_word(k.CONSUMED, 0)
        self.join(source, 0)
        self.own.set_word(k.FOLLOWED, source.generation)

    def join(self, source: Segment, done: int) -> None:
        """The market ring at its cursor, the lossless ring after what is done."""
        self.source, self.target = source, -1
        self.saw = self.shared.saw(source.generation)
        self.saw[:] = 0
        self.saw[k.SA_JOINED] = self.saw[k.SA_WANTED] = max(1, source.word(k.MARKET_CURSOR))
        self.saw[k.SA_RESUMED], self.saw[k.SA_NEXT] = done, done + 1
        self.w = wiring(source, self.saw, self.flaw)
        self.w[k.W_PROGRESS], self.w[k.W_WRONG] = self.own.address, self.shared.wrong.ctypes.data
        self.w[k.W_LEDGER] = self.shared.ledger(source.generation).ctypes.data
        self.saw[k.SA_GENERATION] = source.generation

    def judge(self) -> None:
        """Dead by the lock, stalled by the beat."""
        age_ns = self.source.heartbeat_age_ns() or 0
        verdict = DEAD if not self.source.owner_alive() else STALLED if age_ns > STALLED_NS else HEALTHY
        self.saw[k.SA_DEAD] += verdict == DEAD
        self.saw[k.SA_STALLED] += verdict == STALLED
        self.saw[k.SA_VERDICT] = verdict

    def run(self) -> None:
        out, values = np.zeros(rings.SLOT_WORDS, np.int64), np.zeros(k.ROW_WORDS, np.int64)
        while True:
            newest = self.writers.look()
            assert newest is not None
            if newest is not self.source and self.target < 0:
                self.target = self.source.word(k.LOSSLESS_CURSOR)  # a zombie's later records are for nobody
            k.read_some(self.w, out, values)
            self.own.beat()
            self.judge()
            if 0 <= self.target < self.saw[k.SA_NEXT]:
                rings.lossless_done(self.w[k.W_PROGRESS] + k.CONSUMED, self.saw[k.SA_NEXT] - 1)
                self.follow(newest)


def read(directory: pathlib.Path, shared: Shared, flaw: int) -> None:
    """The reader, for ever."""
    alone_on(0)
    Reader(directory, shared, flaw).run()
