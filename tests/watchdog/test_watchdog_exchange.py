"""The independent view against the real paper exchange: fills that happened there, and an engine that books them wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.conftest import Run
from tests.watchdog.stub import MANAGEMENT_KEY, ROOT

INSTRUMENT = {
    "symbol": "BTC-USDC",
    "base": "BTC",
    "quote": "USDC",
    "kind": "spot",
    "tick_size": "0.01",
    "lot_size": "0.00001",
    "min_quantity": "0.00001",
    "max_quantity": "10",
    "min_notional": "10",
    "maker_fee_ppm": 200,
    "taker_fee_ppm": 500,
    "baseline": "1",
}
LOTS = 1000  # of one fill


class Venue:
    """``python -m sim`` and its REST side, asked with the management key."""

    def __init__(self, run: Run) -> None:
        paper = {"ws_port": 0, "rest_port": 0, "seed": 7, "speed": 1.0, "start": "at_once", "balance": "1000000", "faults": {}}
        run.config |= {"paper": paper, "instruments": [INSTRUMENT]}
        run.configure()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sim", str(run.path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split("rest=")[1].strip()
        run.configure(venue={"rest_url": self.url})

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"X-API-Key": MANAGEMENT_KEY, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def buy(self, number: int, **changed: Any) -> None:
        order = {"client_order_id": str(number), "symbol": "BTC-USDC", "side": "buy", "quantity": 0.01, "type": "market"}
        order |= {"timestamp": time.time_ns() // 1_000_000, "recv_window": 1000, "reduce_only": False}
        self.call("POST", "/v1/orders", order | changed)

    def lots(self) -> int:
        return round(float(self.call("GET", "/v1/positions")["positions"][0]["position"]) * 100_000)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def venue(run: Run) -> Iterator[Venue]:
    real = Venue(run)
    yield real
    real.end()


@pytest.mark.parametrize(
    ("what", "booked"),
    [("sign error", lambda lots: -lots), ("doubled fill", lambda lots: lots + LOTS), ("lost fill", lambda lots: lots - LOTS)],
)
def test_a_fill_that_the_engine_books_wrong_is_caught(run: Run, venue: Venue, what: str, booked: Callable[[int], int]) -> None:
    engine = run.trade()
    engine.ask("position 0")
    for number in (1, 2):
        venue.buy(number)
        engine.ask(f"position {venue.lots()}")
    assert venue.lots() == 2 * LOTS
    time.sleep(1.2)
    assert run.ask("status")["state"] == "granted"  # all is well while it books what happened
    venue.buy(3)
    began = time.monotonic()
    engine.ask(f"position {booked(venue.lots())}")
    assert run.killed(10.0)["cause"] == "disagreement", what
    assert 3.0 < time.monotonic() - began < 7.0
    keys = [key for key in venue.call("GET", "/sim/ledger")["keys"] if key["label"].endswith("-execution")]
    assert keys[-1]["revoked_ts"]
    assert any(use["detail"].startswith("401 POST") for use in keys[-1]["refused"])


def test_a_resting_order_that_the_engine_forgot_is_caught_and_cancelled(run: Run, venue: Venue) -> None:
    engine = run.trade()
    engine.ask("position 0")
    engine.ask("open_orders 0")
    venue.buy(1, type="limit", price=100.0, quantity=0.2)
    assert run.killed(10.0)["cause"] == "disagreement"
    assert venue.call("GET", "/v1/orders/open")["orders"] == []


def test_a_revocation_that_takes_two_seconds_is_not_called_proven_before(run: Run, venue: Venue) -> None:
    run.trade().ask("position 0")
    venue.buy(1, type="limit", price=100.0, quantity=0.2)
    venue.call("POST", "/sim/faults", {"revoke": "slow", "revoke_delay_s": 2.0})
    began = time.monotonic()
    run.ask("kill", reason="drill")
    run.wait(lambda: venue.call("GET", "/v1/orders/open")["orders"] == [])
    assert time.monotonic() - began < 1.0
    run.wait(lambda: any(step["step"] == "prove" and step["tries"] for step in run.latch()["steps"]))
    assert run.ask("status")["kill"]["proven"] is False
    latch = run.killed(15.0)
    assert time.monotonic() - began > 2.0
    assert latch["steps"][-1]["detail"] == "401 unauthorized"


def test_a_key_revoked_by_hand_at_the_real_exchange_is_a_kill(run: Run, venue: Venue) -> None:
    run.trade().ask("position 0")
    keys = venue.call("GET", "/v1/keys")["keys"]
    key_id = next(key["key_id"] for key in keys if key["label"].endswith("-execution"))
    assert venue.call("DELETE", f"/v1/keys/{key_id}")["revoked"] is True
    latch = run.killed()
    assert latch["cause"] == "key_revoked_elsewhere"
    assert latch["steps"][-1]["detail"] == "401 unauthorized"
    assert "sk_" not in Path(run.state / "latch.json").read_text()
