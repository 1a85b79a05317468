# mypy: disable-error-code="no-untyped-call"
"""Counters and histograms: HdrHistogram's buckets, checked against its own port, and nothing written beside them."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from compiled import locked, machine_code, optimised, raises
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fabric import jit, layout, meters, rings
from watchdog import page

LONGEST_NS = 60_000_000_000
LAST = layout.HISTOGRAM_BUCKETS - 1
VALUES = st.one_of(
    st.integers(0, LONGEST_NS),
    st.integers(0, 35).flatmap(lambda bits: st.integers(max(0, 2**bits - 2), min(LONGEST_NS, 2**bits + 2))),
)
ORACLE = HdrHistogram(1, LONGEST_NS, 2)


@pytest.fixture
def words() -> npt.NDArray[np.int64]:
    """The memory of a stats segment."""
    return np.zeros(layout.STATS_BYTES // layout.WORD, np.int64)


def buckets(words: npt.NDArray[np.int64], histogram: int) -> npt.NDArray[np.int64]:
    start = (layout.HISTOGRAMS_OFFSET + histogram * layout.HISTOGRAM_STRIDE) // layout.WORD
    return words[start + len(layout.HISTOGRAM_HEADER) : start + layout.HISTOGRAM_STRIDE // layout.WORD]


def test_the_histogram_has_as_many_buckets_as_hdrhistogram() -> None:
    assert ORACLE.counts_len == layout.HISTOGRAM_BUCKETS


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES)
def test_a_value_lands_in_hdrhistograms_bucket(value_ns: int) -> None:
    index = meters.bucket_of(value_ns)
    assert index == ORACLE._counts_index_for(value_ns)
    assert meters.bucket_value(index) == ORACLE.get_highest_equivalent_value(value_ns)


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES)
def test_a_value_is_kept_to_two_significant_digits(value_ns: int) -> None:
    shown = meters.bucket_value(meters.bucket_of(value_ns))
    assert value_ns <= shown <= value_ns * 1.01


@settings(deadline=None)  # the first example loads the kernel
@given(st.integers(0, LAST))
def test_a_buckets_highest_value_lands_in_it_and_the_next_value_does_not(index: int) -> None:
    value = meters.bucket_value(index)
    assert meters.bucket_of(value) == index
    assert meters.bucket_of(value + 1) == min(index + 1, LAST)


@pytest.mark.parametrize(("value_ns", "index"), [(-1, 0), (-(2**63), 0), (0, 0), (2**36 - 1, LAST), (2**63 - 1, LAST)])
def test_values_outside_the_range_count_at_its_ends(value_ns: int, index: int) -> None:
    assert meters.bucket_of(value_ns) == index


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES)
def test_the_watchdogs_own_buckets_are_the_same(value_ns: int) -> None:
    assert page.bucket(value_ns) == meters.bucket_of(value_ns)


def test_recording_counts_one_bucket_and_keeps_the_exact_maximum(words: npt.NDArray[np.int64]) -> None:
    values = [0, 5, 5, 1_234_567, 10**12, 999]
    for value in values:
        meters.record(words.ctypes.data, 3, value)
    expected = np.zeros(layout.HISTOGRAM_BUCKETS, np.int64)
    for value in values:
        expected[meters.bucket_of(value)] += 1
    assert (buckets(words, 3) == expected).all()
    start = (layout.HISTOGRAMS_OFFSET + 3 * layout.HISTOGRAM_STRIDE) // layout.WORD
    assert words[start + layout.HG_MAX_NS] == 10**12
    assert words.sum() == len(values) + 10**12, "something else was written"


def test_the_last_bucket_of_the_last_histogram_ends_where_the_labels_begin(words: npt.NDArray[np.int64]) -> None:
    meters.record(words.ctypes.data, layout.HISTOGRAMS_MAX - 1, 2**62)
    assert words[layout.LABELS_OFFSET // layout.WORD - 1] == 1


def test_counters_add_and_set_their_own_word(words: npt.NDArray[np.int64]) -> None:
    meters.counter_add(words.ctypes.data, 2, 5)
    meters.counter_add(words.ctypes.data, 2, -1)
    meters.counter_set(words.ctypes.data, layout.COUNTERS_MAX - 1, 77)
    first, stride = layout.COUNTERS_OFFSET // layout.WORD, layout.COUNTER_STRIDE // layout.WORD
    assert words.nonzero()[0].tolist() == [first + 2 * stride, first + (layout.COUNTERS_MAX - 1) * stride]
    assert words[first + 2 * stride] == 4
    assert words[first + (layout.COUNTERS_MAX - 1) * stride] == 77


def test_heartbeat_and_status_go_to_their_own_words(words: npt.NDArray[np.int64]) -> None:
    meters.heartbeat(words.ctypes.data, 123)
    meters.status_set(words.ctypes.data, layout.P_PASSES, 456)
    assert words[layout.HEARTBEAT_OFFSET // layout.WORD] == 123
    assert words[layout.STATUS_OFFSET // layout.WORD + layout.P_PASSES] == 456
    assert np.count_nonzero(words) == 2


# --- What the compiler made of them ----------------------------------------------------------------------------------------
WORD = types.int64


@intrinsic
def add_locked(typingctx: Any, address: Any, count: Any) -> Any:
    """What a meter must not be."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "monotonic")

    return types.int64(types.int64, types.int64), codegen


@jit.kernel
def counts_for_all(address: int, count: int) -> int:
    return int(add_locked(address, count))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 machine code")
@pytest.mark.parametrize(
    ("meter", "arguments"),
    [
        (meters.counter_add, 3),
        (meters.counter_set, 3),
        (meters.record, 3),
        (meters.heartbeat, 2),
        (meters.status_set, 3),
        (rings.market_publish, 3),
        (rings.market_read, 3),
        (rings.seqlock_write, 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_meter_and_no_ring_locks_the_bus_or_drains_the_store_buffer(meter: Any, arguments: int) -> None:
    extra = {"market_publish": (WORD[::1],), "market_read": (WORD[::1],), "seqlock_write": (WORD[::1], WORD)}
    signature = (WORD,) * arguments + extra.get(meter.__name__, ())
    assert locked(machine_code(meter, *signature)) == []
    assert raises(optimised(meter, *signature)) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 machine code")
def test_a_locked_instruction_would_be_seen() -> None:
    assert locked(machine_code(counts_for_all, WORD, WORD))
