"""``python -m bench.kill``: from a fault to nothing left at the exchange, and how often a healthy house is ended for nothing.

Faults are those of ``tests.chaos``, played on whole systems and judged by the exchange's ledger; what ``make chaos`` has played
with the same sources counts as well. Beside them the controls without a watchdog, which must fail every figure that the faults
hold; a soak at the full order rate beside programs that never stop; and execution started again after a kill, without forks.
Every part adds to its file, so that long runs accumulate. Writes ``bench/results/kill.json``; bench/README.md has its keys.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import sys
import time
from collections import defaultdict
from typing import Any

from bench.instance import placement
from bench.machine import describe
from fabric import layout
from fabric.stats import StatsReader
from tests.chaos.catalogue import FAULTS
from tests.chaos.controls import CONTROLS, play_controls
from tests.chaos.faults import is_trading
from tests.chaos.run import Book, Chaos, Result, book_of, histogram, round_of, spread, table, tell_line
from tests.chaos.scene import Scene
from tests.chaos.strategies import tireless
from watchdog.beat import Segment
from watchdog.processes import Process, start_time

RESULT = pathlib.Path(__file__).parent / "results" / "kill.json"
SAMPLE_S = 0.002
BEAT_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
RULE_OF_THREE = 3.0
QUIET_PPM = 20_000  # of the hot cpu taken by others before the run
PROMISE = {"p99": 500.0, "max": 1000.0, "restart_s": 2.0}


def play_faults(chaos: Chaos, rounds: int, lanes: int, seed: int) -> None:
    """Whole rounds of the catalogue into its book; raises SystemExit when one fails."""
    book, began = Book(book_of("faults")), time.monotonic()
    failed: list[Result] = []

    def tell(result: Result) -> None:
        book.add(result.row())
        print(tell_line(result, began), flush=True)
        if result.failed:
            failed.append(result)

    for turn in range(rounds):
        names = [name for name in FAULTS if turn == 0 or FAULTS[name].house != "patient"]
        round_of(chaos, names, f"{seed}-{turn}", lanes, tell)
    if failed:
        sys.exit(f"{len(failed)} faults did not end as they must")


def play_all_controls(chaos: Chaos, count: int, seed: int) -> None:
    book = Book(book_of("controls"))
    for turn in range(count):
        for name, figures in play_controls(chaos, f"{seed}-{turn}").items():
            book.add({"fault": name, **figures})
            print(f"control {name}: {figures['still']} orders still rest, {figures['late']} accepted late", flush=True)


def restart(chaos: Chaos, count: int) -> None:
    """Kill execution, resume, and start it as the product does, until it is armed."""
    book, scene = Book(book_of("restarts")), chaos.scene("real")
    for _ in range(count):
        scene.until(lambda: is_trading(scene), 20.0, "a house that trades")
        scene.signal("execution", signal.SIGKILL)
        scene.until(lambda: bool(scene.tell("state")["kill"]), 20.0, "the supervisor's account of the kill")
        book.add({"execution_s": scene.again()["execution_s"]})
        print(f"execution armed {book.rows[-1]['execution_s']:.2f} s after its start", flush=True)
    chaos.drop(scene)


def hog(seconds: float) -> list[int]:
    """One program that never stops on each cpu; their pids."""
    pids, end = [], time.monotonic() + seconds
    for cpu in sorted(os.sched_getaffinity(0)):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.sched_setaffinity(0, {cpu})
            while time.monotonic() < end:
                pass
            os._exit(0)
        pids.append(pid)
    return pids


def beats(scene: Scene, seconds: float) -> tuple[dict[str, int], float]:
    """How old execution's beat was, each time we looked; and the longest time between two passes."""
    pid = scene.pid("execution")
    page = Segment(scene.shm_dir, "exec", layout.SEGMENT_EXEC, Process(pid, start_time(pid)))
    counts: dict[str, int] = defaultdict(int)
    end, worst_ns = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        beat = page.beat()
        age_ms = max(0, time.monotonic_ns() - beat.mono_ns) / 1e6
        counts[next((str(bound) for bound in BEAT_MS if age_ms <= bound), "more")] += 1
        worst_ns = max(worst_ns, beat.stall_max_ns)
        time.sleep(SAMPLE_S)
    page.close()
    return dict(counts), worst_ns / 1e6


def soak(chaos: Chaos, seconds: float) -> None:
    """A healthy house that sends as fast as its limit lets it, beside the hogs: every lapse and every kill is a false one."""
    book, scene = Book(book_of("soak")), chaos.scene("plain")
    scene.until(lambda: is_trading(scene), 20.0, "a house that trades")
    scene.command(tireless.STORM)
    reader = StatsReader(scene.config["shm_dir"], "watchdog")
    before, began = reader.counters(), time.monotonic()
    pids = hog(seconds)
    counts, worst_ms = beats(scene, seconds)
    for pid in pids:
        os.waitpid(pid, 0)
    after = reader.counters()
    row = {name: after[name] - before[name] for name in ("lapses", "kills", "renewals")}
    orders = sum(order["status"] != "rejected" for order in scene.since(0)["orders"])
    took = time.monotonic() - began
    book.add({"seconds": took, "orders": orders, "beats": counts, "beat_gap_max_ms": worst_ms} | row)
    print(f"soak: {took:.0f} s, {orders} orders, {row['lapses']} lapses, {row['kills']} kills, "
          f"longest beat gap {worst_ms:.1f} ms", flush=True)  # fmt: skip
    chaos.drop(scene)


# --- the result


def false_kills(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all soaks of these sources; the bound holds with 95 % (rule of three), for kills only while there was none."""
    hours = sum(row["seconds"] for row in rows) / 3600
    kills, lapses = sum(row["kills"] for row in rows), sum(row["lapses"] for row in rows)
    found: dict[str, Any] = {"hours": round(hours, 4), "count": kills, "lapses": lapses}
    found["orders_per_s"] = round(sum(row["orders"] for row in rows) / (hours * 3600), 1) if hours else None
    for name, seen in (("kills", kills), ("lapses", lapses)):
        found[f"{name}_per_hour_at_most"] = round(RULE_OF_THREE / hours, 2) if hours and not seen else None
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        for bound, count in row["beats"].items():
            counts[bound] += count
    bounds = [*map(str, BEAT_MS), "more"]
    found["beat_age_ms"] = {bound: counts[bound] for bound in bounds if counts[bound]}
    found["beat_gap_max_ms"] = max((row["beat_gap_max_ms"] for row in rows), default=None)
    return found


def controls(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per fault, a second after it: what still rests, lives and is accepted."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_name[row["fault"]].append(row)
    return {
        name: {
            "count": len(found),
            "resting_clear_ms": spread([row["resting_clear_ms"] for row in found if row["resting_clear_ms"] is not None]),
            "last_order_ms": {"max": max((row["last_order_ms"] or 0.0 for row in found), default=None)},
            "key_dead_ms": {"max": max((row["key_dead_ms"] for row in found if row["key_dead_ms"]), default=None)},
            "still_resting": sum(row["still"] > 0 for row in found),
            "key_alive": sum(row["key_dead_ms"] is None for row in found),
            "orders_after_250_ms": sum(row["late"] > 0 for row in found) if CONTROLS[name] else None,
        }
        for name, found in sorted(by_name.items())
    }


def promise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All promised faults together."""
    good = [row for row in rows if "rested" in row and FAULTS[row["fault"]].promised]
    ended = [row for row in good if FAULTS[row["fault"]].outcome != "nothing" and row["key_dead_ms"] is not None]
    clear = spread([row["resting_clear_ms"] for row in ended if row["resting_clear_ms"] is not None])
    late = sum(row["late"] for row in ended if FAULTS[row["fault"]].late_ms is not None)
    found = {"faults": len({row["fault"] for row in ended}), "count": len(ended), "resting_clear_ms": clear}
    still = sum(row["still"] > 0 for row in ended)
    held = clear is not None and not still and clear["p99"] <= PROMISE["p99"] and clear["max"] <= PROMISE["max"] and not late
    return found | {"orders_after_250_ms": late, "held": held}


def write(machine: dict[str, Any]) -> dict[str, Any]:
    """Everything in the books of these sources, as the result file has it."""
    faults, starts = Book(book_of("faults")).rows, [row["execution_s"] for row in Book(book_of("restarts")).rows]
    result = {
        "machine": machine,
        "failed": [{"fault": row["fault"], "why": row["failed"].split("\n")[0][:300]} for row in faults if row["failed"]],
        "promise": promise(faults),
        "faults": histogram(faults),
        "control": controls(Book(book_of("controls")).rows),
        "false_kills": false_kills(Book(book_of("soak")).rows),
        "restart_s": (spread(starts) or {}) | {"count": len(starts)},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.kill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of all faults")
    parser.add_argument("--controls", type=int, default=1, help="rounds of all controls")
    parser.add_argument("--hog-s", type=float, default=60.0, help="seconds of soak beside a cpu hog")
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--lanes", type=int, default=1, help="houses side by side")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"bench-kill: seed {seed}", flush=True)
    machine = describe(placement())
    machine["nice"] = os.nice(0)
    machine["quiet"] = machine["jitter"]["stolen_ppm"] <= QUIET_PPM and not machine["nice"]
    if not machine["quiet"]:
        print(
            "BUSY: others use this machine, or we run with a lower priority: false kills and restarts are the machine's",
            flush=True,
        )
    with Chaos() as chaos:
        if options.rounds:
            play_faults(chaos, options.rounds, options.lanes, seed)
        play_all_controls(chaos, options.controls, seed)
        if options.hog_s:
            soak(chaos, options.hog_s)
        if options.restarts:
            restart(chaos, options.restarts)
    result = write(machine)
    print(table(result["faults"]))
    print(json.dumps({key: result[key] for key in ("promise", "false_kills", "restart_s")}, indent=1))
    return 0 if result["promise"]["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
