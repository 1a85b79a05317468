"""``python -m bench.baseline RUN_DIR``: what a plain asyncio client does: ``websockets``, ``ujson``, default event loop.

On each tick: parse the JSON, look at the oldest waiting signal, drop it when it is stale, compare its limit with the
price, and send an order as JSON. A signal is always waiting. The second task parses what the order session says.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import ujson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.instance import client_config
from fabric.child import place

SIGNAL_MS = 60_000


@dataclass
class Waiting:
    """A decision of the slow path that waits for its price."""

    symbol: str
    side: str
    quantity: float
    limit: float
    urgency: int
    expires_ms: float


class Client:
    """Both sessions and the waiting signals."""

    def __init__(self, market: ClientConnection, orders: ClientConnection, symbol: str) -> None:
        self.market, self.orders, self.symbol = market, orders, symbol
        self.waiting: deque[Waiting] = deque(maxlen=1000)
        self.answers: dict[str, int] = {}
        self.push()

    def push(self) -> None:
        expires_ms = time.time() * 1000 + SIGNAL_MS
        self.waiting.append(Waiting(self.symbol, "buy", 0.01, 1e9, 5, expires_ms))

    async def watch_market(self) -> None:
        async for raw in self.market:
            message = ujson.loads(raw)
            if message.get("type") == "tick":
                await self.on_tick(message)

    async def on_tick(self, tick: dict[str, Any]) -> None:
        now_ms = time.time() * 1000
        while self.waiting:
            first = self.waiting[0]
            if now_ms > first.expires_ms:
                self.waiting.popleft()
                continue
            price = float(tick["price"])
            if not (price <= first.limit if first.side == "buy" else price >= first.limit):
                break
            self.waiting.popleft()
            await self.place(first, price)
            self.push()  # after the send: the next signal is not part of this tick's work
            break

    async def place(self, wish: Waiting, price: float) -> None:
        order = {
            "action": "place_order",
            "symbol": wish.symbol,
            "side": wish.side,
            "quantity": wish.quantity,
            "price": price,
            "type": "limit" if wish.urgency < 8 else "market",
            "timestamp": int(time.time() * 1000),
        }
        await self.orders.send(ujson.dumps(order))

    async def watch_orders(self) -> None:
        async for raw in self.orders:
            kind = ujson.loads(raw).get("type", "")
            self.answers[kind] = self.answers.get(kind, 0) + 1


async def run(run_dir: str) -> None:
    config, key = client_config(run_dir)
    url, symbol = config["venue"]["ws_url"], config["instruments"][0]["symbol"]
    options: dict[str, Any] = {"additional_headers": {"X-API-Key": key}, "compression": None, "max_size": 2**20}
    async with connect(url, **options) as market:
        await market.send(subscription(["ticker", "orderbook"], symbol))
        async with connect(url, **options) as orders:
            await orders.send(subscription(["fills"], symbol))
            client = Client(market, orders, symbol)
            await asyncio.gather(client.watch_market(), client.watch_orders())


def subscription(channels: list[str], symbol: str) -> str:
    return ujson.dumps({"action": "subscribe", "channels": channels, "symbols": [symbol]})


def main(run_dir: str) -> int:
    place(client_config(run_dir)[0]["placement"]["execution"])
    try:
        asyncio.run(run(run_dir))
    except (ConnectionClosed, OSError) as error:
        print(f"baseline: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
