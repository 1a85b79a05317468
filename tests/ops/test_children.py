"""Waits between restarts double, end at a bound, and are forgotten after a healthy life."""

from __future__ import annotations

import pathlib
import resource
import signal
import time

import pytest

from ops.children import BACKOFF_FIRST_S, BACKOFF_MAX_S, HEALTHY_S, Backoff, _yield_memory, spawn


def test_waits_double_up_to_a_bound() -> None:
    backoff = Backoff()
    waits = [backoff.next_start(10.0, 11.0) - 11.0 for _ in range(8)]
    assert [round(wait, 3) for wait in waits[:3]] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert max(waits) == BACKOFF_MAX_S


def test_healthy_life_forgets_earlier_deaths() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.next_start(0.0, 1.0)
    assert backoff.next_start(0.0, HEALTHY_S) == HEALTHY_S + BACKOFF_FIRST_S


def test_child_keeps_its_last_words_and_how_it_ended(tmp_path: pathlib.Path) -> None:
    child = spawn("feed", ["-c", "print('first'); print('the port is taken'); raise SystemExit(3)"], tmp_path / "feed.log")
    assert child.finish(10)
    assert child.last_words() == "the port is taken"
    assert child.ended() == "ended with code 3"


def test_child_that_ignores_sigterm_is_killed(tmp_path: pathlib.Path) -> None:
    program = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    child = spawn("feed", ["-c", program], tmp_path / "feed.log")
    while child.last_words() != "deaf":
        assert child.alive()
    child.terminate()
    assert not child.finish(0.05)
    assert child.process.returncode == -signal.SIGKILL


def test_a_child_leaves_no_core_because_it_may_hold_a_key(tmp_path: pathlib.Path) -> None:
    child = spawn("sleeper", ["-c", "import time; time.sleep(60)"], tmp_path / "log")
    try:
        assert resource.prlimit(child.pid, resource.RLIMIT_CORE) in ((1, 1), (0, 0))
    finally:
        child.process.kill()
        child.process.wait()


@pytest.mark.parametrize(("role", "heard"), [("watchdog", "True"), ("execution", "False")])
def test_the_service_manager_is_for_the_watchdog_alone(
    role: str, heard: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    program = "import os; print(any(n in os.environ for n in ('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID')))"
    child = spawn(role, ["-c", program], tmp_path / "log")
    child.finish(10)
    assert child.last_words() == heard


@pytest.mark.parametrize(("inherited", "left"), [("-900\n", "0"), ("0\n", "0\n"), ("300\n", "300\n")])
def test_a_low_oom_score_is_given_up_and_a_high_one_is_kept(inherited: str, left: str, tmp_path: pathlib.Path) -> None:
    score = tmp_path / "oom_score_adj"
    score.write_text(inherited)
    _yield_memory(score)
    assert score.read_text() == left
    _yield_memory(tmp_path / "gone" / "oom_score_adj")  # its process has ended


@pytest.mark.parametrize(("role", "score"), [("watchdog", -900), ("feed", 0)])
def test_memory_pressure_takes_the_others_before_the_watchdog(role: str, score: int, tmp_path: pathlib.Path) -> None:
    """As under a unit with OOMScoreAdjust=-900: what is inherited stays with the watchdog alone."""
    own = pathlib.Path("/proc/self/oom_score_adj")
    before = own.read_text()
    try:
        own.write_text("-900")
    except OSError:
        pytest.skip("NOT TESTED: this user may not lower an OOM score")
    try:
        child = spawn(role, ["-c", "import signal; signal.pause()"], tmp_path / "log")
    finally:
        own.write_text(before)
    try:
        assert int(pathlib.Path(f"/proc/{child.pid}/oom_score_adj").read_text()) == score
    finally:
        child.terminate()
        child.finish(10)


def test_a_wait_for_a_child_ends_with_the_child(tmp_path: pathlib.Path) -> None:
    child = spawn("sleeper", ["-c", "input()"], tmp_path / "log")  # it has no input and ends at once
    began = time.monotonic()
    assert child.lives_for(30.0) is False
    assert time.monotonic() - began < 20.0
    assert child.lives_for(30.0) is False


def test_a_child_that_lives_is_waited_for_and_lives(tmp_path: pathlib.Path) -> None:
    child = spawn("sleeper", ["-c", "import time; time.sleep(60)"], tmp_path / "log")
    assert child.lives_for(0.01) is True
    child.process.kill()
    assert child.lives_for(30.0) is False
