"""A throwaway instance for one round: configuration, directories, phases of the venue. Nothing of it survives the round."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from fabric.child import load_config
from ops import config as configuration
from ops import instance
from ops.instance import Paths
from ops.placement import Placement, place, read_host
from watchdog.hashes import config_hash

BURST = 240  # orders; the engine's hard bound is 256 in any second
PAUSE_S = 1.05  # so that the bound never binds, and the house has the other cpu to itself
GAP_NS = 100_000  # between an answer and the next tick: no client still works on the last order
LOT = b"0.01000"
PLACE = (
    b'{"action":"place_order","client_order_id":"%s","symbol":"BTC-USDC","side":"buy","quantity":%s,"price":%s,'
    b'"type":"ioc","reduce_only":false,"timestamp":%d,"recv_window":200}'
)
ECHO = pathlib.Path(__file__).parent / "strategies" / "echo.py"
_WIDE = {  # what judges an order is all there, and nothing of it binds at this pace
    "profile": "aggressive",
    "order_rate_per_s": 256,
    "message_rate_per_s": 10_000,
    "duplicate_window_ns": 0,
    "rejects_in_row": 1_000,
    "position_ppm": 1_000_000,
    "gross_exposure_ppm": 10_000_000,
    "unsent_bytes_max": 4096,
}
_CONFIG: dict[str, Any] = {
    "name": "bench",
    "instruments": [{"symbol": "BTC-USDC", "base": "BTC", "quote": "USDC", "tick_size": "0.01", "lot_size": "0.00001"}],
    "limits": _WIDE,
    "lease": {"orders_per_beat_max": 4096},
    "signal": {"source": "none"},
    "strategies": [{"name": "echo", "file": str(ECHO)}],
}


class BenchError(RuntimeError):
    """A round could not be measured; one line."""


class Round:
    """One fresh instance with its configuration written; ``phase`` drives the venue through one more phase."""

    def __init__(self, where: Paths, config: dict[str, Any]) -> None:
        self.where, self.config = where, config
        self._phases = 0

    def phase(self, bursts: int, warmup: int, alive: Callable[[], str]) -> dict[str, Any]:
        """Let the venue drive; its result. ``alive`` answers "" or what has died. Raises BenchError."""
        limit_s = 20.0 + (bursts + warmup) * (PAUSE_S + 1.0)
        values = {"bursts": bursts, "warmup": warmup, "burst": BURST, "gap_ns": GAP_NS, "pause_s": PAUSE_S}
        part = self.where.run_dir / "phase.part"
        part.write_bytes(orjson.dumps(values))
        part.rename(self.where.run_dir / f"phase-{self._phases}.json")
        result = self.where.run_dir / f"result-{self._phases}.json"
        self._phases += 1
        self.wait(result, limit_s, alive)
        found: dict[str, Any] = orjson.loads(result.read_bytes())
        if found["broken"]:
            raise BenchError(found["broken"])
        return found

    def wait(self, file: pathlib.Path, limit_s: float, alive: Callable[[], str]) -> None:
        """Until the file is there."""
        deadline = time.monotonic() + limit_s
        while not file.exists():
            if dead := alive():
                raise BenchError(dead)
            if time.monotonic() > deadline:
                raise BenchError(f"no {file.name} after {limit_s:.0f} s")
            time.sleep(0.05)


@functools.cache
def placement() -> Placement:
    """The default one of ``pulex run`` on the cpus of the first call: the last is hot, the venue is on the first."""
    return place(read_host())


@contextlib.contextmanager
def new_round(changes: dict[str, Any] | None = None) -> Iterator[Round]:
    """Directories and config.json in a temporary place, removed at the end."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="pulex-bench-"))
    shm = instance.SHM / f"pulex-{os.getuid()}-{root.name}"
    os.sched_setaffinity(0, placement().house)  # as `pulex run` does: what inherits it stays off the hot cpu
    where = Paths(root / "run", root / "state", shm)
    lock = instance.lock(where)
    try:
        instance.clean(where)
        values = instance.compose(configuration.parse(_CONFIG, "bench"), where, placement(), source="bench")
        values |= changes or {}
        values["config_hash"] = config_hash(values)
        instance.write(where, values)
        yield Round(where, values)
    finally:
        os.close(lock)
        shutil.rmtree(shm, ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)


def client_config(run_dir: str) -> tuple[dict[str, Any], str]:
    """config.json, and the key of its 0600 file: how the floor and the baseline get in."""
    config = load_config(run_dir)
    return config, pathlib.Path(config["venue"]["management_key_file"]).read_text().strip()
