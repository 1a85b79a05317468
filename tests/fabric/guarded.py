# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Ring and meter kernels on hostile memory between two pages that may not be touched; run as a process of its own.

With NUMBA_BOUNDSCHECK every array index is checked as well. What it prints is the number of calls; an address outside the
segment ends the process by SIGSEGV, an index outside an array by IndexError. ``python guarded.py break=address|index``
does each on purpose.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import sys

import numpy as np

from fabric import layout, meters, readers, rings
from fabric.atomics import load_relaxed
from fabric.jit import kernel

EDGES = [0, 1, 2, 3, -1, -2, 2**31, 2**62 - 1, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]
ROUNDS = 2000
SLOTS = 8


def guarded(size: int) -> tuple[int, np.ndarray]:
    """(address, words) of whole pages; the page before and the one after fault on any access."""
    whole = mmap.mmap(-1, size + 2 * layout.PAGE)
    words = np.frombuffer(whole, np.int64)
    first = words.ctypes.data
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in (first, first + layout.PAGE + size):
        if protect(page, layout.PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    return first + layout.PAGE, words[layout.PAGE // 8 : (layout.PAGE + size) // 8]


@kernel
def load_beside(address):
    return load_relaxed(address)


@kernel
def index_beside(array, index):
    return array[index]


def drive_rings(noise: random.Random) -> int:
    """Every ring kernel, the ring at the very end of the memory, its contents and all sequences hostile."""
    size = layout.PAGE
    base, words = guarded(size)
    ring = base + size - SLOTS * rings.SLOT_BYTES
    record, out, rows = np.ones(16, np.int64), np.zeros(16, np.int64), np.zeros((3, 16), np.int64)
    cached, reader = np.zeros(1, np.int64), np.zeros(readers.READER_WORDS, np.int64)

    def hostile() -> int:
        return noise.choice(EDGES) if noise.random() < 0.6 else noise.getrandbits(64) - 2**63

    for _ in range(ROUNDS):
        words[noise.randrange(len(words))] = hostile()
        words[0], words[8], cached[0] = hostile(), hostile(), hostile()
        reader[:] = hostile(), hostile(), hostile()
        wanted = hostile()
        rings.market_publish(base, ring, SLOTS, record)
        rings.market_read(ring, SLOTS, wanted, out)
        rings.lossless_publish(base, ring, SLOTS, base + 64, cached, record, noise.randrange(2))
        rings.lossless_read(base, ring, SLOTS, wanted, out)
        rings.lossless_drain(base, ring, SLOTS, wanted, rows)
        rings.lossless_done(base + 64, wanted)
        rings.seqlock_write(base + size - 64, record, 8)
        rings.seqlock_read(base + size - 64, out, 8)
        readers.market_join(base, reader)
        reader[readers.NEXT] = wanted
        for policy in (readers.LATEST, readers.RESYNC, readers.FATAL):
            readers.market_take(base, ring, SLOTS, policy, reader, rows)
        readers.market_publish_batch(base, ring, SLOTS, rows)
        readers.lossless_take(base + 8, base, ring, SLOTS, wanted, out)
        readers.state_top(base + size - 64)
    return ROUNDS * 15


def drive_meters(noise: random.Random) -> int:
    """Every meter of every number that the layout has, with every kind of value."""
    size = -(-layout.STATS_BYTES // layout.PAGE) * layout.PAGE
    base, words = guarded(size)
    for _ in range(ROUNDS):
        words[noise.randrange(len(words))] = noise.choice(EDGES)
        value = noise.choice(EDGES) if noise.random() < 0.3 else noise.getrandbits(noise.randrange(1, 64))
        meters.record(base, noise.choice((0, layout.HISTOGRAMS_MAX - 1)), value)
        counter = noise.choice((0, layout.COUNTERS_MAX - 1))
        meters.counter_add(base, counter, value)
        meters.counter_set(base, counter, value)
        meters.status_set(base, noise.choice((0, len(layout.STATUS_ROW) - 1)), value)
        meters.heartbeat(base, value)
        assert 0 <= meters.bucket_of(value) < layout.HISTOGRAM_BUCKETS
    return ROUNDS * 6


if __name__ == "__main__":
    if "break=address" in sys.argv:
        address, _ = guarded(layout.PAGE)
        load_beside(address + layout.PAGE)
    elif "break=index" in sys.argv:
        index_beside(np.zeros(16, np.int64), 16)
    else:
        print(drive_rings(random.Random(1)) + drive_meters(random.Random(2)))
