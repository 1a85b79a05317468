"""The lease: a sealed page that only this process can write, and the pure rule that decides what is written.

The page is a memfd. It is mapped writable here, then sealed: nobody else, not even the same user through
``/proc/PID/fd``, gets a writable map or a successful ``write``. Readers check ``deadline_ns > now`` and their epoch.

``decide`` is a function of the watch so far, the beat, the clocks and the rules; it reads no clock and does no I/O.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import dataclass, replace
from typing import NamedTuple

from fabric import layout
from watchdog.beat import Beat

F_ADD_SEALS = 1033
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE = 1, 2, 4, 16
CLOCK_SLIP_NS = 20_000_000  # suspend shows as CLOCK_BOOTTIME running ahead of CLOCK_MONOTONIC


class LeasePage:
    """One epoch's page. The deadline is always written last when granting and first when taking back."""

    def __init__(self, epoch: int) -> None:
        self.fd = os.memfd_create("pulex-lease", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, layout.LEASE_BYTES)
        self.map = mmap.mmap(self.fd, layout.LEASE_BYTES)
        fcntl.fcntl(self.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
        self.words = memoryview(self.map).cast("q")
        self.words[layout.L_VERSION] = layout.VERSION
        self.words[layout.L_EPOCH] = epoch
        self.words[layout.L_STATE] = layout.LEASE_WITHHELD
        self.words[layout.L_MAGIC] = layout.MAGIC

    def grant(self, now_ns: int, deadline_ns: int, renewals: int) -> None:
        self.words[layout.L_GRANTED_NS] = now_ns
        self.words[layout.L_RENEWALS] = renewals
        self.words[layout.L_STATE] = layout.LEASE_GRANTED
        self.words[layout.L_DEADLINE_NS] = deadline_ns

    def end(self, state: int, kill_reason: int = 0) -> None:
        """Take permission back now; ``state`` is LAPSED, WITHDRAWN or KILLED."""
        self.words[layout.L_DEADLINE_NS] = 0
        self.words[layout.L_STATE] = state
        self.words[layout.L_KILL_REASON] = kill_reason

    def close(self) -> None:
        self.words.release()
        self.map.close()
        os.close(self.fd)


@dataclass(frozen=True)
class Rules:
    """The ``lease`` part of the configuration."""

    ttl_ns: int
    renew_ns: int
    poll_ns: int
    suspect_ns: int
    kill_ns: int
    orders_per_beat_max: int

    def __post_init__(self) -> None:
        if not 0 < self.poll_ns <= 5_000_000:
            raise ValueError("lease.poll_ns must be 1 .. 5000000")
        if not self.poll_ns <= self.renew_ns < self.ttl_ns <= 200_000_000:
            raise ValueError("lease: poll_ns <= renew_ns < ttl_ns <= 200000000 is required")
        if not 0 < self.suspect_ns < self.ttl_ns < self.kill_ns:
            raise ValueError("lease: suspect_ns < ttl_ns < kill_ns is required")
        if self.orders_per_beat_max <= 0:
            raise ValueError("lease.orders_per_beat_max must be positive")


class Clocks(NamedTuple):
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME, read together, after the beat."""

    mono_ns: int
    boot_ns: int


@dataclass(frozen=True)
class Watch:
    """What is known about one epoch's execution; replaced, never changed."""

    epoch: int
    slip_ns: int  # boottime - monotonic when the epoch began
    seen_ns: int  # last decision
    state: int = layout.LEASE_WITHHELD
    granted_ns: int = 0
    deadline_ns: int = 0
    renewals: int = 0
    passes: int = -1
    orders: int = 0
    progress_ns: int = 0
    silent_ns: int = 0  # without progress, counting only time in which the watchdog itself ran
    window_ns: int = 0
    window_orders: int = 0


class Decision(NamedTuple):
    """``what`` is "none", "grant", "withhold", "lapse" or "kill"; ``reason`` is for people."""

    what: str
    reason: str = ""


def new_watch(epoch: int, clocks: Clocks) -> Watch:
    return Watch(epoch, clocks.boot_ns - clocks.mono_ns, clocks.mono_ns)


def decide(watch: Watch, beat: Beat | None, clocks: Clocks, rules: Rules, armed: bool) -> tuple[Watch, Decision]:
    """The next watch, and what to do to the page. Permission needs progress; everything else takes it away."""
    now = clocks.mono_ns
    if watch.state not in (layout.LEASE_WITHHELD, layout.LEASE_GRANTED, layout.LEASE_LAPSED):
        return watch, Decision("none")
    slipped = now < watch.seen_ns or abs(clocks.boot_ns - now - watch.slip_ns) > CLOCK_SLIP_NS
    watch, progressed, runaway = _observe(watch, beat, now, rules)
    if runaway:
        return watch, Decision("kill", runaway)
    granted = watch.state == layout.LEASE_GRANTED
    if slipped and granted:
        return replace(watch, state=layout.LEASE_LAPSED, deadline_ns=0), Decision("lapse", "the host's clock jumped")
    if watch.renewals and watch.silent_ns >= rules.kill_ns:
        return watch, Decision("kill", f"execution silent for {watch.silent_ns // 1_000_000} ms")
    if granted and now >= watch.deadline_ns:
        return replace(watch, state=layout.LEASE_LAPSED, deadline_ns=0), Decision("lapse", "no progress in time")
    if granted:
        due = now - watch.granted_ns >= rules.renew_ns
        if not due:
            return watch, Decision("none")
        if watch.progress_ns <= watch.granted_ns or now - watch.progress_ns > rules.suspect_ns:
            return watch, Decision("withhold", "no progress since the last renewal")
        return _grant(watch, now, rules)
    if watch.state == layout.LEASE_WITHHELD and armed and progressed and not slipped:
        return _grant(watch, now, rules)
    return watch, Decision("none")


def _grant(watch: Watch, now: int, rules: Rules) -> tuple[Watch, Decision]:
    granted = replace(
        watch,
        state=layout.LEASE_GRANTED,
        granted_ns=now,
        deadline_ns=now + rules.ttl_ns,
        renewals=watch.renewals + 1,
    )
    return granted, Decision("grant")


def _observe(watch: Watch, beat: Beat | None, now: int, rules: Rules) -> tuple[Watch, bool, str]:
    """Fold one reading of the beat in: (watch, whether it shows progress in bounds, runaway reason)."""
    silent_ns = watch.silent_ns + min(max(now - watch.seen_ns, 0), rules.suspect_ns)
    watch = replace(watch, seen_ns=now, silent_ns=silent_ns)
    if beat is None or beat.epoch != watch.epoch:
        return watch, False, ""
    if watch.passes < 0:  # the first sight of this epoch: something to compare with, not yet progress
        first = replace(watch, passes=beat.passes, orders=beat.orders_sent)
        return replace(first, window_ns=now, window_orders=beat.orders_sent), False, ""
    age = now - beat.mono_ns
    forward = beat.passes > watch.passes and beat.orders_sent >= watch.orders
    progressed = forward and 0 <= age <= rules.suspect_ns
    elapsed = now - watch.window_ns
    allowed = rules.orders_per_beat_max * max(1, -(-elapsed // rules.renew_ns))
    sent = beat.orders_sent - watch.window_orders
    if sent > allowed:
        return watch, progressed, f"runaway: {sent} orders in {elapsed // 1000} us, {allowed} allowed"
    if elapsed >= rules.renew_ns:
        watch = replace(watch, window_ns=now, window_orders=beat.orders_sent)
    if progressed:
        watch = replace(watch, passes=beat.passes, orders=beat.orders_sent, progress_ns=now, silent_ns=0)
    return watch, progressed, ""
