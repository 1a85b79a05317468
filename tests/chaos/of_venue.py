"""Faults of the exchange and of the way to it: keys that cannot be revoked, a socket nobody reads, a lost connection."""

from __future__ import annotations

import os
import signal
import time

from tests.chaos.faults import KILL, NOTHING, Check, Fault, Inject, demand
from tests.chaos.judge import Figures, keys_at
from tests.chaos.of_engine import DEAD, ask_kill, calm
from tests.chaos.scene import Scene
from tests.chaos.strategies import tireless

SLOW_S = 2.0
UNREAD_S = 2.0


def revoke_by_hand(scene: Scene) -> None:
    """Of a house that has been well for a while: its session did not end a few seconds ago in another fault."""
    scene.plant("calm_down")
    time.sleep(0.05)
    key = keys_at(scene.since(0), 1 << 62)[-1]
    scene.mark()
    scene.revoke(key["key_id"])


def kill_while(heal_after_s: float, **switches: object) -> Inject:
    """An operator's kill while the exchange misbehaves; it behaves again after a while."""

    def inject(scene: Scene) -> None:
        scene.faults(**switches)
        ask_kill(scene)
        time.sleep(heal_after_s)
        demand(not scene.proven() or not heal_after_s, "the kill was called proven while the key lived", scene)
        scene.faults(revoke="normal")

    return inject


def kill_with_slow_revocation(delay_s: float) -> Inject:
    def inject(scene: Scene) -> None:
        scene.faults(revoke="slow", revoke_delay_s=delay_s)
        ask_kill(scene)

    return inject


def proven_late(delay_s: float) -> Check:
    """Not called proven before the key was dead."""

    def check(scene: Scene, found: Figures) -> None:
        demand(found.key_dead_ms is not None and found.key_dead_ms >= delay_s * 900, f"dead too early: {found}", scene)
        demand(scene.latch()["ms"] >= delay_s * 900, "called proven while the key lived", scene)

    return check


def kill_in_storm(scene: Scene) -> None:
    scene.command(tireless.STORM)
    time.sleep(0.3)
    ask_kill(scene)


def drill_in_storm(scene: Scene) -> None:
    scene.mark()
    scene.command(tireless.STORM)
    time.sleep(0.2)
    answer = scene.ask(op="drill")
    demand(answer.get("result") == "pass", f"the drill: {answer}", scene)


def stop_reading(scene: Scene) -> None:
    """Nothing that execution sends is read for 2 s; it is stopped, killed, and what it sent must not trade when it is read."""
    scene.command(tireless.STORM)
    time.sleep(0.1)
    execution = scene.pid("execution")
    scene.faults(stop_reading_s=UNREAD_S)
    time.sleep(0.05)
    scene.mark()
    os.kill(execution, signal.SIGKILL)


def wait_until_read(scene: Scene, found: Figures) -> None:
    """The rest of the silence, and then the ledger again."""
    time.sleep(UNREAD_S + 0.2)
    demand(not scene.open_orders(), "an order from the socket rests", scene)
    demand(found.late == 0, "an order from the socket was accepted", scene)
    late = [o for o in scene.since(scene.fault_us)["orders"] if o["received_ts"] > scene.fault_us + 250_000]
    demand(all(order["status"] == "rejected" for order in late), f"accepted out of the socket: {late}", scene)


def stop_exchange(scene: Scene) -> None:
    """The exchange itself stands still for a second after an operator's kill: unproven, and done when it goes on."""
    assert scene.exchange
    os.kill(scene.exchange.pid, signal.SIGSTOP)
    scene.mark()
    scene.ask(op="kill", reason="chaos")
    time.sleep(1.0)
    demand(not scene.proven(), "proven without an exchange", scene)
    os.kill(scene.exchange.pid, signal.SIGCONT)


def cut(cancel: bool) -> Inject:
    """The order session's connection is lost; the exchange cancels by itself, or does not."""

    def inject(scene: Scene) -> None:
        scene.faults(cancel_on_disconnect=cancel)
        scene.mark()
        scene.plant("cut")
        time.sleep(0.6)

    return inject


def cancelled_by_exchange(scene: Scene, _figures: Figures) -> None:
    found = [order for order in scene.since(scene.fault_us)["orders"] if order["end_reason"] == "killed"]
    demand(len(found) >= 2, "the exchange has cancelled nothing", scene)


def kept_by_exchange(scene: Scene, found: Figures) -> None:
    ledger = scene.since(scene.fault_us)
    demand(found.rested >= 2, "nothing rested", scene)
    demand(not [order for order in ledger["orders"] if order["end_reason"] == "killed"], "the exchange has cancelled", scene)


def killed_with_cancel_on_disconnect(scene: Scene) -> None:
    scene.faults(cancel_on_disconnect=True)
    execution = scene.pid("execution")
    scene.mark()
    os.kill(execution, signal.SIGKILL)


def no_cod(scene: Scene) -> None:
    scene.faults(cancel_on_disconnect=False)


UNREVOKED = {"late_ms": 250.0, "dead_ms": None}
FAULTS = (
    Fault("operator_kill", "33", ask_kill, KILL, "operator"),
    Fault("operator_kill_in_a_storm", "33", kill_in_storm, KILL, "operator"),
    Fault("drill_in_a_storm", "33", drill_in_storm, NOTHING, heal=calm),
    Fault("key_revoked_by_hand", "12", revoke_by_hand, KILL, "key_revoked_elsewhere", "handed"),
    Fault("revocation_fails", "13", kill_while(0.7, revoke="fail"), KILL, "operator", dead_ms=None),
    Fault("revocation_absent", "13", kill_while(0.7, revoke="absent"), KILL, "operator", dead_ms=None),
    Fault("revocation_takes_2_s", "13", kill_with_slow_revocation(SLOW_S), KILL, "operator", dead_ms=None,
          check=proven_late(SLOW_S)),
    Fault("revocation_takes_60_s", "13", kill_with_slow_revocation(60.0), KILL, "operator", "patient", dead_ms=None,
          check=proven_late(60.0), proof_s=90.0),
    Fault("revocation_leaves_sessions", "13", kill_while(0.0, revoked_sessions_stay=True), KILL, "operator"),
    Fault("exchange_not_reading", "13 b", stop_reading, KILL, DEAD, check=wait_until_read),
    Fault("exchange_stands_still", "13 b", stop_exchange, KILL, "operator", clear_ms=3000, dead_ms=3000, promised=False),
    Fault("disconnect", "29", cut(False), NOTHING, house="handed", check=kept_by_exchange),
    Fault("disconnect_cancels", "29", cut(True), NOTHING, house="handed", check=cancelled_by_exchange, heal=no_cod),
    Fault("killed_where_disconnect_cancels", "29", killed_with_cancel_on_disconnect, KILL, DEAD, heal=no_cod),
)  # fmt: skip
