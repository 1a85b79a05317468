# mypy: disable-error-code="no-untyped-call,attr-defined"
"""Deltas that come before their snapshot: held, replayed in order, bounded."""

from __future__ import annotations

import numpy as np
import pytest

from fabric import layout
from feed import book, join
from venue import tables as t

BUY, SELL = layout.SIDE_BUY, layout.SIDE_SELL
Levels = list[tuple[int, int, int]]
BASE: Levels = [(BUY, 99, 5), (SELL, 101, 7)]


class Harness:
    """Two books, of which the second is used, with counters."""

    def __init__(self) -> None:
        self.block = book.make_books(2)
        self.levels = np.zeros((t.LEVELS_CAPACITY, len(t.LEVEL)), np.int64)
        self.stats = np.zeros(layout.STATS_BYTES // 8, np.int64)

    def _apply(self, snapshot: bool, previous: int, sequence: int, rows: Levels) -> int:
        decoded = np.zeros(len(t.DECODED), np.int64)
        decoded[t.DC_INSTRUMENT], decoded[t.DC_IS_SNAPSHOT], decoded[t.DC_PREV_SEQ] = 1, snapshot, previous
        decoded[t.DC_VENUE_SEQ], decoded[t.DC_LEVELS] = sequence, len(rows)
        if rows:
            self.levels[: len(rows)] = rows
        outcome = int(join.apply(self.block.ctypes.data, decoded, self.levels, self.stats.ctypes.data))
        assert not self.block[: book.ROWS].any()
        return outcome

    def snapshot(self, sequence: int, rows: Levels) -> int:
        return self._apply(True, 0, sequence, rows)

    def delta(self, previous: int, sequence: int, rows: Levels) -> int:
        return self._apply(False, previous, sequence, rows)

    @property
    def status(self) -> int:
        return int(book.status(self.block.ctypes.data, 1))

    @property
    def sequence(self) -> int:
        return int(book.sequence(self.block.ctypes.data, 1))

    def bids(self) -> list[tuple[int, int]]:
        out = np.zeros(4 * layout.LEVELS, np.int64)
        count = int(book.top(self.block.ctypes.data, 1, out))
        return [(int(r[0]), int(r[1])) for r in out.reshape(-1, 4)[:count] if r[0]]

    def counted(self) -> dict[str, int]:
        words = (layout.COUNTERS_OFFSET + np.arange(len(layout.FEED_COUNTERS)) * layout.COUNTER_STRIDE) // 8
        return {n: int(v) for n, v in zip(layout.FEED_COUNTERS, self.stats[words], strict=True) if v}


@pytest.fixture
def h() -> Harness:
    return Harness()


def test_deltas_before_the_first_snapshot_are_replayed_in_order_and_stale_ones_dropped(h: Harness) -> None:
    assert h.delta(0, 90, [(BUY, 50, 1)]) == t.BOOK_BEFORE_SNAPSHOT
    assert h.delta(90, 105, [(BUY, 98, 6), (BUY, 97, 4)]) == t.BOOK_BEFORE_SNAPSHOT
    assert h.delta(105, 110, [(BUY, 98, 0), (BUY, 96, 3)]) == t.BOOK_BEFORE_SNAPSHOT
    assert h.snapshot(100, BASE) == t.BOOK_APPLIED
    assert (h.status, h.sequence, h.bids()) == (layout.BOOK_READY, 110, [(99, 5), (97, 4), (96, 3)])
    assert h.delta(110, 111, [(BUY, 99, 9)]) == t.BOOK_APPLIED
    assert h.counted() == {"book_before_snapshot": 3, "book_stale_delta": 1}


def test_delta_that_found_the_gap_and_those_behind_it_follow_the_resync_snapshot(h: Harness) -> None:
    h.snapshot(100, BASE)
    assert h.delta(103, 104, [(BUY, 98, 1)]) == t.BOOK_GAP
    assert h.delta(104, 105, [(BUY, 97, 1)]) == t.BOOK_BEFORE_SNAPSHOT
    assert h.bids() == []
    assert h.snapshot(103, BASE) == t.BOOK_APPLIED
    assert (h.sequence, h.bids()) == (105, [(99, 5), (98, 1), (97, 1)])


def test_gap_inside_the_hold_keeps_the_rest_for_the_next_snapshot(h: Harness) -> None:
    for previous, sequence, ticks in ((99, 101, 98), (110, 111, 97), (111, 112, 96)):
        h.delta(previous, sequence, [(BUY, ticks, 1)])
    assert h.snapshot(100, BASE) == t.BOOK_APPLIED
    assert (h.status, h.bids()) == (layout.BOOK_DIRTY, [])
    assert h.snapshot(110, BASE) == t.BOOK_APPLIED
    assert (h.sequence, h.bids()) == (112, [(99, 5), (97, 1), (96, 1)])
    assert h.counted() == {"book_before_snapshot": 3, "book_gaps": 1}


def test_delta_that_crossed_the_book_waits_but_is_stale_to_a_newer_snapshot(h: Harness) -> None:
    h.snapshot(100, BASE)
    assert h.delta(100, 101, [(BUY, 101, 1)]) == t.BOOK_CROSSED
    assert h.snapshot(101, BASE) == t.BOOK_APPLIED
    assert (h.status, h.bids()) == (layout.BOOK_READY, [(99, 5)])


def test_refused_delta_does_not_wait(h: Harness) -> None:
    h.delta(100, 101, [(BUY, -1, 1)])
    assert h.snapshot(100, BASE) == t.BOOK_APPLIED
    assert h.status == layout.BOOK_DIRTY
    assert h.snapshot(100, BASE) == t.BOOK_APPLIED
    assert h.status == layout.BOOK_READY
    assert h.counted() == {"book_before_snapshot": 1, "book_refused": 1}


def test_full_hold_is_dropped_and_counted_and_the_replay_finds_the_gap(h: Harness) -> None:
    for k in range(join.MESSAGES):
        h.delta(100 + k, 101 + k, [(BUY, 10 + k, 1)])
    assert "join_dropped" not in h.counted()
    h.delta(100 + join.MESSAGES, 101 + join.MESSAGES, [])
    assert h.counted()["join_dropped"] == join.MESSAGES
    h.snapshot(100, BASE)
    assert h.status == layout.BOOK_DIRTY
    h.snapshot(100 + join.MESSAGES, BASE)
    assert (h.status, h.sequence) == (layout.BOOK_READY, 101 + join.MESSAGES)


def test_levels_that_do_not_fit_drop_the_hold(h: Harness) -> None:
    many: Levels = [(BUY, 1 + k, 1) for k in range(join.LEVELS)]
    h.delta(100, 101, many[:1])
    h.delta(101, 102, many)
    assert h.counted()["join_dropped"] == 1
    h.delta(102, 103, [*many, (BUY, 1, 1)])
    assert h.counted()["join_dropped"] == 3


def test_cleared_hold_is_not_replayed(h: Harness) -> None:
    h.delta(90, 105, [(BUY, 98, 6)])
    join.clear(h.block.ctypes.data, 1)
    h.snapshot(100, BASE)
    assert (h.sequence, h.bids()) == (100, [(99, 5)])
