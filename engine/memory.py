"""The memory of one execution loop: its private arrays, the core, the strategies, and the address table over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine import loop, state
from engine import tables as et
from engine import wiring as wi
from engine.account_query import Inbox
from fabric import duty, layout
from risk import tables as rt
from strategy.loader import Strategy, load, parameter_row
from venue import masks
from venue import tables as vt
from venue.grids import grids_of, symbols_of
from venue.link import Link

RECEIVE_BYTES = 256 * 1024
SEND_BYTES = 64 * 1024
NS_PER_MS = 1_000_000


class ExecutionMemory:
    """Every private array of the loop and the two rows of its address table; ``warm`` builds the same."""

    def __init__(self, config: dict[str, Any], execution: int, stats: int) -> None:
        instruments = config["instruments"]
        self.link = Link(RECEIVE_BYTES, for_orders=True)
        self.inbox = Inbox()
        self.core = state.build(config)
        self.strategies: list[Strategy] = []
        symbols = symbols_of(instruments)
        self.arrays: dict[str, npt.NDArray[Any]] = {
            "stop": np.zeros(8, np.int64),
            "scratch": np.zeros(8, np.int64),
            "frame": np.zeros(len(vt.FRAME_WORDS), np.int64),
            "event": np.zeros(len(et.EVENT), np.int64),
            "slot": np.zeros(16, np.int64),
            "record": np.zeros(16, np.int64),
            "symbols": symbols,
            "grids": grids_of(instruments),
            "slots": np.zeros(vt.SLOTS, np.int64),
            "mask": masks.fresh(),
            "gate": np.zeros(len(rt.ORDER_IN) + len(rt.GATE_OUT), np.int64),
            "duty": duty.duty_row(config["placement"]["idle"]["execution"]),
            "send": np.zeros(SEND_BYTES, np.uint8),
            "outbox": np.zeros(layout.LINE // 8 + wi.OUTBOX * len(et.COMMAND), np.int64),
            "journal_cached": np.zeros(1, np.int64),
            "remap": np.zeros(8, np.int64),
            "account_words": np.zeros(layout.ACCOUNT_BYTES // 8, np.int64),
            "state_words": np.zeros(layout.STATE_ROW_WORDS, np.int64),
        }
        self.table: npt.NDArray[np.int64] = np.zeros((2, wi.ROWS), np.int64)
        w, n = self.table
        for name, array in self.arrays.items():
            w[wi.WIRING.index(name)] = array.ctypes.data
        w[wi.WI_CORE] = self.core.address
        w[wi.WI_EXEC], w[wi.WI_STATS] = execution, stats
        w[wi.WI_SESSION], w[wi.WI_INBOX] = self.link.address, self.inbox.words.ctypes.data
        n[wi.WN_SEND_CAPACITY], n[wi.WN_INSTRUMENTS] = SEND_BYTES, len(instruments)
        n[wi.WN_LEASE_TTL_NS] = config["lease"]["ttl_ns"]
        n[wi.WN_RECV_WINDOW_MS] = max(1, config["lease"]["ttl_ns"] // NS_PER_MS)
        n[wi.WN_UNSENT_MAX] = max(0, int(self.core.limits[rt.LM_UNSENT_BYTES_MAX]))
        n[wi.WN_MARKET_NEXT] = n[wi.WN_SIGNAL_NEXT] = 1
        self.private: list[Any] = []  # what must live as long as this

    def rehearse_on(self, understudy: ExecutionMemory) -> None:
        """Let the idle loop rehearse on another memory of the same configuration, which it keeps alive."""
        self.private.append(understudy)
        self.table[0, wi.WI_UNDERSTUDY] = understudy.table.ctypes.data

    def run(self, passes: int) -> int:
        return int(loop.exec_loop(self.table.ctypes.data, passes))

    def remap(self, **addresses: int) -> None:
        """Hand new addresses (or numbers) to the loop: stored first, the bump last."""
        for name, value in addresses.items():
            self.table[0, wi.WIRING.index(name)] = value
        self.arrays["remap"][0] += 1


def load_strategies(config: dict[str, Any], memory: ExecutionMemory) -> None:
    """Put the address of every configured strategy into the core's call table."""
    symbols = [i["symbol"] for i in config["instruments"]]
    for number, entry in enumerate(config["strategies"]):
        strategy = load(entry["name"], entry["file"])
        memory.strategies.append(strategy)  # keeps the compiled code alive
        traded = [symbols.index(symbol) for symbol in entry["symbols"]]
        state.bind_strategy(memory.core, number, strategy.address, traded, parameter_row(strategy, entry["parameters"]))
