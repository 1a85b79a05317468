"""Faults of the host and of the other processes: feed, journal, disk, memory, clocks, cpu, readers, the loss of everything."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
import uuid
from pathlib import Path

from fabric.stats import StatsReader
from tests.chaos.faults import EITHER, GONE, KILL, LAPSE, NOTHING, Fault, Inject, demand
from tests.chaos.judge import Figures
from tests.chaos.of_engine import ask_kill, send, wake
from tests.chaos.scene import Scene, gone
from tests.system.house import now_us
from watchdog.processes import CGROUPS

LOOPS = ("watchdog", "execution", "feed", "journal", "supervisor")
HOUR_NS, SECOND_NS = 3_600 * 10**9, 10**9


def stop_for(role: str, seconds: float) -> Inject:
    def inject(scene: Scene) -> None:
        pid = scene.pid(role)
        scene.mark()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    return inject


def pause_host(scene: Scene) -> None:
    """Everything of ours stands still for 0.7 s, as in a paused virtual machine; the exchange goes on."""
    pids = [scene.pid(role) for role in LOOPS]
    scene.mark()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.7)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


def no_more_bytes(role: str) -> Inject:
    """The disk takes no more from this process: its files may not grow."""

    def inject(scene: Scene) -> None:
        resource.prlimit(scene.pid(role), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        scene.mark()

    return inject


def full_disk_and_kill(scene: Scene) -> None:
    """The kill is done while its latch cannot be written; it is written as soon as there is room."""
    no_more_bytes("watchdog")(scene)
    ask_kill(scene)
    scene.until(lambda: bool((scene.ask(op="status").get("kill") or {}).get("proven")), 5.0, "a kill proven in memory")
    demand(scene.latch() == {}, "the disk was not full", scene)
    resource.prlimit(scene.pid("watchdog"), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def clock(word: int, ns: int) -> Inject:
    """A clock of our processes (not the exchange's) jumps."""

    def inject(scene: Scene) -> None:
        scene.mark()
        scene.set_clock(word, ns)

    return inject


def jump_and_back(scene: Scene) -> None:
    """An hour ahead for half a second, and back: while it lasts the exchange refuses what is dated wrong."""
    clock(0, HOUR_NS)(scene)
    time.sleep(0.5)
    scene.set_clock(0, 0)


def stalled_disk(scene: Scene) -> None:
    """Every fsync of our processes takes 5 s, and an operator kills."""
    scene.set_clock(2, 5 * SECOND_NS)
    ask_kill(scene)


def disk_moves(scene: Scene) -> None:
    scene.set_clock(2, 0)


def hog(scene: Scene) -> None:
    """Two programs that never stop on each cpu, for a second."""
    scene.mark()
    end = time.monotonic() + 1.0
    pids = []
    for cpu in sorted(os.sched_getaffinity(0)) * 2:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.sched_setaffinity(0, {cpu})
            while time.monotonic() < end:
                pass
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def many_readers(scene: Scene) -> None:
    """Fifty readers of the stats pages at 10 Hz for a moment, one of them stopped."""
    scene.mark()
    end, pids = time.monotonic() + 0.7, []
    readers = [StatsReader(scene.config["shm_dir"], role) for role in ("execution", "feed")]
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.nice(5)
            while time.monotonic() < end:
                for reader in readers:
                    reader.counters()
                time.sleep(0.1)
            os._exit(0)
        pids.append(pid)
    os.kill(pids[0], signal.SIGSTOP)
    time.sleep(max(0.0, end - time.monotonic()))
    os.kill(pids[0], signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


def small_memory() -> Path | None:
    """A control group of little memory, of v1 or v2; None where none may be made."""
    v1 = CGROUPS / "memory"
    group = (v1 if v1.exists() else CGROUPS) / f"pulex-chaos-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(OSError):
        group.mkdir()
        (group / ("memory.limit_in_bytes" if v1.exists() else "memory.max")).write_text(str(64 << 20))
        return group
    return None


def out_of_memory(scene: Scene) -> None:
    """Execution takes memory until the kernel ends it, which is the fault; without a control group it is ended by us."""
    group, pid = small_memory(), scene.pid("execution")
    if group is None:
        print("    (this host lets nobody make a memory control group: SIGKILL instead)")
        scene.mark()
        os.kill(pid, signal.SIGKILL)
        return
    (group / "cgroup.procs").write_text(str(pid))
    scene.plant("eat")
    seen_us, end = now_us(), time.monotonic() + 10.0
    while not gone(pid) and time.monotonic() < end:
        seen_us = now_us()
        time.sleep(0.001)
    scene.fault_us = seen_us
    threading.Thread(target=remove_group, args=(group,), daemon=True).start()


def remove_group(group: Path) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.01)


def lose_host(scene: Scene) -> None:
    """All of ours at once: only the exchange's own timer is left."""
    pids = [scene.pid(role) for role in reversed(LOOPS)]
    scene.mark()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    scene.until(lambda: not scene.open_orders(), 5.0, "an empty book by the exchange's timer")


def timer_fired(scene: Scene, found: Figures) -> None:
    timer = scene.since(scene.fault_us)["timer"]
    demand(any(event["what"] == "fired" and event["cancelled"] >= 2 for event in timer), "the timer took nothing", scene)


FAULTS = (
    Fault("feed_killed", "16 b", send(signal.SIGKILL, "feed"), EITHER, late_ms=None, clear_ms=None, promised=False),
    Fault("feed_stopped", "16 b", stop_for("feed", 1.5), LAPSE, late_ms=None, clear_ms=2000, heal=wake, promised=False),
    Fault("journal_killed", "20", send(signal.SIGKILL, "journal"), NOTHING),
    Fault("journal_stopped", "20", stop_for("journal", 0.7), NOTHING, heal=wake),
    Fault("journal_disk_full", "20", no_more_bytes("journal"), NOTHING),
    Fault("watchdog_disk_full_in_a_kill", "20", full_disk_and_kill, KILL, "operator"),
    Fault("disk_stalls_in_a_kill", "20", stalled_disk, KILL, "operator", "clocks", heal=disk_moves, proof_s=60.0),
    Fault("wall_clock_jumps", "21", jump_and_back, NOTHING, house="clocks"),
    Fault("host_suspended", "22", clock(1, SECOND_NS), LAPSE, house="clocks"),
    Fault("host_paused", "22", pause_host, LAPSE, heal=wake, promised=False),
    Fault("cpu_hog", "8", hog, EITHER, late_ms=None, clear_ms=None, promised=False),
    Fault("out_of_memory", "30", out_of_memory, KILL, house="handed"),
    Fault("many_readers", "32", many_readers, NOTHING),
    Fault("host_lost", "9", lose_host, GONE, house="timer", late_ms=250, clear_ms=1500, check=timer_fired, promised=False),
)  # fmt: skip
