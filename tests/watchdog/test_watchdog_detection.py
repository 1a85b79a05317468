"""Every fault class that a process can show, on real processes: fault in, name and tier out, nothing left at the exchange."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fabric import layout
from tests.watchdog.conftest import Run
from tests.watchdog.stub import ROOT
from watchdog import processes
from watchdog.process import LAPSES_MAX, LAPSES_NS, Watchdog
from watchdog.processes import CGROUPS, Process, ProcessError, start_time

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17


def sends(run: Run, command: str) -> None:
    """Tell the fake execution process something without waiting: it may be killed before it answers."""
    assert run.engine is not None
    assert run.engine.process.stdin is not None
    run.engine.process.stdin.write(command + "\n")
    run.engine.process.stdin.flush()


def assert_nothing_left(run: Run, began: float) -> None:
    assert run.exchange.orders == {}
    assert 0 < run.exchange.cancelled_at - began < 1.0
    assert {status for _, status in run.exchange.probes} == {401}


# --- The beat


@pytest.mark.parametrize(("command", "fault"), [("runaway", "runaway"), ("passes 100000000000", "fast")])
def test_a_runaway_with_a_good_beat_is_killed_at_once(run: Run, command: str, fault: str) -> None:
    run.trade()
    began = time.monotonic()
    sends(run, command)
    assert run.killed()["cause"] == fault
    assert_nothing_left(run, began)


@pytest.mark.parametrize(
    ("command", "fault"),
    [("epoch 1", "wrong_epoch"), ("passes -1000000", "backwards"), ("hollow", "hollow"), ("hush", "late")],
)
def test_a_beat_that_cannot_be_believed_lapses_and_then_is_silence(run: Run, command: str, fault: str) -> None:
    run.configure(lease={"kill_ns": 1_000_000_000})  # so that the lapse is seen before the kill
    engine = run.trade()
    engine.ask(command)
    run.lapsed(fault)
    assert engine.ask("lease")["deadline_ns"] == 0
    assert run.killed()["cause"] == "silent"


def lapse(run: Run) -> None:
    """Permission ends for a beat of another epoch, and comes back with the next one."""
    assert run.engine is not None
    run.engine.ask("epoch 1")
    run.lapsed("wrong_epoch")
    assert run.engine.ask("register")["ok"]
    run.wait(lambda: run.ask("status")["state"] == "granted")


def test_permission_that_lapses_for_the_eleventh_time_in_a_minute_is_a_kill(run: Run) -> None:
    run.trade()
    for _ in range(LAPSES_MAX):
        lapse(run)
    assert run.ask("status")["latched"] is False
    run.exchange.rest("2")  # the first one went with the first lapse
    began = time.monotonic()
    sends(run, "epoch 1")
    latch = run.killed()
    assert (latch["cause"], latch["reason"]) == ("lapsing", "11 lapses in 60 s, the last one wrong_epoch")
    assert_nothing_left(run, began)


def test_where_the_configuration_says_so_lapses_go_on_for_ever(run: Run) -> None:
    run.configure(tiers={"lapsing": "lapse"})
    run.trade()
    for _ in range(LAPSES_MAX + 2):
        lapse(run)
    assert run.ask("status")["latched"] is False


@pytest.mark.parametrize(("apart_ns", "killed"), [(LAPSES_NS // LAPSES_MAX, True), (LAPSES_NS // LAPSES_MAX + 1, False)])
def test_only_lapses_of_the_last_minute_count(monkeypatch: pytest.MonkeyPatch, apart_ns: int, killed: bool) -> None:
    kills: list[str] = []
    rules = SimpleNamespace(tiers={"lapsing": "kill"})
    nothing = SimpleNamespace(end=lambda *_: None, count=lambda *_: None)
    dog = SimpleNamespace(
        page=nothing,
        stats=nothing,
        rules=rules,
        workers=SimpleNamespace(submit=lambda *_: None),
        venue=SimpleNamespace(cancel_all=None),
        ignore=None,
        alarm=lambda _: None,
        lapses=deque(),
        kill=lambda cause, _: kills.append(cause),
    )
    now = 10**12
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    for _ in range(LAPSES_MAX + 1):
        Watchdog.lapse(dog, "late", "no progress in time")  # type: ignore[arg-type]
        now += apart_ns
    assert kills == (["lapsing"] if killed else [])


def test_a_damaged_page_header_is_a_page_that_nobody_beats_on(run: Run) -> None:
    run.trade()
    sends(run, f"damage {layout.H_OWNER_PID}")
    assert run.killed()["cause"] == "silent"


def test_a_loop_that_reads_no_market_is_stuck_and_comes_back_when_it_reads(run: Run) -> None:
    engine = run.trade()
    assert run.feed is not None
    run.feed.publishing = True
    run.lapsed("stuck")
    run.feed.publishing = False
    assert engine.ask("register")["epoch"] == 2
    time.sleep(0.1)
    assert run.ask("status")["state"] == "withheld"
    cursor = run.feed.market[layout.MARKET_CURSOR_OFFSET // layout.WORD]
    engine.ask(f"market {cursor}")
    run.wait(lambda: run.ask("status")["state"] == "granted")
    assert run.ask("status")["latched"] is False


def test_the_tier_of_a_class_is_the_configurations(run: Run) -> None:
    run.configure(tiers={"stuck": "kill"})
    run.trade()
    assert run.feed is not None
    run.feed.publishing = True
    assert run.killed()["cause"] == "stuck"


def test_an_unknown_fault_class_is_refused_at_the_start(run: Run) -> None:
    run.configure(tiers={"stukc": "kill"})
    command = [sys.executable, "-m", "watchdog", str(run.path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert "stukc: unknown fault class" in result.stderr


# --- The process behind it


def test_a_stop_of_ten_milliseconds_is_nothing(run: Run) -> None:
    engine = run.trade()
    for _ in range(5):
        os.kill(engine.pid, signal.SIGSTOP)
        time.sleep(0.01)
        os.kill(engine.pid, signal.SIGCONT)
        time.sleep(0.05)
    assert run.ask("status")["state"] == "granted"


def test_a_stopped_process_is_named_and_cannot_resume_its_epoch(run: Run) -> None:
    run.configure(lease={"kill_ns": 2_000_000_000})
    engine = run.trade()
    os.kill(engine.pid, signal.SIGSTOP)
    run.wait(lambda: run.ask("status")["state"] == "lapsed")
    assert "lapsed: stopped" in run.ask("status")["reason"]
    os.kill(engine.pid, signal.SIGCONT)
    time.sleep(0.2)
    assert run.ask("status")["state"] == "lapsed"
    assert engine.ask("lease")["deadline_ns"] == 0
    assert engine.ask("register")["epoch"] == 2


def test_a_debugger_costs_the_lease_until_it_leaves(run: Run) -> None:
    engine = run.trade()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_SEIZE, engine.pid, None, None) != 0:
        pytest.skip(f"HOST REFUSES ptrace ({os.strerror(ctypes.get_errno())}): the debugger row is not tested here")
    run.lapsed("traced")
    assert engine.ask("register")["epoch"] == 2
    time.sleep(0.15)
    assert run.ask("status")["state"] == "withheld"
    os.kill(engine.pid, signal.SIGSTOP)  # a tracer may detach only from a stopped tracee
    os.waitpid(engine.pid, os.WUNTRACED)
    assert libc.ptrace(PTRACE_DETACH, engine.pid, None, None) == 0
    os.kill(engine.pid, signal.SIGCONT)
    run.wait(lambda: run.ask("status")["state"] == "granted")


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A control group of the v1 freezer, else one of v2; the file that freezes it."""
    v1, v2 = CGROUPS / "freezer", CGROUPS / "unified" if (CGROUPS / "unified").exists() else CGROUPS
    group = (v1 if v1.exists() else v2) / f"pulex-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"HOST REFUSES a control group ({error.strerror}): the freezer row is not tested here")
    file = group / ("freezer.state" if v1.exists() else "cgroup.freeze")
    yield file
    file.write_text("THAWED" if file.name == "freezer.state" else "0")
    deadline = time.monotonic() + 5
    while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    group.rmdir()


def test_a_frozen_process_is_named_killed_and_proven_dead(run: Run, freezer: Path) -> None:
    engine = run.trade()
    (freezer.parent / "cgroup.procs").write_text(str(engine.pid))
    began = time.monotonic()
    freezer.write_text("FROZEN" if freezer.name == "freezer.state" else "1")
    run.lapsed("frozen")
    latch = run.killed()
    assert latch["cause"] == "silent"
    assert "control group is frozen" in latch["reason"]
    assert_nothing_left(run, began)
    assert engine.process.wait(2) == -signal.SIGKILL


def test_a_zombie_main_thread_with_a_living_loop_is_killed(run: Run) -> None:
    engine = run.trade()
    began = time.monotonic()
    sends(run, "exit_main_thread")
    run.wait(lambda: (Path(f"/proc/{engine.pid}/stat").read_bytes().rpartition(b")")[2].split() or [b"Z"])[0] == b"Z")
    assert run.killed()["cause"] == "zombie"
    assert_nothing_left(run, began)


def test_a_zombie_that_nobody_collects_counts_as_dead(run: Run) -> None:
    engine = run.trade()
    engine.process.kill()  # and not waited for
    assert run.killed()["cause"] == "dead"
    seen = processes.look(engine.pid)
    assert seen is not None
    assert seen.state == "Z"
    engine.process.wait()


def test_a_recycled_pid_is_neither_believed_nor_signalled() -> None:
    """In a pid namespace of its own the kernel is made to hand the same pid out again at once."""
    code = """
import os, signal, sys, time
from watchdog.processes import Process, ProcessError, start_time
def child(number):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(number - 1))
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    assert pid == number, (pid, number)
    return pid
first = child(3000)
held, start = Process(first, start_time(first)), start_time(first)
os.kill(first, signal.SIGKILL); os.waitpid(first, 0)
time.sleep(0.03)  # start times are counted in ticks of 10 ms
stranger = child(3000)
held.kill()
time.sleep(0.05)
assert os.waitpid(stranger, os.WNOHANG) == (0, 0), "the stranger was killed"
assert held.dead()
try:
    Process(stranger, start)
except ProcessError:
    print("refused")
os.kill(stranger, signal.SIGKILL)
"""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("NO ROOT or no unshare: pid reuse is not tested here")
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.stdout == "refused\n", result.stderr


@pytest.mark.parametrize("kind", ["pid", "time"])
def test_an_execution_in_another_namespace_is_refused_with_a_line(run: Run, kind: str) -> None:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("NO ROOT or no unshare: namespaces are not tested here")
    run.start()
    command = ["unshare", f"--{kind}", "--fork", "sleep", "60"]
    outer = subprocess.Popen(command)
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        run.wait(lambda: bool(children.read_text().split()))
        inner = int(children.read_text().split()[0])
        run.wait(lambda: b"sleep" in Path(f"/proc/{inner}/comm").read_bytes())
        answer = run.expect(inner)
        assert answer["ok"] is False
        assert f"another {kind} namespace" in answer["reason"]
    finally:
        subprocess.run(["kill", "-9", str(inner)], check=True)
        outer.wait()


# --- Pauses of the watchdog and of everybody


def test_a_watchdog_that_was_stopped_lapses_and_does_not_kill_a_healthy_engine(run: Run) -> None:
    engine = run.trade()
    assert run.dog is not None
    os.kill(run.dog.pid, signal.SIGSTOP)
    lease = engine.ask("lease")
    assert lease["deadline_ns"] - lease["now"] <= 200_000_000
    time.sleep(0.7)
    lease = engine.ask("lease")
    assert lease["deadline_ns"] < lease["now"]  # nobody had to say anything
    os.kill(run.dog.pid, signal.SIGCONT)
    run.lapsed("own_pause")
    assert run.ask("status")["latched"] is False
    assert engine.ask("register")["epoch"] == 2


def test_a_pause_of_the_whole_host_lapses_and_kills_nobody(run: Run) -> None:
    """Engine, feed heart and watchdog stand still together and go on together, as under a paused virtual machine."""
    engine = run.trade()
    assert run.dog is not None
    assert run.feed is not None
    run.feed.beating = False
    for pid in (engine.pid, run.dog.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(0.6)
    run.feed.beating = True
    for pid in (engine.pid, run.dog.pid):
        os.kill(pid, signal.SIGCONT)
    run.lapsed("own_pause")
    assert run.ask("status")["latched"] is False


# --- The feed, the versions


def test_a_feed_that_stops_beating_lapses_the_lease_until_it_beats_again(run: Run) -> None:
    run.configure(lease={"feed_ns": 200_000_000})
    engine = run.trade()
    assert run.feed is not None
    run.feed.beating = False
    run.lapsed("feed_silent")
    assert engine.ask("register")["epoch"] == 2
    assert run.ask("status")["state"] == "withheld"
    run.feed.beating = True
    run.wait(lambda: run.ask("status")["state"] == "granted")


def test_no_lease_before_a_feed_is_registered(run: Run) -> None:
    run.feed = None
    run.start()
    assert run.ask("kill_test")["result"] == "pass"
    assert run.register()["ok"]
    stranger = subprocess.Popen(["sleep", "60"])
    assert run.expect(stranger.pid, role="feed")["ok"]
    stranger.kill()
    stranger.wait()
    assert run.ask("arm")["reason"] == "no feed process is registered"


@pytest.mark.parametrize(("word", "what"), [(layout.H_CODE_HASH, "code"), (layout.H_CONFIG_HASH, "configuration")])
def test_a_process_of_another_version_gets_nobody_a_lease(run: Run, word: int, what: str) -> None:
    engine = run.trade()
    assert run.feed is not None
    run.feed.stats[word] ^= 1
    run.lapsed("version_mismatch")
    run.ask("halt", reason="look")
    run.ask("resume", operator="ann", reason="looked")
    assert engine.ask("register")["ok"]
    assert run.ask("arm")["reason"] == f"feed runs another {what}: restart everything"
    run.feed.stats[word] ^= 1
    run.wait(lambda: bool(run.ask("arm")["ok"]))


def test_a_configuration_changed_under_us_gets_nobody_a_key(run: Run) -> None:
    run.config["limits"] = {}  # and its hash left as it was
    run.config["config_hash"] ^= 1
    (run.path / "config.json").write_text(json.dumps(run.config))
    run.start()
    assert "config.json was changed" in run.register()["reason"]
    assert run.exchange.keys == {}


def test_a_process_error_names_the_pid() -> None:
    with pytest.raises(ProcessError, match="did not start"):
        Process(os.getpid(), start_time(os.getpid()) + 1)
