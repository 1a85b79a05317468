# mypy: disable-error-code="no-untyped-call"
"""The stats page, written by one process and read by any tool from the path alone."""

from __future__ import annotations

import math
import os
import pathlib
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import layout, meters
from fabric.segment import Segment, SegmentError
from fabric.stats import Histogram, StatsReader, StatsWriter


@pytest.fixture
def writer(tmp_path: pathlib.Path) -> StatsWriter:
    return StatsWriter(tmp_path, "execution", config_hash=3, code_hash=4)


@pytest.fixture
def reader(tmp_path: pathlib.Path, writer: StatsWriter) -> StatsReader:
    return StatsReader(tmp_path, "execution")


def test_the_labels_are_in_the_segment(reader: StatsReader) -> None:
    assert tuple(reader.counter_labels) == layout.EXEC_COUNTERS + layout.REJECT_COUNTERS
    assert tuple(reader.histogram_labels) == layout.EXEC_HISTOGRAMS


@pytest.mark.parametrize("role", layout.COUNTERS_OF_ROLE)
def test_every_role_has_a_page(tmp_path: pathlib.Path, role: str) -> None:
    StatsWriter(tmp_path, role).add(0, 9)
    counters = StatsReader(tmp_path, role).counters()
    assert tuple(counters) == layout.COUNTERS_OF_ROLE[role]
    assert list(counters.values()) == [9] + [0] * (len(counters) - 1)


def test_a_page_that_is_not_there_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SegmentError, match="has not started"):
        StatsReader(tmp_path, "feed")


def test_counters_are_read_by_name_whoever_wrote_them(writer: StatsWriter, reader: StatsReader) -> None:
    writer.add("fills", 2)
    writer.add(layout.EC_FILLS)
    writer.set("halts", 7)
    meters.counter_add(writer.segment.address, layout.EC_ORDERS_SENT, 4)
    meters.counter_add(writer.segment.address, layout.EXEC_REASON_BASE + layout.REASON_PRICE_COLLAR, 1)
    counted = {name: value for name, value in reader.counters().items() if value}
    assert counted == {"fills": 3, "halts": 7, "orders_sent": 4, "reason.price_collar": 1}


def test_a_name_that_no_counter_has_is_refused(writer: StatsWriter) -> None:
    with pytest.raises(ValueError, match="index"):
        writer.add("no_such_counter")


def test_status_and_heartbeat(writer: StatsWriter, reader: StatsReader) -> None:
    status = reader.status()
    assert (status["pid"], status["state"]) == (os.getpid(), layout.PROCESS_STARTING)
    assert status["started_ns"] > 0
    assert reader.heartbeat_age_ns() is None
    writer.status(state=layout.PROCESS_RUNNING, cpu=-1)
    writer.beat()
    assert (reader.status()["state"], reader.status()["cpu"]) == (layout.PROCESS_RUNNING, -1)
    assert reader.heartbeat_age_ns() is not None


# --- Histograms ----------------------------------------------------------------------------------------------------------
def test_python_and_kernels_record_into_the_same_histogram(writer: StatsWriter, reader: StatsReader) -> None:
    for value in (100, 2_000, 30_000):
        writer.record("ack", value)
        meters.record(writer.segment.address, layout.EH_ACK, value)
    writer.record("ack", -5)
    histogram = reader.histogram("ack")
    assert (histogram.count, histogram.max_ns) == (7, 30_000)
    assert np.unique(histogram.buckets[histogram.buckets > 0]).tolist() == [1, 2]
    assert reader.histogram("send").count == 0


def test_an_empty_histogram_has_no_percentiles(reader: StatsReader) -> None:
    assert reader.histogram("ack").summary() == {"count": 0, "p50": None, "p99": None, "p999": None, "max": None}


def test_a_snapshot_does_not_move_and_a_difference_is_what_happened_since(writer: StatsWriter, reader: StatsReader) -> None:
    writer.record("ack", 1_000_000)
    older = reader.histogram("ack")
    for _ in range(3):
        writer.record("ack", 100)
    assert older.count == 1
    recent = reader.histogram("ack") - older
    assert (recent.count, recent.percentile(100)) == (3, 100)


def histogram_of(values: list[int]) -> Histogram:
    buckets = np.zeros(layout.HISTOGRAM_BUCKETS, np.int64)
    for value in values:
        buckets[meters.bucket_of(value)] += 1
    return Histogram(buckets, max(values))


@settings(deadline=None)  # the first example loads the kernel
@given(
    st.lists(st.integers(0, 60_000_000_000), min_size=1, max_size=200), st.sampled_from(["1", "50", "90", "99", "99.9", "100"])
)
def test_percentiles_are_the_ranked_samples_to_two_digits(values: list[int], percent: str) -> None:
    rank = max(1, math.ceil(len(values) * Fraction(percent) / 100))
    exact = sorted(values)[rank - 1]
    found = histogram_of(values).percentile(float(percent))
    assert found == min(meters.bucket_value(meters.bucket_of(exact)), max(values))


def test_percentiles_agree_with_numpy() -> None:
    values = np.random.default_rng(5).lognormal(10, 2, 4_999).astype(np.int64)
    histogram = histogram_of(values.tolist())
    for percent in (50.0, 99.0, 99.9):
        exact = np.percentile(values, percent, method="inverted_cdf")
        found = histogram.percentile(percent)
        assert found is not None
        assert exact <= found <= exact * 1.01
    assert histogram.percentile(100) == values.max()


# --- Errors --------------------------------------------------------------------------------------------------------------
def test_a_repeated_error_raises_its_count_and_keeps_its_first_time(writer: StatsWriter, reader: StatsReader) -> None:
    assert reader.errors() == []
    writer.error("venue closed the session")
    first = reader.errors()[0]
    writer.error("bad answer")
    writer.error("venue closed the session")
    errors = reader.errors()
    assert [(error.count, error.text) for error in errors] == [(2, "venue closed the session"), (1, "bad answer")]
    assert errors[0].first_ns == first.first_ns
    assert errors[0].last_ns >= errors[1].first_ns >= first.last_ns


def test_a_storm_of_distinct_errors_fills_neither_the_log_nor_the_memory(writer: StatsWriter, reader: StatsReader) -> None:
    writer.error("the first")
    for number in range(1000):
        writer.error(f"error {number}")
    writer.error("the first")
    errors = reader.errors()
    assert len(errors) == layout.ERRORS_MAX
    assert (errors[0].count, errors[0].text) == (2, "the first")
    assert errors[-1].text == "error 999"
    assert sum(error.count for error in errors) == 1002
    assert len(writer._errors) < layout.ERRORS_MAX


def test_a_long_error_is_cut_and_stays_readable(writer: StatsWriter, reader: StatsReader) -> None:
    writer.error("é" * 300)
    writer.error("x" * 1000)
    writer.error("a name with \udcff in it")
    texts = [error.text for error in reader.errors()]
    assert texts[0].startswith("é" * 100)
    assert texts[1] == "x" * (layout.ERROR_BYTES - 32)
    assert texts[2] == "a name with ? in it"


def test_the_last_error_ends_inside_the_segment(writer: StatsWriter, reader: StatsReader) -> None:
    for number in range(layout.ERRORS_MAX):
        writer.error(f"{number}".ljust(500, "."))
    assert len(reader.errors()) == layout.ERRORS_MAX


def test_errors_of_several_threads_lose_no_count(writer: StatsWriter, reader: StatsReader) -> None:
    def work(name: str) -> None:
        for number in range(50):
            writer.error(f"{name} {number % 5}")
            writer.error("common")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = {error.text: error.count for error in reader.errors()}
    assert counts.pop("common") == 200
    assert counts == {f"{name} {number}": 10 for name in "abcd" for number in range(5)}


def test_labels_are_there_before_any_reader_can_attach(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    publish = Segment._publish

    def watched(segment: Segment, link: pathlib.Path) -> None:
        text = bytes(memoryview(segment.words).cast("B")[layout.LABELS_OFFSET : layout.LABELS_OFFSET + layout.LABEL_BYTES])
        seen.append(text.split(b"\0")[0].decode())
        publish(segment, link)

    monkeypatch.setattr(Segment, "_publish", watched)
    StatsWriter(tmp_path, "feed")
    assert seen == [layout.FEED_COUNTERS[0]]
