# mypy: disable-error-code="no-untyped-call"
"""What the compiler made of the kernels: atomic words in the right order, at their own address."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import re
from typing import Any

import numpy as np
import pytest
from compiled import optimised, raises, references
from numba import types

from fabric import atomics, jit, readers, rings

WORD, WORDS, ROWS = types.int64, types.int64[::1], types.int64[:, ::1]
_ATOMIC = re.compile(r"(load|store) atomic i64,? .*?(monotonic|acquire|release), align 8|(fence) (\w+)")


def memory_order(text: str) -> list[str]:
    """The atomic operations in order, runs of the same one shown once."""
    found = [" ".join(part for part in match.groups() if part) for match in _ATOMIC.finditer(text)]
    return [operation for operation, _ in itertools.groupby(found)]


@pytest.mark.parametrize(
    ("kernel", "signature", "order"),
    [
        (
            rings.market_publish,
            (WORD, WORD, WORD, WORDS),
            ["load monotonic", "store monotonic", "fence release", "store monotonic", "store release"],
        ),
        (
            rings.market_read,
            (WORD, WORD, WORD, WORDS),
            ["load acquire", "load monotonic", "fence acquire", "load acquire"],
        ),
        (
            rings.lossless_publish,
            (WORD, WORD, WORD, WORD, WORDS, WORDS, WORD),
            ["load monotonic", "load acquire", "store monotonic", "store release"],
        ),
        (rings.lossless_read, (WORD, WORD, WORD, WORD, WORDS), ["load acquire", "load monotonic"]),
        (rings.lossless_done, (WORD, WORD), ["store release"]),
        (readers.market_join, (WORD, WORDS), ["load acquire"]),
        (
            rings.seqlock_write,
            (WORD, WORDS, WORD),
            ["load monotonic", "store monotonic", "fence release", "store monotonic", "store release"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_kernel_keeps_its_memory_order_through_the_optimiser(kernel: Any, signature: Any, order: list[str]) -> None:
    text = optimised(kernel, *signature)
    assert memory_order(text) == order
    assert references(text) == raises(text) == []


@pytest.mark.parametrize(
    ("kernel", "signature"),
    [
        (rings.seqlock_read, (WORD, WORDS, WORD)),
        (readers.state_top, (WORD,)),
        (readers.market_take, (WORD, WORD, WORD, WORD, WORDS, ROWS)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_page_is_read_by_atomic_loads_alone(kernel: Any, signature: Any) -> None:
    """Its loop is unrolled, so that the order in the text is not the order of execution."""
    text = optimised(kernel, *signature)
    assert set(memory_order(text)) == {"load acquire", "load monotonic", "fence acquire"}
    assert references(text) == raises(text) == []


def test_a_batch_is_published_by_the_stores_of_one_record_after_the_other() -> None:
    text = optimised(readers.market_publish_batch, WORD, WORD, WORD, ROWS)
    order = ["load monotonic", "store monotonic", "fence release", "store monotonic", "store release"]
    assert memory_order(text)[-5:] == order
    assert references(text) == raises(text) == []


def test_the_end_of_a_ring_is_told_by_three_acquire_loads() -> None:
    """Count, state, count again; the copies of the record are merged into one."""
    text = optimised(readers.lossless_take, WORD, WORD, WORD, WORD, WORD, WORDS)
    assert set(memory_order(text)) == {"load acquire", "load monotonic"}
    assert len(re.findall(r"load atomic i64.* acquire", text)) == 3


@jit.kernel
def wait_for(base: int, tries: int) -> int:
    atomics.store_release(base + 8, 1)
    for left in range(tries, 0, -1):
        if atomics.load_acquire(base):
            return left
    return 0


def test_a_spinning_loop_sees_what_another_thread_stores() -> None:
    memory = np.zeros(2, np.int64)
    wait_for(memory.ctypes.data, 0)
    memory[1] = 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(wait_for, memory.ctypes.data, 4_000_000_000)
        while not memory[1] and not result.done():
            os.sched_yield()
        memory[0] = 1
    assert result.result() > 0


# --- Words and views ---------------------------------------------------------------------------------------------------
@jit.kernel
def through_every_word(base: int, value: int) -> int:
    atomics.store_relaxed(base, value)
    atomics.fence_full()
    atomics.store_release(base + 8, atomics.load_relaxed(base) + 1)
    atomics.cpu_pause()
    return int(atomics.load_acquire(base + 8))


@jit.kernel
def through_every_view(base: int) -> int:
    atomics.row(base, 12)[1] = 11
    atomics.table(base, 3, 4)[2, 3] = 23
    atomics.octets(base, 96)[16] = 200
    atomics.octet_table(base, 12, 8)[3, 0] = 7
    view = atomics.table(base, 3, 4)
    return int(view[0].shape[0] * 100 + view.shape[0])


def test_words_go_to_their_address() -> None:
    memory = np.zeros(3, np.int64)
    assert through_every_word(memory.ctypes.data, -(2**63)) == -(2**63) + 1
    assert memory.tolist() == [-(2**63), -(2**63) + 1, 0]


@jit.kernel
def through_prefetch(base: int) -> int:
    atomics.prefetch(base)
    atomics.prefetch(base * 0)
    return int(atomics.load_relaxed(base))


def test_a_prefetch_is_a_hint_that_changes_nothing_and_never_faults() -> None:
    memory = np.array([7, 8], np.int64)
    assert through_prefetch(memory.ctypes.data) == 7
    assert memory.tolist() == [7, 8]
    assert re.search(r"call [^\n]*@llvm.prefetch", optimised(through_prefetch, types.int64))
    plain: Any = atomics.prefetch
    assert plain(0) is None  # the source of a ring is also run as plain Python


def test_views_are_row_major_over_raw_memory() -> None:
    memory = np.zeros(12, np.int64)
    assert through_every_view(memory.ctypes.data) == 403
    assert memory.tolist() == [0, 11, 200, 7, 0, 0, 0, 0, 0, 0, 0, 23]
