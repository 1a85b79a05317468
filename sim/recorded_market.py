"""A recording played as a market: the venue's own frames in its own time, our orders against the recorded book and tape.

One recorded frame becomes one message (docs/wire-protocol.md), index = line number; a bad line leaves its index out and is
counted. Two views of the book are kept apart: the ticker's touch, which is the truth at the top, and the depth book, which
comes every 100 ms and lags. `exchange_ts` is the recording's own. Nothing we do changes a message.

The matching is strict (TRADING-RULES §10); all doubt goes against us:
- A taker walks the ticker's touch and behind it the depth book, each level less what takers took from it already, until the
  recording shows that level anew (another size at the touch, or a depth update naming it behind the touch).
- A resting order stands behind the size displayed at its price when it came. Trades at its price work off that queue; a
  displayed size that is smaller than the queue replaces it. It fills by the volume of a trade that goes beyond the queue,
  or by a trade at a worse price for the aggressor, at most that trade's volume over all resting orders, best price and
  oldest first.
- The ticker often shows a fall of the touch a millisecond or so before the trade that caused it is told. So a queue cut by
  the ticker owes that cut for `FALL_WINDOW_NS`: trades told meanwhile pay it before they move the queue on.
Resting orders of other accounts are matched too, after the recorded size at the same price. A taker never trades with its
own account: its resting order is closed first (`self_trade`), as in sim/matching.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sim.market import Advance, Closed, Execution, Instrument, MarketMessage, Order, Outcome, Side, exact
from sim.reconstruct import DepthBook
from sim.recording import Frame, MessageMaker, Recording

CHANNELS = {"tick": "ticker", "trade": "ticker", "book_snapshot": "orderbook", "book_delta": "orderbook"}
FALL_WINDOW_NS = 50_000_000
UNKNOWN_QUEUE_LOTS = 1 << 60  # behind a touch whose depth is not known yet; the snapshot replaces it
SNAPSHOT_LEVELS = 1000


def recorded_symbol(path: Path) -> str | None:
    """The symbol of the recording's first frame that names one."""
    return next((str(frame.data["s"]) for frame in Recording(path) if "s" in frame.data), None)


@dataclass(slots=True)
class _Resting:
    """Our order with the lots ahead of it, and the part of a shown fall that trades told until `owed_until_ns` must pay."""

    order: Order
    price_ticks: int
    queue_lots: int
    owed_lots: int = 0
    owed_until_ns: int = -1


@dataclass(slots=True)
class _Touch:
    """The ticker's best level of one side, and its last fall (price, lots, when) for orders that come just after it."""

    ticks: int | None = None
    lots: int = 0
    fall_ticks: int = 0
    fall_lots: int = 0
    fall_ns: int = -FALL_WINDOW_NS


class RecordedMarket:
    """See sim.market.Market. One symbol, the recording's; ValueError when the instrument is another one."""

    def __init__(self, path: Path, instrument: Instrument) -> None:
        symbol = recorded_symbol(path)
        if symbol != instrument.symbol:
            raise ValueError(f"the recording is of {symbol}, the instrument is {instrument.symbol}: name it {symbol}")
        self.instrument = instrument
        self.recording = Recording(path)
        self.off_grid = 0  # ticker and trade frames that matching could not use; depth levels: `depth.off_grid`
        self.foreign = 0  # frames of another symbol: sent, not matched on
        self.depth = DepthBook(str(instrument.tick_size), str(instrument.lot_size))
        self._touches: dict[Side, _Touch] = {"buy": _Touch(), "sell": _Touch()}
        self._taken: dict[tuple[Side, int], int] = {}
        self._resting: dict[Side, list[_Resting]] = {"buy": [], "sell": []}
        self._trade_id = 0
        self._maker = MessageMaker(symbol)
        self._frames = iter(self.recording)
        self._next: Frame | None = next(self._frames, None)
        self._start_ns = self._next.local_ns if self._next else 0
        self._now_ns = 0

    # The source

    def next_at_ns(self) -> int | None:
        return None if self._next is None else max(self._now_ns, self._next.local_ns - self._start_ns)

    def advance(self, now_ns: int, now_us: int) -> Advance:
        step = Advance(messages := [], outcomes := [])
        while self._next is not None and self._next.local_ns - self._start_ns <= now_ns:
            frame = self._next
            self._next = next(self._frames, None)
            self._now_ns = max(self._now_ns, frame.local_ns - self._start_ns)
            body = self._maker.message(frame)
            messages.append(MarketMessage(body, str(body["symbol"]), CHANNELS[frame.kind], frame.index))
            if body["symbol"] != self.instrument.symbol:
                self.foreign += 1
                continue
            try:
                outcomes.extend(self._play(frame))
            except ValueError:
                self.off_grid += 1
        step.done = self._next is None
        return step

    def _play(self, frame: Frame) -> list[Outcome]:
        data = frame.data
        if frame.kind == "tick":
            bid, ask = self._level(data["b"], data["B"]), self._level(data["a"], data["A"])
            self._show_touch("buy", *bid)
            self._show_touch("sell", *ask)
        elif frame.kind == "trade":
            ticks, lots = self._level(data["p"], data["q"])
            return self._tape("buy", ticks, lots, data["m"]) + self._tape("sell", ticks, lots, not data["m"])
        else:
            self._show_depth(frame)
        return []

    def _level(self, price: str, size: str) -> tuple[int, int]:
        return self.instrument.ticks(exact(price)), self.instrument.lots(exact(size))

    # The displayed book

    def _show_touch(self, side: Side, ticks: int, lots: int) -> None:
        touch = self._touches[side]
        if (ticks, lots) == (touch.ticks, touch.lots):
            return
        left = touch.ticks is not None and _better(side, touch.ticks, ticks)
        if touch.ticks is not None and (left or (ticks == touch.ticks and lots < touch.lots)):
            fresh = touch.fall_ticks == touch.ticks and self._now_ns - touch.fall_ns <= FALL_WINDOW_NS
            touch.fall_lots = (touch.fall_lots if fresh else 0) + touch.lots - (0 if left else lots)
            touch.fall_ticks, touch.fall_ns = touch.ticks, self._now_ns
        touch.ticks, touch.lots = ticks, lots
        self._taken.pop((side, ticks), None)
        for resting in self._resting[side]:
            if resting.price_ticks == ticks:
                self._cut(resting, lots)
            elif _better(side, resting.price_ticks, ticks):
                self._cut(resting, 0)

    def _show_depth(self, frame: Frame) -> None:
        before = self.depth.sequence
        self.depth.apply(frame.data)
        if frame.kind == "book_snapshot":
            self._taken.clear()
        elif self.depth.sequence == before:
            return
        else:
            self._refresh("buy", frame.data["b"])
            self._refresh("sell", frame.data["a"])
        for side in self._resting:
            for resting in self._resting[side]:
                if self._behind_touch(side, resting.price_ticks):
                    self._cut(resting, self._depth_side(side).get(resting.price_ticks, 0))

    def _refresh(self, side: Side, levels: list[list[str]]) -> None:
        for key in [key for key in self._taken if key[0] == side and self._behind_touch(side, key[1])]:
            if any(exact(price) == self.instrument.price(key[1]) for price, _ in levels):
                del self._taken[key]

    def _depth_side(self, side: Side) -> dict[int, int]:
        return self.depth.bids if side == "buy" else self.depth.asks

    def _behind_touch(self, side: Side, ticks: int) -> bool:
        touch = self._touches[side].ticks
        return touch is None or _better(side, touch, ticks)

    def _cut(self, resting: _Resting, displayed_lots: int) -> None:
        """The displayed size caps the queue; what that takes off is owed by trades told soon after."""
        cut = resting.queue_lots - displayed_lots
        if cut > 0:
            owed = resting.owed_lots if self._now_ns <= resting.owed_until_ns else 0
            resting.owed_lots, resting.owed_until_ns = owed + cut, self._now_ns + FALL_WINDOW_NS
            resting.queue_lots = displayed_lots

    def _displayed(self, side: Side, ticks: int) -> int:
        """What stands ahead of an order that comes now."""
        touch = self._touches[side]
        if ticks == touch.ticks:
            return touch.lots
        if not self._behind_touch(side, ticks):
            return 0
        return UNKNOWN_QUEUE_LOTS if self.depth.sequence < 0 else self._depth_side(side).get(ticks, 0)

    def _offers(self, side: Side) -> list[tuple[int, int]]:
        """What a taker finds on `side`, best first: (ticks, lots), depletion taken off."""
        touch = self._touches[side]
        levels = [(touch.ticks, touch.lots)] if touch.ticks is not None else []
        behind = [item for item in self._depth_side(side).items() if self._behind_touch(side, item[0])]
        levels += sorted(behind, reverse=side == "buy")
        return [(ticks, lots - self._taken.get((side, ticks), 0)) for ticks, lots in levels]

    # Resting orders

    def _tape(self, side: Side, ticks: int, lots: int, hit: bool) -> list[Outcome]:
        """One recorded trade against our resting orders of `side`; `hit`: its aggressor took from that side."""
        outcomes: list[Outcome] = []
        for resting in list(self._resting[side]):
            through = _better(side, resting.price_ticks, ticks)
            if lots <= 0 or not (through or (hit and resting.price_ticks == ticks)):
                continue
            usable = lots
            if through:
                resting.queue_lots = 0
            else:
                paid = min(usable, resting.owed_lots) if self._now_ns <= resting.owed_until_ns else 0
                resting.owed_lots -= paid
                worked = min(usable - paid, resting.queue_lots)
                resting.queue_lots -= worked
                usable -= paid + worked
            filled = min(usable, resting.order.leaves)
            if filled > 0:
                lots -= filled
                self._trade_id += 1
                outcomes.append(self._execute(resting.order, filled, resting.price_ticks, maker=True))
                if resting.order.leaves == 0:
                    self._resting[side].remove(resting)
        return outcomes

    def _rest(self, order: Order, ticks: int) -> None:
        side, touch = order.side, self._touches[order.side]
        resting = _Resting(order, ticks, self._displayed(side, ticks))
        if ticks == touch.fall_ticks and self._now_ns - touch.fall_ns <= FALL_WINDOW_NS:
            resting.owed_lots, resting.owed_until_ns = touch.fall_lots, touch.fall_ns + FALL_WINDOW_NS
        self._resting[side].append(resting)
        self._resting[side].sort(key=lambda other: -other.price_ticks if side == "buy" else other.price_ticks)

    def _execute(self, order: Order, lots: int, ticks: int, maker: bool) -> Execution:
        order.filled_lots += lots
        return Execution(order, lots, ticks, maker, self._trade_id)

    # Orders

    def place(self, order: Order, now_us: int) -> list[Outcome]:
        if order.type == "post_only" and self.would_cross(order):
            return [_close(order, "post_only_would_cross")]
        if order.type == "fok" and self._available(order) < order.leaves:
            return [_close(order, "unfilled")]
        outcomes = self._take(order) if self.would_cross(order) else []
        if order.leaves == 0:
            return outcomes
        if order.type in ("limit", "post_only") and order.price_ticks is not None:
            self._rest(order, order.price_ticks)
        else:
            outcomes.append(_close(order, "unfilled"))
        return outcomes

    def _counter(self, order: Order) -> list[tuple[int, int, _Resting | None]]:
        """Everything the order may trade with, in order: recorded levels and, after them at a price, resting orders."""
        side: Side = "sell" if order.side == "buy" else "buy"
        found: list[tuple[int, int, _Resting | None]] = [(ticks, lots, None) for ticks, lots in self._offers(side)]
        found += [(other.price_ticks, other.order.leaves, other) for other in self._resting[side]]
        found.sort(key=lambda level: -level[0] if side == "buy" else level[0])  # stable: recorded before resting
        limit = order.price_ticks
        return [level for level in found if level[1] > 0 and (limit is None or not _better(order.side, level[0], limit))]

    def _available(self, order: Order) -> int:
        """Lots within the order's price, those of its own account left out."""
        found = self._counter(order)
        return sum(lots for _, lots, other in found if other is None or other.order.account != order.account)

    def _take(self, order: Order) -> list[Outcome]:
        side: Side = "sell" if order.side == "buy" else "buy"
        outcomes: list[Outcome] = []
        for ticks, lots, resting in self._counter(order):
            if order.leaves == 0:
                break
            if resting is not None and resting.order.account == order.account:
                self._resting[side].remove(resting)
                outcomes.append(_close(resting.order, "self_trade"))
                continue
            filled = min(lots, order.leaves)
            self._trade_id += 1
            if resting is None:
                self._taken[side, ticks] = self._taken.get((side, ticks), 0) + filled
            else:
                outcomes.append(self._execute(resting.order, filled, ticks, maker=True))
                if resting.order.leaves == 0:
                    self._resting[side].remove(resting)
            outcomes.append(self._execute(order, filled, ticks, maker=False))
        return outcomes

    def cancel(self, order: Order, now_us: int) -> bool:
        for resting in self._resting[order.side]:
            if resting.order is order:
                self._resting[order.side].remove(resting)
                return True
        return False

    def shrink(self, order: Order, lots: int, now_us: int) -> bool:
        return any(resting.order is order for resting in self._resting[order.side])

    def would_cross(self, order: Order) -> bool:
        """By what is displayed, even where takers have emptied it, or by a resting order."""
        side: Side = "sell" if order.side == "buy" else "buy"
        best = self.touch(self.instrument.symbol)[1 if side == "sell" else 0]
        prices = [other.price_ticks for other in self._resting[side]] + ([] if best is None else [best])
        limit = order.price_ticks
        return any(limit is None or not _better(order.side, ticks, limit) for ticks in prices)

    def touch(self, symbol: str) -> tuple[int | None, int | None]:
        """The recorded touch: the ticker's, before the first ticker the depth book's."""
        bid, ask = self._touches["buy"].ticks, self._touches["sell"].ticks
        return (
            max(self.depth.bids, default=None) if bid is None else bid,
            min(self.depth.asks, default=None) if ask is None else ask,
        )

    def snapshot(self, symbol: str, now_us: int) -> MarketMessage:
        """The depth book as the stream has it now; sequence 0 and empty before the recorded snapshot."""
        name = self.instrument
        bids = sorted(self.depth.bids.items(), reverse=True)[:SNAPSHOT_LEVELS]
        asks = sorted(self.depth.asks.items())[:SNAPSHOT_LEVELS]
        body = {
            "type": "book_snapshot",
            "symbol": name.symbol,
            "sequence": max(self.depth.sequence, 0),
            "bids": [[name.price_text(ticks), name.size_text(lots)] for ticks, lots in bids],
            "asks": [[name.price_text(ticks), name.size_text(lots)] for ticks, lots in asks],
            "exchange_ts": now_us,
            "index": -1,
        }
        return MarketMessage(body, name.symbol, "orderbook")


def _better(side: Side, ticks: int, than: int) -> bool:
    """Whether `ticks` stands before `than` among orders of `side`."""
    return ticks > than if side == "buy" else ticks < than


def _close(order: Order, reason: str) -> Closed:
    order.status = "rejected" if reason == "post_only_would_cross" else "cancelled"
    order.reason = reason
    return Closed(order, reason)
