"""Columns of the core's private tables that risk reads and writes: int64 arrays, one row per thing, one column per name.

The execution process owns these arrays; nobody else maps them. Money is in 1e-8 of the quote (= reporting) currency
(``_e8``), prices in ticks, sizes in lots; ``mult`` is money units per tick and lot, exact by construction
(``tick_size * lot_size * 1e8`` must be an integer). Shapes: instruments (I, len(INSTRUMENT)), books (I, len(BOOK)),
positions (I, len(POSITION)), limits (len(LIMIT),), account (len(ACCOUNT),), owners (O, len(OWNER)),
subbooks (O * I, len(SUBBOOK)), row = owner * I + instrument; rate (len(RATE) + RATE_SLOTS,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.layout import words

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...


_here = globals()

OWNERS_MAX = 64  # owner 0 is `unowned`, 1 is the operator, 2.. are strategies, then signals share OWNER_SIGNALS
OWNER_UNOWNED, OWNER_OPERATOR, OWNER_SIGNALS, OWNER_FIRST_STRATEGY = 0, 1, 2, 3

INSTRUMENT = words(
    _here,
    "IN",
    "mult tick_e8 lot_e8 price_decimals size_decimals min_lots max_lots min_notional_e8 maker_fee_ppm taker_fee_ppm "
    "kind baseline_lots active _ _ _",
)  # fees: parts per million of notional, negative = rebate. kind: 0 spot, 1 linear, 2 inverse

BOOK = words(
    _here,
    "BK",
    "status bid_ticks bid_lots ask_ticks ask_lots trade_ticks trade_lots mark_x2_ticks good_mark_x2_ticks updated_ns "
    "venue_ns recv_ns message book_status book_bid_ticks book_ask_ticks",
)  # mark_x2 = bid + ask, so that the mid stays an integer; status is the one the gate reads (tick and depth together)

LIMIT = words(
    _here,
    "LM",
    "profile day_loss_ppm position_ppm order_rate_per_s losses_in_row slippage_ppm drawdown_ppm pause_ns pauses_to_latch "
    "collar_ppm max_order_notional_e8 max_open_orders gross_exposure_ppm stale_book_ns queue_ttl_ns queue_slots "
    "message_rate_per_s duplicate_window_ns rejects_in_row min_quote_life_ns cross_ticks signal_notional_per_h_e8 "
    "signal_count_per_h send_window_ns unsent_bytes_max _ _ _ _ _ _ _",
)
LIMIT_MISSING = -1  # a missing limit blocks every order that the limit would have judged

ACCOUNT = words(
    _here,
    "AC",
    "nav_e8 day_start_nav_e8 hwm_e8 cash_e8 realised_e8 unrealised_e8 fees_e8 flows_e8 state reason drawdown_step "
    "limit_only slippage_ppm slippage_fills day reconciled gross_e8 losses rejects_in_row open_orders unknown_orders "
    "last_order_id exposure_e8 _",
)  # slippage_ppm: exponentially weighted (1/8), signed against us; limit_only leaves at half the limit;
# exposure: the sum over positions

POSITION = words(
    _here,
    "PO",
    "lots cost_e8 realised_e8 fees_e8 working_buy_lots working_sell_lots reducing_buy_lots reducing_sell_lots "
    "unrealised_e8 confirmed_lots last_fill_ns difference_lots exposure_e8 own_bid_ticks own_ask_ticks _",
)  # cost_e8 is signed: sum of price * lots * mult of what is open; working includes live, pending and unknown;
# difference_lots: the venue's position minus ours at the last reconciliation, applied when seen twice; exposure: the worst
# case at the good mark (`account.expose`); own_bid, own_ask: no open own buy is above, no open own sell below (0: none open)

OWNER = words(
    _here,
    "OW",
    "kind loss_streak paused_until_ns pauses_today latched day realised_e8 fees_e8 orders fills last_order_key last_order_ns",
)

SUBBOOK = words(_here, "SB", "lots cost_e8 realised_e8 fees_e8 entry_ns round_realised_e8 _ _")

RATE = words(
    _here,
    "RT",
    "head count window_start_ns exit_start_ns exits _ _ _ messages messages_1 messages_2 messages_3 messages_4",
)  # exits: of the second that began at exit_start; messages: five quarter seconds, newest first;
# then RATE_SLOTS send times, a ring
RATE_SLOTS = 256

# One order on its way through the gate, in and out (1-D).
ORDER_IN = words(
    _here,
    "OI",
    "id instrument owner side type price_ticks lots is_exit is_quote reduce_only decision_x2_ticks signal_row "
    "model_hash prompt_hash tif_ns slot",
)

# What the gate answers beside its ACTION; `applied` has a bit (1 << ACTION) for each action that changed the order.
GATE_OUT = words(_here, "OUT", "reason type price_ticks lots applied _ _ _")
OPERATION = words(_here, "OPERATION", "new exit amend_up amend_down cancel")  # columns of gate.STATE_ACTION
