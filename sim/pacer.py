"""Market time: starts the source, sleeps until its next message is due, and hands on what it makes.

The source starts when the first session takes both market channels (`on_subscribe`) or at once. `speed` multiplies time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from time import monotonic_ns
from typing import Any

from sim.exchange import Exchange
from sim.market import MarketMessage

_MILLION = 1_000_000


class Pacer:
    """Owns the market's clock. `broadcast` gets each message once, by rising index."""

    def __init__(self, exchange: Exchange, broadcast: Callable[[MarketMessage], None], speed: Decimal) -> None:
        if speed <= 0:
            raise ValueError("paper.speed must be above zero")
        self._exchange = exchange
        self._market = exchange.market
        self._broadcast = broadcast
        self._speed_ppm = int(speed * _MILLION)
        self._started_ns: int | None = None
        self._moved = asyncio.Event()
        self._frames = 0
        self._done = False
        exchange.market_moved = self._moved.set

    @property
    def started(self) -> bool:
        return self._started_ns is not None

    def start(self) -> None:
        """Begin market time; does nothing when it has begun."""
        if self._started_ns is None:
            self._started_ns = monotonic_ns()
            self._moved.set()

    def summary(self) -> dict[str, Any]:
        """`market` of the ledger; first_index None before the first message, last_index = frames - 1."""
        first = 0 if self._frames else None
        return {"frames": self._frames, "first_index": first, "last_index": self._frames - 1, "done": self._done}

    def step(self) -> None:
        """Everything due by now; called before a snapshot too, so that a snapshot never runs ahead of the stream."""
        if self._started_ns is None or self._done:
            return
        now_ns = (monotonic_ns() - self._started_ns) * self._speed_ppm // _MILLION
        advance = self._market.advance(now_ns, self._exchange.now_us())
        self._exchange.settle(advance.outcomes)
        for message in advance.messages:
            self._frames += message.index >= 0
            self._broadcast(message)
        self._done = advance.done

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._moved.clear()
            self.step()
            await asyncio.sleep(0)
            due_ns = self._market.next_at_ns() if self.started and not self._done else None
            if due_ns is None or self._started_ns is None:
                await self._moved.wait()
                continue
            wait_ns = self._started_ns + due_ns * _MILLION // self._speed_ppm - monotonic_ns()
            if wait_ns > 0:
                await self._sleep(wait_ns)

    async def _sleep(self, wait_ns: int) -> None:
        """Until then, or until an order moves the market."""
        try:
            async with asyncio.timeout(wait_ns / 1e9):
                await self._moved.wait()
        except TimeoutError:
            pass
