"""``python -m bench``: floor, Pulex and the asyncio baseline in one run; a table, and ``bench/results/latest.json``."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

from bench import figures, machine
from bench.clients import CLIENTS
from bench.floor import compile_native
from bench.instance import BURST, GAP_NS, PAUSE_S, BenchError, placement
from bench.venue import warm

RESULTS = pathlib.Path(__file__).parent / "results"
SCHEMA = 1
ORDER = ("floor", "pulex_split", "asyncio")
ROUNDS, BURSTS, WARMUP = 3, 14, 3  # 3 x 14 x 239 samples: ten of them beyond p99.9
TRIES = 3
UNANSWERED_MAX = 0.001
STOLEN_PPM_MAX = 20_000
KEYS = ("p50_us", "p99_us", "p999_us")


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"fresh processes per client (default {ROUNDS})")
    parser.add_argument("--bursts", type=int, default=BURSTS, help=f"bursts of {BURST} ticks per round (default {BURSTS})")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS / "latest.json", help="where the figures go")
    return parser.parse_args(arguments)


def measure(name: str, bursts: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One round of one client: (the venue's samples, the client's own view). Tried again twice. Raises BenchError."""
    for attempt in range(1, TRIES + 1):
        try:
            with CLIENTS[name]() as running:
                return running.phase(bursts, WARMUP), running.stages()
        except BenchError as error:
            print(f"{name}: {error}{'; again' if attempt < TRIES else ''}", flush=True)
            if attempt == TRIES:
                raise
    raise AssertionError("unreachable")


def print_machine(about: dict[str, Any]) -> None:
    pinning, jitter = about["pinning"], about["jitter"]
    print(f"{about['cpu']}, {about['cpus']} cpus{' (virtual)' if about['virtual'] else ''}, Linux {about['kernel']}")
    print(
        f"Python {about['python']}, numba {about['numba']}, websockets {about['websockets']}, commit {about['commit']}, "
        f"load {about['load_1m']}"
    )
    print(
        f"generator on cpu {pinning['generator']}, client on cpu {pinning['client']} (Pulex: feed and execution both there, "
        f"idle {' and '.join(dict.fromkeys(pinning['idle']))}); floor: {about['floor']}"
    )
    print(
        f"clock read {about['clock_ns']} ns; jitter of cpu {jitter['cpu']}: {jitter['gaps_over_1us_per_s']} gaps > 1 us per s, "
        f"p99 {jitter['gap_p99_us']} us, max {jitter['gap_max_us']} us, {jitter['stolen_ppm']} ppm stolen",
        flush=True,
    )
    if not quiet(about):
        print(
            f"BUSY MACHINE: other programs take {jitter['stolen_ppm'] / 1e4:.0f} % of the hot cpu; do not quote these figures"
        )


def quiet(about: dict[str, Any]) -> bool:
    """Nobody else used the hot cpu when the run began; figures of a busy machine are of no use."""
    return int(about["jitter"]["stolen_ppm"]) <= STOLEN_PPM_MAX


def print_table(clients: dict[str, dict[str, Any]]) -> None:
    print("\nclosed loop over loopback: tick sent to order received, us; service time, not response time")
    print("client             n      min      p50      p99    p99.9       max    first  spread  blind  lost")
    for name, c in clients.items():
        cells = "".join(f"{c[key]:>9.1f}" for key in ("min_us", "p50_us", "p99_us", "p999_us"))
        first, spread = c["after_pause"].get("p50_us", 0.0), figures.spread_percent(c["rounds"], "p50_us")
        blind, lost = c["generator"]["blind_over_20us"], c["unanswered"]
        print(f"{name:<13}{c['n']:>7}{cells}{c['max_us']:>10.1f}{first:>9.1f}{spread:>7.0f}%{blind:>7}{lost:>6}")
    for label, key in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us")):
        r = figures.ratios(clients, key)
        print(f"{label:<6} Pulex is {r['pulex_to_floor']:.2f} x the floor; asyncio is {r['asyncio_to_pulex']:.2f} x Pulex")
    if not clients["pulex_split"]["p999_has_10_beyond"]:
        print(f"p99.9 has fewer than {figures.BEYOND} samples beyond it: run longer before quoting it")
    if not all(c["generator"]["realtime"] for c in clients.values()):
        print("the generator ran without SCHED_FIFO (no right to it): what shares its cpu is in these figures")


def method(chosen: argparse.Namespace) -> dict[str, Any]:
    """How it was measured, for the reader of the JSON."""
    pace = {"burst": BURST, "pause_s": PAUSE_S, "gap_us": GAP_NS / 1e3, "warmup_bursts": WARMUP}
    return {
        "loop": "closed",
        "time": "service",
        **pace,
        "rounds": chosen.rounds,
        "bursts": chosen.bursts,
        "watchdog": "real",
        "journal": "on",
        "llm": "off",
    }


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    place = placement()
    if place.house[0] == place.execution[0]:
        print(f"bench: this process may use cpu {place.house[0]} only; venue and client need one each (see taskset -p $$)")
        return 1
    warm()
    about = machine.describe(place) | {"floor": "C" if compile_native() else "compiled Python"}
    print_machine(about)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in ORDER}
    views: list[dict[str, Any]] = []
    try:
        for number in range(1, chosen.rounds + 1):
            for name in ORDER:
                result, view = measure(name, chosen.bursts)
                results[name].append(result)
                views += [view] if view else []
                p50 = figures.summary([result])["p50_us"]
                print(f"round {number} of {chosen.rounds}: {name} p50 {p50:.1f} us", flush=True)
    except BenchError:
        return 1
    clients = {name: figures.summary(found) for name, found in results.items()}
    print_table(clients)
    value = {
        "schema": SCHEMA,
        "machine": about | {"quiet": quiet(about)},
        "method": method(chosen),
        "wire": {"closed": clients | {"ratios": {key: figures.ratios(clients, key) for key in KEYS}}},
        "pulex": views,
    }
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(value, indent=1) + "\n")
    print(f"written: {chosen.json}")
    lost = {name: c["unanswered"] / (c["n"] + c["unanswered"]) for name, c in clients.items()}
    if bad := [name for name, share in lost.items() if share > UNANSWERED_MAX]:
        print(f"not valid: {', '.join(bad)} left more than {UNANSWERED_MAX:.1%} of the ticks without an order")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
