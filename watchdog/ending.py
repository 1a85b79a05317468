"""How a watchdog ends trading: kill, halt, orderly close; the ladder that does it, the latch that keeps it, the way back.

``Ending`` is the half of ``watchdog.process.Watchdog`` that takes permission away; it never gives any. Everything but the
ladder's record is touched by the main thread alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog import lease, page, processes
from watchdog.budget import Budget
from watchdog.credentials import KeyRing, probe_order
from watchdog.keeper import Keeper
from watchdog.kill import Ladder, Tools, new_record
from watchdog.latch import Durable, latch_text
from watchdog.revokers.build import build, mark_of
from watchdog.revokers.crew import Crew, Reports
from watchdog.sealing import Sealer
from watchdog.sources import management_key
from watchdog.venue import Venue, Way
from watchdog.worker import Workers

CLOSE_LIMIT_S = 3.0
KILL_BEFORE_EXIT_S = 60.0
RETRY_S = 0.5
RELEASE_LIMIT_S = 1.5


def way_of(config: dict[str, Any]) -> Way:
    """How this watchdog's calls leave the host: marked for a local cut, and counted when the venue states a budget."""
    venue = config["venue"]
    messages = int(venue.get("budget_messages") or 0)
    budget = Budget(messages, int(venue["budget_window_ms"]) / 1e3) if messages else None
    return Way(mark_of(config), budget)


class Ending:
    """Credentials, latch and ladder of one watchdog."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.rules = lease.rules_of(config)
        self.state_dir = Path(config["state_dir"])
        self.durable = Durable(self.state_dir)
        self.key = management_key(config["venue"])
        self.ring = KeyRing(self.state_dir, self.durable, int(config["instance"]), Sealer(self.key))
        self.inherited = self.ring.sealed(self.ring.ids("trade"))  # of a former watchdog: a kill must prove these too
        self.way = way_of(config)
        self.venue = self.new_venue()
        own_start = processes.start_time(os.getpid())
        self.stats = page.StatsPage(Path(config["shm_dir"]), int(config["config_hash"]), int(config["code_hash"]), own_start)
        if self.way.budget is not None:
            self.way.budget.on_wait = lambda: self.stats.count(layout.WC_BUDGET_WAITS)
        self.epoch = self.durable.epoch()
        self.latch = self.durable.latch()
        self.execution: processes.Process | None = None
        self.watch: lease.Watch | None = None
        self.page: lease.LeasePage | None = None
        self.ladder: Ladder | None = None
        self.ladder_stop, self.latch_lock = threading.Event(), threading.Lock()
        self.armed = self.registering = False
        self.ending = self.reason = ""
        self.ended: list[Callable[[bool], None]] = []
        self.exit_code: int | None = None
        self.exit_deadline_ns = 0
        self.workers = Workers()
        unproven = self.latch is not None and not self.latch.get("proven")
        revokers = build(config, lambda: self.new_venue(urgent=True), lenient=unproven)
        self.crew = Crew(revokers, Reports(self.alarm, self.tally))

    def new_venue(self, urgent: bool = False) -> Venue:
        """A connection of its own; ``urgent`` for those that end trading: they may use the kill's part of the rate budget."""
        return Venue(self.config["venue"]["rest_url"], self.key, way=self.way._replace(urgent=urgent))

    def end_lease(self, state: int, reason: int) -> None:
        self.armed = False
        if self.page is not None:
            self.page.end(state, reason)
        if self.watch is not None:
            self.watch = replace(self.watch, state=state, deadline_ns=0)

    def kill(self, cause: str, reason: str) -> None:
        """Latch, and run the ladder; a second kill changes nothing, a halt or an orderly close is raised to a kill."""
        if self.latch is not None and self.latch.get("kind") == "kill":
            return
        self.end_lease(layout.LEASE_KILLED, layout.REASON_KILLED)
        self.crew.revoke()
        self.reason = f"{cause}: {reason}"
        self.stats.count(layout.WC_KILLS)
        if self.ladder is not None:
            self.ladder.record.update(kind="kill", cause=cause, reason=reason)
            self.latch = self.ladder.record
            if self.execution is not None:  # the close had left it to the supervisor
                self.execution.kill()
        else:
            self.latch = self.record("kill", cause, reason)
            self.start_ladder(self.latch)
        self.alarm(f"KILL {self.reason}")

    def record(self, kind: str, cause: str, reason: str) -> dict[str, Any]:
        ids = list(dict.fromkeys([*self.inherited, *self.ring.ids("trade")]))
        record = new_record(kind, cause, reason, self.epoch, self.execution, ids, time.time_ns())
        return record | {"sealed": self.inherited | self.ring.sealed(ids)}

    def close(self, reason: str) -> None:
        """The ladder without latch, for an orderly end; what it cannot prove becomes a kill."""
        self.end_lease(layout.LEASE_WITHDRAWN, 0)
        if self.ladder is None:
            self.start_ladder(self.record("close", "stop", reason), CLOSE_LIMIT_S)

    def halt(self, reason: str) -> None:
        """No more permission until an operator resumes; execution pulls its own orders as after a lapse."""
        if self.latch is not None:
            return
        self.end_lease(layout.LEASE_WITHDRAWN, layout.REASON_HALTED_OPERATOR)
        self.reason = f"halted: {reason}"
        self.latch = {**self.record("halt", "operator", reason), "proven": True}
        self.keep(self.latch)

    def start_ladder(self, record: dict[str, Any], limit_s: float | None = None) -> None:
        """The ladder in a thread of its own, over the secrets its record brings along; for a kill the revokers beside it."""
        if record.get("kind") != "close":
            self.crew.revoke()
        self.ring.unseal(record.get("sealed") or {})
        code = layout.LEASE_WITHDRAWN if record.get("kind") == "close" else layout.LEASE_KILLED
        old_page = self.page
        stop = self.ladder_stop = threading.Event()

        def save(text: str) -> None:
            with self.latch_lock:  # a resume must not be undone by the ladder it stopped
                if not stop.is_set():
                    self.durable.write_latch(text)

        keeper = Keeper(save)

        def withdraw() -> None:
            if old_page is not None and old_page is self.page:
                old_page.end(code, layout.REASON_KILLED if code == layout.LEASE_KILLED else 0)

        tools = Tools(
            now_ns=time.monotonic_ns,
            sleep_s=time.sleep,
            withdraw=withdraw,
            save=lambda latch: keeper.keep(latch_text(latch)),
            alarm=self.alarm,
            tally=self.tally,
            probe_order=lambda epoch: probe_order(self.config, epoch, self.rules.ttl_ns // 1_000_000),
            revokers=self.crew.rows,
        )
        ladder = self.ladder = Ladder(record, self.new_venue(urgent=True), self.ring, tools, self.rules.ttl_ns)
        self.workers.spawn("ladder", lambda: ladder.run(stop.is_set, limit_s), lambda r: self.ladder_done(ladder, r))

    def ladder_done(self, ladder: Ladder, result: Any) -> None:
        """The ladder's thread has returned: proven, out of time, stopped by a resume, or broken."""
        if ladder is not self.ladder:
            return
        self.ladder = None
        record, proven = ladder.record, result is True
        self.stats.record(layout.WH_KILL, int(record["ms"] * 1e6))
        if isinstance(result, Exception):
            self.alarm(f"the kill ladder broke: {type(result).__name__}; it starts again")
        if not proven:
            if record["kind"] == "close":
                self.alarm("the orderly end is not proven: it is a kill now")
                record.update(kind="kill", cause="unproven")
            self.latch = record
            self.ladder_stop.set()  # what it could not write yet must not replace what follows
            self.keep(record)
            if self.ending == "stop":
                return self.conclude(False)
            return self.start_ladder(record)
        if record["kind"] == "kill":
            self.say(f"kill proven after {record['ms']} ms")
        if self.ending:
            self.conclude(True)

    def keep(self, record: dict[str, Any]) -> None:
        """Write a latch that is in force already; a disk that fails is said."""
        try:
            with self.latch_lock:
                self.durable.save_latch(record)
        except OSError as error:
            self.alarm(f"the latch is not durable: {error.strerror}")

    def finish(self, cause: str, ended: Callable[[bool], None] | None = None) -> None:
        """End this watchdog: close in good order, or wait for the kill that runs; then answer and exit."""
        if ended is not None:
            self.ended.append(ended)
        if self.ending:
            return
        self.ending = cause
        if self.latch is None or (self.latch.get("kind") == "halt" and self.ladder is None):
            self.close(cause)
        elif self.ladder is None:
            self.conclude(True)
        limit_s = CLOSE_LIMIT_S if cause == "stop" else KILL_BEFORE_EXIT_S
        self.exit_deadline_ns = time.monotonic_ns() + int((limit_s + 3.0) * 1e9)

    def terminate(self, cause: str, reason: str) -> None:
        """The supervisor is dead, or SIGTERM: with an execution registered that is a kill, else a plain close."""
        if self.execution is not None:
            self.kill(cause, reason)
        self.finish(cause)

    def conclude(self, proven: bool) -> None:
        """Revoke what is left (the feed's key), answer the waiting, and leave the loop."""

        def done(_result: Any) -> None:
            for ended in self.ended:
                ended(proven)
            self.exit_code = 0 if proven else 1

        def job() -> None:
            if proven:
                self.ring.retire(self.venue, [*self.ring.ids("read"), *self.ring.ids("trade")])
            if proven and self.latch is None and not self.crew.release(RELEASE_LIMIT_S):
                self.alarm("a revoker was not released: see the lines above")

        self.workers.submit(job, done)

    def resume(self, operator: str, reason: str) -> None:
        """An operator lifts the latch; keys of an unproven kill are revoked before the next registration."""
        latch = self.latch or {}
        with self.latch_lock:
            self.ladder_stop.set()
        self.ladder = None
        self.durable.log({"wall_ns": time.time_ns(), "what": "resume", "operator": operator, "reason": reason, "latch": latch})
        self.durable.clear_latch()
        self.latch = None
        self.reason = ""
        self.stats.count(layout.WC_RESUMES)
        self.crew.arm()

    def retire_left_over(self, _result: Any) -> None:
        """Revoke what a former watchdog minted and cancel what it let out, again and again until the venue has confirmed it."""
        self.ring.unseal(self.inherited)  # retiring drops secrets, and a kill may come that has to prove these keys dead
        if not isinstance(_result, int) and self.latch is None and not self.ending:

            def job() -> int:
                if isinstance(_result, Exception):
                    time.sleep(RETRY_S)
                retired = self.ring.retire(self.venue, self.ring.left_over())
                self.venue.cancel_all()  # execution may be unable to: frozen, or its key was dead before its cancels
                return retired

            if not self.registering:  # a registration retires older keys itself
                self.workers.submit(job, self.retire_left_over)

    # --- Words ---------------------------------------------------------------------------------------------------
    def log_operator(self, what: str, pid: int, reason: str) -> None:
        entry = {"wall_ns": time.time_ns(), "what": what, "pid": pid, "reason": reason}
        self.workers.submit(lambda: self.durable.log(entry), self.ignore)

    def ignore(self, result: Any) -> None:
        if isinstance(result, Exception):
            self.alarm(f"{type(result).__name__}: {result}")

    def alarm(self, text: str) -> None:
        """A line for the log and the stats page's error log; any thread."""
        self.say(text)
        self.stats.error(text)

    def say(self, text: str) -> None:
        """A line for the log, which may lie on a full disk: that must not end a watchdog."""
        with contextlib.suppress(OSError):
            print(f"watchdog: {text}", file=sys.stderr, flush=True)

    def tally(self, name: str, amount: int) -> None:
        """Count in the stats page by the counter's name; any thread."""
        self.stats.count(layout.WATCHDOG_COUNTERS.index(name), amount)
