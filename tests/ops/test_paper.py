"""The kill test counts as passed only where the exchange's ledger shows it."""

from __future__ import annotations

from typing import Any

from ops import paper

CLAIM = {"result": "pass", "key_id": "key_1", "refusal": "401", "ms": 12.5}


def ledger(*refused: dict[str, Any], revoked: int | None = 100) -> dict[str, Any]:
    return {"orders": [], "keys": [{"key_id": "key_1", "revoked_ts": revoked, "refused": list(refused)}]}


def test_pass_needs_a_refusal_after_the_revocation() -> None:
    late = {"ts": 101, "what": "rest", "detail": "revoked"}
    assert paper.kill_test(ledger(late), CLAIM) == CLAIM | {"refusal": "rest: revoked"}
    assert paper.kill_test(ledger(late | {"ts": 99}), CLAIM)["result"] == "fail"
    assert paper.kill_test(ledger(), CLAIM)["result"] == "fail"
    assert paper.kill_test(ledger(late, revoked=None), CLAIM)["result"] == "fail"


def test_key_that_the_exchange_never_saw_proves_nothing() -> None:
    assert paper.kill_test({"orders": [], "keys": []}, CLAIM)["result"] == "fail"


def test_test_that_was_not_run_is_not_run() -> None:
    assert paper.kill_test({"orders": [], "keys": []}, {})["result"] == "not_run"


def test_open_orders_are_counted_in_the_ledger() -> None:
    rows = [{"status": status} for status in ("open", "filled", "cancelled", "open")]
    assert paper.open_orders({"orders": rows}) == 2
