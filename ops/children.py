"""Child processes of the supervisor: start, watch, end. Each has a log file and never our Ctrl-C.

Each has a session of its own, but for the two that share the hot cpu: these have process groups of their own in our
session. Linux schedules sessions against each other (autogroup) and a yield counts inside one only: in two sessions, feed
and execution got equal time, whether they had work or not, and a tick waited while execution turned in circles.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import time

from fabric.jit import ROOT
from fabric.segment import process_start
from watchdog.processes import real_time

SHARE_A_CPU = ("feed", "execution")
CORE_BYTES = 1  # hot processes hold keys; 0 would still let a core be piped to a program, 1 is too little for a file too
MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
BACKOFF_FIRST_S, BACKOFF_MAX_S, HEALTHY_S = 0.2, 5.0, 30.0


@dataclasses.dataclass
class Child:
    """A running (or ended) process of one role. ``start`` is field 22 of /proc/PID/stat: pid and start name it for ever."""

    role: str
    process: subprocess.Popen[bytes]
    log: pathlib.Path
    start: int
    spawned_s: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def lives_for(self, seconds: float) -> bool:
        """Wait so long, and no longer than it lives: whether it does."""
        if self.alive():
            end = os.pidfd_open(self.pid)  # not reaped yet, so it is there
            select.select([end], [], [], seconds)
            os.close(end)
        return self.alive()

    def ended(self) -> str:
        """How it ended, in words."""
        code = self.process.poll()
        if code is None:
            return "is running"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def last_words(self) -> str:
        """The last line of its log that says something."""
        try:
            tail = self.log.read_bytes()[-4096:].decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    def terminate(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGTERM)

    def finish(self, timeout_s: float) -> bool:
        """Wait for its end, SIGKILL after the timeout; True when it ended by itself."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True


def _environment(role: str) -> dict[str, str]:
    """Ours; the service manager is for the watchdog alone, so that nobody else can give its sign of life."""
    return {name: value for name, value in os.environ.items() if role == "watchdog" or name not in MANAGER}


def _yield_memory(score: pathlib.Path) -> None:
    """The unit's low OOM score is meant for supervisor and watchdog; the others go first."""
    with contextlib.suppress(OSError, ValueError):  # it has ended already, and is found so
        if int(score.read_text()) < 0:
            score.write_text("0")


def spawn(role: str, command: list[str], log: pathlib.Path) -> Child:
    """Start ``python COMMAND...`` with its output in ``log`` and without core dumps; it inherits our cpus."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=role not in SHARE_A_CPU,
            process_group=0 if role in SHARE_A_CPU else None,
            cwd=ROOT,
            env={**_environment(role), "PYTHONUNBUFFERED": "1"},
        )
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or has forbidden itself more already
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (CORE_BYTES, CORE_BYTES))
    if role == "watchdog":
        real_time(process.pid)  # before its first imports: a kill may wait for it
    else:
        _yield_memory(pathlib.Path(f"/proc/{process.pid}/oom_score_adj"))
    return Child(role, process, log, process_start(process.pid), time.monotonic())


class Backoff:
    """When a role may start again: doubling waits, forgotten after a healthy period. Pure: time is given."""

    def __init__(self, first_s: float = BACKOFF_FIRST_S) -> None:
        self.first_s = self.wait_s = first_s

    def next_start(self, spawned_s: float, died_s: float) -> float:
        """The time of the next start of a process that lived from ``spawned_s`` to ``died_s``."""
        if died_s - spawned_s >= HEALTHY_S:
            self.wait_s = self.first_s
        due = died_s + self.wait_s
        self.wait_s = min(max(self.wait_s * 2, BACKOFF_FIRST_S), BACKOFF_MAX_S)
        return due
