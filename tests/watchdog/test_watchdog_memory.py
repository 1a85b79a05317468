"""The memory of a real watchdog: locked, also what came later, closed to a debugger, never dumped."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.watchdog.conftest import Run
from tests.watchdog.stub import ROOT
from watchdog.processes import locks_without_limit

CHILD = """
import pathlib, sys
from watchdog.processes import harden
print(harden())
def locked_kb():
    return int(next(l.split()[1] for l in pathlib.Path("/proc/self/status").read_text().splitlines() if l.startswith("VmLck")))
before = locked_kb()
keys = [b"k" * 4096 + bytes([i % 256]) * 4096 for i in range(1024)]
print(before, locked_kb())
"""


def child(code: str = CHILD, prefix: tuple[str, ...] = ()) -> tuple[str, int, int]:
    """What ``harden`` says in a process of its own, and its locked KiB before and after 8 MiB of new memory."""
    done = subprocess.run([*prefix, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, numbers = done.stdout.splitlines()
    before, after = map(int, numbers.split())
    return said, before, after


@pytest.mark.skipif(not locks_without_limit(), reason="RLIMIT_MEMLOCK holds here: only what was there at the start is locked")
def test_memory_that_comes_later_is_locked_too() -> None:
    said, before, after = child()
    assert "mlock" not in said
    assert after - before >= 7 * 1024  # of 8 MiB; the heap had a little room already, and that was locked before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to drop a capability")
def test_where_a_limit_holds_the_later_memory_is_left_unlocked_and_that_is_said() -> None:
    """CAP_IPC_LOCK dropped, 64 MiB or less allowed: more than that must still be had in the middle of a kill."""
    prefix = ("setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no setpriv")
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    limit = 64 << 20 if hard == resource.RLIM_INFINITY else min(hard, 64 << 20)
    lower = f"import resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit}, {limit}))"
    said, before, after = child(f"{lower}\n{CHILD}\nbeyond = bytearray(128 << 20)", prefix)
    assert "a key may be swapped out" in said
    assert after == before


def test_the_real_watchdog_is_closed_to_the_same_user_and_leaves_no_core(run: Run) -> None:
    run.start()
    assert run.dog is not None
    pid = run.dog.pid
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    status = Path(f"/proc/{pid}/status").read_text()
    assert int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmLck"))) > 0
    if os.getuid() == 0:  # root reads everything: the kernel shows a process that is not dumpable as root's own
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    else:
        with pytest.raises(PermissionError):
            Path(f"/proc/{pid}/environ").read_bytes()
    before = set(run.path.rglob("core*")) | set(ROOT.glob("core*"))
    run.dog.send_signal(signal.SIGABRT)
    code = run.dog.wait()
    assert code == -signal.SIGABRT
    assert set(run.path.rglob("core*")) | set(ROOT.glob("core*")) == before
