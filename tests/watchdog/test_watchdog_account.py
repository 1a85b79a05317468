"""The account's faults on real processes: an engine that is wrong about it, limits, revoked keys, old permission."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time

import pytest

from tests.watchdog.conftest import Run


@pytest.mark.parametrize(("what", "lots"), [("sign error", -1000), ("doubled fill", 2000), ("lost fill", 0)])
def test_an_engine_that_has_its_position_wrong_is_killed(run: Run, what: str, lots: int) -> None:
    engine = run.trade()
    began = time.monotonic()
    engine.ask(f"position {lots}")
    latch = run.killed(8.0)
    assert latch["cause"] == "disagreement", what
    assert 3.0 < time.monotonic() - began < 6.0
    assert run.exchange.orders == {}


def test_an_account_beyond_a_hard_limit_is_killed_whatever_the_engine_says(run: Run) -> None:
    engine = run.trade()
    for number in range(25):  # 1.2 times 20, and one
        run.exchange.rest(str(100 + number))
    assert engine.ask("lease")["deadline_ns"] > 0
    assert run.killed()["cause"] == "over_limit"
    assert run.exchange.orders == {}


def test_a_position_is_valued_at_the_feeds_price(run: Run) -> None:
    engine = run.trade()
    assert run.feed is not None
    run.feed.quote(4_999_900, 5_000_100)
    run.exchange.position = "0.13000"
    engine.ask("position 13000")  # both agree, and it is 6.5 % of the account
    assert run.killed()["cause"] == "over_limit"


def test_a_key_revoked_by_hand_at_the_venue_is_an_operators_kill(run: Run) -> None:
    run.trade()
    key = [row for row in run.exchange.keys.values() if str(row["label"]).endswith("execution")][-1]
    began = time.monotonic()
    key["revoked"] = True
    latch = run.killed()
    assert latch["cause"] == "key_revoked_elsewhere"
    assert time.monotonic() - began < 2.5
    assert "latched" in run.ask("arm")["reason"]


def test_an_engine_that_asks_again_because_its_key_was_revoked_by_hand_is_killed(run: Run) -> None:
    engine = run.trade()
    key = [row for row in run.exchange.keys.values() if str(row["label"]).endswith("execution")][-1]
    key["revoked"] = True
    with contextlib.suppress(json.JSONDecodeError):  # the kill may end it before it has told what it heard
        assert "not by us" in engine.ask("register")["reason"]
    assert run.killed()["cause"] == "key_revoked_elsewhere"
    assert run.ask("status")["epoch"] == 1


# --- Two of them, and old permission


def test_a_second_execution_is_refused_and_the_first_goes_on(run: Run) -> None:
    run.trade()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        assert "alive" in run.expect(stranger.pid)["reason"]
        assert run.ask("status")["state"] == "granted"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_page_of_an_earlier_epoch_never_permits_again(run: Run) -> None:
    engine = run.trade()
    old = dict(engine.ask("lease"))
    run.exchange.revoke = "slow"  # the next epoch comes while the old page could still be believed
    answer = engine.ask("register")
    assert answer["epoch"] == old["epoch"] + 1
    run.wait(lambda: run.ask("status")["state"] == "granted")
    assert engine.ask("old_lease")["deadline_ns"] == 0
    assert engine.ask("lease")["epoch"] == answer["epoch"]
