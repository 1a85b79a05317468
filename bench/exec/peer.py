"""NautilusTrader beside us: its risk and submit path on the same orders, on the same cpu, in the same run.

It has an environment of its own, ``bench/peers/.venv``, made by ``make bench-exec``, version in ``bench/peers/nautilus.txt``.
Where that cannot be installed, or fails, it is said and the peer is left out: its figure is null and no ratio is given.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import numpy as np

from bench.exec import house, orders
from bench.exec.cycles import summary
from ops.placement import Placement
from risk import tables as rt

PEERS = pathlib.Path(__file__).resolve().parent.parent / "peers"
PYTHON = PEERS / ".venv" / "bin" / "python"
SCRIPT = PEERS / "nautilus_submit.py"
WISHES = 1024
LIMIT_S = 300


def wishes() -> list[list[Any]]:
    """The orders that our own figure is measured with, in words that every system understands."""
    rows = house.order_rows(WISHES, 1)
    return [[int(row[rt.OI_SIDE]), f"{row[rt.OI_PRICE_TICKS] / 100:.2f}", f"{row[rt.OI_LOTS] / 100_000:.5f}"] for row in rows]


def nautilus(count: int, python: pathlib.Path = PYTHON) -> dict[str, Any] | None:
    """Figures of the peer, or None with the reason on the screen (without a count it is not asked)."""
    if count == 0:
        return None
    if not python.exists():
        print(f"bench: NAUTILUS TRADER IS ABSENT, not compared: no {python} (make bench-exec installs it)", flush=True)
        return None
    command = [str(python), str(SCRIPT), str(count)]
    try:
        done = subprocess.run(command, input=json.dumps(wishes()), capture_output=True, text=True, check=True, timeout=LIMIT_S)
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
        print(f"bench: NAUTILUS TRADER FAILED, not compared: {said}", flush=True)
        return None
    if found["reached"] != count:
        print(f"bench: NAUTILUS TRADER sent {found['reached']} of {count} orders, not compared", flush=True)
        return None
    figures = summary(np.array(found["samples"], np.int64), 1.0)
    return {"version": found["version"], "python": found["python"], **figures}


def measure(where: Placement, count: int, peer_count: int, tick: float) -> dict[str, Any]:
    """`submit_ns` of both and the ratios of their medians and 99th percentiles (None without the peer)."""
    table = orders.Table(where, 2, 1)
    table.submits(max(count // 10, 1))
    ours = summary(table.submits(count), tick)
    theirs = nautilus(peer_count)
    ratios = {key: round(theirs[key] / ours[key], 1) for key in ("p50", "p99")} if theirs else None
    return {"submit_ns": {"pulex": ours, "nautilus_trader": theirs, "nautilus_to_pulex": ratios}}
