"""Columns of the engine's private tables, and the bundle of arrays that the core works on.

All arrays are int64, C order, allocated once by the execution process; the core never allocates. ``Core`` is what
every core function receives; compiled and interpreted runs get the same arrays and must leave the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fabric.layout import words
from strategy.tables import INTENT as INTENT
from strategy.tables import INTENT_KIND as INTENT_KIND
from strategy.tables import INTENTS as INTENTS
from strategy.tables import STRATEGIES as STRATEGIES
from strategy.tables import STRATEGY_PARAMETERS as STRATEGY_PARAMETERS
from strategy.tables import STRATEGY_STATE as STRATEGY_STATE
from strategy.tables import STRATEGY_VIEW as STRATEGY_VIEW
from venue.tables import EVENT_WORDS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.int64]

    def __getattr__(name: str) -> int: ...


_here = globals()
# A strategy's view and intents (SV_, NT_, INTENT_) are the strategy room's; the core reads them under the same names.
words(_here, "SV", " ".join(STRATEGY_VIEW))
words(_here, "NT", " ".join(INTENT))
words(_here, "INTENT", " ".join(INTENT_KIND))

ORDERS = 4096  # rows of a run's table, a power of two: an id lives at counter % rows, so lookup is one load and one compare
ORDER = words(
    _here,
    "OR",
    "id state owner instrument side type price_ticks lots filled leaves signal_row signal_id sent_ns deadline_ns "
    "decision_x2_ticks venue_id cancel_sent_ns model_hash prompt_hash is_exit slot ended_ns last_trade_id cost_e8 "
    "fees_e8 realised_e8 reason cancel_wanted cancel_tries queried_ns next_live previous_live amend_lots amend_sent_ns "
    "ahead_lots",
)
# ended_ns: when the venue first said that it has ended, of an order whose fills are not all here yet; else 0. amend_lots: the
# size in all that was asked for, 0 = none. ahead_lots: at most so much stands in front of it, -1 unknown.

SIGNAL_ROWS = 256
SIGNAL_IDS = 4096  # one-shots taken, the last ones by id: more than any profile takes in an hour
SIGNAL_ROW = words(
    _here,
    "SG",
    "state id kind source instrument side lots limit_ticks urgency issued_ns expires_ns stop_ticks holding_ns model_hash "
    "prompt_hash filled working used owner entered_ns exit_order_row exiting last_order_ns "
    "exited exit_working reason _ _ _ _ _ _",
)

# What the core has decided to say to the venue in this pass.
COMMANDS = 64
COMMAND = words(_here, "CM", "kind row order_id instrument side type price_ticks lots recv_ns message deadline_ms reason")
COMMAND_KIND = words(_here, "COMMAND", "none place cancel cancel_all query amend")

# What came back from the venue, or from reconciliation: the venue floor's record, under the same EV_ names here.
EVENT = words(_here, "EV", EVENT_WORDS)

# Orders waiting for the rate limit: ORDER_IN columns, then these.
QUEUE = 64
QUEUE_EXTRA = words(_here, "QU", "queued_ns expires_ns state _")

STRATEGY_MEMORY = len(STRATEGY_VIEW) + STRATEGY_PARAMETERS + STRATEGY_STATE  # words of one row of strategy_memory
STRATEGY_CALL = words(_here, "CA", "address owner instruments on memory_address intents_address _ _")
# A quote slot, (strategy * INSTRUMENTS_MAX + instrument) * 2 + side: the order row in it (-1 none), not before this time.
QUOTE = words(_here, "QS", "row retry_ns")

# Parameters in force, one row per instrument and PARAMETER: newest record wins.
PARAMETER_IN_FORCE = words(_here, "PF", "value expires_ns signal_id model_hash prompt_hash used source _")

# Fills that are judged again later, a ring; each horizon has its place in it.
MARKOUTS = 1024
MARKOUT = words(_here, "MO", "fill_ns order_id owner instrument side lots price_ticks _")

CORE_SCALARS = words(
    _here,
    "K",
    "instance epoch next_counter armed stopping now_ns wall_offset_ns lease_ok instruments strategies live_head live_count "
    "market_seq commands events_seen cancel_all_sent_ns lapsed reconciling last_mark_ns session_up last_pass_ns halted_pull "
    "signals_used signals_expired signals_refused orders_sent orders_blocked queue_head queue_count fills signal_hour_ns "
    "signal_hour_notional_e8 signal_hour_count journal_full day_ns order_deadline_ns pull_sent reconcile_count unowned_mask "
    "differences reconcile_wanted default_stop_bps default_holding_ns signal_top on_halt poke_mask cash_due reconcile_due "
    "restored account_said signal_ids markout_head markout_at_100ms markout_at_1s markout_at_10s markout_100ms_e8 "
    "markout_1s_e8 markout_10s_e8 marked_100ms_e8 marked_1s_e8 marked_10s_e8 halted_ns halt_exit_ns halt_over",
)


class CoreTables(NamedTuple):
    """Every table of the core. Shapes in ``risk.tables`` and above; rows are never moved, only reused when terminal."""

    scalars: Array  # (len(CORE_SCALARS),)
    instruments: Array
    books: Array
    limits: Array
    account: Array
    positions: Array
    owners: Array
    subbooks: Array
    rate: Array
    orders: Array  # (ORDERS, len(ORDER)); kernels take the number of rows from the table
    signals: Array  # (SIGNAL_ROWS, len(SIGNAL_ROW))
    parameters: Array  # (INSTRUMENTS_MAX * len(PARAMETER), len(PARAMETER_IN_FORCE))
    quotes: Array  # (STRATEGIES * INSTRUMENTS_MAX * 2, len(QUOTE))
    queue: Array  # (QUEUE, len(ORDER_IN) + len(QUEUE_EXTRA))
    commands: Array  # (COMMANDS, len(COMMAND))
    strategy_calls: Array  # (STRATEGIES, len(STRATEGY_CALL)); on: 0 off, 1 on; instruments: one bit each
    strategy_memory: Array  # (STRATEGIES * INSTRUMENTS_MAX + 2, STRATEGY_MEMORY): view, parameters, own state; 2 scratch
    intents: Array  # (INTENTS, len(INTENT))
    order_in: Array  # (len(ORDER_IN),) scratch
    counters: Array  # (256,) private counters, copied out by the shell to the stats page
    journal: Array  # (JOURNAL_BATCH, 16): records of this pass, copied to the journal ring by the shell, in order
    journal_count: Array  # (1,)
    seen_trades: Array  # (TRADES_SEEN,) ring of applied venue trade ids, hashed
    outputs: Array  # (16,) small results
    signal_ids: Array  # (SIGNAL_IDS,) ring of the ids of one-shots taken; scalar signal_ids counts them
    markouts: Array  # (MARKOUTS, len(MARKOUT)) ring of fills; scalar markout_head counts them


class Core(CoreTables):
    """The tables with the address of their address table, which is all that compiled code takes (``engine.core_type``)."""

    _rows: Array

    @property
    def address(self) -> int:
        """Of one row per table: address, rows, columns (0 = one-dimensional)."""
        rows = self.__dict__.get("_rows")
        if rows is None:
            import numpy as np

            rows = np.array([(t.ctypes.data, t.shape[0], t.shape[1] if t.ndim == 2 else 0) for t in self], np.int64)
            self.__dict__["_rows"] = rows  # lives as long as the tables do
        return int(rows.ctypes.data)


JOURNAL_BATCH = 256
TRADES_SEEN = 65536
