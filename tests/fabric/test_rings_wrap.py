# mypy: disable-error-code="no-untyped-call"
"""Sequences near every boundary: the slot index, 32 and 53 bits, and the very last ones of a signed word.

A generation begins at 1, so the last ones are reached only by writing them into the memory, as is done here.
"""

from __future__ import annotations

import numpy as np
import pytest

from fabric import layout, readers, rings

WORDS = rings.SLOT_WORDS
LAST_MARKET = readers.SEQUENCE_MAX
LAST = 2**63 - 1
BOUNDARIES = [2**31, 2**32, 2**53, 2**61, 2**62 - 40]


class Ring:
    """Slots and their words, as if ``published`` records had gone through."""

    def __init__(self, slots: int, published: int) -> None:
        self.slots = slots
        self.memory = np.zeros((1 + slots) * WORDS, np.int64)
        self.cursor, self.consumed = self.memory.ctypes.data, self.memory.ctypes.data + 64
        self.at = self.cursor + rings.SLOT_BYTES
        self.memory[0] = self.memory[8] = published
        self.cached, self.out = np.array([published]), np.zeros(WORDS, np.int64)

    def preset_marks(self) -> None:
        """What a market ring holds after that many records."""
        for sequence in range(int(self.memory[0]) - self.slots + 1, int(self.memory[0]) + 1):
            self.memory[WORDS * (1 + (sequence & (self.slots - 1)))] = 2 * sequence

    def publish(self, sequence: int) -> int:
        return int(rings.market_publish(self.cursor, self.at, self.slots, np.arange(WORDS) + sequence % 1000))

    def read(self, sequence: int) -> int:
        return int(rings.market_read(self.at, self.slots, sequence, self.out))

    def offer(self, sequence: int, urgent: int = 1) -> int:
        record = np.arange(WORDS) + sequence % 1000
        return int(rings.lossless_publish(self.cursor, self.at, self.slots, self.consumed, self.cached, record, urgent))

    def take(self, sequence: int) -> int:
        return int(rings.lossless_read(self.cursor, self.at, self.slots, sequence, self.out))

    def holds(self, sequence: int) -> bool:
        return bool(self.out[0] == sequence and (self.out[1:] == np.arange(1, WORDS) + sequence % 1000).all())


@pytest.mark.parametrize("slots", [4, 1024])
@pytest.mark.parametrize("boundary", [0, 4, 1024, *BOUNDARIES, LAST_MARKET - 6])
def test_a_market_ring_passes_every_boundary_up_to_its_last_sequence(slots: int, boundary: int) -> None:
    ring = Ring(slots, max(0, boundary - 6))
    if ring.memory[0]:
        ring.preset_marks()
    for _ in range(12):
        sequence = int(ring.memory[0]) + 1
        assert ring.read(sequence) == layout.RING_EMPTY
        assert ring.publish(sequence) == sequence <= LAST_MARKET
        assert ring.read(sequence) == layout.RING_OK
        assert ring.holds(sequence)
        if sequence > slots:
            assert ring.read(sequence - slots) == layout.RING_LAPPED


def test_beyond_its_last_sequence_a_market_reader_is_told_of_a_lap_and_never_given_a_wrong_record() -> None:
    """What would happen after 14,600 years: the mark turns negative, so that "not yet" looks like a lap."""
    ring = Ring(4, LAST_MARKET)
    ring.preset_marks()
    assert ring.read(LAST_MARKET) == layout.RING_OK
    beyond = LAST_MARKET + 1
    assert ring.read(beyond) == layout.RING_LAPPED
    assert ring.publish(beyond) == beyond
    assert ring.read(beyond) == layout.RING_OK
    assert ring.holds(beyond)
    assert ring.read(beyond + 1) == layout.RING_LAPPED


def test_the_last_sequence_is_ten_thousand_years_away_at_ten_million_records_a_second() -> None:
    assert LAST_MARKET / 10_000_000 / (365.25 * 86_400) > 14_600


@pytest.mark.parametrize("slots", [16, 1024])
@pytest.mark.parametrize("boundary", [0, 16, 1024, *BOUNDARIES, 2**62, LAST - 20])
def test_a_lossless_ring_passes_every_boundary_up_to_the_last_word(slots: int, boundary: int) -> None:
    ring = Ring(slots, max(0, boundary - 6))
    for _ in range(20):
        sequence = int(ring.memory[0]) + 1
        assert ring.take(sequence) == layout.RING_EMPTY
        assert ring.offer(sequence) == layout.RING_OK
        assert ring.take(sequence) == layout.RING_OK
        assert ring.holds(sequence)
        rings.lossless_done(ring.consumed, sequence)


def test_a_lossless_ring_is_full_at_the_same_depth_at_the_end_of_the_word() -> None:
    ring = Ring(16, LAST - 100)
    first = int(ring.memory[0]) + 1
    assert [ring.offer(first + k, urgent=0) for k in range(15)] == [layout.RING_OK] * 14 + [layout.RING_FULL]
    assert [ring.offer(first + k) for k in range(14, 17)] == [layout.RING_OK] * 2 + [layout.RING_FULL]
    batch = np.zeros((32, WORDS), np.int64)
    assert rings.lossless_drain(ring.cursor, ring.at, 16, first, batch) == 16
    assert batch[:16, 0].tolist() == list(range(first, first + 16))


def test_a_sequence_lock_goes_through_the_end_of_the_word() -> None:
    page, out = np.zeros(8, np.int64), np.zeros(8, np.int64)
    page[0] = 2**63 - 6
    marks = []
    for round_ in range(5):
        rings.seqlock_write(page.ctypes.data, np.arange(8) + round_, 8)
        assert rings.seqlock_read(page.ctypes.data, out, 8) == 1
        assert out[1:].tolist() == list(range(1 + round_, 8 + round_))
        marks.append(int(out[0]))
    assert marks == [2**63 - 4, 2**63 - 2, -(2**63), -(2**63) + 2, -(2**63) + 4]
    page[0] = 2**63 - 1  # a writer died in the middle
    assert rings.seqlock_read(page.ctypes.data, out, 8) == 0
