# mypy: disable-error-code="no-untyped-call"
"""Turns an answer into records and writes them into the signal ring; the only writer of that segment.

A parameter record is (instrument, id = PARAM_*, value). A one-shot carries absolute prices: ``limit_ticks`` is the far
touch plus a collar of LIMIT_COLLAR_BPS, rounded toward the safe side; ``stop_ticks`` is the price at which the position
is to be left, rounded toward the entry. Ids of one-shots grow strictly, across restarts too (wall clock ns).
"""

from __future__ import annotations

import time

import numpy as np

from fabric import layout
from fabric.rings import lossless_publish
from fabric.segment import Segment
from strategy.slow.answer import Answer
from strategy.slow.market import Look

LIMIT_COLLAR_BPS = 5
Record = dict[str, int]


def parameter(answer: Answer, stamp: Record) -> Record:
    """The record that leans the quotes of one instrument."""
    return {
        **stamp,
        "kind": layout.SIGNAL_PARAMETER,
        "id": layout.PARAM_SKEW_BPS_X100,
        "instrument": answer.instrument,
        "value": answer.skew_bps_x100,
    }


def oneshot(answer: Answer, look: Look, stamp: Record, max_notional_e8: int, stop_bps: int, holding_ns: int) -> Record | None:
    """The record that asks for one parent order; None when its size is below what the venue takes."""
    buy = answer.view == "buy"
    if buy:
        limit = look.ask_ticks * (10_000 + LIMIT_COLLAR_BPS) // 10_000
        stop = min(-(-look.bid_ticks * (10_000 - stop_bps) // 10_000), look.bid_ticks - 1)
    else:
        limit = -(-look.bid_ticks * (10_000 - LIMIT_COLLAR_BPS) // 10_000)
        stop = max(look.ask_ticks * (10_000 + stop_bps) // 10_000, look.ask_ticks + 1)
    instrument = look.instrument
    worst = max(limit, look.ask_ticks)
    lots = min(max_notional_e8 * answer.size_percent // 100 // (worst * instrument.mult), instrument.max_lots)
    small = min(limit, look.bid_ticks) * instrument.mult * lots < instrument.min_notional_e8
    if lots < max(instrument.min_lots, 1) or small:
        return None
    return {
        **stamp,
        "kind": layout.SIGNAL_ONESHOT,
        "instrument": answer.instrument,
        "side": layout.SIDE_BUY if buy else layout.SIDE_SELL,
        "lots": lots,
        "limit_ticks": limit,
        "urgency": answer.urgency,
        "stop_ticks": stop,
        "holding_ns": holding_ns,
    }


class Publisher:
    """Owns the signal segment; the reader's count lives in execution's segment."""

    def __init__(self, shm_dir: str, config_hash: int = 0, code_hash: int = 0) -> None:
        self.segment = Segment.create(shm_dir, "signal", "signal", config_hash, code_hash)
        self._record = np.zeros(len(layout.SIGNAL_SLOT), np.int64)
        self._consumed = np.zeros(1, np.int64)
        self._last_id = 0

    def next_id(self) -> int:
        """An id for a one-shot, greater than every earlier one of this machine's wall clock."""
        self._last_id = max(self._last_id + 1, time.time_ns())
        return self._last_id

    def publish(self, record: Record, reader: Segment | None) -> int:
        """layout.RING_OK, RING_FULL, or RING_NO_CONSUMER while execution does not read this generation."""
        offset = layout.EXEC_SIGNAL_CURSOR_OFFSET
        if reader is None or reader.word(offset + layout.WORD) != self.segment.generation:
            return layout.RING_NO_CONSUMER
        if record["kind"] == layout.SIGNAL_ONESHOT:
            record = {**record, "id": self.next_id()}
        for index, name in enumerate(layout.SIGNAL_SLOT):
            self._record[index] = record.get(name, 0)
        self._consumed[0] = reader.word(offset)
        base = self.segment.address
        cursor, ring = base + layout.SIGNAL_CURSOR_OFFSET, base + layout.SIGNAL_RING_OFFSET
        slots, consumed = layout.SIGNAL_SLOTS, reader.address + offset
        return int(lossless_publish(cursor, ring, slots, consumed, self._consumed, self._record, 0))
