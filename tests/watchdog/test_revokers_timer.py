"""The venue's dead-man timer: against a fake venue with a clock to turn, then a real watchdog and the real paper exchange."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.paper import PaperRun, order
from watchdog.revokers import RevokerError
from watchdog.revokers.timer import PARTS, WINDOW_S, Timer
from watchdog.venue import Answer, Unreachable

LENGTH_MS, LEAST_MS = 8000, 1000


class FakeVenue:
    """A one-shot timer on a clock of its own.

    ``delay_s``: the next message arrives so much later; its sender hears nothing and gives up, or breaks off after ``lost_s``.
    """

    def __init__(self) -> None:
        self.now, self.deadline_s = 1000.0, 0.0
        self.due: float | None = None
        self.fired = 0
        self.late: list[tuple[float, dict[str, Any]]] = []
        self.lost_s: float | None = None
        self.delay_s, self.absent, self.dead, self.down = 0.0, False, False, False
        self.sets: list[tuple[float, int]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Time passes: late messages arrive, the timer may fire."""
        end = self.now + seconds
        while self.late and self.late[0][0] <= end:
            self.now, body = self.late.pop(0)
            self._fire()
            if self.now <= body["sent"] + body["recv_window"] / 1e3:
                self._set(body["timeout_ms"])
        self.now = end
        self._fire()

    def _fire(self) -> None:
        if self.due is not None and self.now >= self.due and not self.dead:
            self.due, self.fired = None, self.fired + 1

    def _set(self, timeout_ms: int) -> None:
        self.sets.append((self.now, timeout_ms))
        self.due = self.now + timeout_ms / 1e3 if timeout_ms else None

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        if self.down:
            self.sleep(self.deadline_s)
            raise Unreachable(f"{method} {path}: timeout")
        if self.absent:
            return Answer(404, {})
        if body is not None and self.delay_s:
            self.late.append((self.now + self.delay_s, body | {"sent": self.now}))
            self.delay_s = 0.0
            self.sleep(self.deadline_s if self.lost_s is None else self.lost_s)
            raise Unreachable(f"{method} {path}: timeout")
        if body is not None:
            self._set(body["timeout_ms"])
        return Answer(200, {"armed": self.due is not None, "trigger_ts": 0, "fired": self.fired})


@pytest.fixture
def venue() -> FakeVenue:
    return FakeVenue()


@pytest.fixture
def timer(venue: FakeVenue) -> Timer:
    return Timer(venue, LENGTH_MS, LEAST_MS, venue.clock, venue.sleep)  # type: ignore[arg-type]


def test_refreshes_come_well_within_a_quarter_of_its_length(timer: Timer) -> None:
    assert timer.refresh_s + timer.deadline_s <= LENGTH_MS / 1e3 / 4 + 0.1
    assert timer.refresh_s == LENGTH_MS / 1e3 / PARTS < LENGTH_MS / 1e3 / 4


def test_to_arm_shows_that_the_venue_takes_our_messages_and_leaves_it_unset(timer: Timer, venue: FakeVenue) -> None:
    timer.arm(0.5)
    assert venue.sets == [(1000.0, 0)]
    assert venue.due is None
    venue.absent = True
    with pytest.raises(RevokerError, match=r"no dead-man timer: take kind = .timer. out"):
        timer.arm(0.5)


def test_a_kill_shortens_it_and_is_proven_when_the_venue_says_that_it_fired(timer: Timer, venue: FakeVenue) -> None:
    timer.arm(0.5)
    timer.refresh(0.5)
    timer.revoke(0.5)
    assert venue.due == venue.now + LEAST_MS / 1e3
    assert "fired" in timer.prove(0.5)
    assert venue.fired == 1


def test_a_second_try_does_not_put_it_off(timer: Timer, venue: FakeVenue) -> None:
    timer.revoke(0.5)
    due = venue.due
    venue.sleep(0.5)
    timer.revoke(0.5)
    assert venue.due == due
    timer.prove(0.5)


def test_a_timer_that_never_fires_is_not_proven(timer: Timer, venue: FakeVenue) -> None:
    venue.dead = True
    for _ in range(2):
        timer.revoke(0.5)
        with pytest.raises(RevokerError, match="does not say"):
            timer.prove(0.5)
    venue.dead = False
    venue.sleep(5.0)
    timer.revoke(0.5)
    timer.prove(0.5)


def test_one_that_somebody_disarmed_is_not_proven(timer: Timer, venue: FakeVenue) -> None:
    timer.revoke(0.5)
    venue.due = None
    with pytest.raises(RevokerError, match="does not say"):
        timer.prove(0.5)


def test_an_unreachable_venue_leaves_the_armed_timer_which_is_named_with_its_time(timer: Timer, venue: FakeVenue) -> None:
    timer.refresh(0.5)
    venue.down = True
    with pytest.raises(Unreachable, match=r"fires by itself within 7500 ms"):
        timer.revoke(0.5)
    venue.sleep(10.0)
    assert venue.fired == 1
    with pytest.raises(Unreachable, match="no timer runs"):
        timer.prove(0.5)


@pytest.mark.parametrize("end", ["release", "revoke"])
@pytest.mark.parametrize("lost_s", [None, 0.01])
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3, WINDOW_S, WINDOW_S + 0.001, 0.6, 3.0])
def test_a_refresh_in_flight_never_arms_it_after_it_was_disarmed_or_fired(
    timer: Timer, venue: FakeVenue, delay_s: float, lost_s: float | None, end: str
) -> None:
    """The refresh has had no answer, or its connection broke at once, and it reaches the venue whenever it likes."""
    timer.refresh(0.5)
    venue.delay_s, venue.lost_s = delay_s, lost_s
    if delay_s:
        with pytest.raises(Unreachable):
            timer.refresh(0.5)
    if end == "release":
        timer.release(0.5)
    else:
        timer.revoke(0.5)
        timer.prove(0.5)
    fired = venue.fired
    venue.sleep(60.0)
    assert venue.due is None
    assert venue.fired == fired == (1 if end == "revoke" else 0)


def test_a_timer_that_fired_while_trading_is_told_and_is_set_again(timer: Timer, venue: FakeVenue) -> None:
    timer.arm(0.5)
    timer.refresh(0.5)
    venue.sleep(LENGTH_MS / 1e3 + 1)
    with pytest.raises(RevokerError, match="had fired"):
        timer.refresh(0.5)
    assert venue.due is not None
    timer.refresh(0.5)


@pytest.mark.parametrize("lengths", [(0, 0), (500, 1000)])
def test_impossible_lengths_are_refused(venue: FakeVenue, lengths: tuple[int, int]) -> None:
    with pytest.raises(RevokerError):
        Timer(venue, *lengths)  # type: ignore[arg-type]


# --- real processes


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Callable[..., PaperRun]]:
    made: list[PaperRun] = []

    def make(**tables: Any) -> PaperRun:
        path = tmp_path / "r"
        path.mkdir()
        made.append(PaperRun(path, **tables))
        return made[-1]

    yield make
    for run in made:
        run.end()


TIMER = {"kind": "timer", "length_ms": 1000, "least_ms": 100}


def test_the_watchdog_keeps_it_set_while_trading_and_disarms_it_at_an_orderly_end(paper: Callable[..., PaperRun]) -> None:
    run = paper(revokers=[TIMER])
    run.start()
    run.wait(lambda: run.timer_events() == ["disarmed"])  # armed as a revoker: the venue takes our messages
    run.trade_started()
    assert run.manage("POST", "/v1/orders", order(1))[0] == 201
    run.wait(lambda: run.timer_events().count("armed") >= 8)
    events = run.ledger()["timer"]
    armed = [event["ts"] for event in events if event["what"] == "armed"]
    gaps = [(b - a) / 1e6 for a, b in itertools.pairwise(armed)]
    assert max(gaps) < 0.5
    assert sorted(gaps)[len(gaps) // 2] <= 0.25
    assert run.timer_events().count("fired") == 0
    assert run.open_orders() == 1
    assert run.ask("stop") == {"ok": True}
    assert run.timer_events()[-1] == "disarmed"
    assert run.dog is not None
    assert run.dog.wait() == 0


def test_it_fires_when_the_watchdog_is_gone_and_is_set_again_by_the_next_one(paper: Callable[..., PaperRun]) -> None:
    run = paper(revokers=[TIMER])
    run.start()
    engine = run.trade_started()
    run.wait(lambda: "armed" in run.timer_events())
    assert run.manage("POST", "/v1/orders", order(1))[0] == 201
    assert run.dog is not None
    run.dog.send_signal(signal.SIGSTOP)  # alive, and of no use: nobody cancels but the venue
    killed = time.monotonic()
    run.wait(lambda: run.open_orders() == 0)
    assert time.monotonic() - killed < 1.6
    assert run.timer_events()[-1] == "fired"
    assert [row["end_reason"] for row in run.ledger()["orders"] if row["client_order_id"] == "1"] == ["killed"]
    run.dog.kill()
    run.dog.wait()
    run.start()
    assert run.ask("kill_test")["result"] == "pass"
    assert run.expect(engine.pid)["ok"]
    assert engine.ask("register")["ok"]
    run.wait(lambda: bool(run.ask("arm")["ok"]))
    run.wait(lambda: run.timer_events()[-1] == "armed")


def test_a_kill_fires_it_and_its_result_is_in_the_latch_and_in_the_counters(paper: Callable[..., PaperRun]) -> None:
    run = paper(revokers=[TIMER, {"kind": "executable", "path": "/bin/false", "deadline_ms": 1000, "refresh_ms": 0}])
    run.start()
    run.ask("kill", reason="drill")
    run.wait(lambda: len(run.latch().get("revokers", ())) == 2 and run.latch()["revokers"][0]["ok"])
    run.wait(lambda: run.latch()["revokers"][1]["tries"] >= 2)
    latch = run.latch()
    assert latch["proven"] is False  # one that was configured has not done its part
    assert all(step["ok"] for step in latch["steps"])
    timer, program = latch["revokers"]
    assert "the venue says that it fired" in timer["detail"]
    assert (program["ok"], program["detail"]) == (False, "revoke: exit code 1")
    assert run.timer_events()[-1] == "fired"
    assert "not proven" in run.ask("resume", operator="ann", reason="x")["reason"]
    assert run.ask("resume", operator="ann", reason="it is a drill", force=True)["ok"]
    log = (run.path / "logs/watchdog.log").read_text()
    assert "revoker executable false: revoke: exit code 1" in log


def test_a_venue_without_a_timer_blocks_arming_with_the_remedy(paper: Callable[..., PaperRun]) -> None:
    run = paper(revokers=[TIMER])
    run.faults(timer_absent=True)
    run.start()
    run.ask("kill_test")
    assert run.register()["ok"]
    run.wait(lambda: "take kind" in run.ask("arm")["reason"])
    run.faults(timer_absent=False)
    run.wait(lambda: bool(run.ask("arm")["ok"]))
