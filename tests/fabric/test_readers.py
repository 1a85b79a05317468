# mypy: disable-error-code="no-untyped-call"
"""What a reader does when it was lapped, by policy, and when the writer has ended: exact losses, no record twice."""

from __future__ import annotations

import concurrent.futures
import pathlib

import numpy as np
import numpy.typing as npt
import pytest
import ring_kernels as kernels
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import layout, readers, rings
from fabric.readers import FATAL, LAPPED, LAPS, LATEST, LOST, NEXT, RESYNC
from fabric.segment import Segment

Words = npt.NDArray[np.int64]
SLOTS = 4
WORDS = rings.SLOT_WORDS


class Ring:
    """A market ring in private memory and one reader of it."""

    def __init__(self, policy: int, rows: int = 3) -> None:
        self.memory = np.zeros((1 + SLOTS) * WORDS, np.int64)
        self.cursor, self.at = self.memory.ctypes.data, self.memory.ctypes.data + rings.SLOT_BYTES
        self.policy, self.reader, self.rows = (
            policy,
            np.zeros(readers.READER_WORDS, np.int64),
            np.zeros((rows, WORDS), np.int64),
        )
        readers.market_join(self.cursor, self.reader)

    @property
    def published(self) -> int:
        return int(self.memory[0])

    def publish(self, count: int) -> None:
        first = self.published + 1
        records = np.arange(first, first + count)[:, None] * 1000 + np.arange(WORDS)
        assert readers.market_publish_batch(self.cursor, self.at, SLOTS, records) == self.published == first + count - 1

    def take(self) -> list[int] | None:
        """Sequences handed over; None for a lap."""
        count = readers.market_take(self.cursor, self.at, SLOTS, self.policy, self.reader, self.rows)
        if count == LAPPED:
            return None
        for record in self.rows[:count]:
            assert (record[1:] == record[0] * 1000 + np.arange(1, WORDS)).all()
        return [int(record[0]) for record in self.rows[:count]]


@pytest.mark.parametrize("policy", [LATEST, RESYNC, FATAL])
def test_a_late_reader_begins_with_what_comes_next(policy: int) -> None:
    ring = Ring(policy)
    ring.publish(9)
    readers.market_join(ring.cursor, ring.reader)
    assert ring.take() == []
    ring.publish(1)
    assert ring.take() == [10]
    assert ring.reader[LOST] == ring.reader[LAPS] == 0


@pytest.mark.parametrize("policy", [RESYNC, FATAL])
def test_a_batch_is_what_is_there_up_to_the_rows_given(policy: int) -> None:
    ring = Ring(policy)
    ring.publish(4)
    assert [ring.take(), ring.take(), ring.take()] == [[1, 2, 3], [4], []]


def test_an_empty_batch_publishes_nothing() -> None:
    ring = Ring(RESYNC)
    ring.publish(2)
    ring.publish(0)
    assert ring.published == 2


def test_latest_takes_the_newest_and_counts_what_it_skipped() -> None:
    ring = Ring(LATEST)
    ring.publish(3)
    assert ring.take() == [3]
    ring.publish(7)
    assert [ring.take(), ring.take()] == [[10], []]
    assert ring.reader.tolist() == [11, 8, 0]


def test_latest_never_loops_on_a_slot_that_is_being_overwritten_for_ever() -> None:
    ring = Ring(LATEST)
    ring.publish(4)
    ring.memory[WORDS * (1 + (4 & (SLOTS - 1)))] = 2 * 8 - 1
    assert ring.take() == []
    assert ring.reader.tolist() == [1, 0, 0]


def test_resync_says_a_lap_once_and_goes_on_at_the_newest_record() -> None:
    ring = Ring(RESYNC)
    ring.publish(20)
    assert [ring.take(), ring.take(), ring.take()] == [None, [20], []]
    assert ring.reader.tolist() == [21, 19, 1]


def test_fatal_says_a_lap_for_ever_and_hands_nothing_over() -> None:
    ring = Ring(FATAL)
    ring.publish(2)
    assert ring.take() == [1, 2]
    ring.publish(5)
    assert [ring.take(), ring.take()] == [None, None]
    ring.publish(100)
    assert ring.take() is None
    assert ring.reader.tolist() == [3, 105, 1]


@pytest.mark.parametrize("policy", [RESYNC, FATAL])
def test_what_was_read_before_a_lap_is_handed_over_before_it_is_said(policy: int) -> None:
    ring = Ring(policy)
    ring.publish(4)
    ring.memory[WORDS * (1 + (6 & (SLOTS - 1)))] = 2 * 6 - 1  # record 2 is being overwritten
    ring.memory[0] = 5
    assert ring.take() == [1]
    assert ring.take() is None


@settings(deadline=None)  # the first example loads the kernel
@given(st.sampled_from([LATEST, RESYNC, FATAL]), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=30))
def test_seen_and_lost_add_up_to_published(policy: int, steps: list[tuple[int, int]]) -> None:
    ring = Ring(policy)
    seen: list[int] = []
    for published, takes in [*steps, (0, 8)]:
        ring.publish(published)
        for _ in range(takes):
            seen.extend(ring.take() or [])
    assert seen == sorted(set(seen))
    assert len(seen) + ring.reader[LOST] == ring.published
    assert policy != FATAL or seen == list(range(1, len(seen) + 1)), "a recorder has a hole"


@pytest.mark.parametrize("policy", [LATEST, RESYNC])
def test_a_reader_beside_a_running_writer_tears_nothing_and_counts_every_loss(policy: int) -> None:
    words = np.zeros(kernels.FILE_BYTES // 8, np.int64)
    base, records = words.ctypes.data, 300_000
    reader, rows = np.zeros(readers.READER_WORDS, np.int64), np.zeros((8, WORDS), np.int64)
    readers.market_join(base, reader)
    record, cached, result = np.zeros(WORDS, np.int64), np.zeros(1, np.int64), np.zeros(4, np.int64)
    kernels.write(base, kernels.MARKET, SLOTS, 0, record, cached, result)
    seen = 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(kernels.write, base, kernels.MARKET, SLOTS, records, record, cached, result)
        while reader[NEXT] <= records:
            count = readers.market_take(base, base + 128, SLOTS, policy, reader, rows)
            for one in rows[: max(count, 0)]:
                assert not kernels.is_torn(one, one[0])
                seen += 1
    writing.result()
    assert result[kernels.PUBLISHED] == records
    assert seen + reader[LOST] == records
    assert reader[LOST] > 0, "nothing was lost: nothing was proved"


# --- The top of the state table ----------------------------------------------------------------------------------------------
def test_the_top_of_a_row_is_read_in_one_cache_line() -> None:
    row, values = np.zeros(layout.STATE_ROW_WORDS, np.int64), np.arange(layout.STATE_ROW_WORDS)
    rings.seqlock_write(row.ctypes.data, values, layout.STATE_ROW_WORDS)
    fields = (layout.ST_BID_TICKS, layout.ST_BID_LOTS, layout.ST_ASK_TICKS, layout.ST_ASK_LOTS)
    assert readers.state_top(row.ctypes.data) == (1, *fields)
    assert max(fields) * layout.WORD < 64
    row[0] = 5  # the writer died in the middle
    assert readers.state_top(row.ctypes.data) == (0, 0, 0, 0, 0)


def test_a_top_read_beside_a_running_writer_is_never_mixed() -> None:
    words = np.zeros(kernels.FILE_BYTES // 8, np.int64)
    base, states = words.ctypes.data, 3_000_000
    record, cached, result = np.zeros(WORDS, np.int64), np.zeros(1, np.int64), np.zeros(4, np.int64)
    kernels.write(base, kernels.PAGE, SLOTS, 1, record, cached, result)
    found: set[int] = set()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(50):
            writing = pool.submit(kernels.write, base, kernels.PAGE, SLOTS, states, record, cached, result)
            while not writing.done():
                complete, *top = readers.state_top(base + 128)
                if complete:
                    first = top[0] - layout.ST_BID_TICKS
                    assert [top[k] - first for k in range(4)] == [2, 3, 4, 5]
                    found.add(first)
            if len(found) > 2:
                return
    pytest.fail("the writer never ran beside the reader: nothing was proved")


# --- The end of a lossless ring --------------------------------------------------------------------------------------------
class Pipe:
    """The signal ring of a real segment, and its reader."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.writer = Segment.create(directory, "signal", "signal")
        self.reader = Segment.attach(directory, "signal")
        self.consumed, self.cached = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.out = np.zeros(WORDS, np.int64)

    def offer(self, value: int) -> int:
        cursor = self.writer.address + layout.SIGNAL_CURSOR_OFFSET
        ring = self.writer.address + layout.SIGNAL_RING_OFFSET
        record = np.full(WORDS, value, np.int64)
        consumed = self.consumed.ctypes.data
        return int(rings.lossless_publish(cursor, ring, layout.SIGNAL_SLOTS, consumed, self.cached, record, 0))

    def take(self, sequence: int) -> int:
        base = self.reader.address
        return int(
            readers.lossless_take(
                base + layout.H_STATE * layout.WORD,
                base + layout.SIGNAL_CURSOR_OFFSET,
                base + layout.SIGNAL_RING_OFFSET,
                layout.SIGNAL_SLOTS,
                sequence,
                self.out,
            )
        )


@pytest.fixture
def pipe(tmp_path: pathlib.Path) -> Pipe:
    return Pipe(tmp_path)


def test_a_closed_ring_is_read_to_its_last_record_and_then_says_closed(pipe: Pipe) -> None:
    assert [pipe.offer(7), pipe.offer(8)] == [layout.RING_OK] * 2
    assert pipe.take(3) == layout.RING_EMPTY
    pipe.writer.enter(layout.SEGMENT_STATE_DRAINING)
    assert pipe.take(3) == layout.RING_EMPTY, "a draining writer may still write"
    pipe.writer.enter(layout.SEGMENT_STATE_CLOSED)
    assert [pipe.take(1), pipe.take(2), pipe.take(3)] == [layout.RING_OK, layout.RING_OK, layout.RING_CLOSED]
    assert pipe.out[1] == 8


def test_a_record_published_just_before_the_close_is_never_missed() -> None:
    """The reader's own source, with the writer's last steps put between its two looks."""
    looks, states = [layout.RING_EMPTY, layout.RING_OK], [layout.SEGMENT_STATE_CLOSED]
    names = {
        **vars(readers),
        "lossless_read": lambda *_: looks.pop(0),
        "load_acquire": lambda _: states.pop(0),
    }
    source = readers.lossless_take.py_func
    take = type(source)(source.__code__, names)
    assert take(0, 0, 0, 4, 1, None) == layout.RING_OK
    assert not looks
