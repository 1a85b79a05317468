"""``python -m ops.warm RUN_DIR``: compile every kernel before anything is armed, in one process, under one lock.

Prints ``warm K/N name seconds`` per step. The loops are called on real tables with no passes to make, so what lands in
the cache is exactly what the hot processes load; ``--check`` compiles nothing new and exits 1 when something was missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engine import state
from engine.fold import Fold, examples
from engine.memory import ExecutionMemory, load_strategies
from fabric import jit, layout, rings
from fabric.child import load_config
from fabric.segment import Segment, remove_dead
from fabric.stats import StatsWriter
from feed.process import FeedMemory
from strategy.loader import StrategyError

SHM = pathlib.Path("/dev/shm")
PREFIX = "pulex-warm-"
CLEARED = "--cleared"
LEFT_S = 60.0  # younger directories belong to a warm-up that has just begun

Step = tuple[str, Callable[[], object]]


def steps(config: dict[str, Any], shm_dir: str) -> tuple[list[Step], list[object]]:
    """(name, work) in order of dependence, and what must stay mapped meanwhile. Small kernels come with the loops."""
    execution = Segment.create(shm_dir, "exec", "execution")
    market = Segment.create(shm_dir, "market", "feed")
    stats = StatsWriter(shm_dir, "execution")
    memory = ExecutionMemory(config, execution.address, stats.segment.address)
    feed = FeedMemory(config["instruments"], market.address, stats.segment.address, "yield", 0)
    batch = np.zeros((4, len(layout.JOURNAL_RECORD)), np.int64)
    cursor = execution.address + layout.EXEC_JOURNAL_CURSOR_OFFSET
    ring = execution.address + layout.JOURNAL_RING_OFFSET
    todo: list[Step] = [
        ("rings", lambda: rings.lossless_drain(cursor, ring, layout.JOURNAL_SLOTS, 1, batch)),
        ("strategies", lambda: load_strategies(config, memory)),
        ("feed loop", lambda: feed.run(1)),
        ("execution loop", lambda: memory.run(1)),
        ("restart", lambda: Fold(state.build(config)).apply(examples())),
        ("journal", lambda: rings.lossless_done(cursor, 0)),
    ]
    return todo, [execution, market, stats, memory, feed]


class CacheError(RuntimeError):
    """A kernel could neither be loaded nor compiled, and the cache has not been cleared yet."""


def main(run_dir: str, check: bool, cleared: bool = False) -> int:
    """Warm everything; a cache that cannot be read is cleared once, by a new process: ours has loaded a part of it."""
    try:
        return warm(run_dir, check, cleared)
    except CacheError as error:
        print(f"warm: {error}: the cache is cleared, everything is compiled anew", flush=True)
        for name in ("kernels", "strategies"):
            shutil.rmtree(jit.cache_dir() / name, ignore_errors=True)
    os.execv(sys.executable, [sys.executable, "-m", "ops.warm", run_dir, CLEARED, *(["--check"] if check else [])])


def warm(run_dir: str, check: bool, cleared: bool) -> int:
    """One try; the exit code."""
    config = load_config(run_dir)
    cache = jit.cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    for left in SHM.glob(f"{PREFIX}*"):  # of a warm-up that was killed; a living one holds its segments, or is about to
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime < LEFT_S:
                continue
            remove_dead(left)
            left.rmdir()
    with (cache / "warm.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=SHM, prefix=PREFIX) as shm_dir:
        fcntl.flock(lock, fcntl.LOCK_EX)
        todo, mapped = steps(config, shm_dir)
        for number, (name, work) in enumerate(todo, 1):
            started = time.monotonic()
            try:
                work()
            except StrategyError:
                raise
            except Exception as error:  # whatever a cut or overwritten file of the cache makes of itself
                if cleared:
                    raise
                raise CacheError(f"{name} cannot be loaded ({type(error).__name__})") from error
            print(f"warm {number}/{len(todo)} {name} {time.monotonic() - started:.2f}", flush=True)
        del mapped
    misses = jit.cache_misses()
    print(f"warm done, {misses} compiled, {os.getpid()}", flush=True)
    return 1 if check and misses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--check" in sys.argv, CLEARED in sys.argv))
