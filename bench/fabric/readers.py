# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Whether fifty readers disturb the writer: its p99 with them over its p99 without, against pairs where both are without.

The writer, alone on the hot cpu, publishes one market record, adds to a counter and records in a histogram, over and
over, on real segments; each such turn is timed by itself. The readers are processes on the other cpus that wake ten
times a second, take what is new on the market ring and all counters, and one histogram, of the stats page; one of the fifty
is stopped (SIGSTOP) and stays so. Between their phases the other forty-nine are stopped as well.

One pair is three phases of the same length, in an order that changes from pair to pair: without, without again, with
readers. ``readers50_p99_ratio`` is the median over pairs of with / without; ``readers50_aa_spread`` the lowest and the
highest of without / without.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.fabric.pair import Words, fork, shared
from fabric import layout, readers
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.meters import counter_add, record
from fabric.rings import SLOT_WORDS, market_publish
from fabric.segment import Segment
from fabric.stats import StatsReader, StatsWriter
from ops.instance import SHM

READERS, HZ = 50, 10
SETTLE_S = 0.15
ROWS = 64
COUNTED_NS = 4096


@kernel
def write_loop(market, stats, words, times, counts, scratch):
    """So many turns of a writer; how many took how many ns in ``counts`` (the last: that long or longer)."""
    last = monotonic_ns(scratch)
    span = last * 0
    for k in range(times):
        words[1] = k
        market_publish(market + layout.MARKET_CURSOR_OFFSET, market + layout.MARKET_RING_OFFSET, layout.MARKET_SLOTS, words)
        counter_add(stats, layout.FC_EVENTS, 1)
        record(stats, layout.FH_PUBLISH, span)
        now = monotonic_ns(scratch)
        span = now - last
        counts[min(span, len(counts) - 1)] += 1
        last = now
    return times


def read_for_ever(shm_dir: pathlib.Path, number: int, progress: Words) -> None:
    """One reader; how often it read, how many records and laps it met goes to its row of ``progress``."""
    market, page = Segment.attach(shm_dir, "market"), StatsReader(shm_dir, "feed")
    cursor, ring = market.address + layout.MARKET_CURSOR_OFFSET, market.address + layout.MARKET_RING_OFFSET
    place, rows = np.zeros(readers.READER_WORDS, np.int64), np.zeros((ROWS, SLOT_WORDS), np.int64)
    readers.market_join(cursor, place)
    time.sleep(number / READERS / HZ)
    while True:
        taken = int(readers.market_take(cursor, ring, layout.MARKET_SLOTS, readers.RESYNC, place, rows))
        progress[number * 8 + 1] += max(taken, 0)
        progress[number * 8 + 2] = place[readers.LAPS]
        progress[number * 8 + 3] = page.counters()["events"] + page.histogram("publish").count
        progress[number * 8] += 1
        time.sleep(1 / HZ)


class Crowd:
    """The readers; ``go`` and ``halt`` are for all but the first, which stays stopped from its first read on."""

    def __init__(self, shm_dir: pathlib.Path, cpus: list[int]) -> None:
        self.progress = shared(READERS * 8)[: READERS * 8]
        self.children = [fork(functools.partial(read_for_ever, shm_dir, k, self.progress), cpus) for k in range(READERS)]
        limit = time.monotonic() + 30
        while not (self.progress[::8] > 0).all() and time.monotonic() < limit:
            time.sleep(0.05)
        os.kill(self.children[0].pid, signal.SIGSTOP)
        self.stopped_at = int(self.progress[0])

    def _all(self, number: int) -> None:
        for child in self.children[1:]:
            os.kill(child.pid, number)
        time.sleep(SETTLE_S)

    def go(self) -> None:
        self._all(signal.SIGCONT)

    def halt(self) -> None:
        self._all(signal.SIGSTOP)

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.join()


@contextlib.contextmanager
def segments() -> Iterator[tuple[pathlib.Path, Segment, StatsWriter]]:
    """A market and a stats segment in a directory of their own, which is removed."""
    shm_dir = pathlib.Path(tempfile.mkdtemp(prefix=f"pulex-{os.getuid()}-bench-fabric-", dir=SHM))
    try:
        yield shm_dir, Segment.create(shm_dir, "market", "feed"), StatsWriter(shm_dir, "feed")
    finally:
        shutil.rmtree(shm_dir, ignore_errors=True)


class Writer:
    """The writing loop; a phase answers with its p99 in ns."""

    def __init__(self, market: Segment, stats: StatsWriter, times: int) -> None:
        self.market, self.stats, self.times = market, stats, times
        self.counts, self.words = np.zeros(COUNTED_NS, np.int64), np.zeros(SLOT_WORDS, np.int64)
        self.scratch = np.zeros(2, np.int64)

    def phase(self) -> float:
        addresses = self.market.address, self.stats.segment.address
        self.counts[:] = 0
        write_loop(*addresses, self.words, self.times, self.counts, self.scratch.ctypes.data)
        return p99(self.counts)


def p99(counts: Words) -> float:
    """The 99th percentile, between whole ns by share: ratios of them must not jump."""
    wanted, upto = 0.99 * counts.sum(), np.cumsum(counts)
    whole = int(np.searchsorted(upto, wanted))
    return whole + float(wanted - (upto[whole] - counts[whole])) / float(counts[whole])


def pairs_of(writer: Writer, crowd: Crowd, pairs: int) -> list[dict[str, float]]:
    found = []
    for pair in range(pairs):
        order = ("without", "again", "with", "without", "again")[pair % 3 : pair % 3 + 3]
        one: dict[str, float] = {}
        for name in order:
            crowd.go() if name == "with" else crowd.halt()
            one[name] = writer.phase()
        found.append(one)
    return found


def measure(cpus: tuple[int, int], times: int, pairs: int) -> dict[str, Any]:
    """Ratios over so many pairs, each phase of ``times`` turns; the writer is on ``cpus[0]``, the readers on ``cpus[1]``."""
    with segments() as (shm_dir, market, stats):
        writer = Writer(market, stats, times)
        writer.phase()
        rows, place = np.zeros((ROWS, SLOT_WORDS), np.int64), np.zeros(readers.READER_WORDS, np.int64)
        cursor, ring = market.address + layout.MARKET_CURSOR_OFFSET, market.address + layout.MARKET_RING_OFFSET
        readers.market_join(cursor, place)  # compiled before the fork
        readers.market_take(cursor, ring, layout.MARKET_SLOTS, readers.RESYNC, place, rows)
        crowd = Crowd(shm_dir, [cpus[1]])
        try:
            reads_before = int(crowd.progress[::8].sum())
            found = pairs_of(writer, crowd, pairs)
            reads = int(crowd.progress[::8].sum()) - reads_before
            still = int(crowd.progress[0]) == crowd.stopped_at
        finally:
            crowd.end()
    ratios = [one["with"] / one["without"] for one in found]
    spread = [one["again"] / one["without"] for one in found]
    return {
        "readers50_p99_ratio": round(float(np.median(ratios)), 4),
        "readers50_aa_spread": [round(min(spread), 4), round(max(spread), 4)],
        "readers50": {
            "pairs": pairs,
            "turns_per_phase": times,
            "writer_p99_ns": round(float(np.median([one["without"] for one in found])), 1),
            "ratios": [round(one, 4) for one in ratios],
            "aa_ratios": [round(one, 4) for one in spread],
            "reads": reads,
            "laps": int(crowd.progress[2::8].sum()),
            "stopped_reader_stayed_stopped": still,
        },
    }
