# mypy: disable-error-code="no-untyped-call"
"""Questions to the real gate that nobody acts on: the tables as they are, an order from the seed, three profiles.

Two rules: what a looser profile refuses, a tighter one never accepts; and whatever else is wrong with an order, the account's
state answers first (killed, lapsed, halted, then its owner's pause), written down here a second time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import tables
from engine.state import limit_row
from engine.tables import Core
from fabric import layout
from risk import gate, limits
from risk import tables as rt
from tests.simulation.world import Violation, World

_UNOWNED = tables.K_UNOWNED_MASK
ACCEPTED = (layout.ACTION_PASS, layout.ACTION_QUEUE, layout.ACTION_LIMIT_ONLY, layout.ACTION_REDUCE)


class GateProbe:
    def __init__(self, world: World, config: dict[str, Any]) -> None:
        self._random = world.stream("probe")
        self._rows = [np.array(limit_row(limits.profile(name)), np.int64) for name in limits.PROFILES]
        self._order = np.zeros(len(rt.ORDER_IN), np.int64)
        self._out = np.zeros(len(rt.GATE_OUT), np.int64)
        self._instruments = len(config["instruments"])

    def check(self, c: Core, now: int) -> None:
        """Raises Violation."""
        r, q = self._random, self._order
        instrument = r.randrange(self._instruments)
        middle = max(int(c.books[instrument, rt.BK_GOOD_MARK_X2_TICKS]) // 2, 1)
        q[rt.OI_ID] = int(c.account[rt.AC_LAST_ORDER_ID]) + 1
        q[rt.OI_INSTRUMENT], q[rt.OI_OWNER] = instrument, r.choice((rt.OWNER_SIGNALS, rt.OWNER_FIRST_STRATEGY))
        q[rt.OI_SIDE], q[rt.OI_TYPE] = r.randrange(2), r.randrange(1, 6)
        q[rt.OI_PRICE_TICKS] = middle * r.choice((99, 100, 100, 101)) // 100 + r.randrange(-50, 50)
        q[rt.OI_LOTS], q[rt.OI_IS_EXIT] = r.choice((1, 50, 700, 9000)), r.choice((0, 0, 1))
        lease = r.choice((0, 1, 1, 1))
        answers = [self._ask(c, row, lease, now) for row in self._rows]
        takes = [one in ACCEPTED for one in answers]
        if takes != sorted(takes):
            raise Violation(f"5 profiles: {list(zip(limits.PROFILES, answers, strict=True))} for {q.tolist()}")
        first = self._first(c, lease, now)
        if first is not None and set(answers) != {first}:
            raise Violation(f"9 precedence: {answers} where {layout.ACTION[first]} comes first, for {q.tolist()}")

    def _ask(self, c: Core, limit: Any, lease: int, now: int) -> int:
        mask = int(c.scalars[_UNOWNED])
        return int(
            gate.gate(
                self._order,
                c.account,
                c.positions,
                c.books,
                c.instruments,
                limit,
                c.owners,
                c.rate,
                lease,
                mask,
                now,
                self._out,
            )
        )

    def _first(self, c: Core, lease: int, now: int) -> int | None:
        """What must answer before any check of the order itself."""
        state, is_exit = int(c.account[rt.AC_STATE]), bool(self._order[rt.OI_IS_EXIT])
        if state == layout.RISK_KILLED:
            return int(layout.ACTION_KILL)
        if lease == 0 or state == layout.RISK_DISARMED or (state == layout.RISK_HALTED and not is_exit):
            return int(layout.ACTION_HALT)
        owner = c.owners[self._order[rt.OI_OWNER]]
        paused = owner[rt.OW_LATCHED] or now < owner[rt.OW_PAUSED_UNTIL_NS]
        return int(layout.ACTION_PAUSE) if paused and not is_exit else None
