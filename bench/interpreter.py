"""``python -m bench.interpreter``: is the interpreter on the path? Burning Python threads inside against outside.

One armed system, driven in phases. In an ``inside`` phase, Python threads of the feed and execution processes burn pure
Python all the time; in an ``outside`` phase as many separate processes do, on the same cpus (the house, never the hot
one). A ``quiet`` phase before has neither. Pairs are interleaved and their order alternates. Were the interpreter (its lock,
its signals, its collector) on the path, ``inside`` would be slower.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pathlib
import sys
import time
from typing import Any

from bench import figures
from bench.clients import Running, pulex
from bench.hot import burn
from bench.instance import BURST, PAUSE_S, BenchError
from bench.venue import warm
from fabric.child import place

RESULTS = pathlib.Path(__file__).parent / "results"
PAIRS, BURN_S, THREADS = 6, 5.0, 2  # threads per hot process
HOT = {"feed": "bench.hot.feed", "execution": "bench.hot.execution"}
LIMIT = 0.2
START_S = 0.1


def burn_there(cpus: list[int], seconds: float) -> None:
    place(cpus)
    burn(seconds)


def phase(running: Running, kind: str, number: int) -> dict[str, Any]:
    """One phase of BURN_S with burners inside, outside or not at all."""
    bursts = max(1, int(BURN_S / (PAUSE_S + 0.05)))
    seconds = BURN_S + START_S
    house, others = running.round.config["placement"]["house"], []
    if kind == "inside":
        order = {"number": number, "threads": THREADS, "seconds": seconds}
        part = running.round.where.run_dir / "burn.part"
        part.write_text(json.dumps(order))
        part.rename(running.round.where.run_dir / "burn.json")
    elif kind == "outside":
        context = multiprocessing.get_context("fork")
        others = [context.Process(target=burn_there, args=(house, seconds), daemon=True) for _ in range(THREADS * len(HOT))]
        for process in others:
            process.start()
    time.sleep(START_S)
    until = time.monotonic() + BURN_S
    result = running.phase(bursts, 0)
    for process in others:
        process.join()
    time.sleep(max(0.0, until - time.monotonic()) + 0.2)
    return result


def run(pairs: int) -> dict[str, list[dict[str, Any]]]:
    """All phases on one running system. Raises BenchError."""
    found: dict[str, list[dict[str, Any]]] = {"quiet": [], "inside": [], "outside": []}
    with pulex(HOT) as running:
        found["quiet"].append(running.phase(3, 2))
        for number in range(pairs):
            kinds = ("inside", "outside") if number % 2 == 0 else ("outside", "inside")
            for kind in kinds:
                found[kind].append(phase(running, kind, number))
            line = ", ".join(f"{k} {figures.summary(found[k][-1:])['p50_us']:.1f}" for k in ("inside", "outside"))
            print(f"pair {number + 1} of {pairs}: p50 us {line}", flush=True)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.interpreter", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"interleaved pairs (default {PAIRS})")
    pairs = parser.parse_args(arguments).pairs
    warm()
    try:
        found = {kind: figures.summary(results) for kind, results in run(pairs).items()}
    except BenchError as error:
        print(f"interpreter: {error}")
        return 1
    print(f"\n{THREADS} burners per hot process, {BURN_S:g} s, {pairs} pairs, bursts of {BURST}; tick to order on the wire, us")
    for kind, f in found.items():
        print(f"{kind:<9}{f['n']:>7}  p50 {f['p50_us']:>7.1f}  p99 {f['p99_us']:>7.1f}  lost {f['unanswered']}")
    ratios = {key: round(found["inside"][key] / found["outside"][key], 3) for key in ("p50_us", "p99_us")}
    verdict = all(abs(ratio - 1) < LIMIT for ratio in ratios.values())
    print(f"inside / outside: p50 {ratios['p50_us']:.3f}, p99 {ratios['p99_us']:.3f}; below {LIMIT:.0%} apart: {verdict}")
    RESULTS.mkdir(exist_ok=True)
    value = {"schema": 1, "pairs": pairs, "ratios": ratios, "within_20_percent": verdict, **found}
    (RESULTS / "interpreter.json").write_text(json.dumps(value, indent=1) + "\n")
    return 0 if verdict else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
