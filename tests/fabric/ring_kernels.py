# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Compiled loops for the tests of several processes: a writer as fast as it can, and readers that check every word.

``worker(path, role, cpu)`` is one of the processes. It maps the file, says ``ready``, obeys lines ``loop slots records work``
on its stdin and answers with the words of its result. Word 0 of the file is the cursor, word 8 the lossless reader's count,
the ring begins at byte 128. ``work`` is what a reader does with a record, in pauses of the cpu. Every loop is bounded.
"""

from __future__ import annotations

import mmap
import os
import pathlib
import sys

import numpy as np
import numpy.typing as npt
from numba import types

from fabric import layout, rings
from fabric.atomics import cpu_pause, load_acquire
from fabric.jit import kernel

MARKET, PAGE, LOSSLESS = range(3)
FILE_BYTES = 16384
PASSES_MAX = 100_000_000
SEEN, LOST, LAPS, TORN = range(4)
PUBLISHED, FULL = range(2)
_CONSUMED, _RING, _PRIME = 64, 128, 1_000_003
_WORDS = rings.SLOT_WORDS

yield_cpu = types.ExternalFunction("sched_yield", types.int32())


@kernel
def fill(record, sequence):
    """All words of a record, each derived from its sequence."""
    for word in range(_WORDS):
        record[word] = sequence * _PRIME + word


@kernel
def is_torn(record, sequence):
    """1 when any word but the first belongs to another record."""
    for word in range(1, _WORDS):
        if record[word] != sequence * _PRIME + word:
            return 1
    return 0


@kernel
def work_for(pauses):
    """A slow reader's work."""
    for _ in range(pauses):
        cpu_pause()


@kernel
def write(base, loop, slots, records, record, cached, result):
    """Publish that many records; every other one may use the reserve of the lossless ring."""
    cached[0], sequence = 0, 1
    for _ in range(PASSES_MAX):
        if sequence > records:
            break
        fill(record, sequence)
        if loop == MARKET:
            rings.market_publish(base, base + _RING, slots, record)
        elif loop == PAGE:
            rings.seqlock_write(base + _RING, record, _WORDS)
        elif rings.lossless_publish(base, base + _RING, slots, base + _CONSUMED, cached, record, sequence & 1):
            result[FULL] += 1
            yield_cpu()
            continue
        sequence += 1
    result[PUBLISHED] = sequence - 1


@kernel
def read_market(base, slots, records, work, out, result):
    """Follow the market ring up to the last record."""
    wanted = 1
    for _ in range(PASSES_MAX):
        if wanted > records:
            break
        status = rings.market_read(base + _RING, slots, wanted, out)
        if status == layout.RING_OK:
            result[TORN] += is_torn(out, wanted)
            result[SEEN] += 1
            wanted += 1
            work_for(work)
        elif status == layout.RING_LAPPED:
            cursor = load_acquire(base)
            result[LOST] += cursor - wanted
            result[LAPS] += 1
            wanted = cursor
        else:
            yield_cpu()


@kernel
def read_page(base, slots, records, work, out, result):
    """Read the page until its last state; LAPS counts the states that were skipped between two reads."""
    last = 0
    for _ in range(PASSES_MAX):
        if last == records:
            break
        if rings.seqlock_read(base + _RING, out, _WORDS) and out[0] > 0:
            result[TORN] += is_torn(out, out[0] // 2) or out[0] // 2 < last
            result[SEEN] += 1
            result[LAPS] += out[0] // 2 > last + 1
            last = out[0] // 2
            work_for(work)


@kernel
def read_lossless(base, slots, records, work, out, result):
    """Take every record of the lossless ring; one that is not the next is lost or doubled."""
    wanted = 1
    for _ in range(PASSES_MAX):
        if wanted > records:
            break
        if rings.lossless_read(base, base + _RING, slots, wanted, out) == layout.RING_OK:
            result[TORN] += is_torn(out, wanted)
            result[LOST] += out[0] != wanted
            result[SEEN] += 1
            work_for(work)
            rings.lossless_done(base + _CONSUMED, wanted)
            wanted += 1
        else:
            yield_cpu()


READERS = {MARKET: read_market, PAGE: read_page, LOSSLESS: read_lossless}


def map_words(path: pathlib.Path) -> npt.NDArray[np.int64]:
    """The words of the file, shared."""
    with path.open("r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), FILE_BYTES), np.int64)


def run(words: npt.NDArray[np.int64], role: str, loop: int, slots: int, records: int, work: int) -> list[int]:
    """One loop of a role; its result."""
    base, record, result = words.ctypes.data, np.zeros(_WORDS, np.int64), np.zeros(4, np.int64)
    if role == "writer":
        write(base, loop, slots, records, record, np.zeros(1, np.int64), result)
    else:
        READERS[loop](base, slots, records, work, record, result)
    return [int(one) for one in result]


def worker(path: str, role: str, cpu: str) -> None:
    """One process, until its stdin ends. ``cpu`` counts from the first that it may use, -1 is the last."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[int(cpu)]})
    words = map_words(pathlib.Path(path))
    for loop in (MARKET, PAGE, LOSSLESS):
        run(words, role, loop, 8, 0, 0)  # load the kernel
    print("ready", flush=True)
    for line in sys.stdin:
        loop, slots, records, work = (int(word) for word in line.split())
        print(*run(words, role, loop, slots, records, work), flush=True)
