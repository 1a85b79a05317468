# mypy: disable-error-code="no-untyped-call"
"""The signal process's eyes: state table and account page, read-only, under their sequence locks.

A writer that starts over makes a new segment; ``refresh`` finds it. Whatever is missing, torn or old reads as None.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import pathlib
import time
from decimal import Decimal
from typing import Any

import numpy as np

from fabric import layout
from fabric.rings import seqlock_read
from fabric.segment import Segment, SegmentError

STALE_NS = 5_000_000_000
HISTORY = 32  # remembered mids per instrument, one per look
_E8 = 100_000_000


@dataclasses.dataclass(frozen=True)
class Instrument:
    """What is fixed about one instrument, in integers: money is 1e-8 of the quote currency, ``mult`` per tick and lot."""

    index: int
    symbol: str
    tick_size: Decimal
    mult: int
    min_lots: int
    max_lots: int
    min_notional_e8: int

    @classmethod
    def of(cls, index: int, config: dict[str, Any]) -> Instrument:
        tick, lot = Decimal(config["tick_size"]), Decimal(config["lot_size"])
        mult = tick * lot * _E8
        if mult != int(mult) or mult <= 0:
            raise ValueError(f"{config['symbol']}: tick_size x lot_size must be a multiple of 1e-8")
        return cls(
            index,
            config["symbol"],
            tick,
            int(mult),
            math.ceil(Decimal(config["min_quantity"]) / lot),
            int(Decimal(config["max_quantity"]) // lot),
            int(Decimal(config["min_notional"]) * _E8),
        )


@dataclasses.dataclass(frozen=True)
class Look:
    """One instrument at one moment. ``change_bps`` is of the mid over the remembered looks."""

    instrument: Instrument
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int
    spread_bps: float
    change_bps: float
    imbalance: float  # -1 all asks .. +1 all bids, over the five best levels
    position_lots: int
    cap_lots: int


@dataclasses.dataclass(frozen=True)
class Account:
    """The part of the account page that a prompt speaks of."""

    nav_e8: int
    day_pnl_e8: int
    risk_state: int


class Eyes:
    """Reads both segments; owned by one thread."""

    def __init__(self, shm_dir: str | pathlib.Path, instruments: list[Instrument]) -> None:
        self.shm_dir = pathlib.Path(shm_dir)
        self.instruments = instruments
        self.market: Segment | None = None
        self.exec: Segment | None = None
        self._row = np.zeros(layout.STATE_ROW_WORDS, np.int64)
        self._page = np.zeros(layout.ACCOUNT_BYTES // layout.WORD, np.int64)
        self._mids = [collections.deque[int](maxlen=HISTORY) for _ in instruments]

    def refresh(self) -> None:
        """Map the newest generation of both segments, or none while there is none."""
        self.market = self._newest("market", self.market)
        self.exec = self._newest("exec", self.exec)

    def _newest(self, name: str, held: Segment | None) -> Segment | None:
        try:
            if held and os.readlink(self.shm_dir / name) == held.path.name:
                return held
            return Segment.attach(self.shm_dir, name)
        except (OSError, SegmentError):
            return None

    def account(self) -> Account | None:
        """The account page, None until execution has written it once. Fills the positions that ``look`` uses."""
        if self.exec is None:
            return None
        page = self._page
        if not seqlock_read(self.exec.address + layout.ACCOUNT_OFFSET, page, len(page)) or not page[layout.AP_UPDATED_NS]:
            return None
        nav = int(page[layout.AP_NAV_E8])
        return Account(nav, nav - int(page[layout.AP_DAY_START_NAV_E8]), int(page[layout.AP_RISK_STATE]))

    def look(self, index: int) -> Look | None:
        """One instrument now; None unless its book is ready, two-sided, uncrossed and fresh."""
        if self.market is None:
            return None
        row = self._row
        address = self.market.address + layout.STATE_OFFSET + index * layout.STATE_ROW_WORDS * layout.WORD
        if not seqlock_read(address, row, layout.STATE_ROW_WORDS):
            return None
        bid, ask = int(row[layout.ST_BID_TICKS]), int(row[layout.ST_ASK_TICKS])
        fresh = time.monotonic_ns() - int(row[layout.ST_RECV_NS]) < STALE_NS
        if row[layout.ST_STATUS] != layout.BOOK_READY or not 0 < bid < ask or not fresh:
            return None
        position = layout.ACCOUNT_ROWS_WORD + index * len(layout.ACCOUNT_ROW)
        mids = self._mids[index]
        return Look(
            self.instruments[index],
            bid,
            int(row[layout.ST_BID_LOTS]),
            ask,
            int(row[layout.ST_ASK_LOTS]),
            20_000 * (ask - bid) / (bid + ask),
            10_000 * (bid + ask - mids[0]) / mids[0] if mids else 0.0,
            self._imbalance(),
            int(self._page[position + layout.AR_POSITION_LOTS]),
            int(self._page[position + layout.AR_CAP_LOTS]),
        )

    def look_all(self) -> list[Look]:
        """Every instrument that is ready, remembered for the next ``change_bps``."""
        looks = [look for index in range(len(self.instruments)) if (look := self.look(index))]
        for look in looks:
            self._mids[look.instrument.index].append(look.bid_ticks + look.ask_ticks)
        return looks

    def _imbalance(self) -> float:
        first = layout.STATE_LEVELS_WORD
        levels = self._row[first : first + 4 * 5].reshape(5, 4)
        bids, asks = float(levels[:, 1].sum()), float(levels[:, 3].sum())
        if bids + asks <= 0:
            bids, asks = float(self._row[layout.ST_BID_LOTS]), float(self._row[layout.ST_ASK_LOTS])
        return (bids - asks) / (bids + asks) if bids + asks > 0 else 0.0
