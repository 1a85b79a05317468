"""Waits between restarts double, end at a bound, and are forgotten after a healthy life."""

from __future__ import annotations

import pathlib
import resource
import signal

from ops.children import BACKOFF_FIRST_S, BACKOFF_MAX_S, HEALTHY_S, Backoff, spawn


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
