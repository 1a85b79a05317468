# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The Purple Flea dialect, own-order messages: bytes in, one EVENT record out, compiled."""

from __future__ import annotations

import numpy as np

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
from venue.scan import parse_decimal, read_text

ID_LIMIT = (2**63 - 10) // 10  # an id below it can take one more digit


@kernel
def read_order_id(buf, end, slots, seen):
    """(status, client order id); 0 = absent or not one of ours, which are plain digits without leading zeros."""
    if not seen & (1 << w.FIELD_CLIENT_ORDER_ID):
        return t.SCAN_OK, 0
    status, at, length = read_text(buf, slots[w.FIELD_CLIENT_ORDER_ID], end)
    if status == t.SCAN_DECLINED:
        return status, 0
    if status != t.SCAN_OK or length == 0 or length > 19 or buf[at] == 48:
        return t.SCAN_OK, 0
    value = np.int64(0)
    for k in range(length):
        digit = np.int64(buf[at + k]) - 48
        if digit < 0 or digit > 9 or value > ID_LIMIT:
            return t.SCAN_OK, 0
        value = value * 10 + digit
    return t.SCAN_OK, value


@kernel
def read_reason(buf, end, slots, seen):
    """(status, layout.REASON_*, 1 when the text is already_closed, 1 when it is expired)."""
    status, first, second, third = read_words(buf, end, slots, seen, w.FIELD_REASON)
    if status == t.SCAN_DECLINED:
        return status, 0, 0, 0
    if status == t.SCAN_OK:
        for k in range(w.REASON_WORDS.shape[0]):
            found = w.REASON_WORDS[k]
            if first == found[0] and second == found[1] and third == found[2]:
                return t.SCAN_OK, found[3], 0, 0
        closed = 1 if first == w.ALREADY_CLOSED and second == w.ALREADY_CLOSED2 and third == 0 else 0
        expired = 1 if first == w.EXPIRED and second == 0 else 0
        return t.SCAN_OK, layout.REASON_VENUE_REJECT, closed, expired
    return t.SCAN_OK, layout.REASON_VENUE_REJECT, 0, 0


@kernel
def _fill(buf, end, slots, seen, grid, event):
    """What was traded. A fill must say all of trade, side, price and quantity: half a fill is no fill."""
    need = 1 << w.FIELD_TRADE_ID | 1 << w.FIELD_SIDE | 1 << w.FIELD_PRICE | 1 << w.FIELD_QUANTITY
    if seen & need != need:
        return t.SCAN_BAD
    status, event[t.EV_TRADE_ID] = read_whole(buf, end, slots, seen, w.FIELD_TRADE_ID, 0)
    if status != t.SCAN_OK:
        return status
    status, event[t.EV_SIDE] = read_side(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    status, event[t.EV_PRICE_TICKS] = read_ticks(buf, end, slots, seen, w.FIELD_PRICE, grid)
    if status != t.SCAN_OK:
        return status
    status, event[t.EV_LOTS] = read_lots(buf, end, slots, seen, w.FIELD_QUANTITY, grid)
    if status != t.SCAN_OK:
        return status
    if event[t.EV_PRICE_TICKS] == 0 or event[t.EV_LOTS] == 0:
        return t.SCAN_BAD_NUMBER
    if seen & (1 << w.FIELD_FEE):
        status, event[t.EV_FEE_E8], _ = parse_decimal(buf, slots[w.FIELD_FEE], end, 8)
        if status != t.SCAN_OK:
            return status
    if seen & (1 << w.FIELD_LEAVES):
        status, event[t.EV_LEAVES] = read_lots(buf, end, slots, seen, w.FIELD_LEAVES, grid)
        if status != t.SCAN_OK:
            return status
    status, first, second, _ = read_words(buf, end, slots, seen, w.FIELD_LIQUIDITY)
    if status == t.SCAN_DECLINED:
        return status
    if second == 0:
        if first == w.MAKER:
            event[t.EV_LIQUIDITY] = layout.LIQUIDITY_MAKER
        elif first == w.TAKER:
            event[t.EV_LIQUIDITY] = layout.LIQUIDITY_TAKER
    return t.SCAN_OK


@kernel
def _end(buf, end, slots, seen, kind, event):
    """Why an order was refused or ended."""
    status, event[t.EV_REASON], closed, expired = read_reason(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    if kind == w.KIND_REJECT:
        event[t.EV_KIND] = layout.EVENT_REJECT
    elif kind == w.KIND_CANCELLED:
        event[t.EV_KIND] = layout.EVENT_EXPIRED if expired else layout.EVENT_CANCELLED
    elif kind == w.KIND_CANCEL_REJECT:
        event[t.EV_KIND] = layout.EVENT_CANCEL_REJECT
        event[t.EV_EXTRA] = closed
    elif kind == w.KIND_AMEND_REJECT:
        event[t.EV_KIND] = layout.EVENT_AMEND_REJECT
        event[t.EV_EXTRA] = closed
    else:
        event[t.EV_KIND] = layout.EVENT_ERROR
    return t.SCAN_OK


@kernel
def _amended(buf, end, slots, seen, grid, event):
    """How large the order is now, in all. Without that the message says nothing."""
    event[t.EV_KIND] = layout.EVENT_AMENDED
    if not seen & (1 << w.FIELD_QUANTITY):
        return t.SCAN_BAD
    status, event[t.EV_LOTS] = read_lots(buf, end, slots, seen, w.FIELD_QUANTITY, grid)
    return status


@kernel
def _order(buf, end, slots, seen, symbols, grids, kind, event):
    """The messages about one order."""
    status, event[t.EV_ORDER_ID] = read_order_id(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    status, event[t.EV_VENUE_ID] = read_whole(buf, end, slots, seen, w.FIELD_ORDER_ID, 0)
    if status != t.SCAN_OK:
        return status
    status, instrument = read_instrument(buf, end, slots, seen, symbols)
    if status == t.SCAN_DECLINED or (status != t.SCAN_OK and (kind == w.KIND_FILL or kind == w.KIND_AMENDED)):
        return status
    event[t.EV_INSTRUMENT] = instrument
    if instrument >= 0 and seen & (1 << w.FIELD_CUMULATIVE):
        status, event[t.EV_CUMULATIVE] = read_lots(buf, end, slots, seen, w.FIELD_CUMULATIVE, grids[instrument])
        if status != t.SCAN_OK:
            return status
    if kind == w.KIND_FILL:
        event[t.EV_KIND] = layout.EVENT_FILL
        return _fill(buf, end, slots, seen, grids[instrument], event)
    if kind == w.KIND_ACK:
        event[t.EV_KIND] = layout.EVENT_ACK
        return t.SCAN_OK
    if kind == w.KIND_AMENDED:
        return _amended(buf, end, slots, seen, grids[instrument], event)
    return _end(buf, end, slots, seen, kind, event)


@kernel
def decode_private(buf, start, end, symbols, grids, slots, event):
    """Read one message of the order session into ``event`` (EVENT); returns its SCAN status. ``recv_ns`` is the caller's.

    ok with EVENT_OTHER: an answer or a market message, nothing to apply. On any other answer than ok, what ``event``
    holds is no event; a fill that could not be read leaves a position unknown, so the caller reconciles.
    """
    for k in range(16):
        event[k] = 0
    event[t.EV_INSTRUMENT] = -1
    event[t.EV_SIDE] = -1
    event[t.EV_CUMULATIVE] = -1
    event[t.EV_LEAVES] = -1
    status, seen = index_fields(buf, start, end, slots)
    if status != t.SCAN_OK:
        return status
    status, kind = read_kind(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    if kind < w.MARKET_KINDS or kind >= w.KIND_SUBSCRIBED:
        event[t.EV_KIND] = layout.EVENT_OTHER
        return t.SCAN_OK
    status, event[t.EV_VENUE_NS] = read_venue_ns(buf, end, slots, seen)
    if status != t.SCAN_OK:
        return status
    if kind == w.KIND_CANCEL_ALL_ACK:
        event[t.EV_KIND] = layout.EVENT_CANCEL_ALL_ACK
        status, event[t.EV_EXTRA] = read_whole(buf, end, slots, seen, w.FIELD_COUNT, 0)
        return status
    return _order(buf, end, slots, seen, symbols, grids, kind, event)
