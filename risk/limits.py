"""The limits as plain data: three profiles, and the row of words that kernels read.

The six breakers of each profile are the published ones; the other limits are our defaults and only ever widen from
conservative to aggressive. A limit that is not given is LIMIT_MISSING, and blocks what it would have judged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from risk import tables

PROFILES = ("conservative", "standard", "aggressive")
DEFAULT_PROFILE = "conservative"
PPM_MAX = 10_000_000
MONEY_MAX_E8 = 1 << 61
_UNIT = 100_000_000  # one unit of quote money
_MS, _S = 1_000_000, 1_000_000_000

_LIMITS: dict[str, tuple[int, int, int]] = {
    "profile": (0, 1, 2),
    # The six breakers.
    "day_loss_ppm": (10_000, 30_000, 50_000),
    "position_ppm": (50_000, 150_000, 300_000),
    "order_rate_per_s": (10, 50, 200),
    "losses_in_row": (3, 7, 15),
    "slippage_ppm": (1_000, 3_000, 5_000),
    "drawdown_ppm": (50_000, 100_000, 200_000),
    # What belongs to them.
    "pause_ns": (300 * _S,) * 3,
    "pauses_to_latch": (3,) * 3,
    "queue_ttl_ns": (250 * _MS, 500 * _MS, _S),
    "queue_slots": (16, 32, 64),
    # The other checks.
    "collar_ppm": (5_000, 10_000, 20_000),
    "max_order_notional_e8": (5_000 * _UNIT, 25_000 * _UNIT, 100_000 * _UNIT),
    "max_open_orders": (20, 50, 200),
    "gross_exposure_ppm": (200_000, 600_000, 1_500_000),
    "stale_book_ns": (2 * _S, 3 * _S, 5 * _S),
    "message_rate_per_s": (20, 100, 400),
    "duplicate_window_ns": (100 * _MS, 50 * _MS, 20 * _MS),
    "rejects_in_row": (5, 10, 20),
    "min_quote_life_ns": (100 * _MS, 50 * _MS, 20 * _MS),
    "cross_ticks": (1, 2, 5),
    # What slow paths and the wire may use.
    "signal_notional_per_h_e8": (50_000 * _UNIT, 250_000 * _UNIT, 1_000_000 * _UNIT),
    "signal_count_per_h": (120, 600, 2_400),
    "send_window_ns": (200 * _MS,) * 3,
    "unsent_bytes_max": (512,) * 3,
}
LONGER_IS_TIGHTER = ("pause_ns", "duplicate_window_ns", "min_quote_life_ns")
_AT_MOST = {"order_rate_per_s": tables.RATE_SLOTS, "queue_slots": 64, "profile": len(PROFILES) - 1}


def profile(name: str) -> dict[str, int]:
    """Every limit of a profile by name, to be overridden by the configuration; ValueError for another name."""
    if name not in PROFILES:
        raise ValueError(f"profile {name!r}: choose one of {', '.join(PROFILES)}")
    return {key: values[PROFILES.index(name)] for key, values in _LIMITS.items()}


def limits_row(values: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The LIMIT row of these limits, the missing ones LIMIT_MISSING; ValueError for an unknown or impossible one."""
    row = np.full(len(tables.LIMIT), tables.LIMIT_MISSING, np.int64)
    for name, value in values.items():
        if name not in _LIMITS:
            raise ValueError(f"limit {name!r} is unknown; the limits are {', '.join(_LIMITS)}")
        most = _AT_MOST.get(name, PPM_MAX if name.endswith("_ppm") else MONEY_MAX_E8)
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"limit {name} = {value!r}: needs a whole number from 0 to {most}")
        row[tables.LIMIT.index(name)] = value
    return row
