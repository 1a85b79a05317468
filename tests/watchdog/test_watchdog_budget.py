"""The kill's share of the venue's rate budget: the count on a clock to turn, then a kill in the middle of an order storm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric import layout
from tests.watchdog.paper import PaperRun, Storm
from watchdog.budget import Budget
from watchdog.venue import Secret, Unreachable, Venue, Way


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def budget(messages: int = 100, window_s: float = 1.0) -> tuple[Budget, Clock]:
    clock = Clock()
    return Budget(messages, window_s, clock, clock.sleep), clock


def test_the_share_is_thirty_percent_and_half_of_it_is_for_the_kill_alone() -> None:
    one, clock = budget()
    now = clock.now
    assert sum(one.take(False, now) for _ in range(100)) == 15
    assert sum(one.take(True, now) for _ in range(100)) == 15
    assert not one.take(False, now)


@pytest.mark.parametrize("urgent", [True, False])
def test_no_window_of_any_phase_holds_more_than_the_share(urgent: bool) -> None:
    one, clock = budget()
    sent = []
    for step in range(400):
        if one.take(urgent, clock.now):
            sent.append(clock.now)
        clock.now += 0.003 + 0.0071 * (step % 3)
    most = max(sum(1 for at in sent if start <= at < start + 1.0) for start in sent)
    assert most == (30 if urgent else 15)


def test_rounds_that_keep_their_distance_use_half_of_what_is_not_the_kills() -> None:
    one, _ = budget(messages=1200, window_s=60.0)
    assert one.spacing_s(5) == pytest.approx(60 / 18)  # 18 rounds of 5 calls are half of 180


def test_a_call_waits_for_room_until_its_deadline_and_no_longer() -> None:
    one, clock = budget()
    waits: list[float] = []
    one.on_wait = lambda: waits.append(clock.now)
    for _ in range(30):
        assert one.take(True, clock.now)
        clock.now += 0.01
    assert not one.take(True, clock.now + 0.5)
    assert one.take(True, clock.now + 0.8)
    assert clock.now == pytest.approx(101.0, abs=0.002)
    assert len(waits) == 2


def test_a_call_without_room_is_not_made() -> None:
    one = Budget(1, 60.0)
    assert one.take(True, 0.0)
    venue = Venue("http://127.0.0.1:1", Secret("sk_live_planted"), 0.05, Way(budget=one, urgent=True))
    with pytest.raises(Unreachable, match="our share of the venue's rate budget"):
        venue.open_orders()


# --- real processes

BUDGET = 100


@pytest.fixture
def run(tmp_path: Path) -> Iterator[PaperRun]:
    path = tmp_path / "r"
    path.mkdir()
    one = PaperRun(path, venue={"budget_messages": BUDGET, "budget_window_ms": 1000})
    yield one
    one.end()


def storm(run: PaperRun, per_s: float) -> Storm:
    """The epoch's own key sends from a process that no kill reaches, until the venue refuses the key."""
    run.start()
    run.trade_started()
    one = Storm(run.config["venue"]["ws_url"], str(run.answer["api_key"]), per_s)
    one.start()
    return one


def test_a_kill_in_a_storm_of_seventy_percent_is_refused_nothing_and_takes_no_longer(run: PaperRun) -> None:
    one = storm(run, 0.7 * BUDGET)
    try:
        run.wait(lambda: one.heard["ack"] > BUDGET)
        run.ask("kill", reason="storm")
        run.wait(lambda: bool(run.latch().get("proven")))
        run.wait(lambda: one.closed == 4401)  # the venue closed the sessions of the dead key
    finally:
        one.stop()
    ledger = run.ledger()
    assert ledger["budget"] == {"refused": 0, "bans": 0}
    assert one.refused() == 0
    print(f"kill in a storm of {one.per_s:g} messages a second: proven after {run.latch()['ms']} ms")
    assert run.latch()["ms"] < 1000
    assert run.open_orders() == 0


def test_the_control_without_head_room_is_kept_out_for_as_long_as_the_storm_goes_on(run: PaperRun) -> None:
    """What the reserve is for: an engine that may use more than the budget holds the kill up."""
    one = storm(run, 10 * BUDGET)
    try:
        run.wait(lambda: run.ledger()["budget"]["bans"] > 0, seconds=15.0)  # which the storm renews
        run.ask("kill", reason="storm")
        run.wait(lambda: any(step["step"] == "revoke" and step["tries"] >= 2 for step in run.latch()["steps"]))
        revoke = run.latch()["steps"][2]
        assert (revoke["ok"], run.latch()["proven"]) == (False, False)
        assert "429" in revoke["detail"]
        assert one.refused() > 300
    finally:
        one.stop()
    run.wait(lambda: bool(run.latch().get("proven")), seconds=15.0)
    assert run.open_orders() == 0


def test_the_watchdogs_own_calls_stay_within_its_share_and_waits_are_counted(run: PaperRun) -> None:
    run.config["venue"]["budget_messages"] = 20  # its own belief; the exchange goes on with the wider one
    run.configure()
    run.start()
    assert run.ask("kill_test")["result"] in ("pass", "fail")  # six calls, the view of the account beside them
    for _ in range(3):
        run.ask("kill_test")
    words = memoryview((run.path / "shm/stats-watchdog").read_bytes()).cast("q")
    waits = words[(layout.COUNTERS_OFFSET + layout.WC_BUDGET_WAITS * layout.COUNTER_STRIDE) // 8]
    assert waits > 0
