"""The lease: a sealed page that only this process can write, and the pure rule that decides what is written.

The page is a memfd. It is mapped writable here, then sealed: nobody else, not even the same user through
``/proc/PID/fd``, gets a writable map or a successful ``write``. Readers check ``deadline_ns > now`` and their epoch.

``decide`` is a function of the watch so far, one look, both clocks and the rules; it reads no clock and does no I/O. A fault
takes permission away in the tier that the configuration gives it (``watchdog.faults``); only progress gives it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fabric import layout
from watchdog import faults
from watchdog.pulse import UNKNOWN, Bounds, Finding, Pulse, Seen, observe

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
    """The ``lease`` part of the configuration, and the tier of each fault class."""

    ttl_ns: int
    renew_ns: int
    poll_ns: int
    suspect_ns: int
    kill_ns: int
    orders_per_beat_max: int
    passes_per_s_min: int = 100
    passes_per_s_max: int = 100_000_000
    feed_ns: int = 1_000_000_000
    tiers: Mapping[str, str] = field(default_factory=lambda: faults.tiers({}))

    def __post_init__(self) -> None:
        if not 0 < self.poll_ns <= 5_000_000:
            raise ValueError("lease.poll_ns must be 1 .. 5000000")
        if not self.poll_ns <= self.renew_ns < self.ttl_ns <= 200_000_000:
            raise ValueError("lease: poll_ns <= renew_ns < ttl_ns <= 200000000 is required")
        if not 0 < self.suspect_ns < self.ttl_ns < self.kill_ns:
            raise ValueError("lease: suspect_ns < ttl_ns < kill_ns is required")
        if self.orders_per_beat_max <= 0 or self.feed_ns <= 0:
            raise ValueError("lease.orders_per_beat_max and lease.feed_ns must be positive")
        if not 0 <= self.passes_per_s_min < self.passes_per_s_max:
            raise ValueError("lease: 0 <= passes_per_s_min < passes_per_s_max is required")

    @property
    def bounds(self) -> Bounds:
        return Bounds(
            self.ttl_ns,
            self.renew_ns,
            self.suspect_ns,
            self.kill_ns,
            self.orders_per_beat_max,
            self.passes_per_s_min,
            self.passes_per_s_max,
        )


def rules_of(config: Mapping[str, Any]) -> Rules:
    """The rules of a config.json; what it leaves out has its default. Raises ValueError, KeyError."""
    numbers = {name: int(value) for name, value in config["lease"].items() if name in Rules.__dataclass_fields__}
    missing = {"ttl_ns", "renew_ns", "poll_ns", "suspect_ns", "kill_ns", "orders_per_beat_max"} - set(numbers)
    if missing:
        raise KeyError(f"lease.{sorted(missing)[0]}")
    return Rules(**numbers, tiers=faults.tiers(config.get("tiers") or {}))


class Clocks(NamedTuple):
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME, read together, after the beat."""

    mono_ns: int
    boot_ns: int


def clocks() -> Clocks:
    return Clocks(time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


@dataclass(frozen=True)
class Watch:
    """What is known about one epoch's execution; replaced, never changed."""

    epoch: int
    slip_ns: int  # boottime - monotonic when the epoch began
    pulse: Pulse
    state: int = layout.LEASE_WITHHELD
    granted_ns: int = 0
    deadline_ns: int = 0
    renewals: int = 0
    refused_ns: int = 0  # without permission since then at the latest; 0 before the first look without it
    orders: int = UNKNOWN  # sent by the first pass that began after that: no later pass may send one


class Decision(NamedTuple):
    """``what`` is "none", "grant", "withhold", "lapse" or "kill"; a fault class names the cause, ``why`` is for people."""

    what: str
    fault: str = ""
    why: str = ""


def new_watch(epoch: int, clocks: Clocks) -> Watch:
    return Watch(epoch, clocks.boot_ns - clocks.mono_ns, Pulse(clocks.mono_ns))


def decide(watch: Watch, seen: Seen, clocks: Clocks, rules: Rules, armed: bool) -> tuple[Watch, Decision]:
    """The next watch, and what to do to the page. Permission needs progress; everything else takes it away."""
    now = clocks.mono_ns
    if watch.state not in (layout.LEASE_WITHHELD, layout.LEASE_GRANTED, layout.LEASE_LAPSED):
        return watch, Decision("none")
    bounds, own_gap = rules.bounds, now - watch.pulse.seen_ns
    pulse, found = observe(watch.pulse, seen, watch.epoch, now, bounds)
    watch = replace(watch, pulse=pulse)
    if watch.state != layout.LEASE_GRANTED:
        watch = _without_permission(watch, seen, now)
    fault, why = _fault(watch, seen, found, clocks, own_gap, rules)
    if fault == "clock_jump" and watch.state == layout.LEASE_WITHHELD:  # before the first grant: this look only
        watch = replace(watch, slip_ns=clocks.boot_ns - now)
    if fault:
        return _act(watch, fault, why, rules)
    if watch.state == layout.LEASE_GRANTED:
        if now - watch.granted_ns < rules.renew_ns:
            return watch, Decision("none")
        if pulse.progress_ns <= watch.granted_ns or now - pulse.progress_ns > rules.suspect_ns:
            return watch, Decision("withhold", "", "no progress since the last renewal")
        return _grant(watch, now, rules)
    if watch.state == layout.LEASE_WITHHELD and armed and found.progressed:
        return _grant(watch, now, rules)
    return watch, Decision("none")


def _without_permission(watch: Watch, seen: Seen, now: int) -> Watch:
    """Note from where on orders prove that the lease is not heeded: the page was taken back before ``refused_ns``."""
    if watch.refused_ns == 0:
        return replace(watch, refused_ns=now)
    if watch.orders == UNKNOWN and seen.beat is not None and seen.beat.mono_ns > watch.refused_ns:
        return replace(watch, orders=seen.beat.orders_sent)
    return watch


def _fault(watch: Watch, seen: Seen, found: Finding, clocks: Clocks, own_gap: int, rules: Rules) -> tuple[str, str]:
    """The one fault to act on, worst first; ("", "") for none."""
    now, silent_ns = clocks.mono_ns, watch.pulse.silent_ns
    if seen.beat is not None and watch.orders != UNKNOWN and seen.beat.orders_sent > watch.orders:
        return "unleased", f"{seen.beat.orders_sent - watch.orders} orders sent without permission"
    if found.fault and rules.tiers[found.fault] == faults.KILL:
        return found.fault, found.why
    if watch.renewals and silent_ns >= rules.kill_ns:
        return "silent", f"no progress for {silent_ns // 1_000_000} ms{': ' + seen.why if seen.why else ''}"
    if own_gap < 0 or abs(clocks.boot_ns - now - watch.slip_ns) > CLOCK_SLIP_NS:
        return "clock_jump", "the host's clock jumped, or it was suspended"
    if own_gap >= rules.ttl_ns:
        return "own_pause", f"the watchdog did not run for {own_gap // 1_000_000} ms"
    if found.fault:
        return found.fault, found.why
    if seen.standing:
        return seen.standing, seen.why
    if watch.state == layout.LEASE_GRANTED and now >= watch.deadline_ns:
        return "late", "no progress in time"
    return "", ""


def _act(watch: Watch, fault: str, why: str, rules: Rules) -> tuple[Watch, Decision]:
    """A fault in its tier. Before the first grant of an epoch there is nothing to kill for but orders without permission."""
    if rules.tiers[fault] == faults.KILL and (watch.renewals or fault in ("runaway", "unleased")):
        return watch, Decision("kill", fault, why)
    if watch.state == layout.LEASE_GRANTED:
        return replace(watch, state=layout.LEASE_LAPSED, deadline_ns=0), Decision("lapse", fault, why)
    return watch, Decision("none", fault, why)


def _grant(watch: Watch, now: int, rules: Rules) -> tuple[Watch, Decision]:
    granted = replace(
        watch,
        state=layout.LEASE_GRANTED,
        granted_ns=now,
        deadline_ns=now + rules.ttl_ns,
        renewals=watch.renewals + 1,
        refused_ns=0,
        orders=UNKNOWN,
    )
    return granted, Decision("grant")
