# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What the meters of a hot loop cost, per call, in compiled loops that the compiler cannot delete.

Each loop does its work on a page of shared memory through atomic accesses, which LLVM neither drops nor merges; ``measure``
compares what the page says afterwards with the work claimed and raises ``Idle`` when it differs. The loop itself is in the
figures and nothing is subtracted. The counter is the same one each time, the worst case: each add waits for the store of
the one before it. The histogram takes 1,024 values spread evenly over the decades from 50 ns to 1 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.fabric.pair import Words, shared
from bench.spin import read_clock
from engine import wiring as wi
from engine.inbound import lease_valid
from fabric import layout
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.meters import counter_add, heartbeat, record

VALUES = 1024  # a power of two
COUNTER, HISTOGRAM = 3, 2
TTL_NS = 10**12


class Idle(RuntimeError):
    """A loop did not do the work that it was timed for."""


@kernel
def add_loop(base, times, scratch):
    """Add 1 to a counter so many times; ns."""
    started = monotonic_ns(scratch)
    for _ in range(times):
        counter_add(base, COUNTER, 1)
    return monotonic_ns(scratch) - started


@kernel
def record_loop(base, values, times, scratch):
    """Record so many values; ns."""
    started = monotonic_ns(scratch)
    for k in range(times):
        record(base, HISTOGRAM, values[k & (VALUES - 1)])
    return monotonic_ns(scratch) - started


@kernel
def beat_loop(base, wiring, now_ns, times, valid, scratch):
    """Beat and check the lease, one ns later each time; ns. How often the lease held goes to ``valid``."""
    started = monotonic_ns(scratch)
    for k in range(times):
        heartbeat(base, now_ns + k)
        valid[0] += lease_valid(wiring, 1, now_ns + k)
    return monotonic_ns(scratch) - started


class Page:
    """A stats page, a lease that holds, and the loops over them; each method answers with ns per call."""

    def __init__(self) -> None:
        self.words, self.lease = shared(layout.STATS_BYTES // 8), shared(layout.LEASE_BYTES // 8)
        self.base = self.words.ctypes.data
        self.scratch, self.valid = np.zeros(2, np.int64), np.zeros(1, np.int64)
        self.wiring = np.zeros(wi.ROWS, np.int64)
        self.wiring[wi.WI_LEASE] = self.lease.ctypes.data
        self.values: Words = np.geomspace(50, 1_000_000, VALUES).astype(np.int64)
        np.random.default_rng(1).shuffle(self.values)
        self.now_ns = TTL_NS
        self.lease[layout.L_EPOCH], self.lease[layout.L_STATE] = 1, layout.LEASE_GRANTED
        self.lease[layout.L_GRANTED_NS], self.lease[layout.L_DEADLINE_NS] = self.now_ns, self.now_ns + TTL_NS

    def _word(self, offset: int) -> int:
        return int(self.words[offset // 8])

    def counter(self, times: int) -> float:
        at = layout.COUNTERS_OFFSET + COUNTER * layout.COUNTER_STRIDE
        before = self._word(at)
        spent = add_loop(self.base, times, self.scratch.ctypes.data)
        return _each(spent, times, self._word(at) - before)

    def histogram(self, times: int) -> float:
        first = (layout.HISTOGRAMS_OFFSET + HISTOGRAM * layout.HISTOGRAM_STRIDE) // 8 + len(layout.HISTOGRAM_HEADER)
        buckets = self.words[first : first + layout.HISTOGRAM_BUCKETS]
        before = int(buckets.sum())
        spent = record_loop(self.base, self.values, times, self.scratch.ctypes.data)
        return _each(spent, times, int(buckets.sum()) - before)

    def beat_and_lease(self, times: int) -> float:
        self.valid[0] = 0
        spent = beat_loop(self.base, self.wiring, self.now_ns, times, self.valid, self.scratch.ctypes.data)
        if self._word(layout.HEARTBEAT_OFFSET) != self.now_ns + times - 1:
            raise Idle("the heartbeat is not the last one written")
        return _each(spent, times, int(self.valid[0]))

    def clock(self, times: int) -> float:
        return float(read_clock(times, self.scratch.ctypes.data)) / times


def _each(spent_ns: int, times: int, done: int) -> float:
    if done != times:
        raise Idle(f"{done} of {times} calls left a trace")
    return spent_ns / times


def measure(times: int, rounds: int) -> dict[str, Any]:
    """ns per call, the median of interleaved rounds; raises Idle. The caller is on the cpu to be measured."""
    page = Page()
    loops = {
        "counter_add_ns": page.counter,
        "hist_record_ns": page.histogram,
        "beat_and_lease_ns": page.beat_and_lease,
        "clock_read_ns": page.clock,
    }
    for loop in loops.values():
        loop(1000)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            found[name].append(loop(times))
    return {name: round(float(np.median(values)), 2) for name, values in found.items()}
