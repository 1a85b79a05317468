"""The checks an order message passes that need nothing but the message, the clock and the instrument table.

`Refused.reason` is one of the reject reasons of docs/wire-protocol.md. All times in microseconds unless named otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim.market import ORDER_TYPES, SIDES, Instrument, OrderType, Side, exact

DEFAULT_WINDOW_MS = 1_000
MAX_WINDOW_MS = 60_000
AHEAD_US = 1_000_000


class Refused(Exception):
    """A message the venue does not act on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Request:
    """A place_order whose fields are sound. `price_ticks` None = a market order without protection."""

    instrument: Instrument
    side: Side
    type: OrderType
    lots: int
    price_ticks: int | None
    reduce_only: bool


def client_id(fields: Mapping[str, Any]) -> str:
    """The client order id; Refused bad_field unless it is 1 to 32 decimal digits as a string."""
    value = fields.get("client_order_id")
    if not isinstance(value, str) or not 1 <= len(value) <= 32 or not (value.isascii() and value.isdigit()):
        raise Refused("bad_field", "client_order_id must be a string of 1 to 32 decimal digits")
    return value


def check_deadline(fields: Mapping[str, Any], now_us: int, *, required: bool) -> None:
    """Refused deadline_passed when the message is too old, or from more than a second ahead."""
    timestamp, window = fields.get("timestamp"), fields.get("recv_window", DEFAULT_WINDOW_MS)
    if timestamp is None and not required:
        return
    if type(timestamp) is not int or timestamp <= 0:
        raise Refused("bad_field", "timestamp must be an integer, wall time in ms")
    if type(window) is not int or not 0 < window <= MAX_WINDOW_MS:
        raise Refused("bad_field", f"recv_window must be an integer of 1 to {MAX_WINDOW_MS} ms")
    if now_us > (timestamp + window) * 1_000 or timestamp * 1_000 > now_us + AHEAD_US:
        raise Refused("deadline_passed")


def late(fields: Mapping[str, Any], now_us: int) -> str:
    """The reject reason of a cancel or an amend that came too late, or ""; Refused bad_field as in `check_deadline`."""
    try:
        check_deadline(fields, now_us, required=False)
    except Refused as refusal:
        if refusal.reason == "bad_field":
            raise
        return refusal.reason
    return ""


def check_fields(fields: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> Request:
    """The order the message asks for, on the grid and within the instrument's sizes, or Refused."""
    symbol, side, kind = fields.get("symbol"), fields.get("side"), fields.get("type")
    instrument = instruments.get(symbol) if isinstance(symbol, str) else None
    if instrument is None:
        raise Refused("unknown_symbol" if isinstance(symbol, str) else "bad_field", "symbol")
    if side not in SIDES:
        raise Refused("bad_field", "side must be buy or sell")
    if kind not in ORDER_TYPES:
        raise Refused("bad_field", "type must be one of " + " ".join(ORDER_TYPES))
    reduce_only = fields.get("reduce_only", False)
    if type(reduce_only) is not bool:
        raise Refused("bad_field", "reduce_only must be true or false")
    try:
        quantity = exact(fields.get("quantity"))
        price = None if fields.get("price") is None else exact(fields["price"])
    except ValueError as error:
        raise Refused("bad_field", f"price or quantity: {error}") from None
    if price is None and kind != "market":
        raise Refused("bad_field", f"price is required for {kind}")
    if quantity <= 0 or (price is not None and price <= 0):
        raise Refused("bad_field", "price and quantity must be positive")
    try:
        lots = instrument.lots(quantity)
        ticks = None if price is None else instrument.ticks(price)
    except ValueError:
        raise Refused("off_grid") from None
    if quantity < instrument.min_quantity:
        raise Refused("too_small")
    if quantity > instrument.max_quantity:
        raise Refused("too_large")
    return Request(instrument, side, kind, lots, ticks, reduce_only)
