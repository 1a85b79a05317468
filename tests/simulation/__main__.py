"""``python -m tests.simulation --seed N --count M``: run seeds, print what they found; what ``make sim`` runs.

A failing seed prints the rule, the step and the last events, and the command that repeats it. Exit code 1 when any failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import platform
import sys
import time
from typing import Any

from tests.simulation import bugs, episode
from tests.simulation.episode import Result
from tests.simulation.world import S

LAST = 40
TELL_S = 20.0
FAILURES_MAX = 5


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--safety", type=float, default=3.0, help="simulated seconds with faults; the same for the same run")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after that long, whatever the count")
    parser.add_argument("--planted", choices=sorted(bugs.PLANTED), help="plant a bug: the run must fail")
    parser.add_argument("--log", action="store_true", help="print the whole log of each seed")
    parser.add_argument("--json", help="write the summary to this file too")
    return parser.parse_args()


def show(result: Result, safety_s: float, lines: int) -> None:
    """A failure as a person wants it."""
    print(f"\nseed {result.seed}, step {result.step}: {result.violation}")
    for line in result.lines[-lines:]:
        print(f"  {line}")
    print(f"again: python -m tests.simulation --seed {result.seed} --safety {safety_s:g}", flush=True)


class Tally:
    """Sums over the seeds."""

    def __init__(self) -> None:
        self.faults: collections.Counter[str] = collections.Counter()
        self.ends: collections.Counter[str] = collections.Counter()
        self.sums: collections.Counter[str] = collections.Counter()
        self.failed: list[int] = []

    def add(self, result: Result) -> None:
        self.sums["seeds"] += 1
        for name in ("steps", "checks", "orders", "trades", "lives"):
            self.sums[name] += getattr(result, name)
        self.sums["simulated_s"] += result.simulated_ns // S
        self.faults.update(result.faults)
        self.ends[result.end or "FAILED"] += 1
        if result.violation:
            self.failed.append(result.seed)

    def summary(self, took_s: float) -> dict[str, Any]:
        faults = dict(sorted(self.faults.items()))
        ends = dict(self.ends.most_common())
        return {**self.sums, "faults": faults, "ends": ends, "failed": self.failed, "seconds": round(took_s, 1)}


def main() -> int:
    given, tally, began = options(), Tally(), time.monotonic()
    planted = bugs.PLANTED[given.planted][0] if given.planted else episode.NOTHING
    told = began
    for seed in range(given.seed, given.seed + given.count):
        result = episode.run(seed, int(given.safety * S), planted)
        tally.add(result)
        if result.violation:
            show(result, given.safety, len(result.lines) if given.log else LAST)
        elif given.log:
            print("\n".join(result.lines))
        now = time.monotonic()
        if now - told > TELL_S:
            told = now
            print(f"{tally.sums['seeds']} seeds, {len(tally.failed)} failed, {now - began:.0f} s", flush=True)
        if len(tally.failed) >= FAILURES_MAX or (given.minutes and now - began > given.minutes * 60):
            break
    summary = tally.summary(time.monotonic() - began)
    print(json.dumps(summary | {"python": platform.python_version(), "machine": platform.machine()}, indent=1))
    if given.json:
        with open(given.json, "w") as file:
            json.dump(summary, file, indent=1)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
