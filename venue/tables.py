"""The records that a dialect's decoder fills: one flat row of int64 words for market messages, one for own orders.

Plain data. ``engine.tables`` takes ``EVENT_WORDS`` from here, so that the two floors can never disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.layout import words

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...  # the constants that words() defines


_here = globals()

# What came back from the venue about an own order, or from reconciliation. kind = layout.EVENT_*; instrument, side -1
# and every number 0 = not said. order_id 0 = not one of our ids. extra: count of a cancel_all_ack; 1 for a
# cancel_reject of an order that is already closed.
EVENT_WORDS = (
    "kind order_id venue_id trade_id instrument side price_ticks lots cumulative leaves fee_e8 liquidity reason "
    "venue_ns recv_ns extra"
)
EVENT = words(_here, "EV", EVENT_WORDS)

# What a market message says. kind = layout.MARKET_*; trade_lots is signed by the aggressor; 0 = not said, but
# instrument -1 = none, source_index -1 = none (a snapshot on request). status: 0 not said, else TRADING. overflow and
# off_grid: levels of a book message left out, for want of room and as their price or size is off the grid.
DECODED = words(
    _here,
    "DC",
    "kind instrument bid_ticks bid_lots ask_ticks ask_lots trade_ticks trade_lots venue_seq prev_seq venue_ns "
    "source_index levels is_snapshot overflow status off_grid",
)
TRADING = words(_here, "TRADING", "none trading halted maintenance other")
LEVEL = words(_here, "LV", "side ticks lots")
LEVELS_CAPACITY = 16384  # rows of the levels buffer; a snapshot takes half of it per side and counts the rest
# How prices and sizes of one instrument become ticks and lots: tick = tick_multiple x 10^-price_decimals.
GRID = words(_here, "GR", "price_decimals tick_multiple size_decimals lot_multiple")
SYMBOL_BYTES = 32  # a row of the symbol table, zero padded
SLOTS = 32  # scratch words of a decoder: where each known key's value starts

# Answers of the scanner and the decoders; only ok has filled the record. declined = ask the cold twin.
SCAN = words(_here, "SCAN", "ok declined bad off_grid bad_number unknown_symbol unknown_type")

# What frames.next_frame says and finds; next = first byte after the frame. send_end and code: of websocket.next_message.
FRAME_STATUS = words(_here, "FRAME", "need complete violation oversize")
FRAME_WORDS = words(_here, "FR", "opcode fin at length next send_end code")
MESSAGE_STATUS = words(_here, "MESSAGE", "need text binary part ping pong close failed full")

# What feed.book says to a snapshot or delta; gap, crossed and refused leave the book dirty.
BOOK_OUTCOME = words(_here, "BOOK", "applied stale before_snapshot gap crossed refused")

# One session row of a hot process, handed between its threads (``venue.session``); close_code: why the loop gave it up.
# ssl (0 = plain TCP), functions, tls_error, tls_closed: of ``transport``. held_*, utf8, seen: what ``websocket`` keeps of a
# message that is not whole yet. more: frames wait for the next pass.
SESSION = words(
    _here,
    "SE",
    "state fd buffer capacity start end close_code received_ns opened held_at held_end held_opcode utf8 seen more ssl "
    "functions tls_error tls_closed _ _ _ _ _",
)
TLS_NAMES = ("SSL_read", "SSL_write", "SSL_get_error", "ERR_clear_error", "ERR_get_error")
TLS = words(_here, "TLS", " ".join(TLS_NAMES).lower())
CLOSE = words(_here, "CLOSE", "none peer error violation oversize send partial lapse stop utf8 binary")
