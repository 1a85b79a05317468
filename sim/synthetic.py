"""A made-up market: a seeded crowd and our own orders in one price-time book per symbol (sim.market.Market).

The crowd's acts arrive in bursts (flow.Arrivals) over all symbols. Makers quote around a latent price (flow.Beliefs) they
follow with a delay; takers that know it better hit quotes it has passed, other takers push it on, so whoever
quotes at the touch buys before falls and sells before rises. Now and then the latent price jumps and makers step back.
Every act becomes messages: a trade per execution, a tick when the touch changed, one book_delta with the changed levels.
The first messages are one snapshot and one tick of each symbol, at time 0. `index` counts all of them; a symbol's sequence
rises by one per delta. Depth is bounded by ORDERS_MAX crowd orders a side.
"""

from __future__ import annotations

import itertools
import math
from random import Random
from typing import Any

from sim.flow import BPS, Arrivals, Beliefs
from sim.market import CROWD, Advance, Closed, Execution, Instrument, MarketMessage, Order, OrderType, Outcome, Side
from sim.matching import Book

START_PRICES = {"BTC": 64_000, "ETH": 2_700}
START_TICKS_OTHERWISE = 100_000
ORDERS_MIN, ORDERS_MAX = 60, 110  # of the crowd on each side; below only new ones come, above only cancels
ORDERS_FLOOR = 50  # never fewer after an act
REFILL_BPS = 3.0
GRID_BPS = 0.08  # makers like round prices, so levels have queues
HALF_SPREAD_BPS = 0.55  # at volatility level 1
DEPTH_BPS = 7.0  # mean distance behind the touch
TAKER_SHARE, CANCEL_SHARE = 0.11, 0.42
INFORMED_SHARE = 0.7
IMPACT_BPS = 1.3  # mean push of the latent price by a taker that does not know it
MAKER_NOTIONAL, TAKER_NOTIONAL = 6_000, 3_000  # medians, in quote units
STICKY = 0.75  # the next act is on the same symbol
LEVELS_SENT_MAX = 1_000


class _Pit:
    """One symbol: its book, its crowd and what has been told of it."""

    def __init__(self, instrument: Instrument, book: Book) -> None:
        self.instrument = instrument
        self.book = book
        self.crowd: dict[Side, dict[int, Order]] = {"buy": {}, "sell": {}}
        self.sequence = 1
        self.last_ticks: int | None = None
        self.told: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)

    def top(self, side: Side) -> tuple[int, int] | None:
        return next(iter(self.book.levels(side, 1)), None)


class SyntheticMarket:
    """See sim.market.Market. Deterministic in (instruments, seed, the calls made)."""

    def __init__(self, instruments: list[Instrument], seed: int) -> None:
        self._random = Random(seed)
        trade_ids = itertools.count(1)
        self._pits = [_Pit(instrument, Book(trade_ids)) for instrument in instruments]
        self._by_symbol = {pit.instrument.symbol: pit for pit in self._pits}
        self._crowd_ids = itertools.count(-1, -1)  # the exchange's order ids are positive
        self._arrivals = Arrivals(self._random)
        self._beliefs = Beliefs(self._random, [_start_ticks(instrument) for instrument in instruments])
        self._index = 0
        self._now_s = 0.0
        self._symbol = 0
        self._pending: list[dict[str, Any]] = []
        self._outcomes: list[Outcome] = []
        for symbol, pit in enumerate(self._pits):
            for side in ("buy", "sell") * ((ORDERS_MIN + ORDERS_MAX) // 2):
                self._quote(symbol, "buy" if side == "buy" else "sell")
            pit.book.take_changes()
            self._pending.append(self._snapshot(pit))
            self._tell_touch(pit)
        self._outcomes.clear()
        self._next_s = self._arrivals.next_s(0.0, 1.0)

    # The protocol

    def place(self, order: Order, now_us: int) -> list[Outcome]:
        pit = self._by_symbol[order.symbol]
        outcomes = self._submit(pit, order)
        self._tell(pit)
        return outcomes

    def cancel(self, order: Order, now_us: int) -> bool:
        pit = self._by_symbol[order.symbol]
        if not pit.book.cancel(order):
            return False
        self._tell(pit)
        return True

    def shrink(self, order: Order, lots: int, now_us: int) -> bool:
        pit = self._by_symbol[order.symbol]
        if not pit.book.shrink(order, lots):
            return False
        self._tell(pit)
        return True

    def would_cross(self, order: Order) -> bool:
        return self._by_symbol[order.symbol].book.would_cross(order)

    def touch(self, symbol: str) -> tuple[int | None, int | None]:
        return self._by_symbol[symbol].book.touch()

    def snapshot(self, symbol: str, now_us: int) -> MarketMessage:
        body = self._snapshot(self._by_symbol[symbol]) | {"exchange_ts": now_us, "index": -1}
        return MarketMessage(body, symbol, "orderbook")

    def next_at_ns(self) -> int | None:
        return 0 if self._pending else math.ceil(self._next_s * 1e9)

    def advance(self, now_ns: int, now_us: int) -> Advance:
        while math.ceil(self._next_s * 1e9) <= now_ns:
            self._act()
        messages = []
        for body in self._pending:
            body["exchange_ts"], body["index"] = now_us, self._index
            self._index += 1
            channel = "orderbook" if body["type"].startswith("book_") else "ticker"
            messages.append(MarketMessage(body, body["symbol"], channel, body["index"]))
        outcomes, self._outcomes, self._pending = self._outcomes, [], []
        return Advance(messages, outcomes)

    # The crowd

    def _act(self) -> None:
        """One arrival: somebody does something on one symbol."""
        jumped = self._beliefs.step(self._next_s - self._now_s)
        self._now_s = self._next_s
        if jumped:
            self._arrivals.excite(400.0)
            for symbol in range(len(self._pits)):
                self._step_back(symbol)
        if self._random.random() > STICKY:
            self._symbol = self._random.randrange(len(self._pits))
        pit = self._pits[self._symbol]
        choice = self._random.random()
        side: Side = "buy" if self._random.random() < 0.5 else "sell"
        count = len(pit.crowd[side])
        if choice < TAKER_SHARE:
            self._take(self._symbol, side)
        elif count >= ORDERS_MAX or (count > ORDERS_MIN and choice < TAKER_SHARE + CANCEL_SHARE):
            self._withdraw(self._symbol, side)
        else:
            self._quote(self._symbol, side)
        self._refill(self._symbol)
        self._tell(pit)
        activity = min(max(self._beliefs.volatility(), 0.3), 3.0)
        self._next_s = self._arrivals.next_s(self._now_s, activity)

    def _quote(self, symbol: int, side: Side, extra_bps: float = 0.0) -> None:
        """A maker's limit order: near the latent price less the half-spread, or deeper."""
        half = HALF_SPREAD_BPS * self._beliefs.volatility() ** 0.5 + self._beliefs.stress_bps
        if self._random.random() < 0.3:
            distance = half * self._random.uniform(0.8, 1.8)
        else:
            distance = half + self._random.expovariate(1 / DEPTH_BPS)
        latent = self._beliefs.price(symbol)
        grid = max(1, round(latent * GRID_BPS * BPS))
        away = (distance + extra_bps) * BPS * latent
        ticks = math.floor((latent - away) / grid) * grid if side == "buy" else math.ceil((latent + away) / grid) * grid
        self._crowd_order(symbol, side, "limit", max(ticks, grid), self._lots(symbol, MAKER_NOTIONAL))

    def _refill(self, symbol: int) -> None:
        """A sweep leaves a side thin: others show themselves at once, behind where makers usually stand."""
        for side in ("buy", "sell"):
            for _ in range(ORDERS_FLOOR - len(self._pits[symbol].crowd["buy" if side == "buy" else "sell"])):
                self._quote(symbol, "buy" if side == "buy" else "sell", REFILL_BPS)

    def _withdraw(self, symbol: int, side: Side) -> None:
        """A maker cancels: half of the time the order farthest away, else any one."""
        pit = self._pits[symbol]
        orders = list(pit.crowd[side].values())
        if self._random.random() < 0.35:
            sign = 1 if side == "buy" else -1
            order = min(orders, key=lambda resting: sign * (resting.price_ticks or 0))
        else:
            order = self._random.choice(orders)
        del pit.crowd[side][order.order_id]
        pit.book.cancel(order)

    def _take(self, symbol: int, side: Side) -> None:
        """A taker who knows the latent price takes every quote it has passed, if any; another pushes it on."""
        pit = self._pits[symbol]
        latent = self._beliefs.price(symbol)
        bid, ask = pit.book.touch()
        if self._random.random() < INFORMED_SHARE:
            if ask is not None and latent > ask:
                self._crowd_order(symbol, "buy", "ioc", math.floor(latent), self._lots(symbol, TAKER_NOTIONAL * 4))
            elif bid is not None and latent < bid:
                self._crowd_order(symbol, "sell", "ioc", math.ceil(latent), self._lots(symbol, TAKER_NOTIONAL * 4))
            return
        self._crowd_order(symbol, side, "market", None, self._lots(symbol, TAKER_NOTIONAL))
        push = self._random.expovariate(1 / IMPACT_BPS) * self._beliefs.volatility() ** 0.5
        self._beliefs.push(symbol, push if side == "buy" else -push)

    def _step_back(self, symbol: int) -> None:
        """After a jump makers cancel what stands too near the latent price and quote farther away."""
        pit = self._pits[symbol]
        latent = self._beliefs.price(symbol)
        for side in ("buy", "sell"):
            crowd = pit.crowd["buy" if side == "buy" else "sell"]
            limit = self._beliefs.stress_bps * BPS * latent
            near = [order for order in crowd.values() if abs((order.price_ticks or 0) - latent) < limit]
            for order in near:
                del crowd[order.order_id]
                pit.book.cancel(order)
            for _ in near:
                self._quote(symbol, "buy" if side == "buy" else "sell")
        self._tell(pit)

    def _lots(self, symbol: int, median_notional: int) -> int:
        """A heavy-tailed size, bounded."""
        instrument = self._pits[symbol].instrument
        notional = median_notional * math.exp(min(self._random.gauss(0.0, 1.0), 3.0))
        unit = self._beliefs.price(symbol) * float(instrument.tick_size) * float(instrument.lot_size)
        return max(1, round(notional / unit))

    def _crowd_order(self, symbol: int, side: Side, kind: OrderType, ticks: int | None, lots: int) -> None:
        pit = self._pits[symbol]
        number = next(self._crowd_ids)
        order = Order("", number, CROWD, "", pit.instrument.symbol, side, kind, ticks, lots, 0)
        self._outcomes += self._submit(pit, order)
        if kind == "limit" and order.leaves > 0:
            pit.crowd[side][number] = order

    # Matching and telling

    def _submit(self, pit: _Pit, order: Order) -> list[Outcome]:
        """Match, tell the trades, forget the crowd's own outcomes; answers those of other accounts."""
        answer: list[Outcome] = []
        for outcome in pit.book.place(order):
            if isinstance(outcome, Execution):
                if not outcome.maker:
                    self._tell_trade(pit, outcome)
                elif outcome.order.leaves == 0:
                    pit.crowd[outcome.order.side].pop(outcome.order.order_id, None)
            if outcome.order.account == CROWD:
                continue
            if isinstance(outcome, Closed):
                rejected = outcome.reason == "post_only_would_cross"
                outcome.order.status = "rejected" if rejected else "cancelled"
                outcome.order.reason = outcome.reason
            answer.append(outcome)
        return answer

    def _tell(self, pit: _Pit) -> None:
        """Queue the tick and the delta of what changed."""
        bids, asks = pit.book.take_changes()
        if bids or asks:
            body = {"type": "book_delta", "symbol": pit.instrument.symbol, "prev_sequence": pit.sequence}
            pit.sequence += 1
            body |= {"sequence": pit.sequence, "bids": _texts(pit, bids), "asks": _texts(pit, asks)}
            self._tell_touch(pit)  # the touch leads the depth, as on the venues that publish both
            self._pending.append(body)

    def _tell_trade(self, pit: _Pit, taken: Execution) -> None:
        pit.last_ticks = taken.price_ticks
        price, size = pit.instrument.price_text(taken.price_ticks), pit.instrument.size_text(taken.lots)
        body = {"type": "trade", "symbol": pit.instrument.symbol, "price": price, "size": size}
        self._pending.append(body | {"side": taken.order.side, "trade_id": taken.trade_id})

    def _tell_touch(self, pit: _Pit) -> None:
        bid, ask = pit.top("buy"), pit.top("sell")
        if (bid, ask) == pit.told or bid is None or ask is None:
            return
        pit.told = (bid, ask)
        (bid_price, bid_size), (ask_price, ask_size) = _texts(pit, [bid, ask])
        last = (bid[0] + ask[0]) // 2 if pit.last_ticks is None else pit.last_ticks
        body = {"type": "tick", "symbol": pit.instrument.symbol, "price": pit.instrument.price_text(last)}
        body |= {"bid": bid_price, "bid_size": bid_size, "ask": ask_price, "ask_size": ask_size}
        self._pending.append(body | {"sequence": pit.sequence})

    def _snapshot(self, pit: _Pit) -> dict[str, Any]:
        bids, asks = (_texts(pit, pit.book.levels(side, LEVELS_SENT_MAX)) for side in ("buy", "sell"))
        body = {"type": "book_snapshot", "symbol": pit.instrument.symbol, "sequence": pit.sequence}
        return body | {"bids": bids, "asks": asks}


def _start_ticks(instrument: Instrument) -> float:
    price = START_PRICES.get(instrument.base)
    return START_TICKS_OTHERWISE if price is None else float(price / instrument.tick_size)


def _texts(pit: _Pit, levels: list[tuple[int, int]]) -> list[list[str]]:
    return [[pit.instrument.price_text(ticks), pit.instrument.size_text(lots)] for ticks, lots in levels]
