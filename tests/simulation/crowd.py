"""A market for the simulation: the exchange's own book per symbol, with a crowd that is moved by the scenario.

Implements ``sim.market.Market``. The crowd quotes two levels a side around a middle that the scenario sets; a move takes its
quotes out and puts them at the new place, so that a resting order of ours that is in the way trades.
"""

from __future__ import annotations

from itertools import count

from sim.market import CROWD, Advance, Instrument, MarketMessage, Order, OrderType, Outcome, Side
from sim.matching import Book

SIDES: tuple[Side, Side] = ("buy", "sell")


class Crowd:
    def __init__(self, instruments: list[Instrument]) -> None:
        trade_ids = count(1)
        self.books = {one.symbol: Book(trade_ids) for one in instruments}
        self._resting: dict[str, list[Order]] = {one.symbol: [] for one in instruments}
        self._ids = count(-1, -1)

    def place(self, order: Order, now_us: int) -> list[Outcome]:
        return self._ours(self.books[order.symbol].place(order))

    def cancel(self, order: Order, now_us: int) -> bool:
        return self.books[order.symbol].cancel(order)

    def shrink(self, order: Order, lots: int, now_us: int) -> bool:
        return self.books[order.symbol].shrink(order, lots)

    def would_cross(self, order: Order) -> bool:
        return self.books[order.symbol].would_cross(order)

    def touch(self, symbol: str) -> tuple[int | None, int | None]:
        return self.books[symbol].touch()

    def snapshot(self, symbol: str, now_us: int) -> MarketMessage:
        return MarketMessage({"type": "book_snapshot", "symbol": symbol}, symbol, "orderbook")

    def next_at_ns(self) -> int | None:
        return None

    def advance(self, now_ns: int, now_us: int) -> Advance:
        return Advance()

    @staticmethod
    def _ours(outcomes: list[Outcome]) -> list[Outcome]:
        return [one for one in outcomes if one.order.account != CROWD]

    def move(self, symbol: str, middle: int, half: int, lots: int) -> list[Outcome]:
        """Quote around another middle; what that does to orders of ours."""
        book, outcomes = self.books[symbol], list[Outcome]()
        for order in self._resting[symbol]:
            book.cancel(order)
        self._resting[symbol].clear()
        for level in (1, 3):
            for side, price in zip(SIDES, (middle - half * level, middle + half * level), strict=True):
                outcomes += self._order(symbol, side, "limit", max(price, 1), lots)
        return outcomes

    def take(self, symbol: str, side: Side, lots: int) -> list[Outcome]:
        """Somebody takes what stands on the other side, ours too."""
        return self._order(symbol, side, "market", None, lots)

    def _order(self, symbol: str, side: Side, kind: OrderType, price: int | None, lots: int) -> list[Outcome]:
        order = Order("", next(self._ids), CROWD, "", symbol, side, kind, price, lots, 0)
        outcomes = self.books[symbol].place(order)
        if kind == "limit" and order.leaves > 0:
            self._resting[symbol].append(order)
        return self._ours(outcomes)
