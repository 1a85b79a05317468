"""A price-time priority book for one symbol. Deterministic; no clock, no money, no messages.

The caller hands in orders already checked. `place` answers everything that happened to any order, in order, the CROWD's
executions included (a market filters those out before it answers the exchange). A taker never trades with its own
account: the resting own order is closed first, reason self_trade. The CROWD is many people and may trade with itself.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice

from sim.market import CROWD, Closed, Execution, Order, Outcome


class _Side:
    """Resting orders of one side. A key is the price signed so that a greater key is a better price."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, dict[int, Order]] = {}
        self.lots: dict[int, int] = {}
        self.changed: set[int] = set()

    def best(self) -> int | None:
        return self.keys[-1] * self.sign if self.keys else None

    def add(self, order: Order, ticks: int) -> None:
        key = ticks * self.sign
        if key not in self.levels:
            insort(self.keys, key)
            self.levels[key] = {}
            self.lots[key] = 0
        self.levels[key][order.order_id] = order
        self.reduce(ticks, -order.leaves)

    def reduce(self, ticks: int, lots: int) -> None:
        key = ticks * self.sign
        self.lots[key] -= lots
        self.changed.add(ticks)

    def drop(self, order: Order, ticks: int) -> None:
        """Take the order off its level; its remaining lots must be reduced already or be zero."""
        key = ticks * self.sign
        del self.levels[key][order.order_id]
        if not self.levels[key]:
            del self.levels[key], self.lots[key]
            del self.keys[bisect_left(self.keys, key)]

    def crossed_by(self, order: Order) -> bool:
        """Whether the best level here trades with an order of the other side at its limit."""
        if not self.keys:
            return False
        return order.price_ticks is None or self.keys[-1] >= order.price_ticks * self.sign

    def available(self, order: Order) -> bool:
        """Whether `order` could fill in full here, its own account's orders left out."""
        wanted = order.leaves
        for key in reversed(self.keys):
            if order.price_ticks is not None and key < order.price_ticks * self.sign:
                break
            for resting in self.levels[key].values():
                if not _same_person(resting, order):
                    wanted -= resting.leaves
                    if wanted <= 0:
                        return True
        return False


def _same_person(a: Order, b: Order) -> bool:
    return a.account == b.account != CROWD


class Book:
    """`trade_ids` is shared by the books of a market, so that trade ids rise over all symbols."""

    def __init__(self, trade_ids: Iterator[int]) -> None:
        self._trade_ids = trade_ids
        self._bids = _Side(1)
        self._asks = _Side(-1)
        self._resting: dict[int, tuple[_Side, int]] = {}

    def place(self, order: Order) -> list[Outcome]:
        """Match, then let rest (limit, post_only) or close. An order that fills in full is not mentioned by a Closed."""
        opposite = self._asks if order.side == "buy" else self._bids
        if order.type == "post_only" and opposite.crossed_by(order):
            return [Closed(order, "post_only_would_cross")]
        if order.type == "fok" and not opposite.available(order):
            return [Closed(order, "unfilled")]
        outcomes = self._match(order, opposite)
        if order.leaves > 0:
            if order.type in ("limit", "post_only") and order.price_ticks is not None:
                side = self._bids if order.side == "buy" else self._asks
                self._resting[order.order_id] = (side, order.price_ticks)
                side.add(order, order.price_ticks)
            else:
                outcomes.append(Closed(order, "unfilled"))
        return outcomes

    def _match(self, order: Order, opposite: _Side) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while order.leaves > 0 and opposite.crossed_by(order):
            ticks = opposite.keys[-1] * opposite.sign
            maker = next(iter(opposite.levels[opposite.keys[-1]].values()))
            if _same_person(maker, order):
                self.cancel(maker)
                outcomes.append(Closed(maker, "self_trade"))
                continue
            lots = min(order.leaves, maker.leaves)
            order.filled_lots += lots
            maker.filled_lots += lots
            opposite.reduce(ticks, lots)
            if maker.leaves == 0:
                del self._resting[maker.order_id]
                opposite.drop(maker, ticks)
            trade_id = next(self._trade_ids)
            outcomes.append(Execution(maker, lots, ticks, True, trade_id))
            outcomes.append(Execution(order, lots, ticks, False, trade_id))
        return outcomes

    def cancel(self, order: Order) -> bool:
        """Take a resting order out; False when it does not rest here."""
        place = self._resting.pop(order.order_id, None)
        if place is None:
            return False
        side, ticks = place
        side.reduce(ticks, order.leaves)
        side.drop(order, ticks)
        return True

    def shrink(self, order: Order, lots: int) -> bool:
        """Show a resting order as `lots` in all from now on, at its place in the queue; False when it does not rest here."""
        if order.order_id not in self._resting:
            return False
        side, ticks = self._resting[order.order_id]
        side.reduce(ticks, order.lots - lots)
        return True

    def would_cross(self, order: Order) -> bool:
        return (self._asks if order.side == "buy" else self._bids).crossed_by(order)

    def touch(self) -> tuple[int | None, int | None]:
        return self._bids.best(), self._asks.best()

    def lots_at(self, side: str, ticks: int) -> int:
        """Resting lots at a price, 0 for an empty level."""
        half = self._bids if side == "buy" else self._asks
        return half.lots.get(ticks * half.sign, 0)

    def levels(self, side: str, depth: int | None = None) -> list[tuple[int, int]]:
        """(ticks, lots) from the best price on."""
        half = self._bids if side == "buy" else self._asks
        return [(key * half.sign, half.lots[key]) for key in islice(reversed(half.keys), depth)]

    def queue(self, side: str, ticks: int) -> list[Order]:
        """The orders resting at a price, the first to trade first."""
        half = self._bids if side == "buy" else self._asks
        return list(half.levels.get(ticks * half.sign, {}).values())

    def take_changes(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks) levels changed since the last call, as (ticks, lots now), best first; 0 lots = the level is gone."""
        taken = []
        for half, side in ((self._bids, "buy"), (self._asks, "sell")):
            prices = sorted(half.changed, key=lambda ticks, sign=half.sign: -ticks * sign)  # type: ignore[misc]
            taken.append([(ticks, self.lots_at(side, ticks)) for ticks in prices])
            half.changed.clear()
        return taken[0], taken[1]
