"""The understudy of the execution loop: a second memory, armed and funded from the start, on which an idle loop rehearses.

Made once by the control thread. It shares nothing with the real memory but the compiled code: its execution segment and
stats page are private arrays, its lease page is never written, its session is never opened (no descriptor at all).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import tables as et
from engine.memory import ExecutionMemory, load_strategies
from fabric import layout
from risk import tables as rt

FUNDS_E8 = 100_000 * 100_000_000


def make_understudy(config: dict[str, Any]) -> ExecutionMemory:
    """Private memory in which every new order would be let through."""
    execution = np.full(layout.EXEC_BYTES // layout.WORD, 0, np.int64)
    stats = np.full(layout.STATS_BYTES // layout.WORD, 0, np.int64)
    memory = ExecutionMemory(config, execution.ctypes.data, stats.ctypes.data)
    memory.private = [execution, stats]
    load_strategies(config, memory)
    core = memory.core
    k, a = core.scalars, core.account
    k[et.K_EPOCH] = k[et.K_ARMED] = k[et.K_LEASE_OK] = k[et.K_SESSION_UP] = 1
    a[rt.AC_STATE], a[rt.AC_RECONCILED] = layout.RISK_ACTIVE, 1
    for column in (rt.AC_NAV_E8, rt.AC_DAY_START_NAV_E8, rt.AC_HWM_E8, rt.AC_CASH_E8):
        a[column] = FUNDS_E8
    core.books[:, rt.BK_BOOK_STATUS] = layout.BOOK_READY
    return memory
