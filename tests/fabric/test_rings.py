# mypy: disable-error-code="no-untyped-call"
"""The rings and the sequence lock, one thread, through the compiled kernels on tiny rings."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import layout, rings

Words = npt.NDArray[np.int64]


def payload(sequence: int) -> Words:
    """Words 1 to 15 of a record, each different and derived from its sequence."""
    return sequence * 1000 + np.arange(rings.SLOT_WORDS, dtype=np.int64)


@dataclasses.dataclass
class Ring:
    """A cursor, a reader's count and the slots, in one block of memory."""

    slots: int

    def __post_init__(self) -> None:
        self.memory = np.zeros((1 + self.slots) * rings.SLOT_WORDS, np.int64)
        self.cursor = self.memory.ctypes.data
        self.consumed = self.cursor + 64
        self.at = self.cursor + rings.SLOT_BYTES
        self.cached = np.zeros(1, np.int64)
        self.out = np.zeros(rings.SLOT_WORDS, np.int64)

    def mark(self, sequence: int) -> int:
        return rings.SLOT_WORDS * (1 + (sequence & (self.slots - 1)))

    @property
    def published(self) -> int:
        return int(self.memory[0])

    def publish(self, count: int = 1) -> None:
        for sequence in range(self.published + 1, self.published + 1 + count):
            assert rings.market_publish(self.cursor, self.at, self.slots, payload(sequence)) == sequence

    def read(self, sequence: int) -> int:
        return int(rings.market_read(self.at, self.slots, sequence, self.out))

    def offer(self, urgent: int = 0, consumed: int | None = None) -> int:
        record = payload(self.published + 1)
        where = self.consumed if consumed is None else consumed
        return int(rings.lossless_publish(self.cursor, self.at, self.slots, where, self.cached, record, urgent))

    def take(self, sequence: int) -> int:
        return int(rings.lossless_read(self.cursor, self.at, self.slots, sequence, self.out))

    def done(self, sequence: int) -> None:
        rings.lossless_done(self.consumed, sequence)

    def holds(self, sequence: int) -> bool:
        return int(self.out[0]) == sequence and bool((self.out[1:] == payload(sequence)[1:]).all())


# --- Market ring ---------------------------------------------------------------------------------------------------------
def test_a_published_record_is_read_whole_and_the_next_is_not_there_yet() -> None:
    ring = Ring(4)
    assert ring.read(1) == layout.RING_EMPTY
    ring.publish()
    assert ring.read(1) == layout.RING_OK
    assert ring.holds(1)
    assert ring.read(2) == layout.RING_EMPTY


def test_a_record_being_written_is_not_there_yet() -> None:
    ring = Ring(4)
    ring.publish(3)
    ring.memory[ring.mark(4)] = 2 * 4 - 1  # the writer died here
    assert ring.read(4) == layout.RING_EMPTY


def test_an_overwritten_record_is_lapped_and_the_oldest_four_are_kept() -> None:
    ring = Ring(4)
    ring.publish(10)
    assert [ring.read(sequence) for sequence in range(1, 7)] == [layout.RING_LAPPED] * 6
    for sequence in range(7, 11):
        assert ring.read(sequence) == layout.RING_OK
        assert ring.holds(sequence)


def test_a_record_that_is_just_being_overwritten_is_lapped() -> None:
    ring = Ring(4)
    ring.publish(4)
    ring.memory[ring.mark(5)] = 2 * 5 - 1
    assert ring.read(1) == layout.RING_LAPPED


def test_a_refused_read_does_not_claim_a_sequence() -> None:
    ring = Ring(4)
    ring.publish(9)
    ring.out[:] = -1
    assert ring.read(1) == layout.RING_LAPPED
    assert ring.read(10) == layout.RING_EMPTY
    assert (ring.out == -1).all()


def test_a_late_reader_joins_at_the_cursor() -> None:
    ring = Ring(4)
    ring.publish(7)
    assert ring.read(ring.published) == layout.RING_OK
    assert ring.holds(7)


def test_the_writer_never_waits_and_leaves_the_bytes_around_the_ring_alone() -> None:
    ring = Ring(4)
    ring.memory[1 : rings.SLOT_WORDS] = -7
    ring.publish(1000)
    assert ring.published == 1000
    assert (ring.memory[1 : rings.SLOT_WORDS] == -7).all()


@settings(deadline=None)  # the first example loads the kernel
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=30))
def test_seen_and_lost_add_up_to_published_in_any_order_of_steps(steps: list[tuple[int, int]]) -> None:
    ring, wanted, seen, lost = Ring(4), 1, 0, 0
    for published, reads in [*steps, (0, 4)]:
        ring.publish(published)
        for _ in range(reads):
            status = ring.read(wanted)
            if status == layout.RING_LAPPED:
                assert ring.published - wanted >= ring.slots, "nothing was lost, but the reader says so"
                lost += ring.published - wanted
                wanted = ring.published
                status = ring.read(wanted)
            if status == layout.RING_OK:
                assert ring.holds(wanted)
                seen, wanted = seen + 1, wanted + 1
    assert ring.read(wanted) == layout.RING_EMPTY
    assert seen + lost == ring.published


# --- Lossless ring -------------------------------------------------------------------------------------------------------
def fill(ring: Ring) -> int:
    count = 0
    while ring.offer() == layout.RING_OK:
        count += 1
    return count


def test_without_a_reader_nothing_is_published() -> None:
    ring = Ring(16)
    assert ring.offer(consumed=0) == ring.offer(urgent=1, consumed=0) == layout.RING_NO_CONSUMER
    assert ring.published == 0


def test_the_last_eighth_is_for_urgent_records() -> None:
    ring = Ring(16)
    assert fill(ring) == 14
    assert ring.offer() == layout.RING_FULL
    assert [ring.offer(urgent=1) for _ in range(3)] == [layout.RING_OK, layout.RING_OK, layout.RING_FULL]
    assert ring.published == 16


def test_a_full_ring_overwrites_nothing() -> None:
    ring = Ring(16)
    fill(ring)
    ring.offer(urgent=1)
    ring.offer(urgent=1)
    ring.offer(urgent=1)
    for sequence in range(1, 17):
        assert ring.take(sequence) == layout.RING_OK
        assert ring.holds(sequence)
    assert ring.take(17) == layout.RING_EMPTY


def test_reading_alone_frees_no_slot_and_done_does() -> None:
    ring = Ring(16)
    fill(ring)
    assert ring.take(1) == layout.RING_OK
    assert ring.offer() == layout.RING_FULL
    ring.done(3)
    assert [ring.offer() for _ in range(4)] == [layout.RING_OK] * 3 + [layout.RING_FULL]


def test_ordinary_records_wait_until_the_reserve_is_free_again() -> None:
    ring = Ring(16)
    fill(ring)
    ring.offer(urgent=1)
    ring.done(1)
    assert ring.offer() == layout.RING_FULL
    ring.done(2)
    assert ring.offer() == layout.RING_OK


def test_a_restarted_reader_goes_on_after_what_was_dealt_with() -> None:
    ring = Ring(16)
    for _ in range(5):
        ring.offer()
    ring.take(3)
    ring.done(2)
    assert ring.take(int(ring.memory[8]) + 1) == layout.RING_OK
    assert ring.holds(3)


def test_drain_takes_what_is_there_up_to_the_rows_given_across_the_wrap() -> None:
    ring, batch = Ring(16), np.zeros((10, rings.SLOT_WORDS), np.int64)

    def drain(first: int) -> list[int]:
        count = rings.lossless_drain(ring.cursor, ring.at, ring.slots, first, batch)
        assert all((batch[k, 1:] == payload(batch[k, 0])[1:]).all() for k in range(count))
        return [int(sequence) for sequence in batch[:count, 0]]

    assert drain(1) == []
    fill(ring)
    assert drain(1) == list(range(1, 11))
    ring.done(10)
    assert fill(ring) == 10
    assert drain(11) == list(range(11, 21))
    assert drain(21) == [21, 22, 23, 24]
    assert drain(25) == drain(40) == []


@settings(deadline=None)  # the first example loads the kernel
@given(st.lists(st.tuples(st.sampled_from(["offer", "urgent", "take", "done"]), st.integers(1, 20)), max_size=60))
def test_every_accepted_record_is_read_once_in_order(steps: list[tuple[str, int]]) -> None:
    ring, accepted, taken, freed = Ring(16), 0, 0, 0
    for step, times in steps:
        for _ in range(times):
            if step == "done":
                freed = taken
                ring.done(freed)
            elif step == "take":
                status = ring.take(taken + 1)
                assert status == (layout.RING_OK if taken < accepted else layout.RING_EMPTY)
                if status == layout.RING_OK:
                    taken += 1
                    assert ring.holds(taken)
            else:
                room = 16 if step == "urgent" else 14
                status = ring.offer(urgent=int(step == "urgent"))
                assert status == (layout.RING_OK if accepted - freed < room else layout.RING_FULL)
                accepted += status == layout.RING_OK
    assert ring.published == accepted


# --- Sequence lock -------------------------------------------------------------------------------------------------------
def test_a_page_is_read_as_it_was_written_with_its_even_mark() -> None:
    page, out = np.zeros(8, np.int64), np.zeros(8, np.int64)
    rings.seqlock_write(page.ctypes.data, np.arange(8) + 10, 8)
    rings.seqlock_write(page.ctypes.data, np.arange(8) + 20, 8)
    assert rings.seqlock_read(page.ctypes.data, out, 8) == 1
    assert out.tolist() == [4, *range(21, 28)]


def test_a_page_whose_writer_died_in_the_middle_is_not_read() -> None:
    page, out = np.arange(8), np.full(8, -1)
    page[0] = 5
    assert rings.seqlock_read(page.ctypes.data, out, 8) == 0
    assert (out == -1).all()


@pytest.mark.parametrize("words", [2, 5])
def test_a_page_touches_only_the_words_it_was_given(words: int) -> None:
    page, out = np.full(8, -1), np.full(8, -2)
    page[0] = 0
    rings.seqlock_write(page.ctypes.data, np.arange(8) + 10, words)
    assert page[words:].tolist() == [-1] * (8 - words)
    assert rings.seqlock_read(page.ctypes.data, out, words) == 1
    assert out[words:].tolist() == [-2] * (8 - words)
