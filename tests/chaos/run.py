"""Plays the catalogue: houses by kind, one fault after the other in each, every result a line of a file that goes on.

A round is every fault once, with one seed. A line is ``{"seed", "round", "fault", figures...}``; a round that was interrupted
is taken up at the fault it had not written. Several houses stand at the same time, each fault has its own house to itself.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from fabric.jit import cache_dir
from tests.chaos.catalogue import FAULTS
from tests.chaos.faults import NOTHING, Fault, play, recover
from tests.chaos.judge import percentile
from tests.chaos.scene import LIMITS, Scene, Warm
from watchdog.hashes import code_hash

HERE = pathlib.Path(__file__).parent
TIMER = {"kill": {"revokers": [{"kind": "timer", "length_ms": 1000, "least_ms": 100}]}}
WIDE = {"limits": LIMITS | {"order_rate_per_s": 100}, "lease": {"orders_per_beat_max": 8}}
HOUSES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("plain", {}),
    "wide": ("plain", WIDE),
    "handed": ("handed", {}),
    "unleased": ("unleased", {}),
    "clocks": ("plain", {}),
    "patient": ("plain", {}),
    "timer": ("plain", TIMER),
    "alone": ("unleased", WIDE),  # for the control: nothing but the exchange stands in its way
    "real": ("real", {}),  # no fork: every process starts as in the product
}
TIMES = ("resting_clear_ms", "last_order_ms", "key_dead_ms", "refused_ms", "last_fill_ms")
LIFE = 80  # faults of one house: then its ledger has grown, and a new one is built
Say = Callable[[str], None]


@dataclasses.dataclass
class Result:
    """One fault of one round: its figures, or why it failed."""

    fault: str
    seed: str
    figures: dict[str, Any]
    failed: str = ""

    def row(self) -> dict[str, Any]:
        return {"seed": self.seed, "fault": self.fault, "failed": self.failed[:4000], **self.figures}


class Chaos:
    """Houses that are built when their first fault comes; close it always."""

    def __init__(self) -> None:
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="px-"))
        self.warm = Warm()
        self.scenes: list[Scene] = []
        self.building = threading.Lock()

    def __enter__(self) -> Chaos:
        return self

    def __exit__(self, *_: object) -> None:
        for scene in self.scenes:
            scene.close()
        self.warm.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def scene(self, house: str) -> Scene:
        """A new house of that kind, trading."""
        planted, changes = HOUSES[house]
        preload = self.clocks() if house == "clocks" else {}
        home = pathlib.Path(tempfile.mkdtemp(prefix="h", dir=self.root))
        scene = Scene(home, self.warm, planted, changes, preload)
        self.scenes.append(scene)
        with self.building:
            scene.build()
        return scene

    def clocks(self) -> dict[str, str]:
        """The environment in which clocks and fsync obey a file; SkipFault without a C compiler."""
        library = self.root / "clocks.so"
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "clocks.c", "-ldl"], check=True)
        except (OSError, subprocess.CalledProcessError):
            raise SkipFault("no C compiler: planted clocks are not played here") from None
        file = pathlib.Path(tempfile.mkstemp(dir=self.root)[1])
        file.write_bytes(bytes(4096))
        return {"LD_PRELOAD": str(library), "CHAOS_CLOCKS": str(file)}

    def play(self, house: str, faults: Iterable[Fault], seed: str, tell: Callable[[Result], None]) -> None:
        """These faults in one house; a fault that fails costs its house."""
        scene, played = None, 0
        for fault in faults:
            try:
                if scene is None:
                    scene, played = self.scene(house), 0
                elif played >= LIFE:
                    self.drop(scene)
                    scene, played = self.scene(house), 0
                found = play(scene, fault, seed)
                recover(scene, fault)
                played += 1
                tell(Result(fault.name, seed, found._asdict()))
            except SkipFault as skip:
                tell(Result(fault.name, seed, {"skipped": str(skip)}))
            except Exception as error:
                tell(Result(fault.name, seed, getattr(error, "figures", {}), f"{type(error).__name__}: {error}"))
                self.drop(scene)
                scene = None
        self.drop(scene)

    def drop(self, scene: Scene | None) -> None:
        if scene is not None:
            scene.close()
            self.scenes.remove(scene)


class SkipFault(Exception):
    """This host cannot play the fault."""


def round_of(
    chaos: Chaos,
    names: Iterable[str],
    seed: str,
    lanes: int,
    tell: Callable[[Result], None],
    more: Callable[[], None] | None = None,
) -> None:
    """These faults once each, in an order of the seed, the houses in so many lanes side by side; ``more`` in one of them."""
    groups: dict[str, list[Fault]] = defaultdict(list)
    for name in names:
        groups[FAULTS[name].house].append(FAULTS[name])
    for house, faults in groups.items():
        random.Random(f"{seed} {house}").shuffle(faults)
    order = sorted(groups.items(), key=lambda item: (item[0] == "patient", len(item[1])))  # the last is taken first
    waiting: list[Callable[[], None]] = [
        functools.partial(chaos.play, house, faults, seed, lambda result: said(result)) for house, faults in order
    ]
    if more is not None:
        waiting.insert(max(len(waiting) - 2, 0), more)
    lock = threading.Lock()

    def said(result: Result) -> None:
        with lock:
            tell(result)

    def lane() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                work = waiting.pop()
            work()

    if lanes == 1:
        return lane()
    threads = [threading.Thread(target=lane, daemon=True) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Book:
    """A file of rows, each with the hash of the sources that it is of. What stands in it is not played again."""

    def __init__(self, file: pathlib.Path) -> None:
        self.file, self.code = file, f"{code_hash():016x}"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        if file.exists():
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            self.rows = [row for row in rows if row["code"] == self.code]

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row | {"code": self.code})
        with self.file.open("a") as out:
            out.write(json.dumps(self.rows[-1]) + "\n")

    def played(self, seed: str) -> set[str]:
        return {row["fault"] for row in self.rows if row["seed"] == seed}


def book_of(name: str) -> pathlib.Path:
    """Where results are kept between runs."""
    return cache_dir() / "chaos" / f"{name}.jsonl"


def spread(values: list[float]) -> dict[str, float] | None:
    """p50, p99 and max; None of nothing."""
    if not values:
        return None
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}


def histogram(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per fault: how many, and the figures of the ledger, ms; those of the book only where it was to be emptied."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if "rested" in row:
            by_name[row["fault"]].append(row)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(by_name):
        kept, fault = by_name[name], FAULTS[name]
        ended = [row for row in kept if fault.outcome != NOTHING and row["key_dead_ms"] is not None]
        found[name] = {"outcome": fault.outcome, "promised": fault.promised, "count": len(kept), "ended": len(ended)}
        if ended:
            values = {key: [row[key] for row in ended if row[key] is not None] for key in TIMES}
            found[name] |= {"late_orders": sum(row["late"] for row in ended)}
            found[name] |= {"resting_clear_ms": spread(values["resting_clear_ms"])}
            found[name] |= {key: {"max": max(values[key], default=None)} for key in TIMES[1:]}
    return found


def table(figures: dict[str, dict[str, Any]]) -> str:
    """For people: ms after the fault."""
    lines = [
        f"{'fault':34} {'count':>6} {'clear p50':>10} {'p99':>8} {'max':>8} {'last order':>11} {'key dead':>9} {'refused':>8}"
    ]
    for name, row in figures.items():
        clear = row.get("resting_clear_ms") or {}
        cells = [clear.get("p50"), clear.get("p99"), clear.get("max")]
        cells += [(row.get(key) or {}).get("max") for key in ("last_order_ms", "key_dead_ms", "refused_ms")]
        texts = ["-" if cell is None else f"{cell:.0f}" for cell in cells]
        lines.append(
            f"{name:34} {row['count']:>6} {texts[0]:>10} {texts[1]:>8} {texts[2]:>8} {texts[3]:>11} {texts[4]:>9} {texts[5]:>8}"
        )
    return "\n".join(lines)


def tell_line(result: Result, began: float) -> str:
    if result.failed:
        return f"{time.monotonic() - began:6.1f} s  {result.fault:34} FAILED {result.failed}"
    cells = [
        f"{key.removesuffix('_ms')} {value:.0f}" for key, value in result.figures.items() if isinstance(value, int | float)
    ]
    return f"{time.monotonic() - began:6.1f} s  {result.fault:34} {result.figures.get('skipped') or ', '.join(cells)}"
