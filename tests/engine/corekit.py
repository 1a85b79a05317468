"""A small run for core tests: one instrument, a funded reconciled account, a fake clock, helpers that speak in fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import core, state, tables
from engine.tables import Core
from fabric import layout
from risk import tables as risk

T0 = 1_000_000_000_000
MS = 1_000_000
LIMITS = {
    "day_loss_ppm": 10_000,
    "position_ppm": 500_000,
    "order_rate_per_s": 200,
    "losses_in_row": 3,
    "slippage_ppm": 1_000_000,
    "drawdown_ppm": 50_000,
    "pause_ns": 300_000_000_000,
    "pauses_to_latch": 3,
    "collar_ppm": 20_000,
    "max_order_notional_e8": 10**13,
    "max_open_orders": 64,
    "gross_exposure_ppm": 1_000_000,
    "stale_book_ns": 10_000_000_000,
    "queue_ttl_ns": 1_000_000_000,
    "queue_slots": 8,
    "message_rate_per_s": 1000,
    "duplicate_window_ns": 0,
    "rejects_in_row": 100,
    "min_quote_life_ns": 50 * MS,
    "cross_ticks": 5,
    "signal_notional_per_h_e8": 10**13,
    "signal_count_per_h": 1000,
    "send_window_ns": 200 * MS,
    "unsent_bytes_max": 512,
}


def config(**limits: int) -> dict[str, Any]:
    """The configuration of a test run."""
    instrument = {
        "symbol": "BTC-USDC",
        "kind": "spot",
        "tick_size": "0.01",
        "lot_size": "0.0001",
        "min_quantity": "0.0001",
        "max_quantity": "1",
        "min_notional": "1",
        "maker_fee_ppm": 0,
        "taker_fee_ppm": 0,
        "baseline": "0",
    }
    return {
        "instance": 1,
        "instruments": [instrument, dict(instrument, symbol="ETH-USDC")],
        "limits": {**LIMITS, **limits},
        "lease": {"ttl_ns": 200 * MS},
        "signal": {"default_stop_bps": None, "default_holding_ms": None},
        "strategies": [{"name": "test"}],
    }


class Run:
    """A core with a clock; every helper passes the clock on."""

    def __init__(self, functions: Any = core, **limits: int) -> None:
        self.c: Core = state.build(config(**limits))
        self.now = T0
        self.core = functions
        self.trade = 0
        self.signal = 100
        k = self.c.scalars
        k[tables.K_EPOCH] = 7
        k[tables.K_ARMED] = k[tables.K_LEASE_OK] = k[tables.K_SESSION_UP] = 1
        self.c.account[risk.AC_STATE] = layout.RISK_ACTIVE
        self.event("reconcile_begin")
        self.event("position", instrument=0, lots=0)
        self.event("position", instrument=1, lots=0)
        self.event("balance", extra=10**13)
        self.event("reconcile_end")
        self.c.account[risk.AC_DAY_START_NAV_E8] = self.c.account[risk.AC_HWM_E8] = 10**13
        self.c.account[risk.AC_NAV_E8] = 10**13

    def event(self, kind: str, **fields: int) -> None:
        """One EVENT row; what is not named is -1."""
        row = np.full(len(tables.EVENT), -1, np.int64)
        row[tables.EV_KIND] = layout.EVENT_KIND.index(kind)
        row[tables.EV_FEE_E8] = 0
        for name, value in fields.items():
            row[tables.EVENT.index(name)] = value
        self.core.on_event(self.c, row, self.now)

    def market(self, kind: str, **fields: int) -> None:
        """One market slot."""
        row = np.zeros(len(layout.MARKET_SLOT), np.int64)
        row[layout.M_KIND] = layout.MARKET_KIND.index(kind)
        for name, value in fields.items():
            row[layout.MARKET_SLOT.index(name)] = value
        self.core.on_market(self.c, row, self.now)

    def tick(self, bid: int, ask: int, instrument: int = 0) -> None:
        """A new touch with a ready depth."""
        fields = {"bid_ticks": bid, "bid_lots": 500, "ask_ticks": ask, "ask_lots": 500}
        self.market("tick", instrument=instrument, status=layout.BOOK_READY, **fields)

    def oneshot(self, **fields: int) -> int:
        """A one-shot record; returns the reason of refusal, 0 when it was taken."""
        self.signal += 1
        row = np.zeros(len(layout.SIGNAL_SLOT), np.int64)
        base = {
            "kind": layout.SIGNAL_ONESHOT,
            "id": self.signal,
            "side": layout.SIDE_BUY,
            "lots": 10,
            "limit_ticks": 1_000_100,
            "urgency": 9,
            "expires_ns": self.now + 10_000 * MS,
            "stop_ticks": 990_000,
            "holding_ns": 60_000 * MS,
            "model_hash": 11,
            "prompt_hash": 12,
        }
        for name, value in {**base, **fields}.items():
            row[layout.SIGNAL_SLOT.index(name)] = value
        return int(self.core.on_signal(self.c, row, self.now))

    def parameter(self, number: int, value: int, **fields: int) -> int:
        """A parameter record for instrument 0."""
        self.signal += 1
        row = np.zeros(len(layout.SIGNAL_SLOT), np.int64)
        base = {"kind": layout.SIGNAL_PARAMETER, "seq": self.signal, "id": number, "value": value, "model_hash": 11}
        for name, item in {**base, "expires_ns": self.now + 10_000 * MS, **fields}.items():
            row[layout.SIGNAL_SLOT.index(name)] = item
        return int(self.core.on_signal(self.c, row, self.now))

    def timer(self, later_ns: int = 0) -> None:
        """Time passes, then the timer runs."""
        self.now += later_ns
        self.core.on_timer(self.c, self.now)

    def order(self, side: int = 0, price: int = 999_000, lots: int = 10, kind: int = layout.TYPE_LIMIT, **fields: int) -> int:
        """Submit one order of the operator; the row, or the refusal."""
        from engine import submit

        submit.clear_order_in(self.c)
        base = {"owner": risk.OWNER_OPERATOR, "side": side, "type": kind, "price_ticks": price, "lots": lots}
        for name, value in {**base, **fields}.items():
            self.c.order_in[risk.ORDER_IN.index(name)] = value
        return int(submit.submit(self.c, self.now, 1))

    def commands(self) -> list[tuple[str, int, int]]:
        """Drain the commands as (kind, row, price), answering each as sent."""
        count = int(self.c.scalars[tables.K_COMMANDS])
        rows = self.c.commands[:count].copy()
        self.c.scalars[tables.K_COMMANDS] = 0
        said = []
        for row in rows:
            kind = tables.COMMAND_KIND[row[tables.CM_KIND]]
            said.append((kind, int(row[tables.CM_ROW]), int(row[tables.CM_PRICE_TICKS])))
            if kind == "place":
                self.core.placed(self.c, row[tables.CM_ROW], core.SENT, 0, self.now)
            elif kind == "amend":
                self.core.amend_said(self.c, row[tables.CM_ROW], core.SENT, self.now)
            elif kind == "cancel":
                self.core.cancel_said(self.c, row[tables.CM_ROW], core.SENT, self.now)
        self.c.journal_count[0] = 0
        return said

    def kinds(self) -> list[str]:
        """Kinds of the commands drained."""
        return [kind for kind, _, _ in self.commands()]

    def get(self, row: int, column: str) -> int:
        """A column of an order."""
        return int(self.c.orders[row, tables.ORDER.index(column)])

    def state_of(self, row: int) -> str:
        """State of an order by name."""
        return layout.ORDER_STATE[self.get(row, "state")]

    def ack(self, row: int) -> None:
        """The venue has it."""
        self.event("ack", order_id=self.get(row, "id"), venue_id=row)

    def fill(self, row: int, lots: int, price: int = 0, trade: int = 0, **fields: int) -> None:
        """A trade of this order; a new trade id unless one is given."""
        self.trade += 1
        price = price or self.get(row, "price_ticks")
        base = {"order_id": self.get(row, "id"), "trade_id": trade or self.trade, "lots": lots, "price_ticks": price}
        self.event("fill", **{**base, **fields})

    def cancelled(self, row: int, cumulative: int = -1) -> None:
        """The venue has cancelled it."""
        fields = {"order_id": self.get(row, "id"), "cumulative": cumulative, "reason": layout.REASON_REQUESTED}
        self.event("cancelled", **fields)

    def position(self, instrument: int = 0) -> int:
        """Net lots."""
        return int(self.c.positions[instrument, risk.PO_LOTS])

    def working(self, side: int, instrument: int = 0) -> int:
        """Working lots of one side."""
        column = risk.PO_WORKING_BUY_LOTS if side == layout.SIDE_BUY else risk.PO_WORKING_SELL_LOTS
        return int(self.c.positions[instrument, column])

    def count(self, name: str) -> int:
        """A counter of the execution process."""
        return int(self.c.counters[layout.EXEC_COUNTERS.index(name)])

    def reason(self, name: str) -> int:
        """The counter of one reason."""
        return int(self.c.counters[layout.EXEC_REASON_BASE + layout.REASON.index(name)])

    def working_is_sum(self) -> bool:
        """Whether the working columns equal the sums over open orders."""
        for instrument in range(2):
            for side in range(2):
                mine = (self.c.orders[:, tables.OR_INSTRUMENT] == instrument) & (self.c.orders[:, tables.OR_SIDE] == side)
                states = self.c.orders[:, tables.OR_STATE]
                live = mine & (((states >= 1) & (states <= 5)) | (states == 10))
                if self.working(side, instrument) != int(self.c.orders[live, tables.OR_LEAVES].sum()):
                    return False
        return True
