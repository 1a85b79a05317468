"""``python -m bench.fabric``: every figure of shared memory in one run; a table, and ``bench/results/fabric.json``."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench import machine
from bench.fabric import hop, idle, meters, peers, readers, throughput
from bench.fabric.pair import Lost
from bench.fabric.table import judge, print_machine, print_table
from bench.instance import placement
from fabric.child import place
from ops.placement import Placement

RESULTS = pathlib.Path(__file__).parent.parent / "results"
SCHEMA = 1
FULL = {
    "trips": 100_000, "rounds": 9, "records": 2_000_000, "courses": 15, "calls": 5_000_000, "turns": 6_000_000, "pairs": 12,
    "messages": 4000,
}  # fmt: skip
SHORT = {
    "trips": 2_000, "rounds": 1, "records": 50_000, "courses": 1, "calls": 20_000, "turns": 20_000, "pairs": 2, "messages": 100,
}  # fmt: skip
STOLEN_PPM_MAX = 20_000


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.fabric", description=__doc__)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes: to see that it works, not to quote")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS / "fabric.json", help="where the figures go")
    return parser.parse_args(arguments)


def describe(where: Placement, cpus: tuple[int, int]) -> dict[str, Any]:
    """The machine, with the jitter of both cpus and the versions of the peers."""
    about = machine.describe(where)
    for name in ("faster-fifo", "iceoryx2"):
        try:
            about[name] = version(name)
        except PackageNotFoundError:
            about[name] = "absent"
    about["pinning"] = {"near": cpus[0], "far": cpus[1], "scheduling": "normal", "nice": os.nice(0)}
    about["jitter_far"] = machine.jitter(cpus[1])
    return about


def on_cpu(cpu: int, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do it pinned to this cpu."""
    before = os.sched_getaffinity(0)
    place([cpu])
    try:
        return work()
    finally:
        os.sched_setaffinity(0, before)


def run(where: Placement, cpus: tuple[int, int], sizes: dict[str, int]) -> dict[str, Any]:
    """Every part, one after the other; raises Lost or Idle when one could not be measured."""
    calls, rounds = sizes["calls"], sizes["rounds"]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "hop": lambda: hop.measure(cpus, sizes["trips"], rounds),
        "throughput": lambda: throughput.measure(cpus, sizes["records"], sizes["courses"]),
        "meters": lambda: on_cpu(cpus[0], lambda: meters.measure(calls, rounds)),
        "idle pass": lambda: on_cpu(cpus[0], lambda: idle.measure(where, calls // 5, rounds)),
        "readers": lambda: on_cpu(cpus[0], lambda: readers.measure(cpus, sizes["turns"], sizes["pairs"])),
        "peers": lambda: peers.measure(cpus, sizes["messages"]),
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
    where = placement()
    cpus = where.execution[0], where.house[0]
    if cpus[0] == cpus[1]:
        print(f"bench: this process may use cpu {cpus[0]} only; a hop needs two (see taskset -p $$)")
        return 1
    about = describe(where, cpus)
    print_machine(about)
    try:
        found = run(where, cpus, sizes)
    except (Lost, meters.Idle) as error:
        print(f"bench: {error}")
        return 1
    about["jitter_after"] = machine.jitter(cpus[0])
    jitters = [about[name] for name in ("jitter", "jitter_far", "jitter_after")]
    about["quiet"] = max(int(one["stolen_ppm"]) for one in jitters) <= STOLEN_PPM_MAX
    targets = judge(found)
    print_table(found, targets, about)
    value = {"schema": SCHEMA, "machine": about, "method": sizes | {"short": chosen.short}, **found, "targets": targets}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(value, indent=1) + "\n")
    print(f"written: {chosen.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
