# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Compiled loops for the tests of two processes: a writer as fast as it can, and a reader that checks every word.

``writer(path)`` is the other process. It maps the file, says ``ready`` and obeys lines ``<loop> <records>`` on its stdin.
Word 0 of the file is the cursor, word 8 the reader's count, the ring begins at byte 128. Every loop is bounded.
"""

from __future__ import annotations

import mmap
import pathlib
import sys

import numpy as np
import numpy.typing as npt
from numba import types

from fabric import layout, rings
from fabric.atomics import load_acquire
from fabric.jit import kernel

SLOTS = 4
MARKET, PAGE, LOSSLESS = range(3)
FILE_BYTES = 4096
PASSES_MAX = 100_000_000
SEEN, LOST, LAPS, TORN = range(4)
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
def write(base, loop, records, record, cached):
    """Publish that many records; returns how many were published."""
    sequence = 1
    for _ in range(PASSES_MAX):
        if sequence > records:
            break
        fill(record, sequence)
        if loop == MARKET:
            rings.market_publish(base, base + _RING, SLOTS, record)
        elif loop == PAGE:
            rings.seqlock_write(base + _RING, record, _WORDS)
        elif rings.lossless_publish(base, base + _RING, SLOTS, base + _CONSUMED, cached, record, 1) != layout.RING_OK:
            yield_cpu()
            continue
        sequence += 1
    return sequence - 1


@kernel
def read_market(base, records, out, result):
    """Follow the market ring up to the last record."""
    wanted = 1
    for _ in range(PASSES_MAX):
        if wanted > records:
            break
        status = rings.market_read(base + _RING, SLOTS, wanted, out)
        if status == layout.RING_OK:
            result[TORN] += is_torn(out, wanted)
            result[SEEN] += 1
            wanted += 1
        elif status == layout.RING_LAPPED:
            cursor = load_acquire(base)
            result[LOST] += cursor - wanted
            result[LAPS] += 1
            wanted = cursor
        else:
            yield_cpu()


@kernel
def read_page(base, records, out, result):
    """Read the page until its last state; LAPS counts the states that were skipped between two reads."""
    last = 0
    for _ in range(PASSES_MAX):
        if last == records:
            break
        if rings.seqlock_read(base + _RING, out, _WORDS) and out[0] > 0:
            result[TORN] += is_torn(out, out[0] // 2)
            result[SEEN] += 1
            result[LAPS] += out[0] // 2 > last + 1
            last = out[0] // 2


@kernel
def read_lossless(base, records, out, result):
    """Take every record of the lossless ring."""
    wanted = 1
    for _ in range(PASSES_MAX):
        if wanted > records:
            break
        if rings.lossless_read(base, base + _RING, SLOTS, wanted, out) == layout.RING_OK:
            result[TORN] += is_torn(out, wanted)
            result[SEEN] += 1
            rings.lossless_done(base + _CONSUMED, wanted)
            wanted += 1
        else:
            yield_cpu()


READERS = {MARKET: read_market, PAGE: read_page, LOSSLESS: read_lossless}


def map_words(path: pathlib.Path) -> npt.NDArray[np.int64]:
    """The words of the file, shared."""
    with path.open("r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), FILE_BYTES), np.int64)


def writer(path: str) -> None:
    """The other process, until its stdin ends."""
    words = map_words(pathlib.Path(path))
    record, cached = np.zeros(_WORDS, np.int64), np.zeros(1, np.int64)
    write(words.ctypes.data, MARKET, 0, record, cached)
    print("ready", flush=True)
    for line in sys.stdin:
        loop, records = (int(word) for word in line.split())
        print(write(words.ctypes.data, loop, records, record, cached), flush=True)
