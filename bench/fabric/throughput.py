# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Records per second over the lossless ring, one producer and one consumer on two cpus, against the same algorithm in C.

What is compared: ``fabric.rings.lossless_publish`` and ``lossless_drain`` with slots of 128 bytes (word 0 the sequence,
15 of payload, of which a 64-byte record would use 8; all 15 are copied, on both sides) against ``native/spsc.c``, which
has the same slots, cached index, reserve, orderings, batch, and pause when there is nothing to do, compiled with -O3 for
this cpu. The C code is called from the same two processes. A third figure, the C code with slots of 64 bytes, says
what smaller slots would give.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import shutil
import subprocess
from typing import Any

import numpy as np

from bench.fabric.pair import POLLS_MAX, Lost, both, shared
from fabric import layout
from fabric.atomics import cpu_pause, load_acquire
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.rings import SLOT_WORDS, lossless_done, lossless_drain, lossless_publish

SOURCE = pathlib.Path(__file__).parent.parent / "native" / "spsc.c"
BATCH = 64
KEYS = ("spsc_msgs_per_s", "spsc_c_msgs_per_s", "spsc_c_64_byte_slots_msgs_per_s")
NOT_THERE = -1  # the consumer's count until it begins
SLOTS = layout.JOURNAL_SLOTS


@kernel
def produce(cursor, ring, slots, consumed, cached, record, times):
    """Publish 1..times once the consumer is there, spinning while the ring is full; returns how many."""
    for _ in range(POLLS_MAX):
        if load_acquire(consumed) >= 0:
            break
    for k in range(times):
        record[1] = k + 1
        status = layout.RING_FULL
        for _ in range(POLLS_MAX):
            status = lossless_publish(cursor, ring, slots, consumed, cached, record, 0)
            if status == layout.RING_OK:
                break
            cpu_pause()
        if status != layout.RING_OK:
            return k
    return times


@kernel
def consume(cursor, ring, slots, consumed, rows, times, total, scratch):
    """Let the producer begin, take ``times`` records in batches, add up word 1 in ``total``; returns the ns it took."""
    done = polls = 0 * times
    started = monotonic_ns(scratch)
    lossless_done(consumed, 0)
    while done < times and polls <= POLLS_MAX:
        count = lossless_drain(cursor, ring, slots, done + 1, rows)
        if count == 0:
            polls += 1
            cpu_pause()
            continue
        polls = 0
        for k in range(count):
            total[0] += rows[k, 1]
        done += count
        lossless_done(consumed, done)
    return monotonic_ns(scratch) - started


def build(slot_words: int) -> Any:
    """``native/spsc.c`` as a library with slots of so many words, or None without a C compiler (said aloud)."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("bench: NO C COMPILER: throughput is not compared with C", flush=True)
        return None
    binary = SOURCE.parent / "build" / f"spsc{slot_words}.so"
    if not binary.exists() or binary.stat().st_mtime < SOURCE.stat().st_mtime:
        binary.parent.mkdir(exist_ok=True)
        flags = ["-O3", "-march=native", "-shared", "-fPIC", f"-DSLOT_WORDS={slot_words}"]
        done = subprocess.run([compiler, *flags, "-o", str(binary), str(SOURCE)], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"bench: {compiler} FAILED, throughput is not compared with C: {done.stderr.strip()[:200]}", flush=True)
            return None
    library = ctypes.CDLL(str(binary))
    library.spsc_produce.restype = library.spsc_consume.restype = ctypes.c_int64
    library.spsc_produce.argtypes = [ctypes.c_int64] * 8
    library.spsc_consume.argtypes = [ctypes.c_int64] * 9
    return library


class Course:
    """One run: a fresh ring, its producer in the far process, its consumer here. ``library`` None: our own kernels."""

    def __init__(self, times: int, library: Any = None, slot_words: int = SLOT_WORDS) -> None:
        self.times, self.library = times, library
        self.ring = shared(SLOTS * slot_words)
        self.cursor, self.consumed, self.cached = shared(64), shared(64), np.zeros(1, np.int64)
        self.record, self.rows = np.zeros(slot_words, np.int64), np.zeros((BATCH, slot_words), np.int64)
        self.consumed[0] = NOT_THERE
        self.total, self.scratch = np.zeros(1, np.int64), np.zeros(2, np.int64)

    def far(self) -> int:
        cursor, ring, consumed = (array.ctypes.data for array in (self.cursor, self.ring, self.consumed))
        if self.library:
            cached, record = self.cached.ctypes.data, self.record.ctypes.data
            return int(self.library.spsc_produce(cursor, ring, SLOTS, consumed, cached, record, self.times, POLLS_MAX))
        return int(produce(cursor, ring, SLOTS, consumed, self.cached, self.record, self.times))

    def near(self) -> int:
        cursor, ring, consumed = (array.ctypes.data for array in (self.cursor, self.ring, self.consumed))
        if self.library:
            rows, total = self.rows.ctypes.data, self.total.ctypes.data
            return int(self.library.spsc_consume(cursor, ring, SLOTS, consumed, rows, BATCH, self.times, POLLS_MAX, total))
        return int(consume(cursor, ring, SLOTS, consumed, self.rows, self.times, self.total, self.scratch.ctypes.data))

    def rate(self, cpus: tuple[int, int]) -> float:
        """Records per second. Raises Lost unless every record arrived."""
        elapsed_ns, made = both(self.near, self.far, cpus, (self.ring, self.cursor, self.consumed))
        if made != self.times or self.total[0] != self.times * (self.times + 1) // 2:
            raise Lost(f"throughput: {made} of {self.times} records were published, their sum is {self.total[0]}")
        return float(self.times / max(elapsed_ns, 1) * 1e9)


def measure(cpus: tuple[int, int], times: int, rounds: int) -> dict[str, Any]:
    """Interleaved rounds: medians, and the median over rounds of ours / C. Raises Lost."""
    warm = Course(0)
    warm.near()
    warm.far()
    kinds: dict[str, tuple[Any, int]] = {"spsc_msgs_per_s": (None, SLOT_WORDS)}
    for name, words in (("spsc_c_msgs_per_s", SLOT_WORDS), ("spsc_c_64_byte_slots_msgs_per_s", 8)):
        if library := build(words):
            kinds[name] = (library, words)
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, (library, words) in kinds.items():
            rates[name].append(Course(times, library, words).rate(cpus))
    found: dict[str, Any] = {name: round(float(np.median(rates[name]))) if name in rates else None for name in KEYS}
    found["spsc_to_c"] = None
    if "spsc_c_msgs_per_s" in rates:
        pairs = zip(rates["spsc_msgs_per_s"], rates["spsc_c_msgs_per_s"], strict=True)
        found["spsc_to_c"] = round(float(np.median([ours / c for ours, c in pairs])), 3)
    return found | {"spsc_rounds": {name: [round(one) for one in each] for name, each in rates.items()}}
