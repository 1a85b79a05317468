"""Which faults a seed has, how often, and how long things take.

Every seed draws its own set of faults (most of them off), so that some runs are stormy in one respect and calm in the others.
When the safety phase ends, ``calm`` turns everything off. Rates are per message or request, times in ns.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation.world import MS, US, World

FAULTS = (
    "delay", "stall", "drop", "duplicate", "reorder", "cut", "half_cut", "time_out", "send_partial", "late_send",
    "crash", "crash_mid_pass", "power", "engine_stall", "watchdog_stall", "suspend", "wall_step", "reject_all", "contradict",
    "stranger", "market_gap", "market_dirty", "price_crash", "stale", "garbage", "kill", "cancel_on_disconnect",  
    "revoke_fail", "disk_slow",
)  # fmt: skip


class Fate(NamedTuple):
    """Of one request."""

    out: int
    back: int
    refused: bool
    lost: bool
    answer_lost: bool


class Weather:
    def __init__(self, world: World) -> None:
        pick = world.stream("faults")
        share = pick.choice((0.0, 0.1, 0.25, 0.5))
        self.on = {name for name in FAULTS if pick.random() < share}
        self.rate = {name: pick.choice((0.01, 0.03, 0.1)) for name in FAULTS}
        self.rate["stall"] /= 5
        self.count: dict[str, int] = {}  # how often each has struck
        self.latency = pick.choice((200 * US, MS, 5 * MS))
        self._random = world.stream("weather")
        self.world = world

    def has(self, name: str) -> bool:
        return name in self.on

    def calm(self) -> None:
        self.on.clear()

    def _strikes(self, name: str) -> bool:
        if name not in self.on or self._random.random() >= self.rate[name]:
            return False
        self.count[name] = self.count.get(name, 0) + 1
        return True

    def _travel(self) -> int:
        took = int(self.latency * self._random.uniform(0.5, 1.5))
        if self._strikes("delay"):
            took += self._random.randrange(100 * MS)
        if self._strikes("stall"):
            took += self._random.randrange(100 * MS, 900 * MS)
        return took

    to_venue = to_us = _travel

    def copies(self) -> int:
        if self._strikes("drop"):
            return 0
        return 2 if self._strikes("duplicate") else 1

    def swapped(self) -> bool:
        return self._strikes("reorder")

    def echo(self) -> int:
        """How much later the second copy of a message comes."""
        return self._random.randrange(400 * MS)

    def notices(self) -> int:
        return self._random.randrange(MS, 300 * MS if "half_cut" in self.on else 20 * MS)

    def delivered_after_cut(self) -> bool:
        """A frame that was under way when the session broke may still arrive."""
        return self._random.random() < 0.5

    def partly(self) -> bool:
        """The socket takes a part of a frame only."""
        return self._strikes("send_partial")

    def late_send(self) -> int:
        """The loop is preempted between the last check and the call that sends."""
        return self._random.randrange(MS, 600 * MS) if self._strikes("late_send") else 0

    def request(self) -> Fate:
        times = int(self.latency * self._random.uniform(1, 4)), int(self.latency * self._random.uniform(1, 4))
        if not self._strikes("time_out"):
            return Fate(*times, False, False, False)
        kind = self._random.randrange(4)
        if kind == 3:  # slow, but it comes
            return Fate(
                times[0] + self._random.randrange(800 * MS), times[1] + self._random.randrange(800 * MS), False, False, False
            )
        return Fate(*times, kind == 0, kind == 1, kind == 2)
