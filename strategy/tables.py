"""Columns of what a strategy reads and writes: the seam between user code and the core, as plain data.

The engine fills one STRATEGY_VIEW row per strategy and instrument and reads INTENT rows back; both sides, and nobody
else, use these columns. All words are int64: prices in ticks, sizes in lots, fees and scales in parts per million,
times in ns of CLOCK_MONOTONIC. A record is a tuple of word names; the index of a name is its column. Parameters keep
their order for ever: state and configuration of a run refer to the number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.layout import words

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...


_here = globals()

STRATEGIES = 16
# What a strategy reads (one instrument) and keeps. 32 words of view, 32 of parameters, 64 of its own state.
STRATEGY_VIEW = words(
    _here,
    "SV",
    "now_ns instrument bid_ticks bid_lots ask_ticks ask_lots trade_ticks trade_lots position_lots cap_lots "
    "working_buy_lots working_sell_lots min_lots max_lots mult maker_fee_ppm taker_fee_ppm mark_x2_ticks skew_bps_x100 "
    "half_spread_bps_x100 size_scale_ppm can_increase net_lots book_status message reason _ _ _ _ _ _",
)
STRATEGY_PARAMETERS, STRATEGY_STATE = 32, 64

# Desired quotes and other intents, out of a strategy (one call) and into the router.
INTENTS = 8
INTENT = words(_here, "NT", "kind side price_ticks lots type slot signal_id _")
INTENT_KIND = words(_here, "INTENT", "none quote take pull")
