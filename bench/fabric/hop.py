# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""One hop over the market ring between two cpus, and the floor under it: a bare cache line that goes to and fro.

Ring: two market rings of the real size; the near side publishes a whole record (16 words) on one, the far side copies it
out and publishes it on the other, the near side copies it out. Line: one word of one cache line, written by both in turn.
A hop is half a round trip. Each is measured twice:

- *metered*: both sides read the clock after every poll. That gives every round trip its own time, and to each side the
  longest gap between two of its clock reads in that interval: above ``GAP_NS`` the cpu was taken away, and the interval is
  dropped. The clock reads are inside both figures and make hop and line look alike; so also
- *without clock*: no clock inside, the time of ``BLOCK`` round trips. This ratio is the stricter one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.fabric.pair import POLLS_MAX, Lost, Words, both, shared
from fabric import layout
from fabric.atomics import load_acquire, store_release
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.rings import SLOT_WORDS, market_publish, market_read

BLOCK = 64
GAP_NS = 1_000
SLOTS = layout.MARKET_SLOTS


@kernel
def line_ping(line, times, metered, spans, gaps, scratch):
    """Write odd numbers, wait for the even one after each; returns the round trips made."""
    started = last = monotonic_ns(scratch)
    for k in range(times):
        store_release(line, 2 * k + 1)
        gap = seen = 0 * k
        for _ in range(POLLS_MAX):
            seen = load_acquire(line)
            if metered:
                now = monotonic_ns(scratch)
                gap = max(gap, now - last)
                last = now
            if seen == 2 * k + 2:
                break
        if seen != 2 * k + 2:
            return k
        if metered:
            spans[k], gaps[k] = last - started, gap
            started = last
        elif (k + 1) % BLOCK == 0:
            now = monotonic_ns(scratch)
            spans[k // BLOCK] = now - started
            started = now
    return times


@kernel
def line_pong(line, times, metered, gaps, scratch):
    """The other side of it."""
    last = monotonic_ns(scratch)
    for k in range(times):
        gap = seen = 0 * k
        for _ in range(POLLS_MAX):
            seen = load_acquire(line)
            if metered:
                now = monotonic_ns(scratch)
                gap = max(gap, now - last)
                last = now
            if seen == 2 * k + 1:
                break
        if seen != 2 * k + 1:
            return k
        store_release(line, 2 * k + 2)
        gaps[k] = gap
    return times


@kernel
def ring_ping(out_cursor, out_ring, in_ring, times, metered, record, copy, spans, gaps, scratch):
    """Publish a record, wait for its echo; returns the round trips made, each echo compared with what was sent."""
    started = last = monotonic_ns(scratch)
    for k in range(times):
        record[1] = record[SLOT_WORDS - 1] = k + 1
        sequence = market_publish(out_cursor, out_ring, SLOTS, record)
        gap, status = 0 * k, layout.RING_EMPTY
        for _ in range(POLLS_MAX):
            status = market_read(in_ring, SLOTS, sequence, copy)
            if metered:
                now = monotonic_ns(scratch)
                gap = max(gap, now - last)
                last = now
            if status != layout.RING_EMPTY:
                break
        if status != layout.RING_OK or copy[1] != k + 1 or copy[SLOT_WORDS - 1] != k + 1:
            return k
        if metered:
            spans[k], gaps[k] = last - started, gap
            started = last
        elif (k + 1) % BLOCK == 0:
            now = monotonic_ns(scratch)
            spans[k // BLOCK] = now - started
            started = now
    return times


@kernel
def ring_pong(in_ring, out_cursor, out_ring, first, times, metered, copy, gaps, scratch):
    """Echo each record, from sequence ``first`` on."""
    last = monotonic_ns(scratch)
    for k in range(times):
        gap, status = 0 * k, layout.RING_EMPTY
        for _ in range(POLLS_MAX):
            status = market_read(in_ring, SLOTS, first + k, copy)
            if metered:
                now = monotonic_ns(scratch)
                gap = max(gap, now - last)
                last = now
            if status != layout.RING_EMPTY:
                break
        if status != layout.RING_OK:
            return k
        market_publish(out_cursor, out_ring, SLOTS, copy)
        gaps[k] = gap
    return times


class Course:
    """The memory of one kind of round trip and a way to run it; ``metered`` says how (see above)."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.spans, self.near_gaps, self.far_gaps = shared(times), shared(times), shared(times)
        self.near_scratch, self.far_scratch = shared(64), shared(64)

    def memory(self) -> list[Words]:
        return [self.spans, self.near_gaps, self.far_gaps, self.far_scratch]

    def near(self, metered: int) -> int:
        raise NotImplementedError

    def far(self, metered: int) -> int:
        raise NotImplementedError

    def run(self, metered: int, cpus: tuple[int, int]) -> Words:
        """Round-trip times in ns (metered), or block times."""
        made = both(lambda: self.near(metered), lambda: self.far(metered), cpus, self.memory())
        if made != (self.times, self.times):
            raise Lost(f"{type(self).__name__}: {made} of {self.times} round trips were made")
        return self.spans[: self.times if metered else self.times // BLOCK].copy()


class Line(Course):
    """A bare cache line."""

    def __init__(self, times: int) -> None:
        super().__init__(times)
        self.line = shared(64)

    def memory(self) -> list[Words]:
        return [*super().memory(), self.line]

    def run(self, metered: int, cpus: tuple[int, int]) -> Words:
        self.line[:] = 0
        return super().run(metered, cpus)

    def near(self, metered: int) -> int:
        address, scratch = self.line.ctypes.data, self.near_scratch.ctypes.data
        return int(line_ping(address, self.times, metered, self.spans, self.near_gaps, scratch))

    def far(self, metered: int) -> int:
        return int(line_pong(self.line.ctypes.data, self.times, metered, self.far_gaps, self.far_scratch.ctypes.data))


class Rings(Course):
    """Two market rings, each with its cursor line before it."""

    def __init__(self, times: int) -> None:
        super().__init__(times)
        self.rings = [shared((1 + SLOTS) * SLOT_WORDS) for _ in range(2)]

    def memory(self) -> list[Words]:
        return super().memory() + self.rings

    def _addresses(self, which: int) -> tuple[int, int]:
        cursor = self.rings[which].ctypes.data
        return cursor, cursor + SLOT_WORDS * 8

    def near(self, metered: int) -> int:
        cursor, ring = self._addresses(0)
        record, copy = np.zeros(SLOT_WORDS, np.int64), np.zeros(SLOT_WORDS, np.int64)
        back, scratch = self._addresses(1)[1], self.near_scratch.ctypes.data
        return int(ring_ping(cursor, ring, back, self.times, metered, record, copy, self.spans, self.near_gaps, scratch))

    def far(self, metered: int) -> int:
        cursor, ring = self._addresses(1)
        copy, first = np.zeros(SLOT_WORDS, np.int64), int(self.rings[1][0]) + 1
        near, scratch = self._addresses(0)[1], self.far_scratch.ctypes.data
        return int(ring_pong(near, cursor, ring, first, self.times, metered, copy, self.far_gaps, scratch))


def summary(trips: list[Words], blocks: list[Words], dropped: list[Words]) -> dict[str, Any]:
    """Half round trips in ns: percentiles of what was kept, and of all."""
    all_trips, drop = np.concatenate(trips) / 2, np.concatenate(dropped).astype(bool)
    kept = all_trips[~drop]
    points = {f"p{str(q).replace('.', '')}": round(float(np.percentile(kept, q)), 1) for q in (50, 90, 99, 99.9)}
    return {
        "min": round(float(kept.min()), 1),
        **points,
        "max": round(float(kept.max()), 1),
        "n": len(all_trips),
        "dropped_share": round(float(drop.mean()), 6),
        "p99_with_dropped": round(float(np.percentile(all_trips, 99)), 1),
        "without_clock": round(float(np.median(np.concatenate(blocks))) / 2 / BLOCK, 1),
        "rounds_p50": [round(float(np.median(one)) / 2, 1) for one in trips],
    }


def measure(cpus: tuple[int, int], times: int, rounds: int) -> dict[str, Any]:
    """Interleaved rounds of line and ring; raises Lost. ``times`` round trips each, metered and not."""
    courses: dict[str, Course] = {"pingpong_oneway_ns": Line(times), "hop_ns": Rings(times)}
    found: dict[str, Any] = {}
    for course in courses.values():
        course.near_gaps[:] = course.far_gaps[:] = 0
    warm(cpus)
    for _ in range(rounds):
        for name, course in courses.items():
            trips, blocks, dropped = found.setdefault(name, ([], [], []))
            blocks.append(course.run(0, cpus))
            trips.append(course.run(1, cpus))
            dropped.append((course.near_gaps > GAP_NS) | (course.far_gaps > GAP_NS))
            dropped[-1] = dropped[-1][:times]
    return {name: summary(*parts) for name, parts in found.items()}


def warm(cpus: tuple[int, int]) -> None:
    """Compile both sides before anything is forked: each runs no round trips."""
    for course in (Line(0), Rings(0)):
        course.near(0)
        course.far(0)
