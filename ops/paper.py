"""The supervisor's side channel to the paper exchange: is it up, and its ledger. Never used with a real venue.

The management key is read from its 0600 file for each call and put into one header; no error text contains it.
"""

from __future__ import annotations

import json
import pathlib
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_S = 5.0


def _get(config: dict[str, Any], path: str, keyed: bool) -> Any:
    headers = {}
    if keyed:
        headers["X-API-Key"] = pathlib.Path(config["venue"]["management_key_file"]).read_text().strip()
    call = urllib.request.Request(config["venue"]["rest_url"] + path, headers=headers)
    with urllib.request.urlopen(call, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def answers(config: dict[str, Any]) -> bool:
    """The exchange is up."""
    try:
        return "exchange_ts" in _get(config, "/v1/time", keyed=False)
    except (OSError, ValueError):
        return False


def ledger(config: dict[str, Any]) -> dict[str, Any] | None:
    """Everything that happened, as the exchange saw it; None when it does not answer."""
    try:
        found: dict[str, Any] = _get(config, "/sim/ledger", keyed=True)
    except (OSError, ValueError):
        return None
    return found


def open_orders(found: dict[str, Any]) -> int:
    """Orders of our account that rest in the book."""
    return sum(1 for order in found["orders"] if order["status"] == "open")


def kill_test(found: dict[str, Any], claimed: dict[str, Any]) -> dict[str, Any]:
    """The watchdog's claim, checked against the ledger: passed only where the exchange shows revoked and refused."""
    key = next((key for key in found["keys"] if key["key_id"] == claimed.get("key_id")), None)
    result, refusal = claimed.get("result", "not_run"), claimed.get("refusal")
    if key is None:
        return {"result": "not_run" if not claimed else "fail", "key_id": claimed.get("key_id"), "refusal": None, "ms": None}
    revoked = key.get("revoked_ts")
    after = [one for one in key.get("refused", ()) if revoked and one["ts"] >= revoked]
    if result == "pass" and not after:
        result = "fail"
    if after:
        refusal = f"{after[-1]['what']}: {after[-1]['detail']}"
    return {"result": result, "key_id": key["key_id"], "refusal": refusal, "ms": claimed.get("ms")}
