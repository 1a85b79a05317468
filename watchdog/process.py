"""The main loop: serve the socket, judge the beat, renew or end the lease. It never waits for the network or a disk.

REST calls and fsyncs happen in worker threads; what they find comes back through ``Workers.drain``. Only this thread
writes the lease page, but for ``end``, which the ladder may also call: ending twice changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog import guards, lease, page, processes
from watchdog.beat import Beat, Segment, SegmentError, stop_requested
from watchdog.credentials import CredentialError, KeyRing, probe_order, read_management_key
from watchdog.kill import Ladder, Tools, new_record
from watchdog.latch import Durable, StateError
from watchdog.operations import Operations
from watchdog.server import Server
from watchdog.venue import Venue
from watchdog.worker import Workers, watch_account

CLOSE_LIMIT_S = 3.0
KILL_BEFORE_EXIT_S = 60.0
RETRY_S = 0.5


class StartError(Exception):
    """The watchdog cannot start; one line with what to do."""


class Watchdog:
    """The state of one run. Everything but the ladder's record is touched by the main thread alone."""

    def __init__(self, run_dir: Path, supervisor: processes.Process) -> None:
        self.supervisor = supervisor
        self.config = config = json.loads((run_dir / "config.json").read_text("utf-8"))
        self.rules = lease.Rules(**{name: int(config["lease"][name]) for name in lease.Rules.__dataclass_fields__})
        self.state_dir, self.shm_dir = Path(config["state_dir"]), Path(config["shm_dir"])
        self.lock = open(self.state_dir / "watchdog.lock", "w")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError("another watchdog runs on this state directory: stop it first") from None
        self.durable = Durable(self.state_dir)
        self.ring = KeyRing(self.state_dir, self.durable, int(config["instance"]))
        self.key = read_management_key(Path(config["venue"]["management_key_file"]))
        self.venue = self.new_venue()
        own_start = processes.start_time(os.getpid())
        self.stats = page.StatsPage(self.shm_dir, int(config["config_hash"]), int(config["code_hash"]), own_start)
        self.epoch, self.latch = self.durable.epoch(), self.durable.latch()
        self.kill_test: dict[str, Any] = {"result": "", "key_id": "", "refusal": "", "ms": 0.0}
        self.execution: processes.Process | None = None
        self.watch: lease.Watch | None = None
        self.page: lease.LeasePage | None = None
        self.segment: Segment | None = None
        self.segment_error = "not registered"
        self.ladder: Ladder | None = None
        self.ladder_stop, self.latch_lock = threading.Event(), threading.Lock()
        self.armed = self.registering = self.terminated = False
        self.ending = self.reason = ""
        self.ended: list[Callable[[bool], None]] = []
        self.exit_code: int | None = None
        self.exit_deadline_ns = 0
        self.workers = Workers()
        self.poller = select.epoll()
        self.operations = Operations(self)
        self.server = Server(run_dir / "watchdog.sock", self.poller, self.operations.handle)
        self.guards = guards.of(self)

    def new_venue(self) -> Venue:
        return Venue(self.config["venue"]["rest_url"], self.key)

    # --- Loop ------------------------------------------------------------------------------------------------------
    def run(self) -> int:
        """Until an orderly end or a finished kill; returns the exit status."""
        self.poller.register(self.supervisor.fd, select.EPOLLIN | select.EPOLLONESHOT)
        self.workers.start("view", lambda: watch_account(self.new_venue(), self.stats))
        if self.latch is not None:
            self.reason = f"latched: {self.latch.get('reason', '')}"
            if self.latch.get("kind") != "halt" and not self.latch.get("proven"):
                self.start_ladder(self.latch)
        elif self.ring.left_over():
            self.retire_left_over(None)
        self.stats.status(layout.P_STATE, layout.PROCESS_RUNNING)
        timeout_s, last_ns = self.rules.poll_ns / 1e9, time.monotonic_ns()
        while self.exit_code is None:
            ready = self.poller.poll(timeout_s)
            self.check_lease()
            for fd, _ in ready:
                self.server.serve(fd)
            self.workers.drain()
            self.check_processes()
            now = time.monotonic_ns()
            self.stats.heartbeat(now)
            self.stats.count(layout.WC_POLLS)
            self.guards.tick(now)
            self.stats.record(layout.WH_POLL, now - last_ns)
            last_ns = now
        self.stats.status(layout.P_STATE, layout.PROCESS_STOPPED)
        return self.exit_code

    def read_beat(self) -> Beat | None:
        """Execution's beat, mapping its segment when it has appeared; None with ``segment_error`` set."""
        if self.execution is None:
            return None
        if self.segment is None:
            try:
                self.segment = Segment(self.shm_dir, "exec", layout.SEGMENT_EXEC, self.execution)
            except (SegmentError, OSError, ValueError) as error:
                self.segment_error = str(error)
                return None
        return self.segment.beat()

    def check_lease(self) -> None:
        """Judge the beat and write the page."""
        if self.watch is None or self.page is None or self.ending:
            return
        beat = self.read_beat()
        clocks = lease.Clocks(time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        before = self.watch
        self.watch, decision = lease.decide(before, beat, clocks, self.rules, self.armed and self.latch is None)
        if decision.what == "grant":
            self.page.grant(self.watch.granted_ns, self.watch.deadline_ns, self.watch.renewals)
            self.stats.count(layout.WC_RENEWALS)
            if before.renewals:
                self.stats.record(layout.WH_RENEW_GAP, self.watch.granted_ns - before.granted_ns)
        elif decision.what == "withhold":
            self.stats.count(layout.WC_WITHHELD)
        elif decision.what == "lapse":
            self.page.end(layout.LEASE_LAPSED)
            self.stats.count(layout.WC_LAPSES)
            self.reason = f"lapsed: {decision.reason}"
            self.alarm(self.reason)
        elif decision.what == "kill" and stop_requested(self.shm_dir, self.supervisor) and self.latch is None:
            self.close("execution ended as asked")  # a loop that was told to stop falls silent before its process exits
        elif decision.what == "kill":
            self.stats.count(layout.WC_BEATS_STUCK, int(not decision.reason.startswith("runaway")))
            self.kill("runaway" if decision.reason.startswith("runaway") else "silent", decision.reason)

    def check_processes(self) -> None:
        """Deaths, signals and the time limit of the last ladder."""
        if self.execution is not None and self.execution.dead():
            orderly = stop_requested(self.shm_dir, self.supervisor)
            if orderly and self.latch is None:
                self.close("execution ended as asked")
            else:
                self.kill("dead", "the execution process died")
            self.forget_execution()
        if self.supervisor.dead() and not self.ending:
            self.terminate("supervisor", "the supervisor died")
        if self.terminated and not self.ending:
            self.terminate("signal", "SIGTERM")
        if self.exit_deadline_ns and time.monotonic_ns() >= self.exit_deadline_ns:
            self.exit_code = 1

    # --- Registration ------------------------------------------------------------------------------------------------
    def begin_registration(self) -> None:
        """Take the old epoch's permission away before its key is replaced, also one that is granted still.

        Execution may have lapsed by its own clock when we saw nothing: it has closed its session and asks for the next epoch.
        """
        if self.page is not None:
            self.page.end(layout.LEASE_WITHDRAWN)
        self.watch = None

    def adopt(self, process: processes.Process, epoch: int) -> lease.LeasePage:
        """A new epoch has its key: give it a page of its own and begin to watch its beat."""
        if self.page is not None:
            self.page.close()
        if self.segment is not None and self.execution is not process:
            self.segment.close()
            self.segment = None
        if self.execution is not None and self.execution is not process:
            self.execution.close()
        if self.execution is not process:
            self.poller.register(process.fd, select.EPOLLIN | select.EPOLLONESHOT)  # wakes the loop when it dies
        self.page = lease.LeasePage(epoch)
        clocks = lease.Clocks(time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self.watch = lease.new_watch(epoch, clocks)
        self.execution, self.epoch, self.reason = process, epoch, ""
        self.stats.set(layout.WC_EPOCH, epoch)
        self.stats.status(layout.P_EPOCH, epoch)
        return self.page

    def forget_execution(self) -> None:
        """Its process is gone: a successor must be expected, registered and armed anew."""
        if self.execution is not None:
            self.execution.close()
        self.execution = self.watch = None
        self.armed = False
        self.operations.expected.pop("execution", None)
        if self.segment is not None:
            self.segment.close()
            self.segment = None

    def lease_state(self) -> int:
        if self.latch is not None:
            return layout.LEASE_WITHDRAWN if self.latch.get("kind") == "halt" else layout.LEASE_KILLED
        return self.watch.state if self.watch else layout.LEASE_WITHHELD

    def retire_left_over(self, _result: Any) -> None:
        """Revoke what a former watchdog minted and cancel what it let out, again and again until the venue has confirmed it."""
        if not isinstance(_result, int) and self.latch is None and not self.ending:

            def job() -> int:
                if isinstance(_result, Exception):
                    time.sleep(RETRY_S)
                retired = self.ring.retire(self.venue, self.ring.left_over())
                self.venue.cancel_all()  # execution may be unable to: frozen, or its key was dead before its cancels
                return retired

            if not self.registering:  # a registration retires older keys itself
                self.workers.submit(job, self.retire_left_over)

    # --- Ending ------------------------------------------------------------------------------------------------------
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
        return new_record(kind, cause, reason, self.epoch, self.execution, self.ring.ids("trade"), time.time_ns())

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
        self.durable.save_latch(self.latch)

    def start_ladder(self, record: dict[str, Any], limit_s: float | None = None) -> None:
        code = layout.LEASE_WITHDRAWN if record.get("kind") == "close" else layout.LEASE_KILLED
        old_page = self.page
        stop = self.ladder_stop = threading.Event()

        def save(latch: dict[str, Any]) -> None:
            with self.latch_lock:  # a resume must not be undone by the ladder it stopped
                if not stop.is_set():
                    self.durable.save_latch(latch)

        def withdraw() -> None:
            if old_page is not None and old_page is self.page:
                old_page.end(code, layout.REASON_KILLED if code == layout.LEASE_KILLED else 0)

        tools = Tools(
            now_ns=time.monotonic_ns,
            sleep_s=time.sleep,
            withdraw=withdraw,
            save=save,
            alarm=self.alarm,
            tally=lambda name, amount: self.stats.count(layout.WATCHDOG_COUNTERS.index(name), amount),
            probe_order=lambda epoch: probe_order(self.config, epoch, self.rules.ttl_ns // 1_000_000),
        )
        ladder = self.ladder = Ladder(record, self.new_venue(), self.ring, tools, self.rules.ttl_ns)
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
            self.durable.save_latch(record)
            if self.ending == "stop":
                return self.conclude(False)
            return self.start_ladder(record)
        if record["kind"] == "kill":
            print(f"watchdog: kill proven after {record['ms']} ms", flush=True)
        if self.ending:
            self.conclude(True)

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

        keys = [*self.ring.ids("read"), *self.ring.ids("trade")]
        self.workers.submit(lambda: self.ring.retire(self.venue, keys) if proven else None, done)

    def resume(self, operator: str, reason: str) -> None:
        """An operator lifts the latch; keys of an unproven kill are revoked before the next registration."""
        latch = self.latch or {}
        with self.latch_lock:
            self.ladder_stop.set()
        self.ladder = None
        self.durable.log({"wall_ns": time.time_ns(), "what": "resume", "operator": operator, "reason": reason, "latch": latch})
        self.durable.clear_latch()
        self.latch, self.reason = None, ""
        self.stats.count(layout.WC_RESUMES)

    # --- Small ---------------------------------------------------------------------------------------------------------
    def log_operator(self, what: str, pid: int, reason: str) -> None:
        entry = {"wall_ns": time.time_ns(), "what": what, "pid": pid, "reason": reason}
        self.workers.submit(lambda: self.durable.log(entry), self.ignore)

    def ignore(self, result: Any) -> None:
        if isinstance(result, Exception):
            self.alarm(f"{type(result).__name__}: {result}")

    def alarm(self, text: str) -> None:
        """A line for the log and the stats page's error log; any thread."""
        print(f"watchdog: {text}", file=sys.stderr, flush=True)
        self.stats.error(text)


def main(run_dir: str) -> int:
    """Run the watchdog of ``run_dir``; raises StartError with one line."""
    refused = processes.harden()
    parent = os.getppid()
    try:
        supervisor = processes.Process(parent, processes.start_time(parent))
        dog = Watchdog(Path(run_dir), supervisor)
    except (CredentialError, StateError, processes.ProcessError) as error:
        raise StartError(str(error)) from None
    except KeyError as error:
        raise StartError(f"config.json lacks {error}") from None
    except (OSError, ValueError, TypeError) as error:
        raise StartError(f"{type(error).__name__}: {error}") from None
    for name in refused + guards.protect(dog.config.get("placement", {}).get("watchdog", ())):
        dog.alarm(f"the host refused {name}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def on_sigterm(*_: object) -> None:
        dog.terminated = True

    signal.signal(signal.SIGTERM, on_sigterm)
    code = dog.run()
    dog.guards.stop(code == 0, dog.ending != "signal")
    if dog.ending == "supervisor":
        processes.end_house(Path(run_dir) / "children.json")
    return code
