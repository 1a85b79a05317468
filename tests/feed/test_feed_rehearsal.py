# mypy: disable-error-code="no-untyped-call"
"""An idle feed takes its sample tick through scan, book and ring, and nothing of it reaches the real pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fabric import layout
from feed import tables as ft
from feed.process import FeedMemory

INSTRUMENTS = [
    {"symbol": "BTC-USDC", "tick_size": "0.01", "lot_size": "0.00001"},
    {"symbol": "E", "tick_size": "0.5", "lot_size": "3"},
]


def counter(stats: Any, name: str) -> int:
    offset = layout.COUNTERS_OFFSET + layout.FEED_COUNTERS.index(name) * layout.COUNTER_STRIDE
    return int(stats[offset // layout.WORD])


@pytest.mark.parametrize("instrument", [0, 1])
def test_idle_feed_rehearses_on_private_pages_only(instrument: int) -> None:
    market, stats = np.zeros(layout.MARKET_BYTES // 8, np.int64), np.zeros(layout.STATS_BYTES // 8, np.int64)
    memory = FeedMemory(INSTRUMENTS, market.ctypes.data, stats.ctypes.data, "spin", 0)
    memory.rehearse_on(INSTRUMENTS[instrument])
    while counter(stats, "rehearsals") < 3:
        memory.run(1000)
    theirs, other = memory.private[1], memory.private[2]
    assert counter(theirs, "ticks") == counter(theirs, "messages") == counter(stats, "rehearsals")
    assert other.table[ft.FD_SEND_END] == 0
    assert not market.any(), "a rehearsed tick is on the real ring or in the real state table"
    assert counter(stats, "messages") == counter(stats, "events") == 0
    assert memory.private[0][layout.MARKET_CURSOR_OFFSET // 8] == 1, "the private ring is to stay one slot"
