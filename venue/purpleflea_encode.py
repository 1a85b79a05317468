# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The Purple Flea dialect, our messages to the venue: order messages compiled, rare ones plain Python.

Payloads only; ``frames.seal`` makes frames of them. Texts are exactly those of ``docs/wire-protocol.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import orjson

from fabric import layout
from fabric.jit import kernel
from venue import tables as t
from venue.write import ascii_words, put, put_decimal, put_integer, put_row

MESSAGE_MAX = 384  # bytes; no message of ours with the room that ``venue.write`` needs behind it is longer

_PLACE = ascii_words('{"action":"place_order","client_order_id":"')
_CANCEL = ascii_words('{"action":"cancel_order","client_order_id":"')
_AMEND = ascii_words('{"action":"amend_order","client_order_id":"')
_QUANTITY_NEXT = ascii_words('","quantity":')
_CANCEL_ALL = ascii_words('{"action":"cancel_all"')
_SYMBOL_NEXT = ascii_words('","symbol":"')
_SYMBOL = ascii_words(',"symbol":"')
_BUY = ascii_words('","side":"buy","quantity":')
_SELL = ascii_words('","side":"sell","quantity":')
_PRICE = ascii_words(',"price":')
_LIMIT = ascii_words(',"type":"limit"')
_MARKET = ascii_words(',"type":"market"')
_IOC = ascii_words(',"type":"ioc"')
_FOK = ascii_words(',"type":"fok"')
_POST_ONLY = ascii_words(',"type":"post_only"')
_REDUCE = ascii_words(',"reduce_only":true,"timestamp":')
_INCREASE = ascii_words(',"reduce_only":false,"timestamp":')
_TIMESTAMP = ascii_words(',"timestamp":')
_TIMESTAMP_NEXT = ascii_words('","timestamp":')
_RECV_WINDOW = ascii_words(',"recv_window":')


@kernel
def encode_place(
    out,
    at,
    order_id,
    instrument,
    side,
    order_type,
    price_ticks,
    lots,
    symbols,
    grids,
    wall_ms,
    recv_window_ms,
    reduce_only,
):
    """Write a place_order at ``out[at]``; its end, or -1: no room, or not an order (type, side, lots, price).

    A market order with ``price_ticks`` 0 goes without a price.
    """
    if at < 0 or at + MESSAGE_MAX > len(out) or instrument < 0 or instrument >= symbols.shape[0]:
        return -1
    if order_id <= 0 or lots <= 0 or price_ticks < 0 or side < layout.SIDE_BUY or side > layout.SIDE_SELL:
        return -1
    if order_type < layout.TYPE_LIMIT or order_type > layout.TYPE_POST_ONLY:
        return -1
    if price_ticks == 0 and order_type != layout.TYPE_MARKET:
        return -1
    at = put_integer(out, put(out, at, _PLACE), order_id)
    at = put_row(out, put(out, at, _SYMBOL_NEXT), symbols[instrument])
    at = put(out, at, _BUY) if side == layout.SIDE_BUY else put(out, at, _SELL)
    at = put_decimal(out, at, lots * grids[instrument, t.GR_LOT_MULTIPLE], grids[instrument, t.GR_SIZE_DECIMALS])
    if price_ticks > 0:
        at = put(out, at, _PRICE)
        units = price_ticks * grids[instrument, t.GR_TICK_MULTIPLE]
        at = put_decimal(out, at, units, grids[instrument, t.GR_PRICE_DECIMALS])
    if order_type == layout.TYPE_LIMIT:
        at = put(out, at, _LIMIT)
    elif order_type == layout.TYPE_POST_ONLY:
        at = put(out, at, _POST_ONLY)
    elif order_type == layout.TYPE_IOC:
        at = put(out, at, _IOC)
    elif order_type == layout.TYPE_FOK:
        at = put(out, at, _FOK)
    else:
        at = put(out, at, _MARKET)
    at = put(out, at, _REDUCE) if reduce_only else put(out, at, _INCREASE)
    at = put_integer(out, at, wall_ms)
    at = put_integer(out, put(out, at, _RECV_WINDOW), recv_window_ms)
    out[at] = 125
    return at + 1


@kernel
def encode_cancel(out, at, order_id, wall_ms, recv_window_ms):
    """Write a cancel_order at ``out[at]``; its end, or -1: no room or no id."""
    if at < 0 or at + MESSAGE_MAX > len(out) or order_id <= 0:
        return -1
    at = put_integer(out, put(out, at, _CANCEL), order_id)
    at = put_integer(out, put(out, at, _TIMESTAMP_NEXT), wall_ms)
    at = put_integer(out, put(out, at, _RECV_WINDOW), recv_window_ms)
    out[at] = 125
    return at + 1


@kernel
def encode_amend(out, at, order_id, instrument, lots, grids, wall_ms, recv_window_ms):
    """Write an amend_order to ``lots`` in all at ``out[at]``; its end, or -1: no room, no id, no instrument or no lots."""
    if at < 0 or at + MESSAGE_MAX > len(out) or order_id <= 0 or lots <= 0:
        return -1
    if instrument < 0 or instrument >= grids.shape[0]:
        return -1
    at = put_integer(out, put(out, at, _AMEND), order_id)
    at = put(out, at, _QUANTITY_NEXT)
    at = put_decimal(out, at, lots * grids[instrument, t.GR_LOT_MULTIPLE], grids[instrument, t.GR_SIZE_DECIMALS])
    at = put_integer(out, put(out, at, _TIMESTAMP), wall_ms)
    at = put_integer(out, put(out, at, _RECV_WINDOW), recv_window_ms)
    out[at] = 125
    return at + 1


@kernel
def encode_cancel_all(out, at, instrument, symbols, wall_ms):
    """Write a cancel_all at ``out[at]``, of one instrument or (-1) of all; its end, or -1: no room."""
    if at < 0 or at + MESSAGE_MAX > len(out) or instrument >= symbols.shape[0]:
        return -1
    at = put(out, at, _CANCEL_ALL)
    if instrument >= 0:
        at = put_row(out, put(out, at, _SYMBOL), symbols[instrument])
        out[at] = 34
        at += 1
    at = put_integer(out, put(out, at, _TIMESTAMP), wall_ms)
    out[at] = 125
    return at + 1


def subscribe_text(channels: Sequence[str], symbols: Sequence[str]) -> bytes:
    """The subscribe message; channels: ticker, orderbook, fills."""
    return orjson.dumps({"action": "subscribe", "channels": list(channels), "symbols": list(symbols)})


def resync_text(symbol: str) -> bytes:
    """Ask for a new book snapshot of one symbol."""
    return orjson.dumps({"action": "resync", "symbol": symbol})


def sample_tick(symbol: str, tick_size: str, lot_size: str) -> bytes:
    """A tick as the venue sends it, at prices that the grid allows: for rehearsals, not for the market."""
    tick, lot = Decimal(tick_size), Decimal(lot_size)
    body = {"type": "tick", "symbol": symbol, "price": f"{tick * 654_321:f}", "bid": f"{tick * 654_320:f}"}
    body |= {"bid_size": f"{lot * 12_345:f}", "ask": f"{tick * 654_322:f}", "ask_size": f"{lot * 54_321:f}"}
    return orjson.dumps(body | {"sequence": 1_234_567, "exchange_ts": 1_700_000_000_000_000})
