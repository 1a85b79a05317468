"""Processes by pidfd and start time, so that a recycled pid is never believed and never signalled.

What ``/proc`` says is the kernel's word about a process, never its own: state, tracer, namespaces, control group.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
from pathlib import Path
from typing import NamedTuple

CGROUPS = Path("/sys/fs/cgroup")
SIGKILL_BIT = 1 << (signal.SIGKILL - 1)
# A beat of another time namespace is of another clock; a pid of another pid namespace is of another process.
NAMESPACES = ("pid", "time")
PR_SET_DUMPABLE = 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CAP_IPC_LOCK_BIT = 1 << 14


class ProcessError(Exception):
    """The pid is gone, or it is not the process that was meant."""


def start_time(pid: int) -> int:
    """Field 22 of ``/proc/PID/stat``: start in clock ticks since boot; raises ProcessError when there is no such pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        raise ProcessError(f"no process {pid}") from None


class Look(NamedTuple):
    """One reading of ``/proc/PID/status``. ``state`` is its letter: R S D T (stopped) t (held by a tracer) Z X."""

    state: str
    tracer: int
    kill_pending: bool

    @property
    def traced(self) -> bool:
        return self.tracer != 0 or self.state == "t"


def look(pid: int) -> Look | None:
    """None when there is no such pid; a caller that holds its pidfd is told of nobody else."""
    fields: dict[bytes, bytes] = {}
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                name, _, value = line.partition(b":")
                fields[name] = value.strip()
        pending = int(fields[b"SigPnd"], 16) | int(fields[b"ShdPnd"], 16)
        return Look(chr(fields[b"State"][0]), int(fields[b"TracerPid"]), bool(pending & SIGKILL_BIT))
    except (OSError, ValueError, KeyError, IndexError):
        return None


def freezers(pid: int) -> list[tuple[Path, bool]]:
    """Control files that can thaw the process and whether each has it frozen: of the v1 freezer and of v2."""
    found = []
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "freezer":
            control = CGROUPS / "freezer" / path.lstrip("/") / "freezer.state"
            with contextlib.suppress(OSError):
                found.append((control, control.read_text().strip() != "THAWED"))
        elif controllers == "":
            root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "unified"
            group = root / path.lstrip("/")
            with contextlib.suppress(OSError):
                found.append((group / "cgroup.freeze", "frozen 1" in (group / "cgroup.events").read_text()))
    return found


def frozen(pid: int) -> bool:
    return any(is_frozen for _, is_frozen in freezers(pid))


def stranger(pid: int) -> str:
    """Why this process cannot be watched from here, "" when it can: our pid and time namespaces must be its own."""
    for name in NAMESPACES:
        try:
            own, other = os.readlink(f"/proc/self/ns/{name}"), os.readlink(f"/proc/{pid}/ns/{name}")
        except FileNotFoundError:
            continue  # this kernel has no such namespace, or the process is gone, which its pidfd says
        except OSError:
            return f"the namespaces of process {pid} cannot be read"
        if own != other:
            return f"process {pid} runs in another {name} namespace: start it in the watchdog's"
    return ""


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

    def finished(self, wait_ms: int) -> str:
        """How it is certain, after ``kill``, that not one more instruction of it runs; "" while it is not.

        A frozen process takes the signal when it thaws, before any code of its own; we thaw it where we may.
        """
        if self.dead(wait_ms):
            return "it has ended"
        seen = look(self.pid)
        files = [file for file, is_frozen in freezers(self.pid) if is_frozen]
        for file in files:
            with contextlib.suppress(OSError):
                file.write_text("THAWED" if file.name == "freezer.state" else "0")
        if files and self.dead(wait_ms):
            return "it was frozen, thawed, and has ended"
        return "frozen with SIGKILL pending" if files and seen is not None and seen.kill_pending else ""

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


def locks_without_limit() -> bool:
    """No RLIMIT_MEMLOCK holds for this process: it is infinite, or CAP_IPC_LOCK passes it."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    with contextlib.suppress(OSError, ValueError, StopIteration), open("/proc/self/status", "rb") as file:
        effective = next(line.split()[1] for line in file if line.startswith(b"CapEff:"))
        return bool(int(effective, 16) & CAP_IPC_LOCK_BIT)
    return False


def harden() -> list[str]:
    """No core dump, no ptrace by the same user, memory locked. Returns what the host refused."""
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append("PR_SET_DUMPABLE")
    if libc.mlockall(MCL_CURRENT) != 0:
        refused.append("mlockall")
    # Keys come later, so later pages too, as they are touched; but where RLIMIT_MEMLOCK binds us, beyond it every allocation
    # would fail in the middle of a kill.
    if not locks_without_limit() or libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        refused.append("mlockall of later memory: a key may be swapped out (LimitMEMLOCK=infinity lets it)")
    if not real_time():
        refused.append("SCHED_RR")
    return refused


def real_time(pid: int = 0) -> bool:
    """A turn before all ordinary processes, for the calling thread or for the process ``pid`` that has just begun.

    The watchdog sleeps nearly always, and a renewal or a restart in the middle of a kill that waits behind busy neighbours
    is a lapse of a healthy engine, or orders that rest longer. False when the host refuses.
    """
    try:
        os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        return False
    return True
