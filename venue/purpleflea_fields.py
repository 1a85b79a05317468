# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The Purple Flea dialect, single fields of a message: index an object once, then read what its type needs.

Every reader returns ``(SCAN status, value...)``. ``slots[field]`` is the offset of a known key's value, ``seen`` the mask
of the fields that are there. All grammar was checked by ``index_fields``.
"""

from __future__ import annotations

import numpy as np

from fabric import layout
from fabric.jit import inlined, kernel
from venue import purpleflea_words as w
from venue import tables as t
from venue.eight import eight, first_of
from venue.scan import pack, parse_decimal, parse_steps, read_key, read_text, skip_space, skip_value


@inlined
def _short_field(first):
    """The number of a key of at most 8 bytes, -1 unknown."""
    if first == w.KEY_TYPE:
        return w.FIELD_TYPE
    if first == w.KEY_SYMBOL:
        return w.FIELD_SYMBOL
    if first == w.KEY_PRICE:
        return w.FIELD_PRICE
    if first == w.KEY_BID:
        return w.FIELD_BID
    if first == w.KEY_BID_SIZE:
        return w.FIELD_BID_SIZE
    if first == w.KEY_ASK:
        return w.FIELD_ASK
    if first == w.KEY_ASK_SIZE:
        return w.FIELD_ASK_SIZE
    if first == w.KEY_SEQUENCE:
        return w.FIELD_SEQUENCE
    if first == w.KEY_INDEX:
        return w.FIELD_INDEX
    if first == w.KEY_SIZE:
        return w.FIELD_SIZE
    if first == w.KEY_SIDE:
        return w.FIELD_SIDE
    if first == w.KEY_TRADE_ID:
        return w.FIELD_TRADE_ID
    if first == w.KEY_BIDS:
        return w.FIELD_BIDS
    if first == w.KEY_ASKS:
        return w.FIELD_ASKS
    if first == w.KEY_STATUS:
        return w.FIELD_STATUS
    if first == w.KEY_ORDER_ID:
        return w.FIELD_ORDER_ID
    if first == w.KEY_QUANTITY:
        return w.FIELD_QUANTITY
    if first == w.KEY_LEAVES:
        return w.FIELD_LEAVES
    if first == w.KEY_FEE:
        return w.FIELD_FEE
    if first == w.KEY_REASON:
        return w.FIELD_REASON
    if first == w.KEY_COUNT:
        return w.FIELD_COUNT
    return -1


@inlined
def field_of(first, second, length):
    """The number of a key in FIELDS, -1 unknown."""
    if length <= 8:
        return _short_field(first)
    if length > 16:
        return -1
    if first == w.KEY_PREV_SEQUENCE and second == w.KEY2_PREV_SEQUENCE:
        return w.FIELD_PREV_SEQUENCE
    if first == w.KEY_EXCHANGE_TS and second == w.KEY2_EXCHANGE_TS:
        return w.FIELD_EXCHANGE_TS
    if first == w.KEY_CLIENT_ORDER_ID and second == w.KEY2_CLIENT_ORDER_ID:
        return w.FIELD_CLIENT_ORDER_ID
    if first == w.KEY_CUMULATIVE and second == w.KEY2_CUMULATIVE:
        return w.FIELD_CUMULATIVE
    if first == w.KEY_LIQUIDITY and second == w.KEY2_LIQUIDITY:
        return w.FIELD_LIQUIDITY
    return -1


@kernel
def index_fields(buf, start, end, slots):
    """(status, mask of fields seen): ``slots[field]`` = offset of its value. A known key twice is declined."""
    seen = np.int64(0)
    i = skip_space(buf, start, end)
    if i >= end or buf[i] != 123:
        return t.SCAN_BAD, seen
    i = skip_space(buf, i + 1, end)
    if i < end and buf[i] == 125:
        i = skip_space(buf, i + 1, end)
        return (t.SCAN_OK if i == end else t.SCAN_BAD), seen
    while True:
        status, i, first, second, length = read_key(buf, i, end)
        if status != t.SCAN_OK:
            return status, seen
        field = field_of(first, second, length)
        if field >= 0:
            if seen & (1 << field):
                return t.SCAN_DECLINED, seen
            seen |= 1 << field
            slots[field] = i
        status, i = skip_value(buf, i, end)
        if status != t.SCAN_OK:
            return status, seen
        i = skip_space(buf, i, end)
        if i >= end:
            return t.SCAN_BAD, seen
        if buf[i] == 125:
            i = skip_space(buf, i + 1, end)
            return (t.SCAN_OK if i == end else t.SCAN_BAD), seen
        if buf[i] != 44:
            return t.SCAN_BAD, seen
        i = skip_space(buf, i + 1, end)


@inlined
def read_words(buf, end, slots, seen, field):
    """(status, three words) of a text field; unknown_type = absent or no text."""
    if not seen & (1 << field):
        return t.SCAN_UNKNOWN_TYPE, 0, 0, 0
    status, at, length = read_text(buf, slots[field], end)
    if status == t.SCAN_DECLINED:
        return status, 0, 0, 0
    if status != t.SCAN_OK or length > 24:
        return t.SCAN_UNKNOWN_TYPE, 0, 0, 0
    first, second, third = pack(buf, at, length, end)
    return t.SCAN_OK, first, second, third


@inlined
def read_kind(buf, end, slots, seen):
    """(status, number in KINDS)."""
    status, first, second, third = read_words(buf, end, slots, seen, w.FIELD_TYPE)
    if status != t.SCAN_OK:
        return status, -1
    for k in range(w.KIND_WORDS.shape[0]):
        if first == w.KIND_WORDS[k, 0] and second == w.KIND_WORDS[k, 1] and third == 0:
            return t.SCAN_OK, k
    return t.SCAN_UNKNOWN_TYPE, -1


@inlined
def read_instrument(buf, end, slots, seen, symbols):
    """(status, row of the symbol): bad = no symbol said, unknown_symbol = none of ours."""
    if not seen & (1 << w.FIELD_SYMBOL):
        return t.SCAN_BAD, -1
    status, at, length = read_text(buf, slots[w.FIELD_SYMBOL], end)
    if status != t.SCAN_OK:
        return status, -1
    if length == 0 or length >= t.SYMBOL_BYTES:
        return t.SCAN_UNKNOWN_SYMBOL, -1
    for i in range(symbols.shape[0]):
        name = symbols[i]
        k = 0
        while k < length and first_of(eight(buf, at + k, end), length - k) == eight(name, k, t.SYMBOL_BYTES):
            k += 8
        if k >= length and (k == t.SYMBOL_BYTES or name[k] == 0):
            return t.SCAN_OK, i
    return t.SCAN_UNKNOWN_SYMBOL, -1


@inlined
def read_whole(buf, end, slots, seen, field, absent):
    """(status, whole number of a field), ``absent`` when it is not there; fractions and negatives are bad numbers."""
    if not seen & (1 << field):
        return t.SCAN_OK, absent
    status, value, _ = parse_decimal(buf, slots[field], end, 0)
    if status == t.SCAN_OFF_GRID:
        return t.SCAN_BAD_NUMBER, 0
    return status, value


@inlined
def read_venue_ns(buf, end, slots, seen):
    status, value = read_whole(buf, end, slots, seen, w.FIELD_EXCHANGE_TS, 0)
    if status == t.SCAN_OK and (value < 0 or value > w.MICROSECONDS_MAX):
        return t.SCAN_BAD_NUMBER, 0
    return status, value * 1000


@kernel
def read_ticks(buf, end, slots, seen, field, grid):
    """(status, ticks of a price field); 0 when it is not there."""
    if not seen & (1 << field):
        return t.SCAN_OK, 0
    status, ticks, _ = parse_steps(buf, slots[field], end, grid[t.GR_PRICE_DECIMALS], grid[t.GR_TICK_MULTIPLE])
    return status, ticks


@kernel
def read_lots(buf, end, slots, seen, field, grid):
    """(status, lots of a size field); 0 when it is not there."""
    if not seen & (1 << field):
        return t.SCAN_OK, 0
    status, lots, _ = parse_steps(buf, slots[field], end, grid[t.GR_SIZE_DECIMALS], grid[t.GR_LOT_MULTIPLE])
    return status, lots


@kernel
def read_side(buf, end, slots, seen):
    """(status, layout.SIDE_*); bad when absent or another text."""
    status, first, second, _ = read_words(buf, end, slots, seen, w.FIELD_SIDE)
    if status == t.SCAN_OK and second == 0:
        if first == w.BUY:
            return t.SCAN_OK, layout.SIDE_BUY
        if first == w.SELL:
            return t.SCAN_OK, layout.SIDE_SELL
    return (t.SCAN_DECLINED if status == t.SCAN_DECLINED else t.SCAN_BAD), -1
