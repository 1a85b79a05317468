"""Litmus tests: two to four threads of a few operations each, and which outcomes each memory model allows.

They judge the models themselves: the textbook answers for store buffering, message passing, load buffering, coherence,
causality and independent reads. An outcome is the tuple of all loads, in the order of the threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from model.explorer import Scenario, Word, explore
from model.memory import Memory, Op
from model.source import SETTLE, Copy, Program, fence, load, store

X, Y, RESULTS = 8, 16, 1024
FULL, ACQUIRE, RELEASE = fence("full"), fence("acquire"), fence("release")
WEAK, NONE = frozenset({"weak"}), frozenset[str]()
BUFFERED = frozenset({"TSO", "weak"})


@dataclasses.dataclass(frozen=True)
class Litmus:
    """``threads`` as operations; ``outcome`` is the odd one, and ``allowed`` the models in which it may be seen."""

    name: str
    threads: Sequence[Sequence[Op | str]]
    outcome: tuple[int, ...]
    allowed: frozenset[str]


def _thread(ops: Sequence[Op | str], first: int) -> Program:
    """Does the operations, then tells its loads (plus one) in its result words. A text is a copy of that word."""
    out: list[Any] = []
    for _, op in enumerate(ops):  # the number tells two equal operations apart
        if isinstance(op, str):
            out.append(None)
            yield Copy(Op("load", {"copy x": X, "copy y": Y}[op], copies=True), out, len(out) - 1)
        elif op.kind == "load":
            value = yield op
            out.append(value)
        else:
            yield op
    yield SETTLE
    for place, value in enumerate(out):
        yield store(RESULTS + 8 * (first + place), value + 1)


def outcomes(litmus: Litmus, memory: Memory) -> set[tuple[int, ...]]:
    """All outcomes that the explorer reaches."""
    threads: dict[str, Callable[[], Program]] = {}
    owners: dict[int, str] = {}
    count = 0
    for number, ops in enumerate(litmus.threads):
        name = f"thread {number}"
        loads = sum(isinstance(op, str) or op.kind == "load" for op in ops)
        threads[name] = lambda ops=ops, first=count: _thread(ops, first)  # type: ignore[misc]
        owners |= {RESULTS + 8 * place: name for place in range(count, count + loads)}
        owners |= {op.address: name for op in ops if not isinstance(op, str) and op.kind == "store"}
        count += loads
    words = {address: Word(str(address), 0, owner) for address, owner in owners.items()}
    seen: set[tuple[int, ...]] = set()

    def collect(newest: Callable[[int], int]) -> None:
        results = tuple(newest(RESULTS + 8 * place) - 1 for place in range(count))
        if min(results) >= 0:
            seen.add(results)

    explore(Scenario(litmus.name, words, threads, invariant=collect), memory)
    return seen


def _x(order: str = "relaxed") -> Op:
    return store(X, 1, order)


def _y(order: str = "relaxed") -> Op:
    return store(Y, 1, order)


LX, LY, AX, AY = load(X), load(Y), load(X, "acquire"), load(Y, "acquire")

LITMUS = (
    Litmus("store buffering", [[_x(), LY], [_y(), LX]], (0, 0), BUFFERED),
    Litmus("store buffering, release and acquire", [[_x("release"), AY], [_y("release"), AX]], (0, 0), BUFFERED),
    Litmus("store buffering, full fences", [[_x(), FULL, LY], [_y(), FULL, LX]], (0, 0), NONE),
    Litmus("store buffering, a full fence on one side", [[_x(), FULL, LY], [_y(), LX]], (0, 0), BUFFERED),
    Litmus("own stores seen early", [[_x(), LX, LY], [_y(), LY, LX]], (1, 0, 1, 0), BUFFERED),
    Litmus("message passing", [[_x(), _y()], [LY, LX]], (1, 0), WEAK),
    Litmus("message passing, release and acquire", [[_x(), _y("release")], [AY, LX]], (1, 0), NONE),
    Litmus("message passing, release alone", [[_x(), _y("release")], [LY, LX]], (1, 0), WEAK),
    Litmus("message passing, acquire alone", [[_x(), _y()], [AY, LX]], (1, 0), WEAK),
    Litmus("message passing, fences", [[_x(), RELEASE, _y()], [LY, ACQUIRE, LX]], (1, 0), NONE),
    Litmus("message passing, copies", [[_x(), _y("release")], ["copy y", "copy x"]], (1, 0), WEAK),
    Litmus("message passing, release of the wrong word", [[_x("release"), _y()], [AY, AX]], (1, 0), WEAK),
    Litmus("load buffering, copies", [["copy x", _y()], ["copy y", _x()]], (1, 1), WEAK),
    Litmus("load buffering, releases", [["copy x", _y("release")], ["copy y", _x("release")]], (1, 1), NONE),
    Litmus("load buffering, acquires", [[AX, _y()], [AY, _x()]], (1, 1), NONE),
    Litmus("load buffering, values in use", [[LX, _y()], [LY, _x()]], (1, 1), NONE),  # a limit: see memory.Weak
    Litmus("coherence of loads", [[_x()], [LX, LX]], (1, 0), NONE),
    Litmus("coherence of copies", [[_x()], ["copy x", "copy x"]], (1, 0), NONE),
    Litmus("coherence with an own store", [[_x(), LX]], (0,), NONE),
    Litmus("causality", [[_x()], [LX, _y()], [AY, LX]], (1, 1, 0), WEAK),
    Litmus("causality, a release in the middle", [[_x()], [LX, _y("release")], [AY, LX]], (1, 1, 0), NONE),
    Litmus("independent reads", [[_x("release")], [_y("release")], [AX, AY], [AY, AX]], (1, 0, 1, 0), WEAK),
    Litmus("independent reads, full fences", [[_x()], [_y()], [LX, FULL, LY], [LY, FULL, LX]], (1, 0, 1, 0), NONE),
)
