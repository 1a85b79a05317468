"""The Purple Flea decoders again, in plain Python: for messages that the compiled ones decline, and their oracle in tests.

Numbers stay text until ``Decimal`` has them, so a bare ``64000.01`` is exact. Same answers, same order of faults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from fabric import layout
from venue import purpleflea_words as w
from venue import tables as t

Fields = dict[str, Any]
Level = tuple[int, int, int]
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
_LIMIT = 10**18
_EVENT_OF_KIND = {
    "ack": layout.EVENT_ACK,
    "reject": layout.EVENT_REJECT,
    "fill": layout.EVENT_FILL,
    "cancelled": layout.EVENT_CANCELLED,
    "cancel_reject": layout.EVENT_CANCEL_REJECT,
    "amended": layout.EVENT_AMENDED,
    "amend_reject": layout.EVENT_AMEND_REJECT,
    "error": layout.EVENT_ERROR,
}


class Refused(Exception):
    """A message that is not usable; ``args[0]`` is its SCAN status."""


class Number(str):
    """A bare number as its own text."""

    __slots__ = ()


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


class _Pairs(list[tuple[str, Any]]):
    """An object as read, duplicates and all; so it is no array."""


def _fields(payload: bytes) -> Fields:
    try:
        pairs = json.loads(
            payload.decode("utf-8"),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_constant,
            object_pairs_hook=_Pairs,
        )
    except (ValueError, RecursionError):
        raise Refused(t.SCAN_BAD) from None
    if not isinstance(pairs, _Pairs):
        raise Refused(t.SCAN_BAD)
    known = [key for key, _ in pairs if key in w.FIELDS]
    if len(known) != len(set(known)):
        raise Refused(t.SCAN_BAD)
    return dict(pairs)


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and not isinstance(value, Number) else None


def _decimal(value: Any, decimals: int) -> tuple[int, bool]:
    """(units of 10^-decimals rounded towards zero, exact)."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise Refused(t.SCAN_BAD_NUMBER)
    sign, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, digits)))
    shift = exponent + decimals
    if shift > 40 and whole:
        raise Refused(t.SCAN_BAD_NUMBER)
    units, rest = (whole * 10 ** max(shift, 0), 0) if shift >= 0 or not whole else divmod(whole, 10**-shift)
    if units >= _LIMIT:
        raise Refused(t.SCAN_BAD_NUMBER)
    return (-units if sign else units), rest == 0


def _steps_if_whole(value: Any, decimals: int, multiple: int) -> int | None:
    units, exact = _decimal(value, decimals)
    if units < 0:
        raise Refused(t.SCAN_BAD_NUMBER)
    return units // multiple if exact and units % multiple == 0 else None


def _steps(value: Any, decimals: int, multiple: int) -> int:
    steps = _steps_if_whole(value, decimals, multiple)
    if steps is None:
        raise Refused(t.SCAN_OFF_GRID)
    return steps


def _whole(fields: Fields, name: str, absent: int) -> int:
    if name not in fields:
        return absent
    units, exact = _decimal(fields[name], 0)
    if not exact:
        raise Refused(t.SCAN_BAD_NUMBER)
    return units


def _ticks(fields: Fields, name: str, grid: Sequence[int]) -> int:
    return _steps(fields[name], grid[t.GR_PRICE_DECIMALS], grid[t.GR_TICK_MULTIPLE]) if name in fields else 0


def _lots(fields: Fields, name: str, grid: Sequence[int]) -> int:
    return _steps(fields[name], grid[t.GR_SIZE_DECIMALS], grid[t.GR_LOT_MULTIPLE]) if name in fields else 0


def _kind(fields: Fields) -> str:
    kind = _text(fields, "type")
    if kind not in w.KINDS:
        raise Refused(t.SCAN_UNKNOWN_TYPE)
    return kind


def _instrument(fields: Fields, symbols: Sequence[str]) -> int:
    symbol = _text(fields, "symbol")
    if symbol is None:
        raise Refused(t.SCAN_BAD)
    if symbol not in symbols:
        raise Refused(t.SCAN_UNKNOWN_SYMBOL)
    return symbols.index(symbol)


def _venue_ns(fields: Fields) -> int:
    value = _whole(fields, "exchange_ts", 0)
    if not 0 <= value <= w.MICROSECONDS_MAX:
        raise Refused(t.SCAN_BAD_NUMBER)
    return value * 1000


def _side(fields: Fields) -> int:
    side = _text(fields, "side")
    if side not in layout.SIDE:
        raise Refused(t.SCAN_BAD)
    return layout.SIDE.index(side)


def _levels(rows: Any, side: int, grid: Sequence[int], snapshot: bool, room: int) -> tuple[list[Level], int, int]:
    """(levels, left out for want of room, left out as off the grid)."""
    if not isinstance(rows, list) or isinstance(rows, _Pairs):
        raise Refused(t.SCAN_BAD)
    levels: list[Level] = []
    off_grid = 0
    for row in rows:
        if not isinstance(row, list) or isinstance(row, _Pairs) or not row:
            raise Refused(t.SCAN_BAD)
        ticks = _steps_if_whole(row[0], grid[t.GR_PRICE_DECIMALS], grid[t.GR_TICK_MULTIPLE])
        if len(row) < 2:
            raise Refused(t.SCAN_BAD)
        lots = _steps_if_whole(row[1], grid[t.GR_SIZE_DECIMALS], grid[t.GR_LOT_MULTIPLE])
        if len(row) > 2:
            raise Refused(t.SCAN_BAD)
        if ticks is None or lots is None:
            off_grid += 1
            continue
        if ticks == 0 or (snapshot and lots == 0):
            raise Refused(t.SCAN_BAD_NUMBER)
        levels.append((side, ticks, lots))
    if len(levels) <= room:
        return levels, 0, off_grid
    if not snapshot:
        raise Refused(t.SCAN_BAD)  # half a delta is no delta
    levels.sort(key=lambda level: level[1], reverse=side == layout.SIDE_BUY)
    return levels[:room], len(levels) - room, off_grid


def _market(fields: Fields, symbols: Sequence[str], grids: Sequence[Sequence[int]], out: list[int]) -> list[Level]:
    kind = _kind(fields)
    if kind not in w.KINDS[: w.MARKET_KINDS]:
        out[t.DC_KIND] = layout.MARKET_OTHER
        return []
    out[t.DC_INSTRUMENT] = _instrument(fields, symbols)
    out[t.DC_VENUE_NS] = _venue_ns(fields)
    out[t.DC_SOURCE_INDEX] = _whole(fields, "index", -1)
    out[t.DC_VENUE_SEQ] = _whole(fields, "sequence", 0)
    out[t.DC_PREV_SEQ] = _whole(fields, "prev_sequence", 0)
    grid = grids[out[t.DC_INSTRUMENT]]
    if kind == "tick":
        out[t.DC_KIND] = layout.MARKET_TICK
        try:
            out[t.DC_TRADE_TICKS] = _ticks(fields, "price", grid)
        except Refused as refused:
            if refused.args[0] != t.SCAN_OFF_GRID:
                raise
        out[t.DC_BID_TICKS], out[t.DC_BID_LOTS] = _ticks(fields, "bid", grid), _lots(fields, "bid_size", grid)
        out[t.DC_ASK_TICKS], out[t.DC_ASK_LOTS] = _ticks(fields, "ask", grid), _lots(fields, "ask_size", grid)
    elif kind == "trade":
        out[t.DC_KIND] = layout.MARKET_TRADE
        price, lots = _ticks(fields, "price", grid), _lots(fields, "size", grid)
        if not price or not lots:
            raise Refused(t.SCAN_BAD_NUMBER)
        out[t.DC_TRADE_TICKS] = price
        out[t.DC_TRADE_LOTS] = lots if _side(fields) == layout.SIDE_BUY else -lots
    elif kind == "status":
        out[t.DC_KIND] = layout.MARKET_STATUS
        said = _text(fields, "status")
        out[t.DC_STATUS] = t.TRADING.index(said) if said in t.TRADING[1:4] else t.TRADING_OTHER
    else:
        return _book(fields, kind == "book_snapshot", grid, out)
    return []


def _book(fields: Fields, snapshot: bool, grid: Sequence[int], out: list[int]) -> list[Level]:
    out[t.DC_KIND] = layout.MARKET_BOOK
    if "sequence" not in fields or (not snapshot and "prev_sequence" not in fields):
        raise Refused(t.SCAN_BAD)
    out[t.DC_IS_SNAPSHOT] = int(snapshot)
    levels: list[Level] = []
    for side, name in ((layout.SIDE_BUY, "bids"), (layout.SIDE_SELL, "asks")):
        if name in fields:
            kept, left_out, off_grid = _levels(fields[name], side, grid, snapshot, t.LEVELS_CAPACITY // 2)
            levels += kept
            out[t.DC_OVERFLOW] += left_out
            out[t.DC_OFF_GRID] += off_grid
        elif snapshot:
            raise Refused(t.SCAN_BAD)
    out[t.DC_LEVELS] = len(levels)
    return levels


def decode_market(payload: bytes, symbols: Sequence[str], grids: Sequence[Sequence[int]]) -> tuple[int, list[int], list[Level]]:
    """(SCAN status, DECODED record, levels) of one message; never declined."""
    out = [0] * len(t.DECODED)
    out[t.DC_INSTRUMENT] = out[t.DC_SOURCE_INDEX] = -1
    try:
        return t.SCAN_OK, out, _market(_fields(payload), symbols, grids, out)
    except Refused as refused:
        return refused.args[0], out, []


def _order_id(fields: Fields) -> int:
    text = _text(fields, "client_order_id") or ""
    value = int(text) if re.fullmatch("[1-9][0-9]{0,18}", text) else 0
    return value if value < 2**63 else 0


def _fill(fields: Fields, grid: Sequence[int], event: list[int]) -> None:
    if not {"trade_id", "side", "price", "quantity"} <= fields.keys():
        raise Refused(t.SCAN_BAD)
    event[t.EV_TRADE_ID] = _whole(fields, "trade_id", 0)
    event[t.EV_SIDE] = _side(fields)
    event[t.EV_PRICE_TICKS] = _ticks(fields, "price", grid)
    event[t.EV_LOTS] = _lots(fields, "quantity", grid)
    if not event[t.EV_PRICE_TICKS] or not event[t.EV_LOTS]:
        raise Refused(t.SCAN_BAD_NUMBER)
    if "fee" in fields:
        event[t.EV_FEE_E8], exact = _decimal(fields["fee"], 8)
        if not exact:
            raise Refused(t.SCAN_OFF_GRID)
    if "leaves" in fields:
        event[t.EV_LEAVES] = _lots(fields, "leaves", grid)
    liquidity = _text(fields, "liquidity")
    event[t.EV_LIQUIDITY] = layout.LIQUIDITY.index(liquidity) if liquidity in ("maker", "taker") else 0


def _private(fields: Fields, symbols: Sequence[str], grids: Sequence[Sequence[int]], event: list[int]) -> None:
    kind = _kind(fields)
    if kind not in _EVENT_OF_KIND and kind != "cancel_all_ack":
        event[t.EV_KIND] = layout.EVENT_OTHER
        return
    event[t.EV_VENUE_NS] = _venue_ns(fields)
    if kind == "cancel_all_ack":
        event[t.EV_KIND], event[t.EV_EXTRA] = layout.EVENT_CANCEL_ALL_ACK, _whole(fields, "count", 0)
        return
    event[t.EV_ORDER_ID] = _order_id(fields)
    event[t.EV_VENUE_ID] = _whole(fields, "order_id", 0)
    try:
        event[t.EV_INSTRUMENT] = _instrument(fields, symbols)
    except Refused:
        if kind in ("fill", "amended"):
            raise
    instrument = event[t.EV_INSTRUMENT]
    if instrument >= 0 and "cumulative" in fields:
        event[t.EV_CUMULATIVE] = _lots(fields, "cumulative", grids[instrument])
    event[t.EV_KIND] = _EVENT_OF_KIND[kind]
    if kind == "fill":
        _fill(fields, grids[instrument], event)
    elif kind == "amended":
        if "quantity" not in fields:
            raise Refused(t.SCAN_BAD)
        event[t.EV_LOTS] = _lots(fields, "quantity", grids[instrument])
    elif kind != "ack":
        text = _text(fields, "reason")
        event[t.EV_REASON] = w.REASON_OF_TEXT.get(text or "", layout.REASON_VENUE_REJECT)
        if kind == "cancelled" and text == "expired":
            event[t.EV_KIND] = layout.EVENT_EXPIRED
        event[t.EV_EXTRA] = int(kind in ("cancel_reject", "amend_reject") and text == "already_closed")


def decode_private(payload: bytes, symbols: Sequence[str], grids: Sequence[Sequence[int]]) -> tuple[int, list[int]]:
    """(SCAN status, EVENT record) of one message; never declined."""
    event = [0] * len(t.EVENT)
    event[t.EV_INSTRUMENT] = event[t.EV_SIDE] = event[t.EV_CUMULATIVE] = event[t.EV_LEAVES] = -1
    try:
        _private(_fields(payload), symbols, grids, event)
    except Refused as refused:
        return refused.args[0], event
    return t.SCAN_OK, event
