"""Processes by pidfd and start time, so that a recycled pid is never believed and never signalled."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
from pathlib import Path

PR_SET_DUMPABLE = 4
MCL_CURRENT = 1


class ProcessError(Exception):
    """The pid is gone, or it is not the process that was meant."""


def start_time(pid: int) -> int:
    """Field 22 of ``/proc/PID/stat``: start in clock ticks since boot; raises ProcessError when there is no such pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        raise ProcessError(f"no process {pid}") from None


def boot_id() -> str:
    """Identity of this boot of the kernel: pids and start times mean nothing across two of them."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


class Process:
    """One process held by a pidfd. ``fd`` becomes readable when it ends."""

    def __init__(self, pid: int, start: int) -> None:
        try:
            self.fd = os.pidfd_open(pid)
        except OSError:
            raise ProcessError(f"no process {pid}") from None
        self.pid, self.start = pid, start
        try:  # only now does the pidfd pin the pid, so the start time is compared after it
            if start_time(pid) != start:
                raise ProcessError(f"process {pid} did not start at {start}")
        except ProcessError:
            self.close()
            raise

    def dead(self, wait_ms: int = 0) -> bool:
        """Whether it has ended (a zombie counts as ended); waits up to ``wait_ms``."""
        if self.fd < 0:
            return True
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(wait_ms))

    def kill(self) -> None:
        """SIGKILL, the one signal that also ends a stopped process."""
        try:
            if self.fd >= 0:
                signal.pidfd_send_signal(self.fd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def end_house(children: Path) -> None:
    """SIGTERM to every child that a dead supervisor left (``children.json``: role -> [pid, start]); nobody else would."""
    try:
        recorded = json.loads(children.read_text("utf-8"))
        pairs = [(int(pid), int(start)) for pid, start in recorded.values() if int(pid) != os.getpid()]
    except (OSError, ValueError, TypeError, AttributeError):
        return
    for pid, start in pairs:
        with contextlib.suppress(ProcessError, ProcessLookupError):
            process = Process(pid, start)
            signal.pidfd_send_signal(process.fd, signal.SIGTERM)
            process.close()


def harden() -> list[str]:
    """No core dump, no ptrace by the same user, memory locked. Returns what the host refused."""
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append("PR_SET_DUMPABLE")
    # Not MCL_FUTURE: beyond RLIMIT_MEMLOCK it makes later allocations fail in the middle of a kill.
    if libc.mlockall(MCL_CURRENT) != 0:
        refused.append("mlockall")
    try:  # it sleeps nearly always, and a renewal that waits behind busy neighbours is a lapse of a healthy engine
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        refused.append("SCHED_RR")
    return refused
