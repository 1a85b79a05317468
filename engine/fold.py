"""The journal folded into tables: what a restart must know, rebuilt from records by the core's own functions.

``Fold`` applies journal records, in order, to the tables of a core that never trades (no lease, no strategies): inputs
(market, signal, event) go through the same functions as in the loop; an order's intent and outcome are taken from their
records; what time alone changed in the account (high-water mark, halt, drawdown step, day) from the after-image that the
timer journals. Commands and journal rows that fall out are discarded. The same records on the same tables give the same
tables, in the journal process (checkpoints) as in a starting execution process (restart); ADR 5 says why this is enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine import core as cores
from engine import journal_file, market, orders, records, tables
from engine.tables import Core
from fabric import layout
from fabric.jit import kernel
from risk import account
from risk import tables as risk

Records = journal_file.Records
Row = npt.NDArray[np.int64]
KIND_BITS = 8
KIND_MASK = (1 << KIND_BITS) - 1
FOLDED = (  # with market records, all that changes tables; the others repeat what follows from these
    layout.JOURNAL_EVENT,
    layout.JOURNAL_SIGNAL,
    layout.JOURNAL_INTENT,
    layout.JOURNAL_SENT,
    layout.JOURNAL_NOT_SENT,
    layout.JOURNAL_TIMER,
)


@kernel
def markets(c, batch, first, last):  # type: ignore[no-untyped-def]
    """Apply the market records of ``batch[first:last]``; the others are left alone."""
    for k in range(first, last):
        slot = batch[k]
        packed = slot[layout.J_KIND]
        told = slot[layout.M_BID_TICKS] > 0 or slot[layout.M_SOURCE_INDEX] >= 0
        if packed & KIND_MASK == layout.JOURNAL_MARKET and told:
            slot[layout.M_KIND] = packed >> KIND_BITS
            market.apply(c, slot, slot[layout.M_PUBLISH_NS])
            slot[layout.M_KIND] = packed
    return 0


class Fold:
    """Tables and the position up to which records are in them. ``core`` is changed in place."""

    def __init__(self, core: Core, position: int = 0, last_ns: int = 0, trades: tuple[int, ...] = (0, 0, 0, 0)) -> None:
        self.core, self.position, self.last_ns = core, position, last_ns
        self._trades = list(trades)  # highest venue trade id: now, and at the ends of the last three reconciliations
        k = core.scalars
        k[tables.K_LEASE_OK] = k[tables.K_ARMED] = k[tables.K_STRATEGIES] = 0  # nothing here may trade
        self._event: Row = np.zeros(len(tables.EVENT), np.int64)

    @property
    def trades(self) -> tuple[int, ...]:
        """To be handed to the next ``Fold`` of the same account."""
        return tuple(self._trades)

    @property
    def trades_complete(self) -> int:
        """Every venue trade up to this id is in the tables: the venue was asked for all of them after it had been seen."""
        return self._trades[-1]

    def apply(self, batch: Records) -> None:
        """The next records of the file. ``batch`` is left as it was."""
        kinds = batch[:, layout.J_KIND] & KIND_MASK
        told = np.flatnonzero(kinds == layout.JOURNAL_MARKET)
        if told.size:
            self.last_ns = max(self.last_ns, int(batch[told[-1], layout.M_PUBLISH_NS]))
        done = 0
        for at in np.flatnonzero(np.isin(kinds, FOLDED)):
            if told.size and done <= told[-1]:
                markets(self.core, batch, done, int(at))
            self._one(batch[at], int(kinds[at]))
            done = int(at) + 1
        if told.size and done <= told[-1]:
            markets(self.core, batch, done, len(batch))
        self.position += len(batch)

    def _one(self, record: Row, kind: int) -> None:
        c = self.core
        c.scalars[tables.K_COMMANDS] = c.journal_count[0] = 0
        if kind == layout.JOURNAL_EVENT:
            self._on_event(record)
            return
        if kind == layout.JOURNAL_SIGNAL:
            self._on_signal(record)
            return
        now_ns = int(record[layout.J_NOW_NS])
        self.last_ns = max(self.last_ns, now_ns)
        if kind == layout.JOURNAL_INTENT:
            self._on_intent(record, now_ns)
        elif kind in (layout.JOURNAL_SENT, layout.JOURNAL_NOT_SENT):
            row = int(orders.find(c, int(record[layout.J_ORDER_ID])))
            outcome = cores.NOT_SENT if kind == layout.JOURNAL_NOT_SENT else int(record[layout.J_VALUE])
            if row >= 0:
                cores.placed(c, row, outcome, int(record[layout.J_REASON]), now_ns)
        elif kind == layout.JOURNAL_TIMER:
            self._on_timer(record)

    def _on_event(self, record: Row) -> None:
        event = self._event
        event[1:15] = record[2:16]
        kind = int(record[layout.J_KIND]) >> KIND_BITS
        event[tables.EV_KIND] = kind
        event[tables.EV_EXTRA] = -1
        now_ns = int(event[tables.EV_RECV_NS])
        if kind in (layout.EVENT_BALANCE, layout.EVENT_CAPITAL_FLOW):
            event[tables.EV_EXTRA], event[tables.EV_VENUE_NS] = event[tables.EV_VENUE_NS], -1
        self.last_ns = max(self.last_ns, now_ns)
        cores.on_event(self.core, event, now_ns)
        if kind == layout.EVENT_FILL:
            self._trades[0] = max(self._trades[0], int(event[tables.EV_TRADE_ID]))
        elif kind == layout.EVENT_RECONCILE_END:
            # Its questions were asked after the round before it had ended here; one more in case the loop was late.
            self._trades[1:] = self._trades[:-1]

    def _on_signal(self, record: Row) -> None:
        slot = record.copy()
        packed, now_ns = int(record[layout.J_KIND]), int(record[layout.S_SOURCE])
        slot[layout.S_KIND], slot[layout.S_SOURCE] = packed >> KIND_BITS & KIND_MASK, packed >> 2 * KIND_BITS
        if slot[layout.S_KIND] == layout.SIGNAL_PARAMETER:
            slot[layout.S_SEQ], slot[layout.S_LOTS] = record[layout.S_LOTS], 0
        self.last_ns = max(self.last_ns, now_ns)
        end_signals(self.core, now_ns)
        records.ingest(self.core, slot, now_ns)

    def _on_intent(self, record: Row, now_ns: int) -> None:
        c = self.core
        order_id, basis = int(record[layout.J_ORDER_ID]), int(record[layout.J_VALUE])
        instance, epoch, counter = layout.split_order_id(order_id)
        k, q = c.scalars, c.order_in
        k[tables.K_INSTANCE], k[tables.K_EPOCH], k[tables.K_NEXT_COUNTER] = instance, epoch, counter
        row = int(orders.free_row(c))
        if row < 0 or k[tables.K_NEXT_COUNTER] != counter:  # cannot be: the loop opened it because the row was free
            raise ValueError(f"order {order_id} takes the row of one that is open")
        signal_id = int(record[layout.J_SIGNAL_ID])
        signal_row = find_signal(c, signal_id) if record[layout.J_OWNER] == risk.OWNER_SIGNALS else -1
        q[:] = 0
        q[risk.OI_SLOT] = -1
        for column, word in (
            (risk.OI_OWNER, layout.J_OWNER),
            (risk.OI_INSTRUMENT, layout.J_INSTRUMENT),
            (risk.OI_SIDE, layout.J_SIDE),
            (risk.OI_TYPE, layout.J_TYPE),
            (risk.OI_PRICE_TICKS, layout.J_PRICE_TICKS),
            (risk.OI_LOTS, layout.J_LOTS),
            (risk.OI_MODEL_HASH, layout.J_MODEL_HASH),
            (risk.OI_PROMPT_HASH, layout.J_PROMPT_HASH),
        ):
            q[column] = record[word]
        q[risk.OI_SIGNAL_ROW] = signal_row
        q[risk.OI_DECISION_X2_TICKS], q[risk.OI_IS_EXIT] = basis >> 1, basis & 1
        orders.open_order(c, row, q, signal_id, now_ns)
        c.account[risk.AC_LAST_ORDER_ID] = max(int(c.account[risk.AC_LAST_ORDER_ID]), order_id)
        if signal_row >= 0:
            s = c.signals[signal_row]
            s[tables.SG_STATE], s[tables.SG_LAST_ORDER_NS] = layout.SIG_WORKING, now_ns
            s[tables.SG_EXITING] |= basis & 1

    def _on_timer(self, record: Row) -> None:
        a, day = self.core.account, int(record[layout.J_SIGNAL_ID])
        if day > a[risk.AC_DAY]:
            account.roll_day(a, self.core.owners, day)
        a[risk.AC_NAV_E8] = record[layout.J_LOTS]
        a[risk.AC_DAY_START_NAV_E8] = record[layout.J_PRICE_TICKS]
        a[risk.AC_HWM_E8] = record[layout.J_VALUE]
        a[risk.AC_REASON] = record[layout.J_REASON]
        a[risk.AC_STATE] = record[layout.J_OWNER]
        a[risk.AC_DRAWDOWN_STEP] = record[layout.J_SIDE]


def examples() -> Records:
    """One record of each kind that makes ``Fold`` call a kernel, so that warming compiles them all."""
    kinds: tuple[int, ...] = (layout.JOURNAL_MARKET, layout.JOURNAL_EVENT, layout.JOURNAL_SIGNAL, layout.JOURNAL_INTENT)
    kinds += (layout.JOURNAL_SENT, layout.JOURNAL_TIMER)
    batch = np.zeros((len(kinds), len(layout.JOURNAL_RECORD)), np.int64)
    batch[:, layout.J_KIND] = kinds
    order = (batch[:, layout.J_KIND] == layout.JOURNAL_INTENT) | (batch[:, layout.J_KIND] == layout.JOURNAL_SENT)
    batch[order, layout.J_ORDER_ID] = layout.order_id(1, 1, 1)
    batch[-1, layout.J_SIGNAL_ID] = 1  # a day to roll
    return batch


def find_signal(core: Core, signal_id: int) -> int:
    """Row of a one-shot, or -1."""
    found = np.flatnonzero(core.signals[:, tables.SG_ID] == signal_id)
    return int(found[0]) if signal_id > 0 and found.size else -1


def end_signals(core: Core, now_ns: int) -> None:
    """End the one-shots that can neither enter nor hold anything any more, so that their rows can be taken.

    The loop's timer does the same within a pass; one that holds something keeps its row in both.
    """
    s = core.signals
    active = (s[:, tables.SG_STATE] == layout.SIG_WAITING) | (s[:, tables.SG_STATE] == layout.SIG_WORKING)
    over = (now_ns >= s[:, tables.SG_EXPIRES_NS]) | (s[:, tables.SG_FILLED] >= s[:, tables.SG_LOTS])
    over |= s[:, tables.SG_EXITING] != 0
    idle = (s[:, tables.SG_FILLED] <= s[:, tables.SG_EXITED]) & (s[:, tables.SG_WORKING] == 0)
    ended = active & over & idle & (s[:, tables.SG_EXIT_WORKING] == 0)
    s[ended, tables.SG_STATE] = np.where(s[ended, tables.SG_FILLED] > 0, layout.SIG_DONE, layout.SIG_EXPIRED)
