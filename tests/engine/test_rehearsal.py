# mypy: disable-error-code="no-untyped-call"
"""A rehearsal takes an order through the whole path, leaves nothing behind, and can send nothing."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from engine import rehearsal
from engine import tables as et
from engine import wiring as wi
from engine.memory import ExecutionMemory
from engine.understudy import make_understudy
from fabric import layout
from ops import config as configuration
from ops import instance
from ops.placement import Host, place
from risk import tables as rt

T0 = 1_000_000_000_000


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    where = instance.Paths(*(tmp_path_factory.mktemp(name) for name in ("run", "state", "shm")))
    return instance.compose(configuration.Config(name="test"), where, place(Host((0, 1))))


def book() -> Any:
    row = np.zeros(len(rt.BOOK), np.int64)
    row[rt.BK_BID_TICKS], row[rt.BK_BID_LOTS] = 6_400_000, 50_000
    row[rt.BK_ASK_TICKS], row[rt.BK_ASK_LOTS] = 6_400_010, 50_000
    return row


def rehearse(memory: ExecutionMemory, now_ns: int) -> int:
    w, n = memory.table
    return int(rehearsal.rehearse(w, n, memory.core, book(), now_ns))


def test_every_rehearsal_encodes_orders_and_ends_as_it_began(config: dict[str, Any]) -> None:
    memory = make_understudy(config)
    orders = [rehearse(memory, T0 + k * wi.REHEARSE_NS) for k in range(400)]  # 20 ms: far above any rate limit
    assert min(orders) >= 1
    k = memory.core.scalars
    assert k[et.K_LIVE_COUNT] == 0
    assert k[et.K_ORDERS_SENT] == 0
    assert memory.core.positions[:, [rt.PO_WORKING_BUY_LOTS, rt.PO_WORKING_SELL_LOTS]].sum() == 0


def test_a_rehearsed_order_ends_in_a_buffer_and_in_no_socket(config: dict[str, Any]) -> None:
    memory = make_understudy(config)
    rehearse(memory, T0)
    assert memory.arrays["send"].any()
    assert memory.link.state == layout.SESSION_DOWN
    assert memory.table[1, wi.WN_SEND_END] == 0
    assert memory.table[1, wi.WN_SESSION_UP] == 0


def test_the_rehearsal_has_no_way_to_send() -> None:
    text = inspect.getsource(rehearsal)
    for name in ("transmit", "send_all", "outbound.drain", "flush"):
        assert name not in text.replace("``", ""), name


def test_understudy_shares_no_memory_with_the_real_one(config: dict[str, Any]) -> None:
    page, stats = np.zeros(layout.EXEC_BYTES // 8, np.int64), np.zeros(layout.STATS_BYTES // 8, np.int64)
    real = ExecutionMemory(config, page.ctypes.data, stats.ctypes.data)
    other = make_understudy(config)
    mine = {int(value) for value in real.table[0] if value}
    assert mine.isdisjoint(int(value) for value in other.table[0] if value)
    rehearse(other, T0)
    assert not page.any()
    assert not stats.any()
    assert not real.core.orders.any()


def test_touching_reads_the_real_tables_and_changes_none_of_them(config: dict[str, Any]) -> None:
    memory = make_understudy(config)
    w = memory.table[0]
    before = [table.copy() for table in memory.core[:] if hasattr(table, "copy")]
    nothing = rehearsal.touch(w, memory.core)
    memory.core.account[0] += 1
    assert rehearsal.touch(w, memory.core) == nothing + 1, "the reads were left out"
    memory.core.account[0] -= 1
    assert all((old == new).all() for old, new in zip(before, memory.core, strict=True))
