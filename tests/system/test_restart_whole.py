"""SIGKILL of every process of ours while the exchange goes on: what was in force before is in force after the restart.

The exchange runs by itself (``pulex venue``); our house trades on it in live mode, so that the account outlives us.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.journal_file import cards, path, read
from fabric import layout
from fabric.jit import ROOT
from ops import recorded
from tests.system.house import House, resting
from tests.system.stage import ASK, BID, BUY, IOC, LIMITS, MID_X2, PUPPET, SELL, SYMBOL, Stage, write_recording
from tests.system.strategies import puppet

INSIDE = 5_000_000  # between the exchange's touches: our bid is the best one


class Lasting(Stage):
    """A stage on an exchange that outlives the house; ``kill`` and ``begin`` again and again."""

    def __init__(self, house: House, venue: list[str], data: pathlib.Path, **limits: int) -> None:
        self.house, self.pages = house, None
        self._numbers, self._sequences = itertools.count(1), itertools.count(1_000)
        ws, rest, key = venue
        self.values: dict[str, Any] = {
            "mode": "live",
            "venue": {"ws_url": ws, "rest_url": rest, "management_key_file": key, "budget_messages": 20_000},
            "instruments": [recorded.instrument(data).model_dump(exclude_none=True) | {"baseline": "1"}],
            "limits": LIMITS | limits,
            "strategies": [{"name": f"puppet{me}", "file": str(PUPPET), "parameters": {"me": me}} for me in range(2)],
        }
        self.begin()

    def begin(self) -> None:
        """Start the house and wait for a lease and a reconciled account."""
        self.pages = None
        self.house.start(self.values, "--live-confirm", "--signal", "none", until="venue")
        self.house.wait(self._leased, 100.0, "a lease and a reconciled account")
        self.mark(MID_X2)

    def _leased(self) -> bool:
        super()._ready()
        page = self.page()
        return bool(page["lease_state"] and page["reconciled"] and page["risk_state"] != layout.RISK_DISARMED)

    def kill(self) -> None:
        """SIGKILL to all at once, the watchdog first, so that nobody can do anything about anything."""
        assert self.house.process
        pids = [self.house.pid("watchdog"), self.house.process.pid, self.house.pid("execution"), *self.house.survivors()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.house.process.wait()
        deadline = time.monotonic() + 60.0
        while self.house.survivors():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def lose(self, share_ppm: int) -> None:
        """Move the mark so that this share of the day's first NAV is lost."""
        start = self.page()["day_start_nav_e8"]
        mark = MID_X2
        while start - self.nav_at(mark) < start * share_ppm // 1_000_000:
            mark -= 500
        self.mark(mark)


@pytest.fixture
def stage(house: House) -> Iterator[Lasting]:
    """Daily loss limit 1 %, pause after three losses in a row."""
    data = write_recording(house.home / "recording")
    (house.home / "run").mkdir(mode=0o700, exist_ok=True)
    command = [sys.executable, "-m", "ops", "venue", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=house.env()) as venue:
        try:
            assert venue.stdout
            addresses = []
            while len(addresses) < 3:
                line = venue.stdout.readline()
                assert line, "the exchange did not start"
                if line.startswith(("ws://", "http://", "key file ")):
                    addresses.append(line.removeprefix("key file ").strip())
            yield Lasting(house, addresses, data, day_loss_ppm=10_000, losses_in_row=3, pause_ns=600 * 10**9)
        finally:
            venue.kill()
            house.close()


def log_of(house: House) -> str:
    return (house.run_dir / "logs" / "execution.log").read_text()


def test_loss_pause_and_orders_survive_a_sigkill_of_everything(stage: Lasting) -> None:
    house = stage.house
    for _ in range(3):
        assert stage.sent(ASK, 10, IOC, BUY, who=1)["filled"] == "0.010"
        assert stage.sent(BID, 10, IOC, SELL, who=1)["filled"] == "0.010"
    stage.refused("owner_paused", INSIDE, 5, who=1)
    assert stage.sent(ASK, 400, IOC)["filled"] == "0.400"
    assert stage.sent(INSIDE, 80)["status"] == "open"
    stage.lose(8_000)
    stage.until(lambda: stage.page()["nav_e8"] == stage.nav_at(stage.page()["mark_x2_ticks"]), "the loss to be seen")
    before = stage.page()
    assert before["risk_state"] == layout.RISK_ACTIVE
    stage.kill()

    assert len(resting(house.ledger())) == 1  # nobody could cancel it
    assert house.order("sell", "0.030", symbol=SYMBOL)["type"] != "reject"  # and it trades while we are dead
    stage.begin()
    after = stage.page()
    assert "life 1 taken over, same account: halt none, owners paused 1" in log_of(house)
    stage.until(lambda: resting(house.ledger()) == [], "the order of the life before to be cancelled")
    stage.until(lambda: stage.page()["position_lots"] == 430, "what it had bought meanwhile")
    assert (after["day_start_nav_e8"], after["hwm_e8"]) == (before["day_start_nav_e8"], before["hwm_e8"])
    assert stage.count("unowned_fills") == 0
    assert stage.count("fills") == 1  # the seven before are known, not booked again
    stage.refused("owner_paused", 4_900_000, 5, who=1)
    stage.command(4_900_000, 5)  # the other one trades, nothing is unowned
    stage.until(lambda: [o["quantity"] for o in resting(house.ledger())] == ["0.005"], "a new order")

    stage.lose(10_500)  # with limits of its own, the new life would still have a whole percent to lose
    stage.until(lambda: stage.page()["risk_state"] == layout.RISK_HALTED, "the daily loss halt")
    stage.kill()
    stage.begin()
    assert stage.page()["risk_state"] == layout.RISK_HALTED
    assert "halt halted_daily_loss" in house.output.read_text()
    stage.refused("halted_daily_loss", 4_900_000, 5)
    assert list(cards(house.state_dir)) == [1, 2, 3]
    stage.until(lambda: read(path(house.state_dir, 3)).records.size > 0, f"records of the third life: {house.tail()}")


def test_operator_clears_a_halt_that_survived(stage: Lasting) -> None:
    house = stage.house
    assert stage.sent(ASK, 400, IOC)["filled"] == "0.400"
    stage.lose(10_500)
    stage.until(lambda: stage.page()["risk_state"] == layout.RISK_HALTED, "the daily loss halt")
    stage.kill()
    assert house.cli("clear", "--operator", "ann", "--reason", "seen").returncode == 0
    stage.begin()
    assert "cleared by ann: seen" in house.output.read_text()
    assert stage.page()["risk_state"] == layout.RISK_ACTIVE
    stage.command(4_900_000, 5, deed=puppet.TAKE)
    stage.until(lambda: len(resting(house.ledger())) == 1, "an order")
    assert not (house.state_dir / "clear.json").exists()
