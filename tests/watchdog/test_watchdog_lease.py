"""The grant rule as a pure function of beat and clocks, and the sealed page."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from fabric import layout
from tests.watchdog.stub import LEASE, forge
from watchdog import beat as beat_module
from watchdog import faults
from watchdog import lease as lease_module
from watchdog import pulse as pulse_module
from watchdog import sentry as sentry_module
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
    assert "kill" not in {world.step(ms=40, passes=10, orders=64) for _ in range(20)}


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


# --- Fault classes


def faults_of(world: World, steps: int = 200, **step: int) -> list[str]:
    """The fault classes in order of appearance, until a kill."""
    found: list[str] = []
    for _ in range(steps):
        what = world.step(**step)
        if world.fault and world.fault not in found:
            found.append(world.fault)
        if what == "kill":
            break
    return found


def test_silence_is_late_then_silent() -> None:
    assert faults_of(World().granted(), passes=0) == ["late", "silent"]


def test_a_heart_beside_a_hung_loop_is_hollow_and_lapses_before_the_lease_would_end() -> None:
    world = World().granted()
    waited = 0
    while True:
        world.heart += 1
        waited += 5
        if world.step(passes=0) == "lapse":
            break
    assert (world.fault, waited) == ("hollow", 55)


def test_a_beat_whose_clock_moves_without_passes_is_hollow() -> None:
    world = World().granted()
    for _ in range(11):
        world.beat = world.beat._replace(mono_ns=world.now + 5 * MS)
        world.step(passes=0)
    assert world.fault == "hollow"


def test_passes_too_slow_over_a_whole_window_lapse() -> None:
    world = World()
    world.rules = replace(RULES, passes_per_s_min=100)
    world.granted()
    found = faults_of(world, ms=20)  # 50 passes a second
    assert found == ["slow"]
    assert world.watch.state == layout.LEASE_LAPSED


@pytest.mark.parametrize(("passes", "found"), [(500_000, []), (500_001, ["fast"])])
def test_passes_too_fast_for_any_work_kill(passes: int, found: list[str]) -> None:
    assert faults_of(World().granted(), steps=300, passes=passes) == found  # in 5 ms, 100 million a second allowed


def test_a_loop_that_does_not_read_what_the_feed_publishes_is_stuck() -> None:
    world = World()
    world.cursor = 7
    world.beat = world.beat._replace(market_seq=7)
    world.granted()
    steps = 0
    while world.step() != "lapse":
        world.cursor += 1
        steps += 1
    assert world.fault == "stuck"
    assert steps == RULES.ttl_ns // (5 * MS) + 1


def test_a_quiet_feed_makes_nobody_stuck_and_a_followed_one_neither() -> None:
    world = World()
    world.cursor = 7
    world.beat = world.beat._replace(market_seq=7)
    world.granted()
    assert faults_of(world) == []
    for _ in range(200):
        world.cursor += 3
        world.beat = world.beat._replace(market_seq=world.cursor - 1)
        assert world.step() in ("none", "grant")


def test_a_stuck_loop_gets_no_lease_in_its_next_epoch_until_it_reads() -> None:
    world = World()
    world.cursor = 9
    world.beat = world.beat._replace(market_seq=7)
    for _ in range(100):
        assert world.step() == "none"
    world.beat = world.beat._replace(market_seq=9)
    assert world.step() == "grant"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"epoch": 8}, "wrong_epoch"),
        ({"epoch": 6}, "wrong_epoch"),
        ({"passes": 0}, "backwards"),
        ({"orders_sent": -1}, "backwards"),
        ({"mono_ns": 1}, "backwards"),
        ({"mono_ns": 1 << 62}, "backwards"),
    ],
)
def test_a_damaged_beat_word_costs_the_lease_at_once(change: dict[str, int], fault: str) -> None:
    world = World().granted()
    world.step()
    world.beat = world.beat._replace(**change)
    assert world.step(passes=0) == "lapse"
    assert world.fault == fault


def test_a_pause_of_our_own_has_its_name_and_kills_nobody() -> None:
    world = World().granted()
    assert world.step(ms=3000, passes=0) == "lapse"
    assert world.fault == "own_pause"


@pytest.mark.parametrize("ahead_ms", [60_000, -60_000])
def test_suspend_and_a_clock_that_goes_back_are_a_clock_jump(ahead_ms: int) -> None:
    world = World().granted()
    world.boot_ahead = ahead_ms * MS
    assert world.step() == "lapse"
    assert world.fault == "clock_jump"
    world = World().granted()
    assert world.step(ms=-1) == "lapse"


def test_a_suspend_before_the_first_grant_costs_nothing_but_that_look() -> None:
    world = World()
    assert world.step(armed=False) == world.step(armed=False) == "none"
    world.boot_ahead = 60_000 * MS
    assert (world.step(), world.fault) == ("none", "clock_jump")
    assert world.step() == "grant"
    world.boot_ahead *= 2
    assert world.step() == "lapse"


def test_the_wall_clock_is_read_by_nothing_that_judges_a_lease() -> None:
    for module in (lease_module, pulse_module, beat_module, sentry_module):
        source = inspect.getsource(module)
        assert "time.time" not in source
        assert "REALTIME" not in source


def test_what_another_detector_sees_lapses_and_withholds_until_it_is_gone() -> None:
    world = World().granted()
    world.standing = "traced"
    assert world.step() == "lapse"
    world.watch = new_watch(8, Clocks(world.now, world.now))
    world.beat = world.beat._replace(epoch=8)
    assert {world.step() for _ in range(50)} == {"none"}
    world.standing = ""
    assert world.step() == "grant"


# --- Tiers


@pytest.mark.parametrize("name", [name for name, fault in faults.FAULTS.items() if not fault.fixed])
def test_every_class_that_can_recover_may_be_moved_to_either_tier(name: str) -> None:
    for tier in (faults.LAPSE, faults.KILL):
        assert faults.tiers({name: tier})[name] == tier


@pytest.mark.parametrize("configured", [{"stukc": "kill"}, {"stuck": "pause"}, {"dead": "lapse"}, {"operator": "lapse"}])
def test_an_unknown_class_or_tier_and_a_lapse_of_what_cannot_recover_are_refused(configured: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(configured))):
        faults.tiers(configured)


def test_the_default_tiers_are_those_of_the_rules() -> None:
    tiers = faults.tiers({})
    assert {name for name in ("late", "stuck", "clock_jump", "feed_silent") if tiers[name] == "kill"} == set()
    assert {
        tiers[name] for name in ("silent", "runaway", "disagreement", "over_limit", "operator", "key_revoked_elsewhere")
    } == {"kill"}


@pytest.mark.parametrize(("tier", "state"), [("lapse", "lapse"), ("kill", "kill")])
def test_the_configured_tier_decides_what_a_fault_does(tier: str, state: str) -> None:
    for name in ("wrong_epoch", "runaway"):
        world = World()
        world.rules = replace(RULES, tiers=faults.tiers({name: tier}))
        world.granted()
        if name == "runaway":
            assert world.step(orders=65) == state
        else:
            world.beat = world.beat._replace(epoch=9)
            assert world.step(passes=0) == state


def test_no_kill_before_the_first_grant_but_for_orders_without_permission() -> None:
    world = World()
    world.standing = "over_limit"
    assert {world.step() for _ in range(50)} == {"none"}
    world = World()
    world.step()
    assert world.step(orders=65, armed=False) == "kill"


# --- orders without permission
