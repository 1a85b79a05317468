"""The same faults without the watchdog, and without the lease that it writes: what they claim to improve must fail here.

An execution whose lease check has no effect, and a watchdog that is stopped at the moment of the fault. A second later
the exchange's ledger is read; then the watchdog goes on and ends it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

from tests.chaos.catalogue import FAULTS
from tests.chaos.faults import RECOVER_S, demand, is_trading
from tests.chaos.judge import CLEAR_MS, figures
from tests.chaos.run import Chaos
from tests.chaos.scene import Scene

# Fault of the catalogue -> whether something still sends after it.
CONTROLS = {
    "execution_killed": False,
    "execution_stopped": False,
    "loop_wedged": False,
    "runaway_with_a_good_beat": True,
    "operator_kill_in_a_storm": True,
    "feed_stopped": False,
}
LOOK_S = 0.3  # beyond the latest moment that counts


def without_watchdog(scene: Scene, name: str, seed: str) -> dict[str, Any]:
    """One fault with the watchdog stopped; its figures a second later. Fails when one that is claimed still holds."""
    scene.rng = random.Random(f"{seed} {name}")
    scene.until(lambda: is_trading(scene), RECOVER_S, "a house that trades")
    dog, feed = scene.pid("watchdog"), scene.pid("feed")
    os.kill(dog, signal.SIGSTOP)
    try:
        inject(scene, name)
        time.sleep(max(0.0, CLEAR_MS / 1000 + LOOK_S - (time.time_ns() // 1000 - scene.fault_us) / 1e6))
        found = figures(scene.since(scene.fault_us), scene.fault_us)
        demand(found.still > 0, f"{name}: the book was empty without a watchdog", scene)
        demand(found.key_dead_ms is None, f"{name}: the key died without a watchdog", scene)
        demand(not CONTROLS[name] or found.late > 0, f"{name}: orders ended without a watchdog", scene)
    finally:
        os.kill(feed, signal.SIGCONT)
        os.kill(dog, signal.SIGCONT)
    scene.ask(op="kill", reason="the control is over")
    scene.until(scene.proven, 10.0, "a proven kill")
    scene.until(lambda: bool(scene.tell("state")["kill"]), RECOVER_S, "the supervisor's account of the kill")
    scene.again()
    return found._asdict()


def inject(scene: Scene, name: str) -> None:
    """The fault without its own waiting for a watchdog."""
    if name == "operator_kill_in_a_storm":
        FAULTS["runaway_with_a_good_beat"].inject(scene)  # the operator's word reaches nobody
    elif name == "feed_stopped":
        scene.mark()
        os.kill(scene.pid("feed"), signal.SIGSTOP)
    else:
        FAULTS[name].inject(scene)


def play_controls(chaos: Chaos, seed: str) -> dict[str, dict[str, Any]]:
    """Every control once, in one house."""
    scene = chaos.scene("alone")
    found = {name: without_watchdog(scene, name, seed) for name in CONTROLS}
    chaos.drop(scene)
    return found
