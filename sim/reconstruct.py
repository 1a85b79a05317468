"""An independent, plain Python reconstruction of the depth book of a recording: the oracle for the feed's book.

It shares no code with the feed or the engine, nor its parsing with the exchange: it reads the lines
itself, with the standard library alone.

The book follows docs/wire-protocol.md. Depth updates that come before the snapshot wait; the snapshot (sequence s) fills
the book, then of the waiting and all later updates those with sequence <= the book's are dropped and each other one is
applied when it joins on (prev_sequence <= s for the first, == the book's sequence for each later one). One that does not
join is a gap: the book is emptied and updates wait for the next snapshot. `bookTicker` and `trade` frames do not touch the
depth book.
A level whose price or size is off the instrument's grid is refused alone and counted: its price keeps what it had, the rest
of the update counts (recordings have a few, far from the touch: sizes finer than today's lot).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

TEXTS_REMEMBERED = 1 << 18


class Grid(Protocol):
    """What is needed of an instrument: decimal text of the price and size steps."""

    @property
    def tick_size(self) -> Any: ...

    @property
    def lot_size(self) -> Any: ...


class DepthBook:
    """Price to size, as integers of ticks and lots, for one symbol."""

    def __init__(self, tick_size: str, lot_size: str) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.sequence = -1  # -1: no snapshot yet, or lost by a gap
        self.gaps = 0
        self.off_grid = 0
        self._joined = False  # an update has been applied since the snapshot
        self._waiting: list[dict[str, Any]] = []
        self._tick, self._lot = Decimal(tick_size), Decimal(lot_size)
        self._units: dict[tuple[str, bool], int | None] = {}

    def apply(self, frame: dict[str, Any]) -> None:
        """Apply one frame of any kind; one that does not concern the depth book changes nothing."""
        if "lastUpdateId" in frame:
            self.bids, self.asks, self.sequence, self._joined = {}, {}, frame["lastUpdateId"], False
            self._set(self.bids, frame["bids"])
            self._set(self.asks, frame["asks"])
            waiting, self._waiting = self._waiting, []
            for update in waiting:
                self._update(update)
        elif frame.get("e") == "depthUpdate":
            self._update(frame)

    def _update(self, frame: dict[str, Any]) -> None:
        if self.sequence < 0:
            self._waiting.append(frame)
            return
        if frame["u"] <= self.sequence:
            return
        previous = frame["pu"] if "pu" in frame else frame["U"] - 1
        joins = previous == self.sequence if self._joined else previous <= self.sequence
        if not joins:
            self.bids, self.asks, self.sequence, self._waiting = {}, {}, -1, [frame]
            self.gaps += 1
            return
        self._set(self.bids, frame["b"])
        self._set(self.asks, frame["a"])
        self.sequence, self._joined = frame["u"], True

    def _set(self, side: dict[int, int], levels: list[list[str]]) -> None:
        for price, size in levels:
            ticks, lots = self._integer(price, True), self._integer(size, False)
            if ticks is None or lots is None:
                self.off_grid += 1
            elif lots:
                side[ticks] = lots
            else:
                side.pop(ticks, None)

    def _integer(self, text: str, is_price: bool) -> int | None:
        """Steps of the grid, None when off it; remembered, since the same texts come again and again."""
        if len(self._units) > TEXTS_REMEMBERED:
            self._units.clear()
        if (text, is_price) not in self._units:
            steps = Decimal(text) / (self._tick if is_price else self._lot)
            self._units[text, is_price] = int(steps) if steps == int(steps) else None
        return self._units[text, is_price]

    def text(self, levels: int) -> str:
        """The text that `book_hashes` hashes."""
        bids = sorted(self.bids.items(), reverse=True)[:levels]
        asks = sorted(self.asks.items())[:levels]
        bids += [(0, 0)] * (levels - len(bids))
        asks += [(0, 0)] * (levels - len(asks))
        return "\n".join(f"{b[0]}:{b[1]}:{a[0]}:{a[1]}" for b, a in zip(bids, asks, strict=True))


def book_hashes(path: str | Path, instrument: Grid, every: int = 1000, levels: int = 20) -> list[tuple[int, str]]:
    """`(index, hex)` after each frame whose index is every - 1, 2 * every - 1, ...; index = line number from 0.

    hex is the lower-case sha256 of this text in ASCII: `levels` lines joined by one newline ("\\n", none at the end), line i
    being `bid_ticks:bid_lots:ask_ticks:ask_lots` of the i-th best bid and i-th best ask, decimal integers without padding
    (ticks = price / tick_size, lots = size / lot_size); a missing bid or ask is `0:0`. So before the snapshot, and from a
    gap to the next snapshot, every line is `0:0:0:0`. A bad line counts as a frame that changes nothing.
    """
    book = DepthBook(str(instrument.tick_size), str(instrument.lot_size))
    hashes: list[tuple[int, str]] = []
    for index, frame in enumerate(_frames(path)):
        if frame is not None:
            book.apply(frame)
        if (index + 1) % every == 0:
            hashes.append((index, hashlib.sha256(book.text(levels).encode("ascii")).hexdigest()))
    return hashes


def _frames(path: str | Path) -> Iterator[dict[str, Any] | None]:
    """The payload of each line, None for one that is not a frame."""
    name = str(path)
    with gzip.open(name, "rt") if name.endswith(".gz") else open(name) as lines:
        for line in lines:
            try:
                outer = json.loads(line[line.index(" ") :])
            except ValueError:
                yield None
                continue
            payload = outer.get("data", outer) if isinstance(outer, dict) else None
            yield payload if isinstance(payload, dict) else None
