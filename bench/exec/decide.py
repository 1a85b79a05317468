# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""From a market event on the ring to encoded, masked orders in the send buffer, in cycles: what ``exec_pass`` does in between.

In a sample: the poll of the market ring, the copy of the record, two stage histograms, its journal record, the book, every
strategy bound to the instrument, own-cross, gate, order table, intent, the clock read and histogram that end the decision, the
flush of the journal, lease, epoch and session once more, JSON, frame and mask. Not in it: publishing the event, and the
call of ``send`` with what comes after. Outside the timing the venue then answers each immediate order (cancelled, nothing
filled), quotes stay, and 10 ms pass. Each event is for the next instrument, so the rows of the others are in between.

One strategy is ``strategies/echo.py``: one immediate order for each event. Four are three ``market_making`` before it, each
with two quotes live in every instrument, which they keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.exec import house
from bench.exec.cycles import Idle, Words, cycles, summary
from engine import core, inbound, journaling, outbound
from engine import tables as et
from engine import wiring as wi
from engine.core_type import core_at
from fabric import layout as lay
from fabric.atomics import load_relaxed, row, store_release
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.meters import record
from fabric.rings import market_publish
from ops.placement import Placement

NS_PER_MS = 1_000_000
CASES = {  # instruments and strategies
    "1_strategy_1_instrument": (1, 1),
    "1_strategy_8_instruments": (8, 1),
    "1_strategy_32_instruments": (32, 1),
    "4_strategies_1_instrument": (1, 4),
    "4_strategies_32_instruments": (32, 4),
}


@kernel
def to_orders(w, n, c, now_ns):
    """The timed part; returns new orders encoded."""
    inbound.read_market(w, n, c, now_ns)
    count = c.scalars[et.K_COMMANDS]
    started = monotonic_ns(w[wi.WI_SCRATCH])
    record(w[wi.WI_STATS], lay.EH_DECIDE, started - now_ns)
    journaled = journaling.flush(w, n, c)
    wall_ms = (now_ns + c.scalars[et.K_WALL_OFFSET_NS]) // NS_PER_MS
    outbound.encode_cancels(w, n, c, count, wall_ms)
    reason = outbound.refusal(w, n, c, journaled, now_ns)
    return outbound.encode_places(w, n, c, count, wall_ms, reason, now_ns)


@kernel
def answer(w, n, c, event, now_ns):
    """All was sent; the venue has every quote, and every immediate or cancelled order has ended unfilled."""
    count = c.scalars[et.K_COMMANDS]
    outbound.report_places(w, c, count, core.SENT, lay.REASON_NONE, now_ns)
    outbound.report_cancels(c, count, 1, now_ns)
    c.scalars[et.K_COMMANDS] = n[wi.WN_SEND_END] = n[wi.WN_TRIGGER_RECV_NS] = 0
    for k in range(count):
        m = c.commands[k]
        rests = m[et.CM_KIND] == et.COMMAND_PLACE and m[et.CM_TYPE] != lay.TYPE_IOC
        event[et.EV_KIND] = lay.EVENT_ACK if rests else lay.EVENT_CANCELLED
        event[et.EV_ORDER_ID], event[et.EV_VENUE_ID] = m[et.CM_ORDER_ID], k
        event[et.EV_CUMULATIVE], event[et.EV_REASON] = -1 if rests else 0, lay.REASON_UNFILLED
        core.on_event(c, event, now_ns)
    journaling.flush(w, n, c)
    store_release(
        w[wi.WI_JOURNAL] + lay.JOURNAL_PROGRESS_OFFSET + lay.JP_CONSUMED * 8,
        load_relaxed(w[wi.WI_EXEC] + lay.EXEC_JOURNAL_CURSOR_OFFSET),
    )
    return count


@kernel
def decide_loop(wiring_address, slot, event, bid, now_ns, step_ns, samples, done):
    """One event and its orders per sample; `done`: new orders encoded, most in one step. Returns the time reached."""
    w, n = row(wiring_address, wi.ROWS), row(wiring_address + wi.ROWS * 8, wi.ROWS)
    c = core_at(w[wi.WI_CORE])
    market = w[wi.WI_MARKET]
    for k in range(len(samples)):
        instrument = k % n[wi.WN_INSTRUMENTS]
        slot[lay.M_INSTRUMENT] = instrument
        slot[lay.M_BID_TICKS] = bid + (k // n[wi.WN_INSTRUMENTS] & 1)
        slot[lay.M_ASK_TICKS] = slot[lay.M_BID_TICKS] + 10
        slot[lay.M_RECV_NS] = slot[lay.M_PUBLISH_NS] = now_ns
        market_publish(market + lay.MARKET_CURSOR_OFFSET, market + lay.MARKET_RING_OFFSET, lay.MARKET_SLOTS, slot)
        before = cycles()
        placed = to_orders(w, n, c, now_ns)
        samples[k] = cycles() - before
        done[0] += placed
        done[1] += c.scalars[et.K_COMMANDS]
        answer(w, n, c, event, now_ns)
        now_ns += step_ns
    return now_ns


class Decision:
    """A trading house, warmed until every quote rests."""

    def __init__(self, where: Placement, instruments: int, strategies: int) -> None:
        makers = [dict(house.MAKER) for _ in range(strategies - 1)]
        self.house = house.trading(where, instruments, [*makers, {"name": "echo", "file": str(house.ECHO)}])
        self.slot, self.event = np.zeros(16, np.int64), np.full(len(et.EVENT), -1, np.int64)
        self.slot[lay.M_KIND], self.slot[lay.M_STATUS] = lay.MARKET_TICK, lay.BOOK_READY
        self.slot[[lay.M_BID_LOTS, lay.M_ASK_LOTS]] = 50_000
        self.event[et.EV_FEE_E8] = 0
        self.now_ns = int(self.house.pages["lease"][lay.L_GRANTED_NS])
        self.house.pages["lease"][lay.L_DEADLINE_NS] = self.now_ns + 10**15
        self.live = 2 * (strategies - 1) * instruments

    def run(self, count: int, warm: bool = False) -> Words:
        """Samples in ticks; raises Idle unless each event gave exactly one new order and the quotes all stayed."""
        samples, done = np.zeros(count, np.int64), np.zeros(2, np.int64)
        core_tables = self.house.memory.core
        address = self.house.memory.table.ctypes.data
        self.now_ns = int(decide_loop(address, self.slot, self.event, house.BID, self.now_ns, house.STEP_NS, samples, done))
        live = int(core_tables.scalars[et.K_LIVE_COUNT])
        if not warm and (done.tolist() != [count, count] or live != self.live):
            reasons = core_tables.counters[lay.EXEC_REASON_BASE :]
            why = {lay.REASON[k]: int(reasons[k]) for k in np.flatnonzero(reasons)}
            raise Idle(f"{done[0]} orders and {done[1]} messages for {count} events, {live} of {self.live} quotes live: {why}")
        return samples


def measure(where: Placement, samples: int, tick: float) -> dict[str, Any]:
    """`decision_ns` of each case; raises Idle. The caller is on the cpu to be measured."""
    found = {}
    for name, (instruments, strategies) in CASES.items():
        decision = Decision(where, instruments, strategies)
        turn = 2 * instruments  # after which the touch of every instrument is what it was
        decision.run(max(60, 4_000 // turn) * turn, warm=True)
        found[name] = summary(decision.run(max(samples // turn, 1) * turn), tick)
    return {"decision_ns": found}
