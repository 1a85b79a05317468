# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What the order table costs per operation while so many orders are open: open, find, fill in part, close, and a whole submit.

A table of 65,536 rows; a run has ``engine.tables.ORDERS`` of them, which the kernels take from the table itself. Orders go
round: each sample closes the oldest open order and opens a new one, finds one chosen at random and fills one lot of it
through ``engine.events.on_fill`` (order, account, position, sub-book, journal record). ``submit`` is the whole of
``engine.submit.submit`` (prechecks, own cross, gate, table, journal record, command) with that many orders resting on both
sides of the same instrument. A random one of many rows is in no near cache; how far the figures rise with that is the
machine's part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.exec import house
from bench.exec.cycles import Idle, Words, cycles, summary
from engine import core, events, orders, submit
from engine import tables as et
from engine.core_type import core_at
from fabric import layout as lay
from fabric.jit import kernel
from ops.placement import Placement
from risk import tables as rt

ROWS = 65_536
LIVE = (16, 256, 4_096, 16_384, 65_536)
OPERATIONS = ("close", "open", "find", "fill", "submit")
NOW_NS = 1_000_000_000_000
STEP_NS = 10_000_000


@kernel
def fill_table(address, rows, live, apart, now_ns):
    """Open so many orders, so many rows apart."""
    c = core_at(address)
    for k in range(live):
        c.scalars[et.K_NEXT_COUNTER] += apart - 1
        orders.open_order(c, orders.free_row(c), rows[k % len(rows)], 0, now_ns)
    return c.scalars[et.K_LIVE_COUNT]


@kernel
def table_loop(address, rows, live, chosen, event, trade, now_ns, samples):
    """Close the oldest, open a new one, find one, fill one lot of it; a column of samples each. How many were found."""
    c = core_at(address)
    found = 0
    for k in range(len(samples)):
        oldest = (c.scalars[et.K_NEXT_COUNTER] - live) & (ROWS - 1)
        before = cycles()
        orders.close_order(c, oldest, lay.STATE_CANCELLED, lay.REASON_UNFILLED, now_ns)
        samples[k, 0] = cycles() - before
        q = rows[k % len(rows)]
        before = cycles()
        orders.open_order(c, orders.free_row(c), q, 0, now_ns)
        samples[k, 1] = cycles() - before
        order_id = orders.next_id(c) - 1 - chosen[k]
        before = cycles()
        row = orders.find(c, order_id)
        samples[k, 2] = cycles() - before
        found += 1 if row >= 0 else 0
        event[et.EV_ORDER_ID], event[et.EV_TRADE_ID] = order_id, trade + k
        event[et.EV_PRICE_TICKS] = c.orders[row, et.OR_PRICE_TICKS]
        before = cycles()
        events.on_fill(c, event, now_ns)
        samples[k, 3] = cycles() - before
        c.journal_count[0] = c.scalars[et.K_RECONCILE_WANTED] = 0
    return found


@kernel
def submit_loop(address, rows, now_ns, step_ns, samples):
    """Submit one order per sample; the venue then cancels it. The time reached, or minus how many were let through."""
    c = core_at(address)
    through = 0
    for k in range(len(samples)):
        for word in range(len(rt.ORDER_IN)):
            c.order_in[word] = rows[k % len(rows), word]
        before = cycles()
        row = submit.submit(c, now_ns, 0)
        samples[k] = cycles() - before
        if row >= 0:
            through += 1
            core.placed(c, row, core.SENT, lay.REASON_NONE, now_ns)
            orders.close_order(c, row, lay.STATE_CANCELLED, lay.REASON_UNFILLED, now_ns)
        c.scalars[et.K_COMMANDS] = c.journal_count[0] = 0
        now_ns += step_ns
    return now_ns if through == len(samples) else -through


class Table:
    """A core with 65,536 order rows, so many of them open."""

    def __init__(self, where: Placement, live: int, apart: int = 1) -> None:
        core_tables = house.core_of(where, 1)
        self.core = core_tables._replace(orders=np.full((ROWS, len(et.ORDER)), 0, np.int64))
        self.core.books[:, rt.BK_UPDATED_NS] = NOW_NS
        self.live, self.now_ns, self.trades = live, NOW_NS, 0
        self.rows = house.order_rows(1024, 1)
        if int(fill_table(self.core.address, self.rows, live, apart, NOW_NS)) != live:
            raise Idle(f"the table does not take {live} orders")

    def operations(self, count: int) -> Words:
        """Columns of samples; raises Idle when an order was not found or the table did not stay as full."""
        samples = np.zeros((count, 4), np.int64)
        chosen = np.random.default_rng(3).integers(0, self.live, count)
        event = np.full(len(et.EVENT), -1, np.int64)
        event[[et.EV_KIND, et.EV_LOTS, et.EV_FEE_E8]] = lay.EVENT_FILL, 1, 0
        address, trade = self.core.address, self.trades
        found = int(table_loop(address, self.rows, self.live, chosen, event, trade, NOW_NS, samples))
        self.trades += count
        live = int(self.core.scalars[et.K_LIVE_COUNT])
        if found != count or live != self.live:
            raise Idle(f"{found} of {count} orders found, {live} of {self.live} open afterwards")
        return samples

    def submits(self, count: int) -> Words:
        """Samples; raises Idle when an order was not let through."""
        samples = np.zeros(count, np.int64)
        self.now_ns = int(submit_loop(self.core.address, self.rows, self.now_ns, STEP_NS, samples))
        if self.now_ns < 0:
            raise Idle(f"{-self.now_ns} of {count} orders let through: {self.core.outputs.tolist()}")
        return samples


def measure(where: Placement, samples: int, tick: float) -> dict[str, Any]:
    """`orders_ns` per number of open orders and operation; raises Idle. The caller is on the cpu to be measured."""
    found: dict[str, Any] = {}
    for live in LIVE:
        table = Table(where, live)
        table.operations(max(samples // 10, 1))
        columns = table.operations(samples)
        one = {name: summary(columns[:, k], tick) for k, name in enumerate(OPERATIONS[:4])}
        found[str(live)] = one
        if live < ROWS:
            table = Table(where, live, ROWS // live)
            table.submits(max(samples // 10, 1))
            one["submit"] = summary(table.submits(samples), tick)
    return {"orders_ns": found}
