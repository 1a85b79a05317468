"""One thread, one fake clock: events in the order of their time, a random stream for each concern, and the log of a run.

Nothing here knows what is simulated. ``run_until`` may be called from inside an event: that is how a call that blocks in
the real system (a REST request, a sleep) lets everything else go on. ``after_step`` is called after every event.

Times are ns. ``now`` is true time; ``mono``, ``boot`` and ``wall`` are what the clocks of our host show; ``venue_us`` is the
venue's wall clock.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from random import Random

US, MS, S = 1_000, 1_000_000, 1_000_000_000
DAY = 86_400 * S
WALL_AT_START = 1_772_600_000 * S
MONO_AT_START = 10_000 * S


class Violation(AssertionError):
    """A rule does not hold: its name, and what was found."""


class Died(BaseException):
    """The simulated process that made this call was killed meanwhile."""


class World:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0
        self.steps = 0
        self.lines: list[str] = []
        self.after_step: Callable[[], None] = lambda: None
        self.mono_shift = MONO_AT_START  # another one after a power cut
        self.boot_id = 1
        self.slept = 0  # by which CLOCK_BOOTTIME is ahead: the host was suspended
        self.wall_skew = 0  # how wrong our wall clock is
        self._events: list[tuple[int, int, str, Callable[[], None]]] = []
        self._number = 0
        self._trail: list[tuple[int, str]] = []

    def stream(self, name: str) -> Random:
        """Random numbers of one concern, so that one fault more does not change all the others."""
        return Random(f"{self.seed}/{name}")

    @property
    def mono(self) -> int:
        return self.now + self.mono_shift

    @property
    def boot(self) -> int:
        return self.mono + self.slept

    @property
    def wall(self) -> int:
        return self.now + WALL_AT_START + self.wall_skew

    @property
    def venue_us(self) -> int:
        return (self.now + WALL_AT_START) // US

    def at(self, when: int, name: str, call: Callable[[], None]) -> None:
        """Plan ``call`` for a time (not before now); events of one time run in the order they were planned."""
        self._number += 1
        heapq.heappush(self._events, (max(when, self.now), self._number, name, call))

    def later(self, delay: int, name: str, call: Callable[[], None]) -> None:
        self.at(self.now + delay, name, call)

    def run_until(self, end: int, stop: Callable[[], bool] | None = None) -> None:
        """Everything up to ``end``, or until ``stop`` says so after an event."""
        while self._events and self._events[0][0] <= end:
            when, _, name, call = heapq.heappop(self._events)
            self.now = max(self.now, when)
            self.steps += 1
            self._trail.append((self.now, name))
            call()
            self.after_step()
            if stop is not None and stop():
                return
        self.now = max(self.now, end)

    def note(self, text: str) -> None:
        """A line of the log; it is part of what two runs of a seed must have in common."""
        self.lines.append(f"{self.now / MS:11.3f} ms  step {self.steps:6d}  {text}")

    def digest(self) -> str:
        """Of every event and every line."""
        return hashlib.blake2b(f"{self._trail}{self.lines}".encode(), digest_size=16).hexdigest()


class FakeTime:
    """Stands in for the ``time`` module where a control thread reads the clock or sleeps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.mono / S

    def monotonic_ns(self) -> int:
        return self._world.mono

    def time_ns(self) -> int:
        return self._world.wall

    def sleep(self, seconds: float) -> None:
        self._world.run_until(self._world.now + int(seconds * S))
