"""Lease and order deadline, explored to the last state: engine, watchdog, network and exchange in small integer time.

Any of them may stand still between any two of its steps, for any time; an order may be under way for any time. The watchdog's
half is not a model: it is ``watchdog.lease.decide``. The engine's half has the steps of ``exec_pass``: take the time of the
pass (it stamps the order and the beat, and stands for every later clock too: an older one permits more), read the page, send,
beat. The exchange revokes nothing and closes nothing: only lease and deadline protect here. At every acceptance must hold:

- ``late``: not later than the end of the permission of its epoch + the order's window + the skew of the venue's clock.
  The end is the last deadline granted, or the moment the page was taken back.
- ``after_silence``: not stamped after a gap between two passes longer than TTL + 2 x suspect, in the same epoch.

Why it holds: the stamp is taken before the check, so stamp <= check < end, and the venue counts its window from the stamp.

Now is always 0: a tick makes every remembered time one older, down to a floor beyond which its age makes no difference. So
the states are finitely many without any bound on how long things take. One order is under way at a time: orders do
not touch each other.
``python -m tests.watchdog.model.lease_model [TTL SUSPECT WINDOW]``; exit 1 when anything is not as it must be.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from watchdog.beat import Beat
from watchdog.lease import Clocks, Rules, Watch, decide, new_watch
from watchdog.pulse import Seen

MUTANTS = ("check_before_stamp", "heartbeat_thread", "no_epoch", "no_deadline")
SHORT, LONG = (2, 1, 1), (3, 1, 2)
# Engine's place in a pass; watchdog's place in a poll.
REST, WANTS, SENDS, BEATS = range(4)
READ, JUDGE, WRITE = range(3)
NEVER = -999  # no permission yet


class State(NamedTuple):
    """Everything; times are <= 0 but for deadlines. ``page`` and ``page2`` are the deadlines of epoch 1 and 2."""

    at: int  # engine of epoch 1
    passes: int  # made since the watchdog last counted
    beat: int
    started: int  # the time of the pass
    silent: bool  # it has had a gap that must have cost it the epoch
    step: int
    seen: tuple[int, int]
    watch: Watch | None  # None: nobody serves epoch 1 any more
    decision: str
    page: int
    page2: int
    end: int  # ghost: of epoch 1's permission
    wire: tuple[int, bool] | None  # the order under way: its stamp, and whether it may only be refused


class Model:
    """One set of times, one mutant; ``explore`` visits every state that can be reached."""

    def __init__(self, ttl: int, suspect: int, window: int, mutant: str = "", skew: int = 0) -> None:
        self.ttl, self.window, self.mutant, self.skew = ttl, window, mutant, skew
        self.silence = ttl + 2 * suspect
        self.floor = -(self.silence + 1)
        self.old, self.stale = -(suspect + 1), -(window + skew + 1)
        self.next_page = ttl if mutant == "no_epoch" else NEVER  # who checks the epoch never looks at it
        self.rules = Rules(ttl, 1, 1, suspect, 1000, 1000, passes_per_s_min=0, passes_per_s_max=10**15)
        self.broken: set[str] = set()

    def first(self) -> State:
        watch = new_watch(1, Clocks(0, 0))
        return State(REST, 1, 0, 0, False, READ, (0, 0), watch, "", self.floor, NEVER, NEVER, None)

    # --- Steps -----------------------------------------------------------------------------------------------------
    def tick(self, s: State) -> State:
        """One unit of time passes for all."""
        watch = s.watch
        if watch is not None:
            pulse = watch.pulse._replace(
                seen_ns=max(watch.pulse.seen_ns - 1, -self.ttl),
                mono_ns=max(watch.pulse.mono_ns - 1, self.old),
                progress_ns=max(watch.pulse.progress_ns - 1, self.old),
            )
            granted, deadline = max(watch.granted_ns - 1, self.old), max(watch.deadline_ns - 1, self.floor)
            watch = replace(watch, pulse=pulse, granted_ns=granted, deadline_ns=deadline)
        return s._replace(
            beat=max(s.beat - 1, self.old),
            started=max(s.started - 1, self.floor),
            seen=(s.seen[0], max(s.seen[1] - 1, self.old)),
            watch=watch,
            page=max(s.page - 1, self.floor),
            page2=s.page2 if s.page2 == NEVER else max(s.page2 - 1, self.floor),
            end=s.end if s.end == NEVER else max(s.end - 1, self.stale),
            wire=(max(s.wire[0] - 1, self.stale), s.wire[1]) if s.wire else None,
        )

    def engine(self, s: State) -> Iterator[State]:
        """The next step of the loop; at most one pass a tick, with or without an order."""
        if s.at == REST and s.started < 0:
            silent = s.silent or (s.end != NEVER and -s.started > self.silence)
            begun = s._replace(started=0, silent=silent)
            yield begun._replace(at=BEATS)
            if s.wire is None and -s.started <= self.ttl:  # else it fences itself in this pass
                yield begun._replace(at=WANTS)
        elif s.at == WANTS:
            page = s.page2 if self.mutant == "no_epoch" and s.page2 != NEVER else s.page
            yield s._replace(at=SENDS if s.started < page else BEATS)
        elif s.at == SENDS:
            stamp = 0 if self.mutant == "check_before_stamp" else s.started
            yield s._replace(at=BEATS, wire=(stamp, s.silent))
        elif s.at == BEATS:
            yield s._replace(at=REST, passes=min(s.passes + 1, 2), beat=max(s.beat, s.started))
        if self.mutant == "heartbeat_thread" and s.beat < 0:
            yield s._replace(passes=min(s.passes + 1, 2), beat=0)

    def watchdog(self, s: State) -> Iterator[State]:
        """One poll in three steps, at most one a tick; or a kill; or it dies, and its successor serves epoch 2."""
        if s.watch is None:
            if s.page2 != NEVER:
                yield s._replace(page2=self.next_page)  # epoch 2 belongs to an engine that is well
            return
        if s.step == READ and s.watch.pulse.seen_ns < 0:
            yield s._replace(step=JUDGE, seen=(s.passes, s.beat))
        elif s.step == JUDGE:
            yield self.judged(s, s.watch)
        elif s.step == WRITE and s.decision == "grant":
            yield s._replace(step=READ, page=s.watch.deadline_ns, end=max(s.end, s.watch.deadline_ns), decision="")
        elif s.step == WRITE:
            yield s._replace(step=READ, page=self.floor, end=min(s.end, 0), decision="")
        gone = s._replace(watch=None, step=READ, seen=(0, 0), decision="")
        if s.step == READ:
            taken = gone._replace(page=self.floor, end=min(s.end, 0))
            yield taken  # a kill
            yield taken._replace(page2=self.next_page)  # a registration: the next epoch is served
        yield gone._replace(page2=self.next_page)  # it dies: the page stays as it is

    def judged(self, s: State, watch: Watch) -> State:
        """The real rule on what was read; what it counts but never compares here is taken out of the state again."""
        passes, beat = s.seen
        seen = Seen(Beat(1, passes, 0, 0, beat, 0, 0, 0))
        watch, decision = decide(watch, seen, Clocks(0, 0), self.rules, True)
        assert decision.what in ("none", "grant", "withhold", "lapse"), decision
        counted = watch.pulse.passes == passes
        pulse = watch.pulse._replace(
            passes=0 if counted else watch.pulse.passes,
            silent_ns=0,
            still_ns=0,
            order_window_ns=0,
            pace_ns=0,
            pace_passes=0,
            market_ns=0,
        )
        watch = replace(watch, pulse=pulse, renewals=min(watch.renewals, 1))
        acts = decision.what if decision.what in ("grant", "lapse") else ""
        left = s.passes - passes if counted else s.passes
        return s._replace(step=WRITE if acts else READ, seen=(0, 0), watch=watch, decision=acts, passes=left)

    def network(self, s: State) -> Iterator[State]:
        """The order may arrive now."""
        if s.wire is None:
            return
        stamp, silent = s.wire
        if self.mutant == "no_deadline" or -self.skew <= stamp + self.window:
            if s.end == NEVER or s.end + self.window + self.skew < 0:
                self.broken.add("late")
            if silent:
                self.broken.add("after_silence")
        yield s._replace(wire=None)

    # --- All of them -----------------------------------------------------------------------------------------------
    def explore(self) -> int:
        """Visit every state, or stop at the first that breaks a property; how many were seen."""
        start = self.first()
        seen, queue = {start}, deque([start])
        while queue and not self.broken:
            s = queue.popleft()
            for state in (*self.engine(s), *self.watchdog(s), *self.network(s), self.tick(s)):
                if state not in seen:
                    seen.add(state)
                    queue.append(state)
        return len(seen)


def main(arguments: list[str]) -> int:
    times = tuple(int(word) for word in arguments) or LONG
    wrong = 0
    for mutant, skew in (("", 0), ("", 1), *((name, 0) for name in MUTANTS)):
        began = time.monotonic()
        model = Model(*times, mutant, skew)
        states = model.explore()
        wrong += bool(model.broken) != bool(mutant)
        what = f"mutant {mutant}" if mutant else f"lease + deadline, venue's clock {skew} behind"
        found = f"{'caught: ' if mutant else 'BROKEN: '}{', '.join(sorted(model.broken))}" if model.broken else "nothing broken"
        print(f"{what}: {states} states in {time.monotonic() - began:.1f} s, {found}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
