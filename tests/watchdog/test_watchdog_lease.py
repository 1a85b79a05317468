"""The grant rule as a pure function of beat and clocks, and the sealed page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric import layout
from tests.watchdog.stub import LEASE, forge
from watchdog.beat import Beat
from watchdog.lease import Clocks, LeasePage, Rules, Watch, decide, new_watch
from watchdog.pulse import UNKNOWN, Seen

MS = 1_000_000
RULES = Rules(**LEASE)
ZERO = Beat(7, 0, 0, 0, 0, 0, 0, 0)


class World:
    """A fake clock and one execution; ``step`` moves time and decides."""

    def __init__(self) -> None:
        self.now = 1000 * MS
        self.boot_ahead = 0
        self.beat = ZERO._replace(mono_ns=self.now)
        self.watch: Watch = new_watch(7, Clocks(self.now, self.now))
        self.reason = self.fault = ""
        self.heart = 0
        self.cursor = UNKNOWN
        self.standing = ""
        self.rules = RULES

    def step(self, ms: int = 5, passes: int = 1, orders: int = 0, armed: bool = True) -> str:
        self.now += ms * MS
        if passes:
            beat = self.beat
            self.beat = beat._replace(passes=beat.passes + passes, mono_ns=self.now, orders_sent=beat.orders_sent + orders)
        clocks = Clocks(self.now, self.now + self.boot_ahead)
        seen = Seen(self.beat, self.heart, self.cursor, self.standing)
        self.watch, decision = decide(self.watch, seen, clocks, self.rules, armed)
        self.reason, self.fault = decision.why, decision.fault
        return decision.what

    def granted(self) -> World:
        self.step()
        assert self.step() == "grant"
        return self


def test_no_grant_before_arming() -> None:
    world = World()
    assert {world.step(armed=False) for _ in range(50)} == {"none"}
    assert world.step() == "grant"


def test_the_first_sight_of_a_beat_is_not_yet_progress() -> None:
    assert World().step() == "none"


def test_renewal_comes_each_renew_time_and_sets_the_deadline_one_ttl_ahead() -> None:
    world = World().granted()
    what = [world.step() for _ in range(16)]
    assert [index for index, value in enumerate(what) if value == "grant"] == [7, 15]
    assert world.watch.deadline_ns == world.now + RULES.ttl_ns


def test_a_beat_of_another_epoch_is_never_granted() -> None:
    world = World()
    world.beat = world.beat._replace(epoch=6)
    assert {world.step() for _ in range(20)} == {"none"}


def test_a_stale_beat_is_no_progress_even_when_passes_grow() -> None:
    world = World()
    world.step(ms=51, passes=0)
    for _ in range(10):
        world.beat = world.beat._replace(passes=world.beat.passes + 1)
        assert world.step(passes=0) == "none"


def test_silence_withholds_then_lapses_then_kills() -> None:
    world = World().granted()
    what: list[str] = []
    while not what or what[-1] != "kill":
        what.append(world.step(passes=0))
    order = list(dict.fromkeys(value for value in what if value != "none"))
    assert order == ["withhold", "lapse", "kill"]
    assert what.index("lapse") == RULES.ttl_ns // (5 * MS) - 1
    assert len(what) == RULES.kill_ns // (5 * MS)


def test_a_lapsed_lease_comes_back_only_with_a_new_epoch() -> None:
    world = World().granted()
    while world.step(passes=0) != "lapse":
        pass
    assert {world.step() for _ in range(100)} == {"none"}
    assert world.watch.state == layout.LEASE_LAPSED
    world.watch = new_watch(8, Clocks(world.now, world.now))
    world.beat = world.beat._replace(epoch=8)
    world.granted()


def test_a_pause_of_the_watchdog_itself_is_not_held_against_execution() -> None:
    world = World().granted()
    assert world.step(ms=3000, passes=0) == "lapse"
    assert world.step(passes=1) == "none"


@pytest.mark.parametrize(("orders", "what"), [(64, "none"), (65, "kill")])
def test_runaway_is_one_order_beyond_the_bound_of_a_beat(orders: int, what: str) -> None:
    world = World().granted()
    assert world.step(orders=orders) == what


def test_the_order_bound_refills_each_renew_time() -> None:
    world = World().granted()
    assert "kill" not in {world.step(ms=40, orders=64) for _ in range(20)}


def test_orders_running_backwards_are_no_progress() -> None:
    world = World().granted()
    world.beat = world.beat._replace(orders_sent=-1)
    while (what := world.step()) in ("none", "withhold"):
        pass
    assert what == "lapse"


def test_suspend_lapses_at_once() -> None:
    world = World().granted()
    world.boot_ahead = 60_000 * MS
    assert world.step() == "lapse"
    assert "clock" in world.reason


def test_a_monotonic_clock_that_goes_back_lapses_at_once() -> None:
    world = World().granted()
    assert world.step(ms=-1) == "lapse"


def test_a_killed_watch_stays_as_it_is() -> None:
    world = World().granted()
    world.watch = replace(world.watch, state=layout.LEASE_KILLED)
    assert {world.step() for _ in range(10)} == {"none"}


@pytest.mark.parametrize(
    "change", [{"ttl_ns": 200_000_001}, {"renew_ns": 200_000_000}, {"poll_ns": 5_000_001}, {"kill_ns": 200_000_000}]
)
def test_rules_that_break_the_promise_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="lease"):
        Rules(**{**LEASE, **change})


def test_only_the_owner_of_the_map_can_write_the_page() -> None:
    page = LeasePage(7)
    try:
        assert forge(page.fd) == ["write", "mmap", "reopened write", "reopened mmap", "truncate"]
        page.grant(10, 20, 1)
        assert list(page.words)[:8] == [layout.MAGIC, layout.VERSION, 7, 10, 20, layout.LEASE_GRANTED, 0, 1]
        page.end(layout.LEASE_KILLED, layout.REASON_KILLED)
        assert page.words[layout.L_DEADLINE_NS] == 0
    finally:
        page.close()
