# mypy: disable-error-code="no-untyped-call"
"""Our histograms beside HdrHistogram's own port: the same buckets, percentiles and sums, whatever is recorded."""

from __future__ import annotations

import concurrent.futures

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import layout, meters
from fabric.jit import kernel
from fabric.stats import Histogram

LONGEST_NS = 60_000_000_000
VALUE = st.one_of(
    st.integers(0, LONGEST_NS),
    st.integers(0, 300),
    st.integers(0, 35).flatmap(lambda bits: st.integers(max(0, 2**bits - 2), min(LONGEST_NS, 2**bits + 2))),
)
VALUES = st.lists(VALUE, min_size=1, max_size=120)
WORDS = layout.STATS_BYTES // layout.WORD
FIRST = layout.HISTOGRAMS_OFFSET // layout.WORD


def recorded(values: list[int]) -> Histogram:
    """What the compiled meter makes of the values, in the memory of a stats segment."""
    words = np.zeros(WORDS, np.int64)
    for value in values:
        meters.record(words.ctypes.data, 0, value)
    return snapshot(words)


def snapshot(words: npt.NDArray[np.int64]) -> Histogram:
    buckets = words[FIRST + len(layout.HISTOGRAM_HEADER) : FIRST + layout.HISTOGRAM_STRIDE // layout.WORD]
    return Histogram(buckets.copy(), int(words[FIRST + layout.HG_MAX_NS]))


def oracle(values: list[int]) -> HdrHistogram:
    histogram = HdrHistogram(1, LONGEST_NS, 2)
    for value in values:
        histogram.record_value(value)
    return histogram


def same_buckets(ours: Histogram, theirs: HdrHistogram) -> bool:
    return ours.buckets.tolist() == [theirs.get_count_at_index(index) for index in range(layout.HISTOGRAM_BUCKETS)]


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES)
def test_the_buckets_and_the_total_are_hdrhistograms(values: list[int]) -> None:
    ours, theirs = recorded(values), oracle(values)
    assert same_buckets(ours, theirs)
    assert ours.count == theirs.get_total_count() == len(values)


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES, st.integers(0, 10**6))
def test_a_percentile_is_hdrhistograms_and_within_one_percent_of_the_sample(values: list[int], pick: int) -> None:
    rank = pick % len(values) + 1
    percent = 100 * (rank - 0.25) / len(values)  # both mean this rank: we round up, it rounds to the nearest
    ours, theirs = recorded(values), oracle(values)
    sample = sorted(values)[rank - 1]
    found = ours.percentile(percent)
    assert found == min(theirs.get_value_at_percentile(percent), max(values))
    assert found is not None
    assert sample <= found <= sample * 1.01


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES)
def test_the_maximum_is_exact_where_hdrhistogram_rounds_it(values: list[int]) -> None:
    ours, theirs = recorded(values), oracle(values)
    assert ours.max_ns == ours.percentile(100) == max(values)
    assert theirs.get_highest_equivalent_value(ours.max_ns) == theirs.get_max_value() or max(values) == 0


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES, VALUES)
def test_the_sum_of_two_is_the_histogram_of_both(one: list[int], two: list[int]) -> None:
    theirs = oracle(one)
    theirs.add(oracle(two))
    together = recorded(one) + recorded(two)
    assert same_buckets(together, theirs)
    assert together.max_ns == max(one + two)


@settings(deadline=None)  # the first example loads the kernel
@given(VALUES, VALUES)
def test_a_later_snapshot_less_an_earlier_one_is_what_came_between(before: list[int], between: list[int]) -> None:
    difference = recorded(before + between) - recorded(before)
    assert same_buckets(difference, oracle(between))
    assert difference.max_ns == max(before + between)


@settings(deadline=None)  # the first example loads the kernel
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_no_value_whatsoever_is_lost(values: list[int]) -> None:
    ours = recorded(values)
    assert ours.count == len(values)
    assert ours.max_ns == max(0, *values)


@kernel
def record_many(base: int, count: int) -> None:
    for value in range(count):
        meters.record(base, 0, (value * 7919) & 0xFFFFF)


def test_snapshots_taken_while_a_loop_records_only_grow() -> None:
    words, count = np.zeros(WORDS, np.int64), 10_000_000
    record_many(words.ctypes.data, 0)
    older, grown, rounds = snapshot(words), 0, 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        while grown < 3 and rounds < 30:
            rounds += 1
            writing = pool.submit(record_many, words.ctypes.data, count)
            while not writing.done():
                newer = snapshot(words)
                assert (newer - older).buckets.min() >= 0
                assert newer.max_ns >= older.max_ns
                grown += older.count < newer.count < rounds * count
                older = newer
    assert snapshot(words).count == rounds * count
    assert grown >= 3, "no snapshot was taken while the loop ran: nothing was proved"
