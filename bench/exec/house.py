# mypy: disable-error-code="no-untyped-call"
"""An execution loop that could trade, on private pages, with instruments, strategies and orders as a bench wants them.

Every limit is in force and none binds. Money: 100,000,000 units of quote currency, so that a full table of small orders stays
within every limit. Rows of instruments are alike: ticks of 0.01, lots of 0.00001, linear.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from bench.fabric.idle import IdleHouse
from engine import state
from engine import tables as et
from engine import wiring as wi
from engine.memory import load_strategies
from fabric import layout
from ops import config as configuration
from ops import instance
from ops.placement import Placement
from risk import tables as rt

FUNDS_E8 = 100_000_000 * 100_000_000
BID, ASK = 6_400_000, 6_400_010  # ticks
STEP_NS = 10_000_000  # between two orders: far below the 256 per second that the engine ever sends
ECHO = pathlib.Path(__file__).parent.parent / "strategies" / "echo.py"
MAKER = {"name": "market_making", "parameters": {"allow_short": 1, "size_of_cap_ppm": 500}}
_WIDE = {  # every check is on, nothing of it binds
    "profile": "aggressive",
    "order_rate_per_s": 256,
    "message_rate_per_s": 10_000,
    "duplicate_window_ns": 1,
    "rejects_in_row": 1_000,
    "position_ppm": 1_000_000,
    "gross_exposure_ppm": 10_000_000,
    "max_open_orders": 1 << 20,
    "stale_book_ns": 10**15,
}


def configured(instruments: int, strategies: list[dict[str, Any]]) -> configuration.Config:
    """The configuration of so many instruments."""
    rows = [
        {"symbol": f"B{k:02d}-USDC", "base": f"B{k:02d}", "quote": "USDC", "tick_size": "0.01", "lot_size": "0.00001"}
        for k in range(instruments)
    ]
    return configuration.parse({"name": "bench", "instruments": rows, "limits": _WIDE, "strategies": strategies}, "bench")


def compose(where: Placement, instruments: int, strategies: list[dict[str, Any]]) -> dict[str, Any]:
    """config.json of a bench, no file written."""
    nowhere = pathlib.Path("nowhere")
    paths = instance.Paths(nowhere, nowhere, nowhere)
    config = instance.compose(configured(instruments, strategies), paths, where)
    for row in config["instruments"]:
        row["kind"] = "linear"  # a run has spot alone; selling what is not held keeps both sides of every table in use
    return config


def fund(core: et.Core) -> None:
    """Armed, funded, reconciled, leased, session up, every book ready at the same touch."""
    k, a = core.scalars, core.account
    k[et.K_EPOCH] = k[et.K_ARMED] = k[et.K_LEASE_OK] = k[et.K_SESSION_UP] = 1
    a[rt.AC_STATE], a[rt.AC_RECONCILED] = layout.RISK_ACTIVE, 1
    for column in (rt.AC_NAV_E8, rt.AC_DAY_START_NAV_E8, rt.AC_HWM_E8, rt.AC_CASH_E8):
        a[column] = FUNDS_E8
    books = core.books
    books[:, rt.BK_STATUS] = books[:, rt.BK_BOOK_STATUS] = layout.BOOK_READY
    books[:, rt.BK_BID_TICKS], books[:, rt.BK_ASK_TICKS] = BID, ASK
    books[:, rt.BK_BID_LOTS] = books[:, rt.BK_ASK_LOTS] = 50_000
    books[:, rt.BK_MARK_X2_TICKS] = books[:, rt.BK_GOOD_MARK_X2_TICKS] = BID + ASK


def core_of(where: Placement, instruments: int) -> et.Core:
    """A core alone."""
    core = state.build(compose(where, instruments, []))
    fund(core)
    return core


def trading(where: Placement, instruments: int, strategies: list[dict[str, Any]]) -> IdleHouse:
    """A whole loop's memory with its strategies loaded and an order session that says it is up (there is no socket)."""
    config = compose(where, instruments, strategies)
    house = IdleHouse(config)
    load_strategies(config, house.memory)
    fund(house.memory.core)
    w, n = house.memory.table
    w[wi.WI_JOURNAL] = w[wi.WI_NEW_JOURNAL] = house.pages["journal"].ctypes.data
    n[wi.WN_SESSION_UP] = n[wi.WN_JOURNAL_OK] = 1
    return house


def order_rows(count: int, instruments: int, side: int = -1) -> Any:
    """ORDER_IN rows of ordinary limit orders near the touch, all different, all to be let through."""
    random = np.random.default_rng(7)
    rows = np.zeros((count, len(rt.ORDER_IN)), np.int64)
    rows[:, rt.OI_INSTRUMENT] = np.arange(count) % instruments
    rows[:, rt.OI_OWNER] = rt.OWNER_FIRST_STRATEGY
    rows[:, rt.OI_SIDE] = side if side >= 0 else random.integers(0, 2, count)
    rows[:, rt.OI_TYPE] = layout.TYPE_LIMIT
    away = random.integers(1, 1_000, count)
    rows[:, rt.OI_PRICE_TICKS] = np.where(rows[:, rt.OI_SIDE] == layout.SIDE_BUY, BID - away, ASK + away)
    rows[:, rt.OI_LOTS] = random.integers(1_000, 2_000, count)
    rows[:, rt.OI_SIGNAL_ROW] = rows[:, rt.OI_SLOT] = -1
    rows[:, rt.OI_DECISION_X2_TICKS] = BID + ASK
    return rows
