"""What the paper exchange needs from a source of market data and from a place that matches orders.

One `Market` serves all symbols of a run. The exchange (sim/exchange.py) checks an order, reserves its funds, acknowledges
it and hands it over; the market fills it, lets it rest, or ends it. Two sources implement the protocol:

    sim.synthetic.SyntheticMarket(instruments: list[Instrument], seed: int)   ours and made-up flow in one `matching.Book`
    sim.recorded_market.RecordedMarket(path: Path, instrument: Instrument)    ours against a recorded book and tape

Who writes what: the market alone changes `Order.filled_lots`; everything else of an order belongs to the exchange.

Units: prices in ticks, sizes in lots (int); wall time in microseconds (`_us`); market time in nanoseconds since the
market's start (`_ns`), already multiplied by the paper speed. No float arithmetic: JSON numbers come in through `exact`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market", "ioc", "fok", "post_only"]
Status = Literal["open", "filled", "cancelled", "rejected", "expired"]

SIDES = ("buy", "sell")
ORDER_TYPES = ("limit", "market", "ioc", "fok", "post_only")

# The account of the anonymous flow a synthetic market makes; never settled, never reported.
CROWD = "crowd"

_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")


def exact(value: object) -> Decimal:
    """A JSON number or string of digits as the Decimal it was written as; ValueError for anything else, NaN included."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a number")
    try:
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise ValueError("not a number")
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not number.is_finite() or number.adjusted() > 18 or number.adjusted() < -18:
        raise ValueError("number out of range")
    return number


def fixed(value: Decimal) -> str:
    """Plain decimal text without an exponent."""
    return format(value, "f")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable pair; the fields of config.json `instruments[]`."""

    symbol: str
    base: str
    quote: str
    kind: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    maker_fee_ppm: int
    taker_fee_ppm: int
    baseline: Decimal = Decimal(0)

    @classmethod
    def from_config(cls, row: Mapping[str, Any]) -> Instrument:
        return cls(
            symbol=str(row["symbol"]),
            base=str(row["base"]),
            quote=str(row["quote"]),
            kind=str(row["kind"]),
            tick_size=exact(row["tick_size"]),
            lot_size=exact(row["lot_size"]),
            min_quantity=exact(row["min_quantity"]),
            max_quantity=exact(row["max_quantity"]),
            min_notional=exact(row["min_notional"]),
            maker_fee_ppm=int(row["maker_fee_ppm"]),
            taker_fee_ppm=int(row["taker_fee_ppm"]),
            baseline=exact(row.get("baseline", "0")),
        )

    def ticks(self, price: Decimal) -> int:
        """The price in ticks; ValueError off the grid."""
        return _whole(price, self.tick_size)

    def lots(self, size: Decimal) -> int:
        """The size in lots; ValueError off the grid."""
        return _whole(size, self.lot_size)

    def price(self, ticks: int) -> Decimal:
        return self.tick_size * ticks

    def size(self, lots: int) -> Decimal:
        return self.lot_size * lots

    def price_text(self, ticks: int) -> str:
        return fixed(self.tick_size * ticks)

    def size_text(self, lots: int) -> str:
        return fixed(self.lot_size * lots)


def _whole(value: Decimal, step: Decimal) -> int:
    count = value / step
    whole = int(count)
    if step * whole != value:
        raise ValueError("off the grid")
    return whole


@dataclass(slots=True, eq=False)
class Order:
    """One order, ours or another's. `price_ticks` is None only for a market order without protection.

    `order_id` is above 0; a market that makes CROWD orders numbers them below 0, so that ids never meet in a book.
    `filled_lots` is the market's; `settled_lots` is the part of it that the exchange has booked and reported so far.
    """

    client_order_id: str
    order_id: int
    account: str
    key_id: str
    symbol: str
    side: Side
    type: OrderType
    price_ticks: int | None
    lots: int
    received_us: int
    filled_lots: int = 0
    settled_lots: int = 0
    reduce_only: bool = False
    status: Status = "open"
    reason: str = ""
    ended_us: int = 0

    @property
    def leaves(self) -> int:
        return self.lots - self.filled_lots


@dataclass(frozen=True, slots=True)
class Execution:
    """`lots` of `order` traded at `price_ticks`; each side of a trade has its own, and both share `trade_id`.

    A market hands the exchange the executions of every order not of the CROWD account. `trade_id` rises, over all symbols.
    """

    order: Order
    lots: int
    price_ticks: int
    maker: bool
    trade_id: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The market ended the order with leaves > 0; reason: unfilled, self_trade, expired, or post_only_would_cross."""

    order: Order
    reason: str


Outcome = Execution | Closed


@dataclass(frozen=True, slots=True)
class MarketMessage:
    """One message ready for orjson, as docs/wire-protocol.md shows it. `channel`: ticker | orderbook | status."""

    body: dict[str, Any]
    symbol: str
    channel: str
    index: int = -1


@dataclass(slots=True)
class Advance:
    """What one step of market time brought. `done`: the source has ended for good."""

    messages: Sequence[MarketMessage] = field(default_factory=list)
    outcomes: Sequence[Outcome] = field(default_factory=list)
    done: bool = False


class Market(Protocol):
    """One per run, all symbols. Single-threaded: the exchange's event loop is the only caller."""

    def place(self, order: Order, now_us: int) -> list[Outcome]:
        """Match `order` and let its rest stand (limit, post_only) or end it. Outcomes in the order they happened.

        Never places a post_only that would cross: answers [Closed(order, "post_only_would_cross")] instead.
        Market data that this causes is returned by the next `advance`.
        """

    def cancel(self, order: Order, now_us: int) -> bool:
        """Take a resting order out; False when it does not rest here."""

    def shrink(self, order: Order, lots: int, now_us: int) -> bool:
        """Show a resting order as `lots` in all, fewer than before; it keeps its place. The exchange then sets `order.lots`.

        False when it does not rest here.
        """

    def would_cross(self, order: Order) -> bool:
        """Whether a post_only like this one would trade at once (asked before the ack, so that a reject comes alone)."""

    def touch(self, symbol: str) -> tuple[int | None, int | None]:
        """Best bid and ask in ticks, None where the side is empty."""

    def snapshot(self, symbol: str, now_us: int) -> MarketMessage:
        """The present book as `book_snapshot` with index -1, on channel orderbook."""

    def next_at_ns(self) -> int | None:
        """When the next message is due, ns since the market's start; 0 or past = at once; None = nothing planned.

        After a `place` or `cancel` that changed the book this may be 'at once'.
        """

    def advance(self, now_ns: int, now_us: int) -> Advance:
        """Everything due up to `now_ns`, messages by rising index. `now_us` is the wall clock for exchange_ts."""
