"""Hands and crew: one that fails, hangs or breaks delays no other, and what is wanted now is what counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from watchdog.revokers import RevokerError
from watchdog.revokers.crew import Crew, Reports
from watchdog.venue import Unreachable


class Fake:
    """Says what it did; ``fail`` holds the exceptions of the next calls of a verb; ``gate`` stops a verb until it is set."""

    deadline_s = 0.1

    def __init__(self, name: str, refresh_s: float = 0.0) -> None:
        self.name, self.refresh_s = name, refresh_s
        self.calls: list[str] = []
        self.deadlines: list[float] = []
        self.fail: dict[str, list[Exception]] = {}
        self.gate: dict[str, threading.Event] = {}
        self.inside = 0

    def _do(self, verb: str, deadline_s: float) -> str:
        self.inside += 1
        assert self.inside == 1, "two verbs of one revoker at once"
        try:
            self.calls.append(verb)
            self.deadlines.append(deadline_s)
            if verb in self.gate:
                assert self.gate[verb].wait(5.0)
            if self.fail.get(verb):
                raise self.fail[verb].pop(0)
            return f"{verb} done"
        finally:
            self.inside -= 1

    def arm(self, deadline_s: float) -> str:
        return self._do("arm", deadline_s)

    def refresh(self, deadline_s: float) -> str:
        return self._do("refresh", deadline_s)

    def revoke(self, deadline_s: float) -> str:
        return self._do("revoke", deadline_s)

    def prove(self, deadline_s: float) -> str:
        return self._do("prove", deadline_s)

    def release(self, deadline_s: float) -> str:
        return self._do("release", deadline_s)


class Desk:
    """A crew with its reports."""

    def __init__(self, *revokers: Fake) -> None:
        self.alarms: list[str] = []
        self.tallies: list[str] = []
        self.crew = Crew(list(revokers), Reports(self.alarms.append, lambda name, _amount: self.tallies.append(name)))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def all_ok(desk: Desk) -> Callable[[], bool]:
    return lambda: all(row["ok"] for row in desk.crew.rows())


def test_a_revoker_revokes_and_then_proves() -> None:
    one = Fake("one")
    desk = Desk(one)
    desk.crew.revoke()
    until(all_ok(desk))
    assert one.calls == ["revoke", "prove"]
    (row,) = desk.crew.rows()
    assert (row["revoker"], row["wanted"], row["tries"], row["detail"]) == ("one", "revoke", 1, "revoke done; prove done")
    assert desk.tallies == ["revokers_proven"]
    desk.crew.revoke()  # a second order changes nothing
    assert one.calls == ["revoke", "prove"]


@pytest.mark.parametrize("error", [RevokerError("no"), Unreachable("no"), OSError(1, "no"), IndexError("a bug")])
def test_one_that_fails_is_tried_again_with_more_time_and_stops_no_other(error: Exception) -> None:
    bad, good = Fake("bad"), Fake("good")
    bad.fail["revoke"] = [error] * 3
    bad.fail["prove"] = [RevokerError("not yet")]
    desk = Desk(bad, good)
    desk.crew.revoke()
    until(all_ok(desk))
    assert bad.calls == ["revoke"] * 4 + ["prove", "revoke", "prove"]
    assert bad.deadlines == [0.1, 0.2, 0.4, 0.8, 0.8, 0.8, 0.8]
    assert good.calls == ["revoke", "prove"]
    assert desk.tallies.count("revoker_failures") == 4
    assert len(desk.alarms) == 2  # the same reason is told once


def test_one_that_hangs_delays_no_other() -> None:
    stuck, good = Fake("stuck"), Fake("good")
    stuck.gate["revoke"] = threading.Event()
    desk = Desk(stuck, good)
    desk.crew.revoke()
    until(lambda: desk.crew.rows()[1]["ok"])
    assert not desk.crew.rows()[0]["ok"]
    stuck.gate["revoke"].set()
    until(all_ok(desk))


def test_refreshes_come_only_while_armed_and_a_lease_is_granted() -> None:
    one = Fake("one", refresh_s=0.01)
    desk = Desk(one)
    desk.crew.permit(True)
    assert one.calls == []  # nothing is wanted yet
    desk.crew.permit(False)
    desk.crew.arm()
    until(all_ok(desk))
    assert one.calls == ["arm"]
    desk.crew.permit(True)
    until(lambda: one.calls.count("refresh") >= 3)
    desk.crew.permit(False)
    until(lambda: one.inside == 0)
    count = len(one.calls)
    desk.crew.revoke()
    until(all_ok(desk))
    assert one.calls[count:] in (["revoke", "prove"], ["refresh", "revoke", "prove"])
    assert "refresh" not in one.calls[one.calls.index("revoke") :]


def test_a_refresh_in_flight_is_over_before_the_revoke_begins() -> None:
    one = Fake("one", refresh_s=60.0)
    one.gate["refresh"] = threading.Event()
    desk = Desk(one)
    desk.crew.arm()
    desk.crew.permit(True)
    until(lambda: one.calls[-1:] == ["refresh"])
    desk.crew.revoke()
    desk.crew.permit(False)
    assert one.calls == ["arm", "refresh"]
    one.gate["refresh"].set()
    until(all_ok(desk))
    assert one.calls == ["arm", "refresh", "revoke", "prove"]


def test_a_failed_refresh_is_an_alarm_and_comes_again_soon() -> None:
    one = Fake("one", refresh_s=60.0)
    one.fail["refresh"] = [Unreachable("the venue sleeps")]
    desk = Desk(one)
    desk.crew.arm()
    desk.crew.permit(True)
    until(lambda: one.calls.count("refresh") == 2)
    assert desk.alarms == ["revoker one: refresh: the venue sleeps"]
    assert desk.crew.not_armed() == ""


def test_an_order_that_is_replaced_does_not_count_when_its_verb_comes_back() -> None:
    one = Fake("one")
    one.gate["arm"] = threading.Event()
    desk = Desk(one)
    desk.crew.arm()
    until(lambda: one.calls == ["arm"])
    desk.crew.revoke()
    assert not desk.crew.rows()[0]["ok"]
    one.gate["arm"].set()
    until(all_ok(desk))
    assert desk.crew.rows()[0]["detail"] == "revoke done; prove done"


def test_trading_may_begin_only_when_all_are_armed() -> None:
    one, two = Fake("one"), Fake("two")
    two.fail["arm"] = [RevokerError("no right")] * 2
    desk = Desk(one, two)
    assert "is not armed" in desk.crew.not_armed()
    desk.crew.arm()
    until(lambda: "no right" in desk.crew.not_armed())
    until(lambda: desk.crew.not_armed() == "")
    desk.crew.revoke()
    assert "is not armed" in desk.crew.not_armed()
    until(all_ok(desk))
    desk.crew.arm()  # an operator has resumed
    until(lambda: desk.crew.not_armed() == "")
    assert one.calls == ["arm", "revoke", "prove", "arm"]


def test_release_waits_but_not_for_ever() -> None:
    one, two = Fake("one"), Fake("two")
    two.gate["release"] = threading.Event()
    desk = Desk(one, two)
    assert desk.crew.release(0.05) is False
    assert one.calls == ["release"]
    two.gate["release"].set()
    assert desk.crew.release(5.0) is True


def test_no_revoker_configured_is_a_crew_that_is_always_ready() -> None:
    crew = Desk().crew
    crew.revoke()
    crew.permit(True)
    assert crew.not_armed() == ""
    assert crew.rows() == []
    assert crew.release(0.0) is True
