"""What a fault is, and how one is played on a scene: inject at a random moment, wait, judge by the ledger, stand again."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from typing import Any

from tests.chaos.judge import CLEAR_MS, DEAD_MS, LATEST_ORDER_MS, Figures, accepted, figures, keys_at, trading_keys
from tests.chaos.scene import GENTLE_S, ChaosError, Scene
from tests.system.house import now_us

KILL, LAPSE, EITHER, NOTHING, GONE = "kill", "lapse", "either", "nothing", "gone"
PHASE_S = 0.1  # two renewals and a half: the moment of the fault is anywhere in them
WATCH_S, RECOVER_S = 0.5, 20.0
Inject = Callable[[Scene], Any]
Check = Callable[[Scene, Figures], None]


def nothing(_scene: Scene) -> None: ...


def no_check(_scene: Scene, _figures: Figures) -> None: ...


@dataclasses.dataclass(frozen=True)
class Fault:
    """One row. ``inject`` says ``scene.mark()`` at the moment of the fault; ``heal`` undoes what outlives it.

    ``outcome``: ``kill`` latched and proven for ``cause`` (several: ``a|b``), ``lapse`` permission lost and back by itself with
    a new epoch, ``nothing`` trading goes on in the same epoch, ``either`` one of the last two, ``gone`` all of ours is dead.
    The limits are ms after the fault, None where the rules promise no such time; ``promised``: its book clears within the
    promise of the README.
    """

    name: str
    rows: str
    inject: Inject
    outcome: str = KILL
    cause: str = ""
    house: str = "plain"
    heal: Inject = nothing
    check: Check = no_check
    late_ms: float | None = LATEST_ORDER_MS
    clear_ms: float | None = CLEAR_MS
    dead_ms: float | None = DEAD_MS
    proof_s: float = 10.0
    promised: bool = True


def demand(true: bool, what: str, scene: Scene) -> None:
    """ChaosError with the logs unless it is so."""
    if not true:
        raise ChaosError(f"{what}\n{scene.tail()}")


# --- the outcomes


def is_trading(scene: Scene) -> bool:
    """Orders rest and another was accepted within the last 200 ms."""
    ledger = scene.since(now_us() - 200_000)
    return sum(order["status"] == "open" for order in ledger["orders"]) >= 2 and any(
        order["status"] != "rejected" and order["received_ts"] > now_us() - 200_000 for order in ledger["orders"]
    )


def same_epoch(scene: Scene) -> bool:
    """The key of the fault lives on and has sent something in the last 200 ms."""
    ledger = scene.since(scene.fault_us)
    keys = {key["key_id"] for key in keys_at(ledger, scene.fault_us) if key["revoked_ts"] is None}
    return any(order["received_ts"] > now_us() - 200_000 for order in accepted(ledger, keys))


def wait_kill(scene: Scene, fault: Fault) -> None:
    scene.until(scene.proven, fault.proof_s, "a proven kill")
    cause = scene.latch()["cause"]
    demand(not fault.cause or cause in fault.cause.split("|"), f"the kill's cause is {cause}, not {fault.cause}", scene)


def wait_lapse(scene: Scene, fault: Fault) -> None:
    scene.until(scene.next_epoch, RECOVER_S, "an order of the next epoch", GENTLE_S)
    demand(scene.latch() == {}, "a lapse has latched", scene)


def wait_nothing(scene: Scene, fault: Fault) -> None:
    time.sleep(WATCH_S)
    scene.until(lambda: same_epoch(scene), 3.0, "an order of the same epoch", GENTLE_S)
    demand(scene.latch() == {}, "a fault that should change nothing has latched", scene)
    demand(len(trading_keys(scene.since(scene.fault_us))) > 0, "no key", scene)


def wait_either(scene: Scene, fault: Fault) -> None:
    time.sleep(WATCH_S)
    scene.until(lambda: same_epoch(scene) or scene.next_epoch(), RECOVER_S, "an order of this or the next epoch", GENTLE_S)
    demand(scene.latch() == {}, "a lapse has latched", scene)


def wait_gone(scene: Scene, fault: Fault) -> None:
    scene.until(lambda: not scene.standing(), 5.0, "the end of the supervisor")


OUTCOMES: dict[str, Callable[[Scene, Fault], None]] = {
    KILL: wait_kill, LAPSE: wait_lapse, NOTHING: wait_nothing, EITHER: wait_either, GONE: wait_gone,
}  # fmt: skip


# --- one fault


def judge(scene: Scene, fault: Fault) -> Figures:
    """The figures, held against the fault's limits."""
    found = figures(scene.since(scene.fault_us), scene.fault_us)
    try:
        hold(scene, fault, found)
    except ChaosError as error:
        error.figures = found._asdict()
        raise
    return found


def hold(scene: Scene, fault: Fault, found: Figures) -> None:
    """ChaosError unless the figures are within the fault's limits."""
    lived = fault.outcome == NOTHING or (fault.outcome == EITHER and found.key_dead_ms is None)
    if lived:
        fault.check(scene, found)
        return
    demand(found.rested > 0, "nothing rested at the fault: it shows nothing", scene)
    demand(fault.late_ms is None or found.late == 0, f"accepted later than {fault.late_ms} ms: {found}", scene)
    clear_ms, dead_ms = found.resting_clear_ms, found.key_dead_ms
    demand(clear_ms is not None, f"orders still rest: {found}", scene)
    demand(fault.clear_ms is None or (clear_ms or 0.0) <= fault.clear_ms, f"the book was empty too late: {found}", scene)
    if fault.outcome == KILL and fault.dead_ms is not None:
        demand(dead_ms is not None and dead_ms <= fault.dead_ms, f"the key was dead too late: {found}", scene)
        demand(found.refused_ms is not None, f"no use of the dead key was refused: {found}", scene)
    fault.check(scene, found)


def play(scene: Scene, fault: Fault, seed: str) -> Figures:
    """One fault, from a house that trades to a house that trades."""
    scene.rng = random.Random(f"{seed} {fault.name}")
    scene.until(lambda: is_trading(scene), RECOVER_S, "a house that trades", GENTLE_S)
    time.sleep(scene.rng.uniform(0, PHASE_S))
    scene.fault_us = 0
    fault.inject(scene)
    demand(scene.fault_us > 0, "the fault has no moment", scene)
    try:
        OUTCOMES[fault.outcome](scene, fault)
        return judge(scene, fault)
    finally:
        fault.heal(scene)


def recover(scene: Scene, fault: Fault) -> None:
    """Make the scene ready for the next fault."""
    if not scene.standing():
        scene.build()
    elif fault.outcome == KILL:
        scene.until(lambda: bool(scene.tell("state")["kill"]), RECOVER_S, "the supervisor's account of the kill")
        scene.again()
    else:
        scene.tell("calm")
