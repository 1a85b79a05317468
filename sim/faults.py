"""Switches that make the paper exchange misbehave on purpose, so that tests can see how the rest copes. All off at start.

revoke: how DELETE /v1/keys/ID behaves. `normal`: the key is dead before the answer. `fail`: 503, the key lives on.
`absent`: 404 as if the venue had no such route. `slow`: the answer comes at once, the key dies `revoke_delay_s` later.
revoked_sessions_stay: open sessions of a revoked key are not closed (their orders are refused all the same).
cancel_on_disconnect: the end of a session cancels the open orders of its key.
stop_reading_s: from now on for that long no client frame is looked at.
duplicate, drop, reorder: the chance of each market message to be sent twice, not at all, or after the one that follows
it, by a seeded generator. delay_ms: everything sent to sessions leaves so much later.
reject_all: each order of a key is rejected, reason halted.
timer_absent: no dead-man timer, 404. timer_dead: it can be set and never fires.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from typing import Any

REVOKE = ("normal", "fail", "absent", "slow")
_LIMITS = {
    "revoke_delay_s": 3600.0,
    "stop_reading_s": 3600.0,
    "duplicate": 1.0,
    "drop": 1.0,
    "reorder": 1.0,
    "delay_ms": 600_000.0,
}


@dataclass(slots=True)
class Faults:
    """The switches in force. `raw` is not kept: it is sent once."""

    revoke: str = "normal"
    revoke_delay_s: float = 60.0
    revoked_sessions_stay: bool = False
    cancel_on_disconnect: bool = False
    stop_reading_s: float = 0.0
    duplicate: float = 0.0
    drop: float = 0.0
    reorder: float = 0.0
    delay_ms: float = 0.0
    reject_all: bool = False
    timer_absent: bool = False
    timer_dead: bool = False
    _random: random.Random = field(default_factory=lambda: random.Random(7), repr=False)

    def update(self, body: dict[str, Any]) -> None:
        """Set the switches named in `body` and no other; ValueError, with nothing set, when one is unknown or malformed."""
        for name, value in body.items():
            if name == "revoke":
                good = value in REVOKE
            elif name in _LIMITS:
                good = type(value) in (int, float) and 0 <= value <= _LIMITS[name]
            else:
                good = name in _BOOLEANS and type(value) is bool
            if not good:
                raise ValueError(f"fault switch {name}: unknown, or a value it cannot take")
        for name, value in body.items():
            setattr(self, name, value)

    def copies(self) -> int:
        """How often to send the next market message to a session: 0, 1 or 2."""
        if self.drop and self._random.random() < self.drop:
            return 0
        return 2 if self.duplicate and self._random.random() < self.duplicate else 1

    def swaps(self) -> bool:
        """Whether to send the next market message to a session only after the one that follows it."""
        return self.reorder > 0 and self._random.random() < self.reorder

    def as_dict(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "_random"}


_BOOLEANS = ("revoked_sessions_stay", "cancel_on_disconnect", "reject_all", "timer_absent", "timer_dead")
