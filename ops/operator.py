"""What an operator decides about the state that outlives a run: lift what is in force, or set it aside.

Writes ``state/clear.json`` (taken and removed by the next start, ``engine.restart``), moves ``state/checkpoint-*.bin`` and
``state/journal`` to ``state/forgotten-<wall ns>``, and appends one line per decision to ``state/operator.log``. Raises
InstanceError with what to do.
"""

from __future__ import annotations

import json
import time

from engine.checkpoint import SLOTS
from engine.journal_file import write_durable
from engine.restart import CLEAR
from ops import instance
from ops.instance import InstanceError, Paths
from watchdog.latch import Durable, sync_directory


def clear(where: Paths, operator: str, reason: str, peak: bool) -> str:
    """Halt, pauses and latches of owners, blocked instruments and today's loss end with the next start."""
    order = _decide(where, "clear", operator, reason) | {"peak": peak}
    write_durable(where.state_dir / CLEAR, (json.dumps(order) + "\n").encode())
    return "it takes effect at the next start" + ("; stop the one that runs" if instance.running(where) else "")


def forget(where: Paths, operator: str, reason: str) -> str:
    """Checkpoints and journal are kept, but no start reads them any more."""
    if instance.running(where):
        raise InstanceError(f"{where.run_dir.name} is running: stop it first")
    order = _decide(where, "forget", operator, reason)
    aside = where.state_dir / f"forgotten-{order['wall_ns']}"
    aside.mkdir(mode=0o700)
    for name in (*SLOTS, "journal"):
        if (where.state_dir / name).exists():
            (where.state_dir / name).rename(aside / name)
    sync_directory(where.state_dir)
    return f"set aside in {aside}"


def _decide(where: Paths, what: str, operator: str, reason: str) -> dict[str, object]:
    if not operator.strip() or not reason.strip():
        raise InstanceError(f"{what} needs an operator and a reason")
    if not where.state_dir.is_dir():
        raise InstanceError(f"{where.state_dir} does not exist: no instance of that name has run here")
    order: dict[str, object] = {"wall_ns": time.time_ns(), "what": what, "operator": operator.strip(), "reason": reason.strip()}
    Durable(where.state_dir).log(order)
    return order
