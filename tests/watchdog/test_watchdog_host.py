"""The host fails around a kill or a lapse: a full disk, the out-of-memory killer, a stop. Rows 1, 3, 20, 30 of the matrix."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watchdog.conftest import Run
from watchdog.processes import CGROUPS


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_engine_killed_at_a_random_moment_leaves_nothing(run: Run, seed: int) -> None:
    engine = run.trade()
    time.sleep(random.Random(seed).uniform(0, 0.08))  # anywhere within two renewals
    began = time.monotonic()
    os.kill(engine.pid, signal.SIGKILL)
    assert run.killed()["cause"] == "dead"
    assert run.exchange.orders == {}
    assert 0 < run.exchange.cancelled_at - began < 1.0
    assert {status for _, status in run.exchange.probes} == {401}


def test_a_lapse_empties_the_book_of_an_engine_that_cannot_do_it(run: Run) -> None:
    engine = run.trade()
    engine.process.send_signal(signal.SIGSTOP)
    run.wait(lambda: run.exchange.orders == {})
    assert run.latch() == {"steps": []}, "the kill was first"
    engine.process.send_signal(signal.SIGCONT)


def fill(file: Path) -> None:
    """Write until nothing more goes in; raises OSError then."""
    with open(file, "wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 512)


def test_a_full_disk_keeps_no_order_alive(run: Run) -> None:
    """The watchdog's state directory is a file system of 64 KiB of its own mount namespace, filled to the last byte."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("NO ROOT or no unshare: a full disk is not tested here")
    shell = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -m watchdog "$3"'
    start = ["unshare", "--mount", "sh", "-c", shell, "sh", str(run.state), sys.executable, str(run.path)]
    run.trade(start)
    assert run.dog is not None
    state = Path(f"/proc/{run.dog.pid}/root") / run.state.relative_to("/")
    assert (state / "keys.json").exists()
    with pytest.raises(OSError, match="No space left"):
        fill(state / "filler")
    began = time.monotonic()
    assert run.ask("kill", reason="the disk is full")["ok"]
    run.wait(lambda: bool((run.ask("status")["kill"] or {}).get("proven")))
    assert run.exchange.orders == {}
    assert run.exchange.cancelled_at - began < 1.0
    assert {status for _, status in run.exchange.probes} == {401}
    assert run.ask("status")["latched"] is True
    assert "the latch is not durable: No space left" in (run.path / "logs/watchdog.log").read_text()


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of 96 MiB, of v1 or v2."""
    v1 = CGROUPS / "memory"
    group = (v1 if v1.exists() else CGROUPS) / f"pulex-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if v1.exists() else "memory.max")).write_text(str(96 << 20))
    except OSError as error:
        pytest.skip(f"HOST REFUSES a memory control group ({error.strerror}): the out-of-memory row is not tested here")
    yield group
    deadline = time.monotonic() + 5
    while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    group.rmdir()


def test_an_engine_that_runs_out_of_memory_is_dead_like_any_other(run: Run, small_memory: Path) -> None:
    engine = run.trade()
    (small_memory / "cgroup.procs").write_text(str(engine.pid))
    began = time.monotonic()
    assert engine.process.stdin is not None
    engine.process.stdin.write("eat\n")
    engine.process.stdin.flush()
    assert run.killed()["cause"] in ("dead", "silent")  # it may stand still before the kernel picks it
    assert run.exchange.orders == {}
    assert 0 < run.exchange.cancelled_at - began < 3.0
    assert engine.process.wait() == -signal.SIGKILL
