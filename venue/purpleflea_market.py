# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The Purple Flea dialect, market messages: bytes in, one DECODED record and its levels out, compiled.

Fields are read in a fixed order, so that the cold twin meets the same first fault. Symbols are rows of ``SYMBOL_BYTES``
zero-padded bytes, ``grids`` rows of ``GRID``.
"""

from __future__ import annotations

from fabric import layout
from fabric.jit import kernel
from venue import purpleflea_words as w
from venue import tables as t
from venue.purpleflea_fields import (
    index_fields,
    read_instrument,
    read_kind,
    read_lots,
    read_side,
    read_ticks,
    read_venue_ns,
    read_whole,
    read_words,
)
from venue.scan import parse_steps, skip_space


@kernel
def _tick(buf, end, slots, seen, grid, out):
    """The touch. A price off the grid is the mid before the first trade, so it is left unsaid, not refused."""
    status, price = read_ticks(buf, end, slots, seen, w.FIELD_PRICE, grid)
    if status == t.SCAN_OFF_GRID:
        price = 0
    elif status != t.SCAN_OK:
        return status
    out[t.DC_TRADE_TICKS] = price
    status, out[t.DC_BID_TICKS] = read_ticks(buf, end, slots, seen, w.FIELD_BID, grid)
    if status != t.SCAN_OK:
        return status
    status, out[t.DC_BID_LOTS] = read_lots(buf, end, slots, seen, w.FIELD_BID_SIZE, grid)
    if status != t.SCAN_OK:
        return status
    status, out[t.DC_ASK_TICKS] = read_ticks(buf, end, slots, seen, w.FIELD_ASK, grid)
    if status != t.SCAN_OK:
        return status
    status, out[t.DC_ASK_LOTS] = read_lots(buf, end, slots, seen, w.FIELD_ASK_SIZE, grid)
    return status


@kernel
def _trade(buf, end, slots, seen, grid, out):
    status, price = read_ticks(buf, end, slots, seen, w.FIELD_PRICE, grid)
    if status != t.SCAN_OK:
        return status
    status, lots = read_lots(buf, end, slots, seen, w.FIELD_SIZE, grid)
    if status != t.SCAN_OK:
        return status
    if price == 0 or lots == 0:
        return t.SCAN_BAD_NUMBER
    status, side = read_side(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    out[t.DC_TRADE_TICKS] = price
    out[t.DC_TRADE_LOTS] = lots if side == layout.SIDE_BUY else -lots
    return t.SCAN_OK


@kernel
def _trading(buf, end, slots, seen):
    status, first, second, _ = read_words(buf, end, slots, seen, w.FIELD_STATUS)
    if status == t.SCAN_DECLINED:
        return status, 0
    if first == w.TRADING and second == 0:
        return t.SCAN_OK, t.TRADING_TRADING
    if first == w.HALTED and second == 0:
        return t.SCAN_OK, t.TRADING_HALTED
    if first == w.MAINTENANCE and second == w.MAINTENANCE2:
        return t.SCAN_OK, t.TRADING_MAINTENANCE
    return t.SCAN_OK, t.TRADING_OTHER


@kernel
def _side_levels(buf, i, end, side, grid, snapshot, levels, count):
    """(status, new count, levels beyond the room, levels off the grid) of ``[["price","size"],...]`` of good grammar.

    A snapshot keeps half the buffer per side: its best levels as long as they come best first, else it is declined.
    """
    room = count + levels.shape[0] // 2
    dropped = 0
    off_grid = 0
    if buf[i] != 91:
        return t.SCAN_BAD, count, 0, 0
    i = skip_space(buf, i + 1, end)
    while buf[i] != 93:
        if buf[i] != 91:
            return t.SCAN_BAD, count, 0, 0
        i = skip_space(buf, i + 1, end)
        price_status, ticks, i = parse_steps(buf, i, end, grid[t.GR_PRICE_DECIMALS], grid[t.GR_TICK_MULTIPLE])
        if price_status != t.SCAN_OK and price_status != t.SCAN_OFF_GRID:
            return price_status, count, 0, 0
        i = skip_space(buf, i, end)
        if buf[i] != 44:
            return t.SCAN_BAD, count, 0, 0
        i = skip_space(buf, i + 1, end)
        status, lots, i = parse_steps(buf, i, end, grid[t.GR_SIZE_DECIMALS], grid[t.GR_LOT_MULTIPLE])
        if status != t.SCAN_OK and status != t.SCAN_OFF_GRID:
            return status, count, 0, 0
        i = skip_space(buf, i, end)
        if buf[i] != 93:
            return t.SCAN_BAD, count, 0, 0
        if price_status != t.SCAN_OK or status != t.SCAN_OK:
            off_grid += 1
        elif ticks == 0 or (snapshot and lots == 0):
            return t.SCAN_BAD_NUMBER, count, 0, 0
        elif count < room:
            levels[count, t.LV_SIDE] = side
            levels[count, t.LV_TICKS] = ticks
            levels[count, t.LV_LOTS] = lots
            count += 1
        else:
            worst = levels[count - 1, t.LV_TICKS]
            if not snapshot or (ticks > worst if side == layout.SIDE_BUY else ticks < worst):
                return t.SCAN_DECLINED, count, 0, 0
            dropped += 1
        i = skip_space(buf, i + 1, end)
        if buf[i] == 44:
            i = skip_space(buf, i + 1, end)
    return t.SCAN_OK, count, dropped, off_grid


@kernel
def _book(buf, end, slots, seen, grid, snapshot, out, levels):
    count = 0
    status = t.SCAN_OK
    need = 1 << w.FIELD_SEQUENCE if snapshot else 1 << w.FIELD_SEQUENCE | 1 << w.FIELD_PREV_SEQUENCE
    if seen & need != need:
        return t.SCAN_BAD
    out[t.DC_IS_SNAPSHOT] = 1 if snapshot else 0
    for side in (layout.SIDE_BUY, layout.SIDE_SELL):
        field = w.FIELD_BIDS if side == layout.SIDE_BUY else w.FIELD_ASKS
        if seen & (1 << field):
            at = slots[field]
            status, count, dropped, off_grid = _side_levels(buf, at, end, side, grid, snapshot, levels, count)
            if status != t.SCAN_OK:
                return status
            out[t.DC_OVERFLOW] += dropped
            out[t.DC_OFF_GRID] += off_grid
        elif snapshot:
            return t.SCAN_BAD
    out[t.DC_LEVELS] = count
    return t.SCAN_OK


@kernel
def decode_market(buf, start, end, symbols, grids, slots, out, levels):
    """Read one message of the market session into ``out`` (DECODED) and ``levels``; returns its SCAN status.

    ok with kind MARKET_OTHER: an answer or an own-order message, nothing to publish. On any other answer than ok, what
    ``out`` and ``levels`` hold is no message.
    """
    for k in range(len(t.DECODED)):
        out[k] = 0
    out[t.DC_INSTRUMENT] = -1
    out[t.DC_SOURCE_INDEX] = -1
    status, seen = index_fields(buf, start, end, slots)
    if status != t.SCAN_OK:
        return status
    status, kind = read_kind(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    if kind >= w.MARKET_KINDS:
        out[t.DC_KIND] = layout.MARKET_OTHER
        return t.SCAN_OK
    status, instrument = read_instrument(buf, end, slots, seen, symbols)
    if status != t.SCAN_OK:
        return status
    out[t.DC_INSTRUMENT] = instrument
    status, out[t.DC_VENUE_NS] = read_venue_ns(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    status, out[t.DC_SOURCE_INDEX] = read_whole(buf, end, slots, seen, w.FIELD_INDEX, -1)
    if status != t.SCAN_OK:
        return status
    status, out[t.DC_VENUE_SEQ] = read_whole(buf, end, slots, seen, w.FIELD_SEQUENCE, 0)
    if status != t.SCAN_OK:
        return status
    status, out[t.DC_PREV_SEQ] = read_whole(buf, end, slots, seen, w.FIELD_PREV_SEQUENCE, 0)
    if status != t.SCAN_OK:
        return status
    grid = grids[instrument]
    if kind == w.KIND_TICK:
        out[t.DC_KIND] = layout.MARKET_TICK
        return _tick(buf, end, slots, seen, grid, out)
    if kind == w.KIND_TRADE:
        out[t.DC_KIND] = layout.MARKET_TRADE
        return _trade(buf, end, slots, seen, grid, out)
    if kind == w.KIND_STATUS:
        out[t.DC_KIND] = layout.MARKET_STATUS
        status, out[t.DC_STATUS] = _trading(buf, end, slots, seen)
        return status
    out[t.DC_KIND] = layout.MARKET_BOOK
    return _book(buf, end, slots, seen, grid, kind == w.KIND_BOOK_SNAPSHOT, out, levels)
