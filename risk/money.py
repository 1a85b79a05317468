"""Integer money: division with a named rounding, shares and parts per million without overflow, and its headroom.

Everything is int64, which wraps silently in compiled code, so the bounds are proven once, when an instrument is loaded
(`check_headroom`), and kept by the gate (`position_bound`): prices up to PRICE_TICKS_MAX, positions up to
`position_bound(mult)` lots, and so values of one position within MONEY_MAX. "Against us" means: costs, fees and used
shares of a limit round up, values and limits round down.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.jit import kernel
from risk import tables

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PPM = 1_000_000
E8 = 100_000_000
MONEY_MAX = 1 << 61  # twice this still fits, so one saturating addition never wraps
EXPOSURE_MAX = 1 << 57  # of one instrument and of all together; 32 of them still fit, so their sum never wraps
PRICE_TICKS_MAX = 100_000_000
LOTS_MAX = (1 << 31) - 1  # the square of a position still fits: the pro-rata cost is exact
FEE_PPM_MAX = 100_000


@kernel
def ceil_div(a, b):
    """a / b rounded up, b > 0 (`a // b` rounds down, compiled as in Python)."""
    return -((-a) // b)


@kernel
def mul_ppm_floor(value, ppm):
    """value * ppm / 1e6 rounded down; exact, for any value within MONEY_MAX and 0 <= ppm <= 1e7 whose result fits."""
    return value // PPM * ppm + value % PPM * ppm // PPM


@kernel
def mul_ppm_ceil(value, ppm):
    """value * ppm / 1e6 rounded up."""
    return -mul_ppm_floor(-value, ppm)


@kernel
def share_floor(value, part, whole):
    """value * part / whole rounded down, 0 <= part <= whole <= LOTS_MAX, whole > 0; exact without a wider type."""
    return value // whole * part + value % whole * part // whole


@kernel
def share_ceil(value, part, whole):
    """value * part / whole rounded up."""
    return -share_floor(-value, part, whole)


@kernel
def position_bound(mult):
    """Largest position in lots whose value at PRICE_TICKS_MAX (twice, as marks are doubled) stays within MONEY_MAX."""
    return min(LOTS_MAX, MONEY_MAX // (2 * PRICE_TICKS_MAX * max(mult, 1)))


def check_headroom(instrument: npt.NDArray[np.int64]) -> None:
    """Raise ValueError unless every computation on this INSTRUMENT row is exact and within int64."""
    row = {name: int(value) for name, value in zip(tables.INSTRUMENT, instrument, strict=True)}
    if row["kind"] not in (0, 1):
        raise ValueError(f"kind {row['kind']}: only spot (0) and linear (1) instruments have money rules")
    if row["tick_e8"] <= 0 or row["lot_e8"] <= 0 or row["mult"] <= 0:
        raise ValueError(f"tick {row['tick_e8']}, lot {row['lot_e8']}, mult {row['mult']}: each must be positive")
    if row["tick_e8"] * row["lot_e8"] != row["mult"] * E8:
        raise ValueError(f"mult {row['mult']} is not tick {row['tick_e8']} * lot {row['lot_e8']} / 1e8 exactly")
    if not 0 < row["min_lots"] <= row["max_lots"]:
        raise ValueError(f"lots {row['min_lots']}..{row['max_lots']}: not a range of positive sizes")
    bound = min(LOTS_MAX, MONEY_MAX // (2 * PRICE_TICKS_MAX * row["mult"]))
    if row["max_lots"] > bound or not 0 <= row["baseline_lots"] <= bound:
        raise ValueError(
            f"max_lots {row['max_lots']} or baseline_lots {row['baseline_lots']} outside 0..{bound}: money would overflow"
        )
    for name in ("maker_fee_ppm", "taker_fee_ppm"):
        if abs(row[name]) > FEE_PPM_MAX:
            raise ValueError(f"{name} {row[name]} is beyond {FEE_PPM_MAX} ppm")
    if not 0 <= row["min_notional_e8"] <= MONEY_MAX:
        raise ValueError(f"min_notional_e8 {row['min_notional_e8']} is outside 0..{MONEY_MAX}")
