"""Reader of raw market recordings: one line = `<local receive time, ns since epoch> <frame>`, plain text or gzip.

A frame is a Binance combined-stream frame (`bookTicker`, `trade`, `depthUpdate`) or a raw REST depth snapshot.
`Recording` yields `Frame(index, local_ns, kind, data)`, index = line number from 0, kind = the type of the message that
docs/wire-protocol.md makes of it (`tick`, `trade`, `book_delta`, `book_snapshot`). `MessageMaker` makes that message.
A line that is none of these is counted, its index and reason kept (the first 20), and skipped: a bad line never raises.
A truncated or corrupt gzip ends the recording and counts as one bad line. A file that cannot be opened raises OSError.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

GZIP_MAGIC = b"\x1f\x8b"
PROBLEMS_KEPT = 20
LOCAL_NS_MAX = (1 << 63) - 1

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?").fullmatch


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded line; `data` is the stream's payload (or the REST snapshot), unchanged."""

    index: int
    local_ns: int
    kind: str
    data: dict[str, Any]


class Recording:
    """Lazy, repeatable reading of one file; the counters describe the latest iteration so far."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lines = 0
        self.malformed = 0
        self.problems: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[Frame]:
        self.lines, self.malformed, self.problems = 0, 0, []
        with self.path.open("rb") as raw:
            compressed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            lines = iter(gzip.GzipFile(fileobj=raw)) if compressed else iter(raw)
            while True:
                try:
                    line = next(lines)
                except StopIteration:
                    return
                except (EOFError, OSError, zlib.error) as error:
                    self._problem(self.lines, f"unreadable from here: {error}")
                    return
                index = self.lines
                self.lines += 1
                try:
                    frame = parse_line(index, line)
                except ValueError as error:
                    self._problem(index, str(error))
                    continue
                yield frame

    def _problem(self, index: int, reason: str) -> None:
        self.malformed += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append((index, reason))


def parse_line(index: int, line: bytes) -> Frame:
    """The frame of one line; ValueError (orjson's is one) says what is wrong with it."""
    stamp, _, text = line.partition(b" ")
    if not stamp.isdigit() or int(stamp) > LOCAL_NS_MAX:
        raise ValueError("no local time")
    outer = orjson.loads(text)
    data = outer.get("data", outer) if isinstance(outer, dict) else None
    if not isinstance(data, dict):
        raise ValueError("not an object")
    kind = _kind(data)
    for name in ("T", "E"):
        if name in data:
            _sequence(data, name)
    return Frame(index, int(stamp), kind, data)


def _kind(data: dict[str, Any]) -> str:
    """Which message this payload becomes, after checking every field that message needs."""
    if "lastUpdateId" in data:
        _sequence(data, "lastUpdateId")
        _levels(data, "bids")
        _levels(data, "asks")
        return "book_snapshot"
    if not isinstance(data.get("s"), str) or not data["s"]:
        raise ValueError("no symbol")
    event = data.get("e")
    if event == "depthUpdate":
        _sequence(data, "u")
        _sequence(data, "pu" if "pu" in data else "U")
        _levels(data, "b")
        _levels(data, "a")
        return "book_delta"
    if event == "trade":
        _sequence(data, "t")
        _numbers(data, "p", "q")
        if not isinstance(data.get("m"), bool):
            raise ValueError("no aggressor side")
        return "trade"
    if event in (None, "bookTicker") and "A" in data:
        _sequence(data, "u")
        _numbers(data, "b", "B", "a", "A")
        return "tick"
    raise ValueError(f"unknown frame {event!r}"[:80])


def _sequence(data: dict[str, Any], name: str) -> None:
    value = data.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is not a count")


def _numbers(data: dict[str, Any], *names: str) -> None:
    for name in names:
        value = data.get(name)
        if not isinstance(value, str) or _NUMBER(value) is None:
            raise ValueError(f"{name} is not a decimal string")


def _levels(data: dict[str, Any], name: str) -> None:
    levels = data.get(name)
    if not isinstance(levels, list):
        raise ValueError(f"{name} is not a list of levels")
    for level in levels:
        if not isinstance(level, list) or len(level) != 2:
            raise ValueError(f"{name} has a level that is not a pair")
        for text in level:
            if not isinstance(text, str) or _NUMBER(text) is None:
                raise ValueError(f"{name} has a level that is not of decimal strings")


class MessageMaker:
    """Makes the wire message of each frame, in order. It remembers the last trade (the price of a tick) and the symbol
    (a REST snapshot names none: it gets the latest seen, before any the one given here)."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._last_trade: str | None = None

    def message(self, frame: Frame) -> dict[str, Any]:
        data = frame.data
        self.symbol = data.get("s", self.symbol)
        body: dict[str, Any] = {"type": frame.kind, "symbol": self.symbol}
        if frame.kind == "tick":
            body["price"] = self._last_trade or _mid(data["b"], data["a"])
            body |= {"bid": data["b"], "bid_size": data["B"], "ask": data["a"], "ask_size": data["A"]}
            body["sequence"] = data["u"]
        elif frame.kind == "trade":
            self._last_trade = data["p"]
            side = "sell" if data["m"] else "buy"
            body |= {"price": data["p"], "size": data["q"], "side": side, "trade_id": data["t"]}
        elif frame.kind == "book_snapshot":
            body |= {"sequence": data["lastUpdateId"], "bids": data["bids"], "asks": data["asks"]}
        else:
            body |= {"prev_sequence": previous_sequence(data), "sequence": data["u"]}
            body |= {"bids": data["b"], "asks": data["a"]}
        body["exchange_ts"] = exchange_us(frame)
        body["index"] = frame.index
        return body


def previous_sequence(data: dict[str, Any]) -> int:
    """The sequence that a depth update follows: `pu` where the venue says it, else the one before its first."""
    return int(data["pu"]) if "pu" in data else int(data["U"]) - 1


def exchange_us(frame: Frame) -> int:
    """The exchange's time in µs: the frame's `T`, else `E` (both ms), else the recorder's local time."""
    stamp_ms = frame.data.get("T", frame.data.get("E"))
    return frame.local_ns // 1000 if stamp_ms is None else int(stamp_ms) * 1000


def _mid(bid: str, ask: str) -> str:
    return format((Decimal(bid) + Decimal(ask)) / 2, "f")
