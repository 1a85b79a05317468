# mypy: disable-error-code="no-untyped-call,attr-defined"
"""The depth book: sequence rules, all-or-nothing, bounded depth, and agreement with a plain dict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import layout
from feed import book
from venue import tables as t

BUY, SELL = layout.SIDE_BUY, layout.SIDE_SELL
Levels = list[tuple[int, int, int]]


class Harness:
    """One book and the calls on it."""

    def __init__(self) -> None:
        self.block = book.make_books(1)
        self.levels = np.zeros((t.LEVELS_CAPACITY, len(t.LEVEL)), np.int64)

    def _fill(self, rows: Levels) -> int:
        if rows:
            self.levels[: len(rows)] = rows
        return len(rows)

    def snapshot(self, sequence: int, rows: Levels) -> int:
        return int(book.apply_snapshot(self.block, sequence, self.levels, self._fill(rows)))

    def delta(self, previous: int, sequence: int, rows: Levels) -> int:
        return int(book.apply_delta(self.block, previous, sequence, self.levels, self._fill(rows)))

    @property
    def status(self) -> int:
        return int(book.status(self.block.ctypes.data, 0))

    def top(self) -> list[list[int]]:
        out = np.zeros(4 * layout.LEVELS, np.int64)
        count = int(book.top(self.block.ctypes.data, 0, out))
        rows: list[list[int]] = out.reshape(-1, 4).tolist()
        assert not any(any(row) for row in rows[count:])
        return rows[:count]


@pytest.fixture
def ready() -> Harness:
    h = Harness()
    assert h.snapshot(100, [(BUY, 99, 5), (BUY, 98, 6), (SELL, 101, 7), (SELL, 103, 8)]) == t.BOOK_APPLIED
    return h


def test_snapshot_makes_an_empty_book_ready(ready: Harness) -> None:
    assert ready.status == layout.BOOK_READY
    assert ready.top() == [[99, 5, 101, 7], [98, 6, 103, 8]]


def test_delta_sets_inserts_and_deletes_levels(ready: Harness) -> None:
    assert ready.delta(100, 101, [(BUY, 99, 0), (BUY, 97, 1), (SELL, 102, 2), (SELL, 101, 9)]) == t.BOOK_APPLIED
    assert ready.top() == [[98, 6, 101, 9], [97, 1, 102, 2], [0, 0, 103, 8]]


def test_delta_before_any_snapshot_changes_nothing() -> None:
    h = Harness()
    assert h.delta(1, 2, [(BUY, 99, 5)]) == t.BOOK_BEFORE_SNAPSHOT
    assert (h.status, h.top()) == (layout.BOOK_EMPTY, [])


def test_delta_up_to_the_snapshot_is_stale_and_the_book_stays_ready(ready: Harness) -> None:
    assert ready.delta(90, 100, [(BUY, 99, 0)]) == t.BOOK_STALE
    assert ready.status == layout.BOOK_READY
    assert ready.top()[0] == [99, 5, 101, 7]


def test_first_delta_may_begin_before_the_snapshot_but_the_second_must_join(ready: Harness) -> None:
    assert ready.delta(95, 105, []) == t.BOOK_APPLIED
    assert ready.delta(104, 110, []) == t.BOOK_GAP
    assert ready.status == layout.BOOK_DIRTY


def test_gap_makes_the_book_dirty_until_the_next_snapshot(ready: Harness) -> None:
    assert ready.delta(101, 102, []) == t.BOOK_GAP
    assert ready.delta(100, 103, []) == t.BOOK_BEFORE_SNAPSHOT
    assert ready.snapshot(50, [(BUY, 10, 1)]) == t.BOOK_APPLIED
    assert (ready.status, ready.top()) == (layout.BOOK_READY, [[10, 1, 0, 0]])


def test_repeated_last_delta_is_stale_not_a_gap(ready: Harness) -> None:
    assert ready.delta(100, 105, [(BUY, 99, 4)]) == t.BOOK_APPLIED
    assert ready.delta(100, 105, [(BUY, 99, 4)]) == t.BOOK_STALE
    assert ready.delta(105, 106, []) == t.BOOK_APPLIED


def test_older_snapshot_does_not_roll_a_ready_book_back(ready: Harness) -> None:
    assert ready.snapshot(99, [(BUY, 10, 1)]) == t.BOOK_STALE
    assert ready.top()[0] == [99, 5, 101, 7]


def test_touching_sides_are_crossed_and_dirty(ready: Harness) -> None:
    assert ready.delta(100, 101, [(BUY, 101, 1)]) == t.BOOK_CROSSED
    assert ready.status == layout.BOOK_DIRTY


@pytest.mark.parametrize("bad", [(2, 99, 1), (BUY, 0, 1), (BUY, -5, 1), (SELL, 101, -1)])
def test_message_with_one_bad_level_is_refused_whole(ready: Harness, bad: tuple[int, int, int]) -> None:
    before = ready.block[1:].copy()
    assert ready.delta(100, 101, [(BUY, 98, 0), bad]) == t.BOOK_REFUSED
    assert (ready.block[1:] == before).all()
    assert ready.status == layout.BOOK_DIRTY


def test_marked_dirty_book_has_no_top_and_waits_for_a_snapshot(ready: Harness) -> None:
    book.mark_dirty(ready.block.ctypes.data, 0)
    assert ready.top() == []
    assert ready.delta(100, 101, []) == t.BOOK_BEFORE_SNAPSHOT


def test_level_beyond_the_depth_drops_the_worst_and_is_counted() -> None:
    h = Harness()
    base = 100_000
    assert h.snapshot(1, [(BUY, base - k, 1) for k in range(book.DEPTH)]) == t.BOOK_APPLIED
    worst = base - book.DEPTH + 1
    assert h.delta(1, 2, [(BUY, base + 1, 7), (BUY, worst - 1, 7)]) == t.BOOK_APPLIED
    address = h.block.ctypes.data
    assert book.dropped(address, 0) == 2
    assert h.top()[0][:2] == [base + 1, 7]
    keys = h.block[book.BIDS]
    assert (keys[0], int(np.diff(keys).min())) == (worst + 1, 1)


def test_books_of_two_instruments_do_not_touch_each_other() -> None:
    block = book.make_books(2)
    levels = np.array([[BUY, 99, 5]], np.int64)
    book.apply_snapshot(block[book.ROWS :], 7, levels, 1)
    assert book.status(block.ctypes.data, 0) == layout.BOOK_EMPTY
    assert book.status(block.ctypes.data, 1) == layout.BOOK_READY
    assert not block[: book.ROWS].any()


_ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40), st.integers(0, 3)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(messages=st.lists(_ROWS, max_size=12))
def test_book_agrees_with_a_dict_and_its_interpreted_twin(messages: list[Levels]) -> None:
    compiled, plain = book.make_books(1), book.make_books(1)
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    levels = np.zeros((64, 3), np.int64)
    empty: Any = np.zeros((0, 3), np.int64)
    book.apply_snapshot(compiled, 0, empty, 0)
    book.apply_snapshot(plain, 0, empty, 0)
    for sequence, rows in enumerate(messages, 1):
        shifted = [(side, ticks + 100 * (side == SELL), lots) for side, ticks, lots in rows]  # never crossed
        if shifted:
            levels[: len(shifted)] = shifted
        assert book.apply_delta(compiled, sequence - 1, sequence, levels, len(shifted)) == t.BOOK_APPLIED
        for side, ticks, lots in shifted:
            book.set_level.py_func(plain, side, ticks, lots)
            if lots:
                sides[side][ticks] = lots
            else:
                sides[side].pop(ticks, None)
    top = np.zeros(4 * layout.LEVELS, np.int64)
    book.copy_top(compiled, top)
    bids = sorted(sides[BUY].items(), reverse=True)[: layout.LEVELS]
    asks = sorted(sides[SELL].items())[: layout.LEVELS]
    rows_out = top.reshape(-1, 4)
    assert [tuple(row) for row in rows_out[: len(bids), :2].tolist()] == bids
    assert [tuple(row) for row in rows_out[: len(asks), 2:].tolist()] == asks
    for first, counter in ((book.BIDS, book.COUNT_BIDS), (book.ASKS, book.COUNT_ASKS)):
        count = compiled[book.META, counter]
        assert count == plain[book.META, counter]
        assert (compiled[first : first + 2, :count] == plain[first : first + 2, :count]).all()
