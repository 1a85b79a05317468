"""No header word, cursor, mark or sequence whatsoever sends a kernel outside its memory: a build with bounds checks."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from fabric import jit

SCRIPT = pathlib.Path(__file__).resolve().parent / "guarded.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment |= {
        "NUMBA_BOUNDSCHECK": "1",  # no part of numba's cache key, hence a cache of its own
        "PULEX_CACHE_DIR": str(jit.cache_dir() / "boundscheck"),
        "PYTHONPATH": str(jit.ROOT),
    }
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True)


def test_hostile_memory_sends_no_kernel_out_of_bounds() -> None:
    result = run()
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) == 42_000


@pytest.mark.parametrize(("broken", "code"), [("break=index", 1), ("break=address", -signal.SIGSEGV)])
def test_a_kernel_that_goes_out_of_bounds_would_be_seen(broken: str, code: int) -> None:
    result = run(broken)
    assert result.returncode == code
    assert code != 1 or "IndexError: index is out of bounds" in result.stderr
