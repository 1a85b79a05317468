"""A paper exchange on real sockets with a market that stands still but for the orders placed in it, and a clock to set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect

from sim.exchange import Exchange
from sim.http import HttpServer
from sim.keys import KeyStore
from sim.limits import RateLimit
from sim.market import CROWD, Advance, Execution, Instrument, MarketMessage, Order, Outcome
from sim.matching import Book
from sim.rest import RestApi
from sim.server import PATH, VenueServer

MANAGE = "sk_live_of_the_test_house"
SYMBOL = "BTC-USDC"


def instrument(**changes: Any) -> Instrument:
    row = {
        "symbol": SYMBOL,
        "base": "BTC",
        "quote": "USDC",
        "kind": "spot",
        "tick_size": "0.01",
        "lot_size": "0.00001",
        "min_quantity": "0.00010",
        "max_quantity": "10",
        "min_notional": "10",
        "maker_fee_ppm": 200,
        "taker_fee_ppm": 500,
        "baseline": "1",
    }
    return Instrument.from_config(row | changes)


class Clock:
    def __init__(self) -> None:
        self.us = 1_772_600_000_000_000

    def __call__(self) -> int:
        return self.us


class StillMarket:
    """One book; index 0 is its snapshot, and each change after that is a delta."""

    def __init__(self) -> None:
        self.book = Book(count(1))
        self.index = 0
        self.sequence = 1
        self.pending = True

    def place(self, order: Order, now_us: int) -> list[Outcome]:
        self.pending = True
        outcomes = self.book.place(order)
        return [o for o in outcomes if not (isinstance(o, Execution) and o.order.account == CROWD)]

    def cancel(self, order: Order, now_us: int) -> bool:
        self.pending = True
        return self.book.cancel(order)

    def shrink(self, order: Order, lots: int, now_us: int) -> bool:
        self.pending = True
        return self.book.shrink(order, lots)

    def would_cross(self, order: Order) -> bool:
        return self.book.would_cross(order)

    def touch(self, symbol: str) -> tuple[int | None, int | None]:
        return self.book.touch()

    def snapshot(self, symbol: str, now_us: int) -> MarketMessage:
        return MarketMessage(self._body("book_snapshot", now_us, -1), SYMBOL, "orderbook")

    def next_at_ns(self) -> int | None:
        return 0 if self.pending else None

    def advance(self, now_ns: int, now_us: int) -> Advance:
        if not self.pending:
            return Advance()
        self.pending = False
        kind = "book_snapshot" if self.index == 0 else "book_delta"
        message = MarketMessage(self._body(kind, now_us, self.index), SYMBOL, "orderbook", self.index)
        self.index += 1
        return Advance([message])

    def _body(self, kind: str, now_us: int, index: int) -> dict[str, Any]:
        return {"type": kind, "symbol": SYMBOL, "bids": self.book.levels("buy"), "index": index, "exchange_ts": now_us}


class House:
    def __init__(self, **changes: Any) -> None:
        self.clock = Clock()
        self.market = StillMarket()
        self.exchange = Exchange(
            [instrument(**changes.pop("instrument", {}))],
            self.market,
            KeyStore(MANAGE, self.clock()),
            Decimal("100000"),
            self.clock,
            rate=changes.pop("rate", RateLimit()),
            budget=changes.pop("budget", None),
        )
        self.manager = self.exchange.keys.find(MANAGE)
        self.said: list[dict[str, Any]] = []
        self.exchange.publish = lambda account, message: self.said.append(message) if account == "paper" else None
        self._numbers = count(1)

    def order(self, side: str = "buy", quantity: Any = 0.01, price: Any = 64000.0, kind: str = "limit", **changes: Any):
        own = {"action": "place_order", "client_order_id": str(next(self._numbers)), "symbol": SYMBOL}
        clock = {"timestamp": self.clock() // 1000, "recv_window": 200}
        return own | {"side": side, "quantity": quantity, "price": price, "type": kind} | clock | changes

    def place(self, *args: Any, **changes: Any) -> dict[str, Any]:
        return self.exchange.place(self.order(*args, **changes), self.manager)

    def crowd(self, side: str, quantity: Any, price: Any, kind: str = "limit") -> dict[str, Any]:
        """An order of the anonymous account."""
        fields = {"side": side, "symbol": SYMBOL, "type": kind, "price": price, "quantity": quantity}
        return self.exchange.place_anonymous(fields)

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.said]


class OpenHouse(House):
    """The same with sockets."""

    ws_url: str
    rest: httpx.AsyncClient
    server: VenueServer

    async def key(self, scope: str = "trade") -> tuple[str, str]:
        made = (await self.rest.post("/v1/keys", json={"scope": scope, "label": "t"})).json()
        return made["key_id"], made["api_key"]

    def session(self, api_key: str = MANAGE) -> connect:
        return connect(self.ws_url, additional_headers={"X-API-Key": api_key}, compression=None)


async def tell(ws: ClientConnection, **fields: Any) -> None:
    await ws.send(orjson.dumps(fields).decode())


async def hear(ws: ClientConnection, kind: str | None = None) -> dict[str, Any]:
    """The next message, or the next of one type."""
    async with asyncio.timeout(5):
        while True:
            message = orjson.loads(await ws.recv())
            if kind in (None, message["type"]):
                return message


@asynccontextmanager
async def open_house(**changes: Any) -> AsyncIterator[OpenHouse]:
    house = OpenHouse(**changes)
    house.server = VenueServer(house.exchange)
    http = HttpServer(RestApi(house.server).handle)
    ws = await house.server.listen("127.0.0.1", 0)
    rest = await http.listen("127.0.0.1", 0)
    pacer = asyncio.create_task(house.server.pacer.run())
    house.ws_url = f"ws://127.0.0.1:{ws.sockets[0].getsockname()[1]}{PATH}"
    base = f"http://127.0.0.1:{rest.sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=base, headers={"X-API-Key": MANAGE}, trust_env=False) as house.rest:
            yield house
    finally:
        pacer.cancel()
        ws.close()
        rest.close()
        await http.stop()
        await ws.wait_closed()
        await asyncio.gather(pacer, return_exceptions=True)
