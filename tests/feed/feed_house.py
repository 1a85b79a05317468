# mypy: disable-error-code="no-untyped-call"
"""The compiled feed loop on private pages and one end of a socket pair; the test is the venue at the other end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from fabric import layout
from fabric.rings import market_read
from feed import tables as ft
from feed.process import FeedMemory
from venue import tables as vt

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
CHUNK = 64 * 1024
BTC = {"symbol": "BTCUSDT", "tick_size": "0.01", "lot_size": "0.00001"}
ETH = {"symbol": "ETHUSDT", "tick_size": "0.01", "lot_size": "0.0001"}


def frame(payload: bytes, opcode: int = TEXT, fin: bool = True) -> bytes:
    """A server's frame: unmasked, the shortest length form."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + size.to_bytes(2) + payload
    return head + b"\x7f" + size.to_bytes(8) + payload


class House:
    """``send`` messages, then look at counters, events, levels and what the loop answered."""

    def __init__(self, instruments: list[dict[str, str]], hash_every: int = 0) -> None:
        self.market = np.zeros(layout.MARKET_BYTES // 8, np.int64)
        self.stats = np.zeros(layout.STATS_BYTES // 8, np.int64)
        self.memory = FeedMemory(instruments, self.market.ctypes.data, self.stats.ctypes.data, "spin", hash_every)
        self.venue, self.client = socket.socketpair()
        self.venue.settimeout(5)
        self._next_event = 1
        self._answers = b""
        self.connect()

    def connect(self) -> None:
        """Hand the loop its end, as ``venue.link`` does."""
        row = self.memory.link.row
        self.client.setblocking(False)
        row[vt.SE_FD] = self.client.fileno()
        row[vt.SE_START] = row[vt.SE_END] = row[vt.SE_CLOSE_CODE] = row[vt.SE_RECEIVED_NS] = row[vt.SE_OPENED] = 0
        row[vt.SE_STATE] = layout.SESSION_LOOP
        self.memory.run(1)

    def reconnect(self) -> None:
        """A fresh pair of sockets for the next session."""
        self.close()
        self.venue, self.client = socket.socketpair()
        self.venue.settimeout(5)
        self._answers = b""
        self.connect()

    def close(self) -> None:
        self.venue.close()
        self.client.close()

    def push(self, data: bytes) -> None:
        """Bytes as they are, in pieces that fit the socket, each read by the loop before the next."""
        for start in range(0, len(data), CHUNK):
            self.venue.sendall(data[start : start + CHUNK])
            self.memory.run(4)  # a pass handles 512 frames at most, and ends with a tick that more came with
            while self.memory.table[ft.FD_MORE]:
                self.memory.run(1)

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        self.push(b"".join(frame(m if isinstance(m, bytes) else orjson.dumps(m)) for m in messages))

    def counted(self, *without: str) -> dict[str, int]:
        """Counters that are not 0; source_first and source_last are numbers, no counts."""
        words = (layout.COUNTERS_OFFSET + np.arange(len(layout.FEED_COUNTERS)) * layout.COUNTER_STRIDE) // 8
        skip = {"bytes", "messages", "events", "source_first", "source_last", *without}
        return {n: self.counter(n) for n, v in zip(layout.FEED_COUNTERS, self.stats[words], strict=True) if v and n not in skip}

    def counter(self, name: str) -> int:
        return int(self.stats[(layout.COUNTERS_OFFSET + layout.FEED_COUNTERS.index(name) * layout.COUNTER_STRIDE) // 8])

    def events(self) -> list[dict[str, int]]:
        """What is new on the market ring."""
        out = np.zeros(16, np.int64)
        events = []
        ring = self.market.ctypes.data + layout.MARKET_RING_OFFSET
        while market_read(ring, layout.MARKET_SLOTS, self._next_event, out) == layout.RING_OK:
            events.append(dict(zip(layout.MARKET_SLOT, out.tolist(), strict=True)))
            self._next_event += 1
        return events

    def state(self, instrument: int = 0) -> dict[str, int]:
        """The instrument's row of the shared state table."""
        first = (layout.STATE_OFFSET + instrument * layout.STATE_ROW_WORDS * 8) // 8
        row = self.market[first : first + len(layout.STATE_ROW)].tolist()
        return {name: value for name, value in zip(layout.STATE_ROW, row, strict=True) if name != "_"}

    def levels(self, instrument: int = 0) -> list[list[int]]:
        first = (layout.STATE_OFFSET + instrument * layout.STATE_ROW_WORDS * 8) // 8 + layout.STATE_LEVELS_WORD
        rows: list[list[int]] = self.market[first : first + 4 * layout.LEVELS].reshape(-1, 4).tolist()
        return [row for row in rows if any(row)]

    def answers(self) -> list[tuple[int, bytes]]:
        """(opcode, payload) of every masked frame the loop has sent."""
        self.venue.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._answers += self.venue.recv(1 << 20)
        self.venue.settimeout(5)
        return list(self._unmasked())

    def _unmasked(self) -> Iterable[tuple[int, bytes]]:
        while self._answers:
            head, data = self._answers[:2], self._answers[2:]
            assert head[0] & head[1] & 0x80, "a client's frame is final and masked"
            size = head[1] & 0x7F
            if size == 126:
                size, data = int.from_bytes(data[:2]), data[2:]
            mask, body = data[:4], data[4 : 4 + size]
            self._answers = data[4 + size :]
            yield head[0] & 15, bytes(b ^ mask[k & 3] for k, b in enumerate(body))

    @property
    def close_code(self) -> str | None:
        """Why the loop gave the session back, None while it owns it."""
        if self.memory.link.state != layout.SESSION_CLOSING:
            return None
        return vt.CLOSE[int(self.memory.link.row[vt.SE_CLOSE_CODE])]
