"""The words of the Purple Flea dialect as integers: keys, message types and texts, for compiled comparison. Plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric import layout
from fabric.layout import words
from venue import tables

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...  # the constants that words() defines


_here = globals()


def word(text: str, index: int = 0) -> int:
    """Bytes ``8 * index ...`` of an ASCII text as one little-endian integer, as ``scan.pack`` makes it."""
    return int.from_bytes(text.encode("ascii")[8 * index : 8 * index + 8], "little")


# Every key that a decoder reads; FIELD_x is its number, KEY_x and (longer than 8) KEY2_x its text.
FIELDS = words(
    _here,
    "FIELD",
    "type symbol price bid bid_size ask ask_size sequence prev_sequence exchange_ts index size side trade_id bids asks "
    "status client_order_id order_id quantity cumulative leaves fee liquidity reason count",
)
assert len(FIELDS) <= tables.SLOTS
for _name in FIELDS:
    _here[f"KEY_{_name.upper()}"], _here[f"KEY2_{_name.upper()}"] = word(_name), word(_name, 1)

KINDS = words(
    _here,
    "KIND",
    "tick trade status book_snapshot book_delta ack reject fill cancelled cancel_reject cancel_all_ack amended amend_reject "
    "error subscribed pong",
)
MARKET_KINDS = 5  # the first of them; the rest is not for the market ring
KIND_WORDS = np.array([(word(name), word(name, 1)) for name in KINDS], np.int64)

BUY, SELL, MAKER, TAKER, EXPIRED = word("buy"), word("sell"), word("maker"), word("taker"), word("expired")
TRADING, HALTED, MAINTENANCE, MAINTENANCE2 = word("trading"), word("halted"), word("maintenance"), word("maintenance", 1)
ALREADY_CLOSED, ALREADY_CLOSED2 = word("already_closed"), word("already_closed", 1)

MICROSECONDS_MAX = 9 * 10**15  # exchange_ts x 1000 must fit a word

# What the venue says about a refusal or an end; any other text is REASON_VENUE_REJECT.
REASON_OF_TEXT = {
    "unknown_symbol": layout.REASON_UNKNOWN_SYMBOL,
    "off_grid": layout.REASON_OFF_GRID,
    "too_small": layout.REASON_MIN_NOTIONAL,
    "too_large": layout.REASON_MAX_ORDER_LOTS,
    "insufficient_funds": layout.REASON_INSUFFICIENT_FUNDS,
    "post_only_would_cross": layout.REASON_POST_ONLY_WOULD_CROSS,
    "deadline_passed": layout.REASON_DEADLINE_PASSED,
    "duplicate_id": layout.REASON_DUPLICATE_ID,
    "rate_limited": layout.REASON_MESSAGE_RATE,
    "requested": layout.REASON_REQUESTED,
    "unfilled": layout.REASON_UNFILLED,
    "self_trade": layout.REASON_SELF_TRADE,
    "killed": layout.REASON_KILLED,
    "not_found": layout.REASON_NOT_FOUND,
}
REASON_WORDS = np.array([(word(n), word(n, 1), word(n, 2), code) for n, code in REASON_OF_TEXT.items()], np.int64)
