"""Whether an account is large enough for what it is to trade: a pure reading of the configuration and the account page.

The net asset value is known only when the first epoch's session has reconciled, so this is asked just after arming. Until
then, and for an instrument that it names also afterwards, the gate refuses every order by the same cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

from fabric import layout

PPM = 1_000_000


def needs(config: dict[str, Any], row: Sequence[int]) -> dict[str, str] | None:
    """Instruments whose smallest valid order is above the position cap, each with the NAV that it needs.

    ``row`` is the account page; None while it does not say enough: not reconciled, or an instrument without a mark.
    """
    if not row[layout.AP_RECONCILED]:
        return None
    nav = max(min(row[layout.AP_NAV_E8], row[layout.AP_DAY_START_NAV_E8]), 0)
    share = int(config["limits"]["position_ppm"])
    found: dict[str, str] = {}
    for index, one in enumerate(config["instruments"]):
        mark_x2 = row[layout.ACCOUNT_ROWS_WORD + index * len(layout.ACCOUNT_ROW) + layout.AR_MARK_X2_TICKS]
        if mark_x2 <= 0:
            return None
        price, lot = Decimal(mark_x2) / 2 * Decimal(one["tick_size"]), Decimal(one["lot_size"])
        lots = max(Decimal(one["min_quantity"]), Decimal(one["min_notional"]) / price) / lot
        smallest = lots.to_integral_value(ROUND_CEILING) * lot * price
        cap = Decimal(nav).scaleb(-8) * share / PPM
        if smallest > cap:
            needed = f"NAV {smallest * PPM / share:.2f}" if share else "a position limit above 0"
            found[one["symbol"]] = f"smallest order {smallest:.2f}, position cap {cap:.2f}: needs {needed}"
    return found


def refusal(config: dict[str, Any], found: dict[str, str]) -> str:
    """Why nothing at all can be traded, or ""; a part of the instruments is no reason."""
    if len(found) < len(config["instruments"]):
        return ""
    return "account too small: " + "; ".join(f"{symbol}: {why}" for symbol, why in found.items())
