"""Faults of execution: it dies, stops, hangs, runs away, shows a bad page, misbooks, or has no lease check."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time

from fabric import layout
from fabric.stats import StatsReader
from tests.chaos.faults import EITHER, KILL, LAPSE, NOTHING, Fault, Inject, demand
from tests.chaos.judge import Figures, accepted, keys_at
from tests.chaos.scene import LIMITS, Scene
from tests.chaos.strategies import tireless
from tests.system.house import now_us


def send(number: int, role: str = "execution") -> Inject:
    """A fault that is one signal to one process."""

    def inject(scene: Scene) -> None:
        pid = scene.pid(role)
        scene.mark()
        os.kill(pid, number)

    return inject


def wake(scene: Scene) -> None:
    """Whatever was stopped goes on."""
    for role in ("execution", "watchdog", "feed", "journal", "supervisor"):
        with contextlib.suppress(ProcessLookupError, OSError, KeyError):
            os.kill(scene.pid(role), signal.SIGCONT)


def stop_for(least_ms: float, most_ms: float) -> Inject:
    """STOP, then CONT after a time between the two."""

    def inject(scene: Scene) -> None:
        pid, seconds = scene.pid("execution"), scene.rng.uniform(least_ms, most_ms) / 1000
        scene.mark()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    return inject


def stop_and_wake(scene: Scene) -> None:
    """STOP until the watchdog has latched, then CONT: what wakes up must find nothing to send with."""
    pid = scene.pid("execution")
    scene.mark()
    os.kill(pid, signal.SIGSTOP)
    scene.until(lambda: scene.latch().get("kind") == "kill", 5.0, "a latch")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def command(mode: int) -> Inject:
    """The strategy behaves otherwise from now on."""

    def inject(scene: Scene) -> None:
        scene.mark()
        scene.command(mode)

    return inject


def calm(scene: Scene) -> None:
    scene.command(tireless.CALM)


def storm(scene: Scene) -> None:
    """Orders without end for a second; most of them are held back by the rate limit."""
    reader = StatsReader(scene.config["shm_dir"], "execution")
    before = held_back(reader)
    scene.mark()
    scene.command(tireless.STORM)
    time.sleep(1.0)
    demand(held_back(reader) - before > 100, "there was no storm", scene)


def held_back(reader: StatsReader) -> int:
    counters = reader.counters()
    return counters["reason.rate_queued"] + counters["reason.rate_queue_full"]


def rate_held(scene: Scene, _figures: Figures) -> None:
    """No second of the storm had more orders than the limit."""
    ledger = scene.since(scene.fault_us)
    keys = {key["key_id"] for key in keys_at(ledger, scene.fault_us)}
    times = sorted(order["received_ts"] for order in accepted(ledger, keys) if order["received_ts"] > scene.fault_us)
    limit = int(LIMITS["order_rate_per_s"])
    # The exchange receives a little closer together than we send: a twentieth of a second of doubt.
    most = max(sum(at <= other < at + 950_000 for other in times) for at in times)
    demand(most <= limit, f"{most} orders in a second, {limit} allowed", scene)


def overwrite(word: int, value: int) -> Inject:
    """A word of the header of execution's segment is damaged: nobody beats there, nobody is permitted, until it is whole."""

    def inject(scene: Scene) -> None:
        with open(scene.shm_dir / "exec", "r+b") as file, mmap.mmap(file.fileno(), layout.PAGE) as page:
            place = slice(word * layout.WORD, (word + 1) * layout.WORD)
            whole = page[place]
            scene.mark()
            page[place] = value.to_bytes(layout.WORD, "little")
            time.sleep(0.8)
            ledger = scene.since(scene.fault_us)
            late = [o for o in ledger["orders"] if o["status"] != "rejected" and o["received_ts"] > scene.fault_us + 250_000]
            page[place] = whole
        demand(late == [], "orders were accepted without a beat", scene)

    return inject


def misbook(scene: Scene) -> None:
    scene.mark()
    scene.plant("misbook")


def replay_old_key(scene: Scene) -> None:
    """A lapse, and in the next epoch an order with the key of the first one."""
    pid = scene.pid("execution")
    scene.mark()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(pid, signal.SIGCONT)
    scene.until(scene.next_epoch, 10.0, "the next epoch")
    scene.plant("old_key")


def old_key_refused(scene: Scene, _figures: Figures) -> None:
    def refused() -> bool:
        old = keys_at(scene.since(scene.fault_us), scene.fault_us)[0]
        return any(use["what"] == "rest" and use["ts"] > old["revoked_ts"] for use in old["refused"])

    scene.until(refused, 5.0, "a refused use of the old key")


def ask_kill(scene: Scene) -> None:
    scene.mark()
    scene.ask(op="kill", reason="chaos")


def unleased_feed_stops(scene: Scene) -> None:
    """The lease lapses because the feed is silent, and this execution does not care: it goes on sending."""
    feed = scene.pid("feed")
    os.kill(feed, signal.SIGSTOP)
    before_us, end = now_us(), time.monotonic() + 5.0
    while scene.watchdog().get("state") == "granted" and time.monotonic() < end:
        before_us = now_us()
        time.sleep(0.002)
    scene.fault_us = before_us
    os.kill(feed, signal.SIGCONT)


def unleased_storm(scene: Scene) -> None:
    """A storm of an execution that heeds no lease, and an operator who ends it."""
    scene.command(tireless.STORM)
    time.sleep(0.2)
    ask_kill(scene)


NO_LEASE = "operator|unleased"  # under load it may lapse by itself, and is killed for what it sends then
DEAD = "dead|zombie"  # under load the main thread may be seen to end first

FAULTS = (
    Fault("execution_killed", "1", send(signal.SIGKILL), cause=DEAD),
    Fault("execution_segfault", "1", send(signal.SIGSEGV), cause=DEAD),
    Fault("execution_aborts", "1", send(signal.SIGABRT), cause=DEAD),
    Fault("execution_stopped_10_ms", "3", stop_for(5, 15), NOTHING),
    Fault("execution_stopped_below_the_ttl", "3", stop_for(120, 180), EITHER, heal=wake),
    Fault("execution_stopped_at_the_ttl", "3", stop_for(185, 215), EITHER, heal=wake),
    Fault("execution_stopped_above_the_ttl", "3", stop_for(220, 300), LAPSE, heal=wake),
    Fault("execution_stopped", "3", send(signal.SIGSTOP), cause="silent", clear_ms=450),  # at the lapse, not at the kill
    Fault("execution_stopped_and_woken", "3", stop_and_wake, cause="silent"),
    Fault("loop_wedged", "4", command(tireless.WEDGED), cause="silent"),
    Fault("runaway_with_a_good_beat", "5", command(tireless.STORM), KILL, "runaway", "wide"),
    Fault("storm_within_the_rate", "5", storm, NOTHING, heal=calm, check=rate_held),
    Fault("beat_page_damaged", "6", overwrite(layout.H_MAGIC, 0), LAPSE),
    Fault("beat_page_of_a_stranger", "6", overwrite(layout.H_OWNER_PID, 1), LAPSE),
    Fault("old_key_replayed", "14", replay_old_key, LAPSE, house="handed", check=old_key_refused),
    Fault("position_misbooked", "32 b", misbook, KILL, "disagreement", "handed", late_ms=None, clear_ms=7000, dead_ms=7000,
          promised=False),
    Fault("no_lease_check_operator", "5 b", ask_kill, KILL, NO_LEASE, "unleased"),
    Fault("no_lease_check_storm", "5 b", unleased_storm, KILL, NO_LEASE, "unleased"),
    Fault("no_lease_check_lapse", "5 b", unleased_feed_stops, KILL, "unleased", "unleased"),
)  # fmt: skip
