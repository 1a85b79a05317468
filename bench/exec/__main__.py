"""``python -m bench.exec``: what lies between event and order, beside the peer; a table, and ``results/exec.json``."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

from bench import machine
from bench.exec import cycles, decide, gates, orders, peer
from bench.exec.table import judge, print_table
from bench.fabric.table import print_jitter
from bench.instance import placement
from fabric.child import place
from ops.placement import Placement

RESULTS = pathlib.Path(__file__).parent.parent / "results"
SCHEMA = 1
FULL = {"samples": 400_000, "orders": 50_000, "calls": 1_000_000, "rounds": 5, "peer": 10_000}
SHORT = {"samples": 2_000, "orders": 1_000, "calls": 2_000, "rounds": 1, "peer": 0}
STOLEN_PPM_MAX = 20_000


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.exec", description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes, no peer: to see that it works")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS / "exec.json", help="where the figures go")
    return parser.parse_args(arguments)


def run(where: Placement, sizes: dict[str, int], tick: float) -> dict[str, Any]:
    """Every part, one after the other, on the cpu that this process is pinned to; raises Idle."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "counter": lambda: {"empty_ns": cycles.empty(sizes["samples"], tick)},
        "gate": lambda: gates.measure(where, sizes["samples"], sizes["calls"], sizes["rounds"], tick),
        "decision": lambda: decide.measure(where, sizes["samples"], tick),
        "orders": lambda: orders.measure(where, sizes["orders"], tick),
        "submit": lambda: peer.measure(where, sizes["orders"], sizes["peer"], tick),
    }
    found: dict[str, Any] = {}
    for name, part in parts.items():
        started = time.monotonic()
        found |= part()
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    return found


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    sizes = SHORT if chosen.short else FULL
    if not cycles.AVAILABLE:
        print("bench: needs the time stamp counter of an x86-64 cpu")
        return 1
    where = placement()
    cpu = where.execution[0]
    about = machine.describe(where)
    about["pinning"] = {"cpu": cpu, "scheduling": "normal", "nice": os.nice(0)}
    place([cpu])
    about["tick_ns"] = tick = cycles.tick_ns()
    print(f"{about['cpu']}, commit {about['commit']}, cpu {cpu}, one tick {tick:.4f} ns, load {about['load_1m']}")
    print_jitter("before", about["jitter"])
    try:
        found = run(where, sizes, tick)
    except cycles.Idle as error:
        print(f"bench: {error}")
        return 1
    about["jitter_after"] = machine.jitter(cpu)
    print_jitter("after", about["jitter_after"])
    about["quiet"] = max(int(about[name]["stolen_ppm"]) for name in ("jitter", "jitter_after")) <= STOLEN_PPM_MAX
    targets = judge(found)
    print_table(found, targets, about)
    value = {"schema": SCHEMA, "machine": about, "method": sizes | {"short": chosen.short}, **found, "targets": targets}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(value, indent=1) + "\n")
    print(f"written: {chosen.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
