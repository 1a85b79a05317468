# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The whole risk gate per order, in cycles, and each of its checks alone.

The gate is called as the engine calls it (``engine.submit.judge``), on 64 different orders in turn; after each one, outside the
timing, ``gate.sent`` takes its rate slot and remembers it, and time goes on. Checks are timed in loops without a counter
inside: the reason of each call is stored atomically, which the compiler neither drops nor lets it keep anything that it read
before; the sum of all reasons is compared with what the interpreted check says. An empty loop of the same form is beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from bench.exec import house
from bench.exec.cycles import Idle, Words, cycles, summary
from engine import submit
from engine.core_type import core_at
from engine.tables import Core
from fabric import layout
from fabric.atomics import store_relaxed
from fabric.jit import HOT, kernel
from ops.placement import Placement
from risk import checks, gate, rate
from risk import tables as rt

ORDERS = 64  # a power of two
NOW_NS = 1_000_000_000_000
INSTRUMENTS = (1, 2, 8, 32)
UNCACHED: dict[str, Any] = HOT | {"cache": False}

# Each check as `refuse_any`, `refuse_new` and `gate` call it, in their order.
CHECKS: dict[str, Callable[..., int]] = {
    "state_action": lambda q, c, now: gate.state_action(gate.engine_state(c.account, 1), rt.OPERATION_NEW),
    "owner_state": lambda q, c, now: checks.owner_state(q, c.owners, now),
    "fields": lambda q, c, now: checks.fields(q, c.instruments, c.owners),
    "duplicate_id": lambda q, c, now: checks.duplicate_id(q, c.account),
    "limits_present": lambda q, c, now: checks.limits_present(q, c.limits),
    "reconciled": lambda q, c, now: checks.reconciled(c.account),
    "grid": lambda q, c, now: checks.grid(q, c.instruments),
    "exit_bound": lambda q, c, now: checks.exit_bound(q, c.positions),
    "book": lambda q, c, now: checks.book(q, c.books, c.limits, now),
    "collar": lambda q, c, now: checks.collar(q, c.books, c.limits, now),
    "min_notional": lambda q, c, now: checks.min_notional(q, q[rt.OI_LOTS], c.books, c.instruments, c.limits, now),
    "funds": lambda q, c, now: checks.funds(q, c.positions, c.instruments),
    "duplicate_order": lambda q, c, now: checks.duplicate_order(q, c.owners, c.limits, now),
    "unowned": lambda q, c, now: checks.unowned(q, c.positions, 0),
    "max_notional": lambda q, c, now: checks.max_notional(q, c.books, c.instruments, c.limits),
    "open_orders": lambda q, c, now: checks.open_orders(c.account, c.limits),
    "position": lambda q, c, now: checks.position(q, c.account, c.positions, c.books, c.instruments, c.limits, now),
    "gross": lambda q, c, now: checks.gross(q, c.account, c.positions, c.books, c.instruments, c.limits, now),
    "message_rate": lambda q, c, now: checks.message_rate(c.rate, c.limits, now),
    "reduce": lambda q, c, now: gate.reduce(q, c.account, c.positions, c.books, c.instruments, c.limits, now, c.outputs),
    "limit_only": lambda q, c, now: gate.limit_only(q, c.account, c.books, c.limits, now, c.outputs),
    "order_rate": lambda q, c, now: rate.would_exceed(c.rate, c.limits, now),
}


@kernel
def gate_loop(address, orders, now_ns, step_ns, samples, done):
    """Judge one order per sample; `done` counts those that may be sent."""
    c = core_at(address)
    for k in range(len(samples)):
        q = orders[k & (ORDERS - 1)]
        q[rt.OI_ID] = k + 1
        before = cycles()
        action = submit.judge(c, q, c.outputs, now_ns)
        samples[k] = cycles() - before
        done[0] += 1 if action == layout.ACTION_PASS else 0
        gate.sent(q, c.account, c.owners, c.rate, now_ns)
        now_ns += step_ns
    return now_ns


def timed(check: Callable[..., int] | None) -> Callable[..., int]:
    """A compiled loop over one check (None: over nothing); cycles for all calls. Not cached: it is made of a parameter."""
    one = kernel(check) if check else None

    if one:

        def loop(address, orders, times, now_ns, trace):
            c = core_at(address)
            before = cycles()
            for k in range(times):
                store_relaxed(trace + (k & (ORDERS - 1)) * 8, one(orders[k & (ORDERS - 1)], c, now_ns))
            return cycles() - before

    else:

        def loop(address, orders, times, now_ns, trace):
            before = cycles()
            for k in range(times):
                store_relaxed(trace + (k & (ORDERS - 1)) * 8, orders[k & (ORDERS - 1), rt.OI_INSTRUMENT])
            return cycles() - before

    compiled: Callable[..., int] = numba.njit(**UNCACHED)(loop)
    return compiled


class Judge:
    """A funded core with its orders."""

    def __init__(self, where: Placement, instruments: int) -> None:
        self.core: Core = house.core_of(where, instruments)
        self.core.books[:, rt.BK_UPDATED_NS] = NOW_NS
        self.orders = house.order_rows(ORDERS, instruments)
        self.now_ns = NOW_NS

    def gate(self, count: int) -> Words:
        """Samples in ticks of so many orders; raises Idle when one was not let through."""
        samples, done = np.zeros(count, np.int64), np.zeros(1, np.int64)
        self.core.account[rt.AC_LAST_ORDER_ID] = 0
        self.now_ns = int(gate_loop(self.core.address, self.orders, self.now_ns, house.STEP_NS, samples, done))
        self.core.books[:, rt.BK_UPDATED_NS] = self.now_ns
        if done[0] != count:
            raise Idle(f"the gate let {done[0]} of {count} orders through: {self.core.outputs[:5].tolist()}")
        return samples

    def check(self, name: str, loop: Callable[..., int], times: int, tick: float) -> float:
        """ns per call; raises Idle when the last answers are not those of the interpreted check."""
        trace = np.full(ORDERS, -1, np.int64)
        self.orders[:, rt.OI_ID] = 1 << 40
        spent = loop(self.core.address, self.orders, times, self.now_ns, trace.ctypes.data)
        said = CHECKS[name](self.orders[0], self.core, self.now_ns) if name in CHECKS else self.orders[0, rt.OI_INSTRUMENT]
        if trace[0] != said or (trace < 0).any():
            raise Idle(f"{name} answered {trace[0]} in the loop and {said} outside")
        return spent * tick / times


def measure(where: Placement, samples: int, times: int, rounds: int, tick: float) -> dict[str, Any]:
    """`gate_ns` per number of instruments and `checks_ns`; raises Idle. The caller is on the cpu to be measured."""
    gates: dict[str, Any] = {}
    for instruments in INSTRUMENTS:
        judge = Judge(where, instruments)
        judge.gate(5_000)
        gates[str(instruments)] = summary(judge.gate(samples), tick)
    judge = Judge(where, 1)
    loops = {"empty": timed(None)} | {name: timed(check) for name, check in CHECKS.items()}
    found: dict[str, list[float]] = {name: [] for name in loops}
    for name, loop in loops.items():
        judge.check(name, loop, 1000, tick)
    for _ in range(rounds):
        for name, loop in loops.items():
            found[name].append(judge.check(name, loop, times, tick))
    return {"gate_ns": gates, "checks_ns": {name: round(float(np.median(values)), 2) for name, values in found.items()}}
