"""``python -m engine.warm RUN_DIR``: compile every kernel before anything is armed, in one process, under one lock.

Prints ``warm K/N name seconds`` per step. The loops are called on real tables with no passes to make, so what lands in
the cache is exactly what the hot processes load; ``--check`` compiles nothing new and exits 1 when something was missing.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from engine.process import ExecutionMemory, load_strategies
from fabric import jit, rings
from fabric.child import load_config
from fabric.segment import Segment
from fabric.stats import StatsWriter
from feed.process import FeedMemory


def steps(config: dict[str, Any], shm_dir: str) -> list[tuple[str, Callable[[], object]]]:
    """(name, work), in order of dependence: small kernels are part of the loops and come with them."""
    execution = Segment.create(shm_dir, "exec", "execution")
    market = Segment.create(shm_dir, "market", "feed")
    stats = StatsWriter(shm_dir, "execution")
    memory = ExecutionMemory(config, execution.address, stats.segment.address)
    feed = FeedMemory(config["instruments"], market.address, stats.segment.address, "yield", 0)
    import numpy as np

    batch = np.zeros((4, 16), np.int64)
    base = execution.address
    return [
        ("rings", lambda: (rings.lossless_drain(base, base, 16, 1, batch), rings.lossless_done(base + 8192, 0))),
        ("strategies", lambda: load_strategies(config, memory)),
        ("feed loop", lambda: feed.run(1)),
        ("execution loop", lambda: memory.run(1)),
    ]


def main(run_dir: str, check: bool) -> int:
    config = load_config(run_dir)
    cache = jit.cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "warm.lock").open("w") as lock, tempfile.TemporaryDirectory(dir="/dev/shm") as shm_dir:
        fcntl.flock(lock, fcntl.LOCK_EX)
        todo = steps(config, shm_dir)
        for number, (name, work) in enumerate(todo, 1):
            started = time.monotonic()
            work()
            print(f"warm {number}/{len(todo)} {name} {time.monotonic() - started:.2f}", flush=True)
    misses = jit.cache_misses()
    print(f"warm done, {misses} compiled, {os.getpid()}", flush=True)
    return 1 if check and misses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--check" in sys.argv))
