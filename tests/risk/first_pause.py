"""How many round trips an owner makes until its first pause, by profile and share of winning trips, simulated.

    python tests/risk/first_pause.py [--runs 21] [--most 20000]

Each trip wins with the given probability, independent of the others; its result goes through the breaker itself
(`risk.breakers.owner_result`), so what counts as a row of losses is what trading would meet. Seeds are the run's number:
the same table each time. ``docs/risk.md`` holds the output; a test compares them.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import statistics
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import numpy as np

from risk import breakers, limits, tables

WIN_PERCENT = (40, 50, 60)
RUNS, MOST = 21, 20_000
OWNER = tables.OWNER_FIRST_STRATEGY


def trips_to_first_pause(profile: str, win_percent: int, seed: int, most: int) -> int:
    """Trips until the breaker pauses the owner; ``most`` + 1 when it did not within ``most``."""
    row, owners = limits.limits_row(limits.profile(profile)), np.zeros((OWNER + 1, len(tables.OWNER)), np.int64)
    coin = random.Random(seed)
    judge = breakers.owner_result
    for trip in range(1, most + 1):
        result = 100 if coin.randrange(100) < win_percent else -100
        if judge(owners, OWNER, result, row, 0):
            return trip
    return most + 1


def table(runs: int = RUNS, most: int = MOST) -> str:
    """Markdown: median, and in brackets the earliest, of all runs."""
    lines = [
        "| profile | losses in a row | " + " | ".join(f"{percent} % winners" for percent in WIN_PERCENT) + " |",
        "|---" * (2 + len(WIN_PERCENT)) + "|",
    ]
    for profile in limits.PROFILES:
        cells = []
        for percent in WIN_PERCENT:
            trips = [trips_to_first_pause(profile, percent, seed, most) for seed in range(runs)]
            cells.append(" (".join(told(n, most) for n in (int(statistics.median(trips)), min(trips))) + ")")
        lines.append(f"| {profile} | {limits.profile(profile)['losses_in_row']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def told(trips: int, most: int) -> str:
    return f"{trips:,}" if trips <= most else f"> {most:,}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--most", type=int, default=MOST)
    options = parser.parse_args()
    print(table(options.runs, options.most), end="")


if __name__ == "__main__":
    main()
