"""A core run whose inputs and outputs are journaled as the shell journals them, so that tests can cut the record anywhere."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import checkpoint, journal_file, restart, tables
from engine import core as cores
from engine.checkpoint import Checkpoint, tables_of
from engine.fold import Fold
from engine.restart import Clock, Life
from engine.tables import Core
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import Run

RESTING = (risk.AC_CASH_E8, risk.AC_REALISED_E8, risk.AC_FEES_E8, risk.AC_FLOWS_E8, risk.AC_HWM_E8, risk.AC_DAY_START_NAV_E8)
RESTING += (risk.AC_DAY, risk.AC_DRAWDOWN_STEP, risk.AC_LIMIT_ONLY, risk.AC_SLIPPAGE_PPM, risk.AC_SLIPPAGE_FILLS)
RESTING += (risk.AC_REJECTS_IN_ROW, risk.AC_RECONCILED, risk.AC_LAST_ORDER_ID)
HELD = (
    risk.PO_LOTS,
    risk.PO_COST_E8,
    risk.PO_REALISED_E8,
    risk.PO_FEES_E8,
    risk.PO_WORKING_BUY_LOTS,
    risk.PO_WORKING_SELL_LOTS,
)
OWNED = (risk.OW_KIND, risk.OW_LOSS_STREAK, risk.OW_PAUSED_UNTIL_NS, risk.OW_PAUSES_TODAY, risk.OW_LATCHED, risk.OW_DAY)
OWNED += (risk.OW_REALISED_E8, risk.OW_FEES_E8, risk.OW_ORDERS, risk.OW_FILLS)
OWED = ("owner", "instrument", "side", "type", "price_ticks", "lots", "filled", "leaves", "signal_id", "deadline_ns")
OWED += ("decision_x2_ticks", "model_hash", "prompt_hash", "is_exit", "last_trade_id", "cost_e8", "fees_e8", "realised_e8")
FIRED = ("kind", "source", "instrument", "side", "lots", "limit_ticks", "stop_ticks", "holding_ns", "filled", "working")
FIRED += ("owner", "entered_ns", "exited", "exit_working")


def durable(core: Core) -> dict[str, Any]:
    """What must survive, without what a restart decides anew (the exact open state, time-outs, who asked whom)."""
    a, orders, signals = core.account, core.orders, core.signals
    opened = np.flatnonzero(orders[:, tables.OR_ID] > 0)
    holding = (signals[:, tables.SG_FILLED] > signals[:, tables.SG_EXITED]) | (signals[:, tables.SG_WORKING] > 0)
    holding |= signals[:, tables.SG_EXIT_WORKING] > 0  # the others enter no more after a restart, so their rows may be reused
    ids = np.flatnonzero((signals[:, tables.SG_ID] > 0) & holding)
    state = int(a[risk.AC_STATE])
    return {
        "account": [int(a[column]) for column in RESTING],
        "halted": (state, int(a[risk.AC_REASON])) if state >= layout.RISK_HALTED else None,
        "positions": core.positions[:, HELD].tolist(),
        "owners": core.owners[:, OWNED].tolist(),
        "subbooks": core.subbooks.tolist(),
        "orders": {int(orders[r, tables.OR_ID]): [int(orders[r, tables.ORDER.index(n)]) for n in OWED] for r in opened},
        "open": sorted(int(orders[r, tables.OR_ID]) for r in opened if is_open(int(orders[r, tables.OR_STATE]))),
        "signals": {int(signals[r, tables.SG_ID]): [int(signals[r, tables.SIGNAL_ROW.index(n)]) for n in FIRED] for r in ids},
        "fired": [core.signal_ids.tolist(), int(core.scalars[tables.K_SIGNAL_IDS])],
        "trades": core.seen_trades.tolist(),
        "budget": [int(core.scalars[k]) for k in (tables.K_SIGNAL_HOUR_NS, tables.K_SIGNAL_HOUR_COUNT)],
        "unowned": int(core.scalars[tables.K_UNOWNED_MASK]),
        "marks": core.books[:, risk.BK_GOOD_MARK_X2_TICKS].tolist(),
    }


def is_open(state: int) -> bool:
    return layout.STATE_PENDING_NEW <= state <= layout.STATE_PENDING_REPLACE or state == layout.STATE_UNKNOWN


class Journaled(Run):
    """A run that keeps ``records``: inputs as they come, the core's own rows when a pass ends (``flush``)."""

    def __init__(self, **limits: int) -> None:
        self.records: list[npt.NDArray[np.int64]] = []
        self.start: dict[str, Any] = {}
        super().__init__(self, **limits)

    # The core as ``Run`` calls it, journaled in front of each call as engine.inbound does

    def on_event(self, c: Core, event: npt.NDArray[np.int64], now_ns: int) -> None:
        if not self.start:  # the tables as a life begins with them
            self.start = tables_of(c)
        out = np.zeros(16, np.int64)
        out[2:16] = event[1:15]
        kind = int(event[tables.EV_KIND])
        out[layout.J_KIND] = layout.JOURNAL_EVENT | kind << 8
        out[tables.EV_RECV_NS + 1] = now_ns
        if kind in (layout.EVENT_BALANCE, layout.EVENT_CAPITAL_FLOW):
            out[tables.EV_VENUE_NS + 1] = event[tables.EV_EXTRA]
        self.records.append(out)
        cores.on_event(c, event, now_ns)

    def on_market(self, c: Core, slot: npt.NDArray[np.int64], now_ns: int) -> None:
        out = slot.copy()
        out[layout.J_KIND] = layout.JOURNAL_MARKET | slot[layout.M_KIND] << 8
        out[layout.M_PUBLISH_NS] = now_ns
        self.records.append(out)
        cores.on_market(c, slot, now_ns)

    def on_signal(self, c: Core, slot: npt.NDArray[np.int64], now_ns: int) -> int:
        out = slot.copy()
        out[layout.J_KIND] = layout.JOURNAL_SIGNAL | slot[layout.S_KIND] << 8 | slot[layout.S_SOURCE] << 16
        out[layout.S_SOURCE] = now_ns
        if slot[layout.S_KIND] == layout.SIGNAL_PARAMETER:
            out[layout.S_LOTS] = slot[layout.S_SEQ]
        self.records.append(out)
        return int(cores.on_signal(c, slot, now_ns))

    def on_timer(self, c: Core, now_ns: int) -> None:
        cores.on_timer(c, now_ns)

    def placed(self, c: Core, row: int, outcome: int, reason: int, now_ns: int) -> None:
        cores.placed(c, row, outcome, reason, now_ns)

    def cancel_said(self, c: Core, row: int, outcome: int, now_ns: int) -> None:
        cores.cancel_said(c, row, outcome, now_ns)

    def amend_said(self, c: Core, row: int, outcome: int, now_ns: int) -> None:
        cores.amend_said(c, row, outcome, now_ns)

    def flush(self) -> None:
        """The core's rows go to the journal."""
        count = int(self.c.journal_count[0])
        self.records.extend(self.c.journal[:count].copy())
        self.c.journal_count[0] = 0

    def commands(self, outcome: int = cores.SENT) -> list[tuple[str, int, int]]:
        """End of a pass: intents are journaled, commands answered, outcomes journaled."""
        self.flush()
        count = int(self.c.scalars[tables.K_COMMANDS])
        rows = self.c.commands[:count].copy()
        self.c.scalars[tables.K_COMMANDS] = 0
        said = []
        for row in rows:
            kind = tables.COMMAND_KIND[row[tables.CM_KIND]]
            said.append((kind, int(row[tables.CM_ROW]), int(row[tables.CM_PRICE_TICKS])))
            if kind == "place":
                self.placed(self.c, int(row[tables.CM_ROW]), outcome, 0, self.now)
            elif kind == "amend":
                self.amend_said(self.c, int(row[tables.CM_ROW]), outcome, self.now)
            elif kind == "cancel":
                self.cancel_said(self.c, int(row[tables.CM_ROW]), cores.SENT, self.now)
        self.flush()
        return said

    def batch(self) -> npt.NDArray[np.int64]:
        """All records so far."""
        return np.array(self.records, np.int64).reshape(-1, 16)


def checkpoint_of(start: dict[str, Any], card: dict[str, Any], **fields: Any) -> Checkpoint:
    """A checkpoint of these tables."""
    values = {"position": 0, "last_ns": 0, "wall_ns": 0, "boot_id": 1, "trades": (0, 0, 0, 0), "absent": {}}
    return Checkpoint(card=card, tables=start, **{**values, **fields})


def at(run: Journaled | None = None, later_ns: int = 0, boot: int = 1, away_ns: int | None = None) -> Clock:
    mono = (run.now if run else 10**12) + later_ns
    return Clock(mono, 10**18 + (mono if away_ns is None else (run.now if run else 0) + away_ns), boot)


def live_one(life: Life) -> Journaled:
    """A run that begins as this life does; what it does is journaled."""
    run = Journaled()
    run.records.clear()
    life.give(run.c)
    run.start = tables_of(run.c)
    k = run.c.scalars
    k[tables.K_EPOCH], k[tables.K_NEXT_COUNTER] = life.card["life"] + 6, 1
    k[tables.K_ARMED] = k[tables.K_LEASE_OK] = k[tables.K_SESSION_UP] = 1
    if run.c.account[risk.AC_STATE] == layout.RISK_DISARMED:
        run.c.account[risk.AC_STATE] = layout.RISK_ACTIVE
    return run


def reconcile(run: Journaled, lots: int = 0, cash: int = 10**13) -> None:
    run.event("reconcile_begin")
    run.event("position", instrument=0, lots=lots)
    run.event("balance", extra=cash)
    run.event("reconcile_end")


def write(run: Journaled, values: dict[str, Any], life: Life) -> pathlib.Path:
    """Its records, as the journal process leaves them when it is killed."""
    run.commands()
    file = journal_file.path(values["state_dir"], life.card["life"])
    file.write_bytes(journal_file.seal(run.batch(), 1))
    return file


def save_checkpoint(run: Journaled, values: dict[str, Any], life: Life, records: int) -> None:
    """The checkpoint of the first ``records`` of this life, as the journal process writes it while it runs."""
    image = checkpoint_of(run.start, life.card)
    fold = Fold(restart.bare(values, image))
    fold.apply(run.batch()[:records])
    fields = {"position": fold.position, "last_ns": fold.last_ns, "trades": fold.trades}
    checkpoint.save(values["state_dir"], checkpoint_of(tables_of(fold.core), life.card, **fields))


def begin(values: dict[str, Any], now: Clock) -> Life:
    return restart.begin(values, now, say=lambda line: None)
