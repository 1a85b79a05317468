"""What the exchange's ledger says about one fault: pure, times in ms after it by the exchange's own clock.

Judged are the trading keys that lived at the fault: the orders sent with them that rested or came later, their fills, the
moment the keys died, and the first refused use. None: it did not happen; good for orders and fills, bad for the rest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Ledger = dict[str, Any]
LATEST_ORDER_MS, CLEAR_MS, DEAD_MS = 250.0, 1000.0, 1000.0


class Figures(NamedTuple):
    """``rested``: orders in the book at the fault; ``late``: orders accepted after LATEST_ORDER_MS; ``still``: still open."""

    rested: int
    still: int
    late: int
    resting_clear_ms: float | None
    last_order_ms: float | None
    key_dead_ms: float | None
    refused_ms: float | None
    last_fill_ms: float | None


def trading_keys(ledger: Ledger) -> list[dict[str, Any]]:
    """The execution process's keys, one an epoch, oldest first."""
    return [key for key in ledger["keys"] if key["label"].endswith("-execution")]


def keys_at(ledger: Ledger, at_us: int) -> list[dict[str, Any]]:
    """Those alive at that time."""
    living = [key for key in trading_keys(ledger) if key["created_ts"] <= at_us]
    return [key for key in living if key["revoked_ts"] is None or key["revoked_ts"] > at_us]


def accepted(ledger: Ledger, keys: set[str]) -> list[dict[str, Any]]:
    """Orders that the exchange took with these keys."""
    return [order for order in ledger["orders"] if order["status"] != "rejected" and order["key_id"] in keys]


def figures(ledger: Ledger, fault_us: int) -> Figures:
    """See the module; ``ledger`` must reach back to the fault."""
    keys = keys_at(ledger, fault_us)
    orders = accepted(ledger, {key["key_id"] for key in keys})
    rested = [o for o in orders if o["received_ts"] <= fault_us and (o["status"] == "open" or o["ended_ts"] > fault_us)]
    after = [order for order in orders if order["received_ts"] > fault_us]
    still = [order for order in rested + after if order["status"] == "open"]
    gone = [order["ended_ts"] for order in rested + after]
    ids = {order["client_order_id"] for order in orders}
    fills = [
        fill["exchange_ts"] for fill in ledger["fills"] if fill["client_order_id"] in ids and fill["exchange_ts"] > fault_us
    ]
    dead = [key["revoked_ts"] for key in keys]
    refused = [use["ts"] for key in keys for use in key["refused"] if use["ts"] >= (key["revoked_ts"] or 1 << 62)]

    def ms(at_us: int | None) -> float | None:
        return None if at_us is None else (at_us - fault_us) / 1000

    return Figures(
        rested=len(rested),
        still=len(still),
        late=sum(order["received_ts"] > fault_us + LATEST_ORDER_MS * 1000 for order in after),
        resting_clear_ms=None if still or not gone else ms(max(gone)),
        last_order_ms=ms(max((order["received_ts"] for order in after), default=None)),
        key_dead_ms=None if not dead or None in dead else ms(max(dead)),
        refused_ms=ms(min(refused, default=None)),
        last_fill_ms=ms(max(fills, default=None)),
    )


def percentile(values: list[float], share: float) -> float:
    """The smallest value with at least this share of all at or below it."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1)]
