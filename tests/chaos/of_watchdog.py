"""Faults of the watchdog and its supervisor: dead, stopped, dead in the middle of a kill; a second one; a second engine."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fabric.jit import ROOT
from tests.chaos.faults import KILL, LAPSE, NOTHING, Fault, Inject, demand
from tests.chaos.judge import Figures, accepted, keys_at
from tests.chaos.of_engine import DEAD, send, wake
from tests.chaos.scene import Scene

CLONE3, ARGUMENTS = 435, 11  # words of struct clone_args
EXIT_SIGNAL, SET_TID, SET_TID_SIZE = 4, 8, 9


def stop_watchdog_for(seconds: float, then: int = signal.SIGCONT) -> Inject:
    def inject(scene: Scene) -> None:
        pid = scene.pid("watchdog")
        scene.mark()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, then)

    return inject


def kill_watchdog_mid_kill(scene: Scene) -> None:
    """As soon as the latch is on the disk, whatever was done by then."""
    watchdog, execution = scene.pid("watchdog"), scene.pid("execution")
    scene.mark()
    os.kill(execution, signal.SIGKILL)
    scene.until(lambda: scene.latch().get("kind") == "kill", 5.0, "a latch")
    os.kill(watchdog, signal.SIGKILL)


def kill_both(scene: Scene) -> None:
    pids = [scene.pid("watchdog"), scene.pid("execution")]
    scene.mark()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def freeze_then_kill_watchdog(scene: Scene) -> None:
    """Execution can do nothing for itself, and the one who could is dead."""
    watchdog, execution = scene.pid("watchdog"), scene.pid("execution")
    scene.mark()
    os.kill(execution, signal.SIGSTOP)
    os.kill(watchdog, signal.SIGKILL)
    scene.until(lambda: not scene.open_orders(), 5.0, "an empty book")
    os.kill(execution, signal.SIGCONT)


def child_with_pid(pid: int) -> bool:
    """A process of ours with this very pid; False where the host lets nobody choose."""
    chosen = ctypes.c_int(pid)
    words = (ctypes.c_uint64 * ARGUMENTS)()
    words[EXIT_SIGNAL] = int(signal.SIGCHLD)
    words[SET_TID], words[SET_TID_SIZE] = ctypes.addressof(chosen), 1
    made = ctypes.PyDLL(None).syscall(CLONE3, ctypes.byref(words), ctypes.sizeof(words))
    if made == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    return bool(made == pid)


def recycle_pid(scene: Scene) -> None:
    """While the watchdog looks away execution dies, and a stranger gets its pid."""
    watchdog, execution = scene.pid("watchdog"), scene.pid("execution")
    os.kill(watchdog, signal.SIGSTOP)
    scene.mark()
    os.kill(execution, signal.SIGKILL)
    try:
        scene.until(lambda: not Path(f"/proc/{execution}").exists(), 5.0, "the end of execution")
        scene.stranger = execution if child_with_pid(execution) else 0
    finally:
        os.kill(watchdog, signal.SIGCONT)


def stranger_lives(scene: Scene, _figures: Figures) -> None:
    if not scene.stranger:
        print("    (this host lets nobody choose a pid: the pid was not used again)")
        return
    demand(os.waitpid(scene.stranger, os.WNOHANG) == (0, 0), "the stranger was killed", scene)


def end_stranger(scene: Scene) -> None:
    if scene.stranger:
        os.kill(scene.stranger, signal.SIGKILL)
        os.waitpid(scene.stranger, 0)
        scene.stranger = 0


def second_execution(scene: Scene) -> None:
    """Another execution process of the same run: it is refused before it touches anything, and the first goes on."""
    scene.mark()
    pid = scene.warm.second(scene.run_dir)
    scene.until(lambda: not Path(f"/proc/{pid}").exists(), 5.0, "the end of the second execution")
    said = (scene.run_dir / "logs" / "second.log").read_text()
    demand("another execution process runs" in said, f"it was not refused: {said}", scene)


def second_watchdog(scene: Scene) -> None:
    scene.mark()
    command = [sys.executable, "-m", "watchdog", str(scene.run_dir)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10)
    demand("another watchdog runs" in ended.stderr, f"it was not refused: {ended.stderr}", scene)


def stop_supervisor(scene: Scene) -> None:
    pid = scene.pid("supervisor")
    scene.mark()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.7)
    os.kill(pid, signal.SIGCONT)


def all_end(scene: Scene, _figures: Figures) -> None:
    """Nobody of a house without a supervisor stays."""
    scene.until(lambda: scene.survivors() == [], 20.0, "the end of all processes")


def pulled_by_execution(scene: Scene, _figures: Figures) -> None:
    """Without a watchdog execution cancels its own orders and closes its session, before anybody revokes its key."""
    key = keys_at(ledger := scene.since(scene.fault_us), scene.fault_us)[0]
    orders = [order for order in accepted(ledger, {key["key_id"]}) if order["ended_ts"] > scene.fault_us]
    demand(all(order["ended_ts"] < key["revoked_ts"] for order in orders), "the key went first", scene)
    demand({order["end_reason"] for order in orders} <= {"requested", "unfilled", ""}, "not cancelled by its own", scene)
    said = (scene.run_dir / "logs" / "execution.log").read_text()
    demand("order session ended (lapse)" in said, "its session is open", scene)


FAULTS = (
    Fault("watchdog_killed", "7", send(signal.SIGKILL, "watchdog"), LAPSE),
    Fault("watchdog_stopped_10_ms", "7, 8", stop_watchdog_for(0.01), NOTHING),
    Fault("watchdog_stopped_600_ms", "7, 8", stop_watchdog_for(0.6), LAPSE, heal=wake),
    Fault("watchdog_stopped_then_killed", "7", stop_watchdog_for(0.6, signal.SIGKILL), LAPSE, heal=wake,
          check=pulled_by_execution),
    Fault("watchdog_killed_mid_kill", "7, 13", kill_watchdog_mid_kill, KILL, DEAD),
    Fault("execution_and_watchdog_killed", "9", kill_both, KILL),
    Fault("execution_frozen_watchdog_killed", "7, 9", freeze_then_kill_watchdog, LAPSE, heal=wake),
    Fault("pid_recycled", "10", recycle_pid, KILL, "dead", heal=end_stranger, check=stranger_lives),
    Fault("second_execution", "11", second_execution, NOTHING),
    Fault("second_watchdog", "11", second_watchdog, NOTHING),
    Fault("supervisor_killed", "9", send(signal.SIGKILL, "supervisor"), KILL, "supervisor", check=all_end),
    Fault("supervisor_stopped", "9", stop_supervisor, NOTHING, heal=wake),
)  # fmt: skip
