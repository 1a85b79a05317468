"""The main loop: serve the socket, judge what is seen, renew or end the lease. It never waits for the network or a disk.

REST calls and fsyncs happen in worker threads; what they find comes back through ``Workers.drain``. Only this thread
writes the lease page, but for ``end``, which the ladder may also call: ending twice changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from collections import deque
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog import guards, lease, processes
from watchdog.beat import stop_requested
from watchdog.credentials import CredentialError
from watchdog.ending import Ending
from watchdog.latch import StateError
from watchdog.operations import Operations
from watchdog.pulse import Seen
from watchdog.revokers import RevokerError
from watchdog.sentry import Sentry
from watchdog.server import Server
from watchdog.venue import Unreachable
from watchdog.view import Reading, watch_account

LAPSES_MAX, LAPSES_NS = 10, 60_000_000_000


class StartError(Exception):
    """The watchdog cannot start; one line with what to do."""


class Watchdog(Ending):
    """The state of one run; this half gives permission. Touched by the main thread alone."""

    def __init__(self, run_dir: Path, supervisor: processes.Process) -> None:
        config: dict[str, Any] = json.loads((run_dir / "config.json").read_text("utf-8"))
        self.lock = open(Path(config["state_dir"]) / "watchdog.lock", "w")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError("another watchdog runs on this state directory: stop it first") from None
        super().__init__(config)
        self.supervisor = supervisor
        self.shm_dir = Path(config["shm_dir"])
        self.kill_test: dict[str, Any] = {"result": "", "key_id": "", "refusal": "", "ms": 0.0}
        self.sentry = Sentry(config, self.rules, self.stats.count)
        self.lapses: deque[int] = deque()
        self.terminated = False
        self.poller = select.epoll()
        self.operations = Operations(self)
        self.server = Server(run_dir / "watchdog.sock", self.poller, self.operations.handle)
        self.guards = guards.of(self)

    # --- Loop ------------------------------------------------------------------------------------------------------
    def run(self) -> int:
        """Until an orderly end or a finished kill; returns the exit status."""
        self.poller.register(self.supervisor.fd, select.EPOLLIN | select.EPOLLONESHOT)
        self.workers.start("view", lambda: watch_account(self.new_venue(), self.ring, self._tell_view))
        if self.latch is not None:
            self.reason = f"latched: {self.latch.get('reason', '')}"
            if self.latch.get("kind") != "halt" and not self.latch.get("proven"):
                self.start_ladder(self.latch)
        else:
            self.crew.arm()
            if self.ring.left_over():
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
            self.crew.permit(self.lease_state() == layout.LEASE_GRANTED)
            now = time.monotonic_ns()
            self.stats.heartbeat(now)
            self.stats.count(layout.WC_POLLS)
            self.guards.tick(now)
            self.stats.record(layout.WH_POLL, now - last_ns)
            last_ns = now
        self.stats.status(layout.P_STATE, layout.PROCESS_STOPPED)
        return self.exit_code

    def see(self) -> Seen:
        """What there is to see of execution, its feed and the account now."""
        now = time.monotonic_ns()
        pulse = self.watch.pulse if self.watch else None
        moving = pulse is not None and now - pulse.progress_ns <= self.rules.suspect_ns
        return self.sentry.see(now, self.execution, self.operations.feed(), moving)

    def check_lease(self) -> None:
        """Judge what is seen and write the page."""
        if self.watch is None or self.page is None or self.ending:
            return
        seen, before = self.see(), self.watch
        self.watch, decision = lease.decide(before, seen, lease.clocks(), self.rules, self.armed and self.latch is None)
        if decision.what == "grant":
            self.page.grant(self.watch.granted_ns, self.watch.deadline_ns, self.watch.renewals)
            self.stats.count(layout.WC_RENEWALS)
            if before.renewals:
                self.stats.record(layout.WH_RENEW_GAP, self.watch.granted_ns - before.granted_ns)
        elif decision.what == "withhold":
            self.stats.count(layout.WC_WITHHELD)
        elif decision.what == "lapse":
            self.lapse(decision.fault, decision.why)
        elif decision.what == "kill" and self._stopping():
            self.close("execution ended as asked")  # a loop that was told to stop falls silent before its process exits
        elif decision.what == "kill":
            self.stats.count(layout.WC_BEATS_STUCK, int(decision.fault == "silent"))
            self.stats.count(layout.WC_DISAGREEMENTS, int(decision.fault == "disagreement"))
            self.kill(decision.fault, decision.why)

    def lapse(self, fault: str, why: str) -> None:
        """Permission ends; execution comes back by itself, but not for ever."""
        assert self.page is not None
        self.page.end(layout.LEASE_LAPSED)
        self.stats.count(layout.WC_LAPSES)
        self.reason = f"lapsed: {fault}: {why}"
        self.alarm(self.reason)
        # Execution pulls its own orders, unless it is stopped or hung. Before any later registration: one queue.
        self.workers.submit(self.venue.cancel_all, self.ignore)
        now = time.monotonic_ns()
        self.lapses.append(now)
        while self.lapses[0] < now - LAPSES_NS:
            self.lapses.popleft()
        if len(self.lapses) > LAPSES_MAX and self.rules.tiers["lapsing"] == "kill":
            self.kill("lapsing", f"{len(self.lapses)} lapses in {LAPSES_NS // 1_000_000_000} s, the last one {fault}")

    def _stopping(self) -> bool:
        return self.latch is None and stop_requested(self.shm_dir, self.supervisor)

    # --- The independent view ----------------------------------------------------------------------------------------
    def _tell_view(self, result: Reading | Unreachable) -> None:
        self.workers.tell(self.viewed, result)

    def viewed(self, result: Any) -> None:
        """A reading of the account has come back from its thread; what it shows is acted on by the next poll."""
        leased = self.watch is not None and self.watch.state == layout.LEASE_GRANTED
        before = self.sentry.view_fault
        fault, why = self.sentry.viewed(result, time.monotonic_ns(), time.time_ns(), leased)
        if fault and fault != before[0]:
            self.alarm(f"account: {fault}: {why}")
        if isinstance(result, Reading):
            self.stats.set(layout.WC_VIEW_OPEN_ORDERS, len(result.orders))
            self.stats.set(layout.WC_VIEW_POSITIONS, self.sentry.judge.held_count(result))

    def check_processes(self) -> None:
        """Deaths, signals and the time limit of the last ladder."""
        if self.execution is not None and self.execution.dead():
            if self._stopping():
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
        if self.execution is not None and self.execution is not process:
            self.execution.close()
        if self.execution is not process:
            self.poller.register(process.fd, select.EPOLLIN | select.EPOLLONESHOT)  # wakes the loop when it dies
        self.page = lease.LeasePage(epoch)
        self.watch = lease.new_watch(epoch, lease.clocks())
        self.sentry.judge.forget()
        self.inherited = {}
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
        self.sentry.exec.close()
        self.sentry.judge.forget()

    def lease_state(self) -> int:
        if self.latch is not None:
            return layout.LEASE_WITHDRAWN if self.latch.get("kind") == "halt" else layout.LEASE_KILLED
        return self.watch.state if self.watch else layout.LEASE_WITHHELD


def main(run_dir: str) -> int:
    """Run the watchdog of ``run_dir``; raises StartError with one line."""
    refused = processes.harden()
    parent = os.getppid()
    if os.readlink("/proc/self") != str(os.getpid()):
        raise StartError("/proc shows another pid namespace: mount the one of this namespace")
    try:
        supervisor = processes.Process(parent, processes.start_time(parent))
        dog = Watchdog(Path(run_dir), supervisor)
    except (CredentialError, RevokerError, StateError, processes.ProcessError) as error:
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
