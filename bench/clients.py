"""Runs one round of one client, in fresh processes: floor and baseline as a pair with the venue, Pulex as its whole house.

``pulex_split`` is the real system under its real supervisor: watchdog, journal, feed and execution processes at the default
placement, with the venue replaced by ``bench.venue`` and no signal process. It is armed before the first tick.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.instance import BenchError, Round, new_round
from fabric import layout
from fabric.jit import ROOT
from ops import children, paper
from ops.figures import Pages
from ops.supervisor import MODULES, StartError, Supervisor

SESSIONS_S = 30.0
SETTLE_S = 1.0
WAVES = (("journal", "feed"), ("execution",))
STAGES = ("tick_to_order", "ring_hop", "decide", "encode", "send", "recv_to_seen")


class Running:
    """A client that is ready to be driven. ``stages`` are its own histograms, where it has any."""

    def __init__(self, round_: Round, alive: Callable[[], str], stages: Callable[[], dict[str, Any]]) -> None:
        self.round, self.alive, self.stages = round_, alive, stages

    def phase(self, bursts: int, warmup: int) -> dict[str, Any]:
        return self.round.phase(bursts, warmup, self.alive)


def dead(processes: list[children.Child]) -> str:
    """Which of them has ended, and its last words; "" when all live."""
    for child in processes:
        if not child.alive():
            return f"{child.role} {child.ended()}: {child.last_words() or 'it said nothing'}"
    return ""


@contextlib.contextmanager
def simple(module: str) -> Iterator[Running]:
    """The venue and one client process."""
    with new_round() as round_:
        where = round_.where
        started: list[children.Child] = []

        def alive() -> str:
            return dead(started)

        try:
            started.append(children.spawn("venue", ["-m", "bench.venue", str(where.run_dir)], where.log("venue")))
            wait_for_venue(round_, alive)
            started.append(children.spawn("client", ["-m", module, str(where.run_dir)], where.log("client")))
            round_.wait(where.run_dir / "sessions", SESSIONS_S, alive)
            time.sleep(SETTLE_S)
            yield Running(round_, alive, lambda: {})
        finally:
            for child in reversed(started):
                child.terminate()
                child.finish(3.0)


def wait_for_venue(round_: Round, alive: Callable[[], str]) -> None:
    deadline = time.monotonic() + SESSIONS_S
    while not paper.answers(round_.config):
        if problem := alive():
            raise BenchError(problem)
        if time.monotonic() > deadline:
            raise BenchError("the venue does not answer")
        time.sleep(0.05)


def warm(run_dir: pathlib.Path) -> None:
    """Compile every kernel of the house in one process, or find them in the cache."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.warm", str(run_dir)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StartError(f"the kernels did not compile: {(done.stderr or done.stdout).strip()[-300:]}")


@contextlib.contextmanager
def pulex(modules: dict[str, str] | None = None, changes: dict[str, Any] | None = None) -> Iterator[Running]:
    """The house, armed. ``modules`` replaces programs of roles (the interpreter's test does)."""
    with new_round(changes) as round_:
        where, config = round_.where, round_.config
        supervisor = Supervisor(config, where, lambda text: None, {**MODULES, "venue": "bench.venue", **(modules or {})}, WAVES)

        def alive() -> str:
            supervisor.tick()
            return supervisor.halted or ("" if supervisor.armed else "Pulex was disarmed during the round")

        try:
            supervisor.start(lambda: warm(where.run_dir))
            round_.wait(where.run_dir / "sessions", SESSIONS_S, alive)
            time.sleep(SETTLE_S)
            yield Running(round_, alive, lambda: stages(supervisor.pages))
        except StartError as error:
            raise BenchError(f"Pulex did not start: {error}") from None
        except BenchError as error:
            raise BenchError("; ".join([str(error), *reasons(supervisor.pages)])) from None
        finally:
            supervisor.stop_trading()
            supervisor.stop_house()
            supervisor.stop_all()


def reasons(pages: Pages) -> list[str]:
    """What the processes themselves said was wrong."""
    readers = {role: pages.stats(role) for role in ("watchdog", "execution", "feed")}
    return [f"{role}: {error.text}" for role, reader in readers.items() if reader for error in reader.errors()]


def stages(pages: Pages) -> dict[str, Any]:
    """Execution's own view of the same ticks, in ns, warm-up included; what it counted, and that nothing compiled late."""
    reader = pages.stats("execution")
    if reader is None:
        return {}
    counters = reader.counters()
    names = ("orders_sent", "orders_acked", "orders_cancelled", "orders_rejected", "orders_unknown", "blocked_risk", "stalls")
    return {
        "stages_ns": {name: reader.histogram(name).summary() for name in STAGES if name in layout.EXEC_HISTOGRAMS},
        "counters": {name: counters[name] for name in names if name in counters},
        "cache_misses": reader.status()["cache_misses"],
    }


CLIENTS: dict[str, Callable[[], contextlib.AbstractContextManager[Running]]] = {
    "floor": lambda: simple("bench.floor"),
    "asyncio": lambda: simple("bench.baseline"),
    "pulex_split": pulex,
}
