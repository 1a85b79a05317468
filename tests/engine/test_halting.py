"""What a halt does to positions when it is told to leave them, and the exits' own budget."""

from __future__ import annotations

import pytest

from engine import core, signals, tables
from fabric import layout
from risk import rate
from risk import tables as risk
from tests.engine.corekit import MS, Run

S = 1000 * MS
OWNER = risk.OWNER_FIRST_STRATEGY


@pytest.fixture
def held():
    """30 lots long of a strategy, 20 short of the operator, 5 of nobody; ``on_halt`` = exit."""
    run = Run()
    run.c.instruments[:, risk.IN_KIND] = 1
    run.c.scalars[tables.K_ON_HALT] = 1
    run.tick(1_000_000, 1_000_010)
    run.tick(500_000, 500_010, instrument=1)
    for fields in (
        {"side": 0, "price": 1_000_010, "lots": 30, "owner": OWNER},
        {"side": 1, "price": 500_000, "lots": 20, "instrument": 1},
    ):
        row = run.order(**fields)
        run.commands()
        run.fill(row, fields["lots"])
    run.event("fill", order_id=4, instrument=1, side=0, lots=5, price_ticks=500_000, trade_id=99)
    return run


def halt(run: Run) -> None:
    run.c.account[[risk.AC_STATE, risk.AC_REASON]] = layout.RISK_HALTED, layout.REASON_HALTED_DAILY_LOSS


def exits(run: Run) -> list[tuple[int, int, int, int, int]]:
    """(owner, instrument, side, lots, price) of the orders placed."""
    rows = [row for kind, row, _ in run.commands() if kind == "place"]
    assert all(run.get(row, "is_exit") and run.get(row, "type") == layout.TYPE_IOC for row in rows)
    return [tuple(run.get(row, name) for name in ("owner", "instrument", "side", "lots", "price_ticks")) for row in rows]


def test_halt_that_exits_leaves_each_owners_position_inside_the_collar(held):
    halt(held)
    held.timer(2 * MS)
    reducible = 15  # of the 20 short, because 5 long of nobody stand against them
    assert exits(held) == [(1, 1, 0, reducible, 510_005), (OWNER, 0, 1, 30, 980_005)]


def test_halt_that_holds_sends_nothing(held):
    held.c.scalars[tables.K_ON_HALT] = 0
    halt(held)
    for _ in range(40):
        held.timer(S)
    assert exits(held) == []
    assert held.count("halt_exits_over") == 0


def test_exits_of_a_halt_are_tried_again_every_100_ms_for_30_s_and_then_what_is_left_is_held_and_told(held):
    halt(held)
    began, tried = held.now + 2 * MS, []
    held.timer(2 * MS)
    while held.now < began + 40 * S:
        for kind, row, _ in held.commands():
            if kind == "place":
                tried.append(held.now - began)
                held.cancelled(row)
        held.timer(20 * MS)
        for instrument, bid in ((0, 1_000_000), (1, 500_000)):
            held.tick(bid, bid + 10, instrument=instrument)
    assert max(tried) < signals.HALT_EXIT_NS <= max(tried) + 200 * MS
    assert min(b - a for a, b in zip(sorted(set(tried)), sorted(set(tried))[1:], strict=False)) >= 100 * MS
    assert len(tried) >= 2 * 200
    assert held.count("halt_exits_over") == 1
    assert held.reason("halt_exit_over") == 1
    assert held.position(0) == 30


def test_a_signal_leaves_its_position_at_once_when_a_halt_exits():
    run = Run()
    run.c.scalars[tables.K_ON_HALT] = 1
    run.tick(1_000_000, 1_000_010)
    run.oneshot(lots=10)
    (row,) = [row for kind, row, _ in run.commands() if kind == "place"]
    run.fill(row, 10)
    halt(run)
    run.timer(150 * MS)
    assert [(owner, side, lots) for owner, _, side, lots, _ in exits(run)] == [(risk.OWNER_SIGNALS, 1, 10)]


def test_a_halt_that_is_over_begins_its_30_s_anew(held):
    halt(held)
    held.timer(2 * MS)
    first = held.c.scalars[tables.K_HALTED_NS]
    held.c.account[risk.AC_STATE] = layout.RISK_ACTIVE
    held.timer(2 * MS)
    assert held.c.scalars[tables.K_HALTED_NS] == 0
    halt(held)
    held.timer(2 * MS)
    assert held.c.scalars[tables.K_HALTED_NS] > first


def test_exits_beyond_their_own_budget_are_a_runaway_that_kills_until_an_operator_returns_it(held):
    for _ in range(rate.EXITS_MAX):
        rate.take_exit(held.c.rate, held.now)
    fields = {"side": 1, "price": 1_000_000, "lots": 10, "owner": OWNER, "is_exit": 1}
    assert held.order(**fields) == -1
    assert held.reason("exit_runaway") == 1
    assert held.c.account[risk.AC_STATE] == layout.RISK_KILLED
    kinds = held.c.journal[: held.c.journal_count[0], layout.J_KIND].tolist()
    assert layout.JOURNAL_BREACH in kinds
    assert layout.JOURNAL_TIMER in kinds, "a restart has to know"
    held.timer(2 * S)
    assert held.order(**fields) == -1
    assert held.reason("killed") == 1
    assert "place" not in held.kinds()


def test_the_last_exit_of_the_budget_passes_and_the_next_second_has_a_new_one(held):
    fields = {"side": 1, "price": 1_000_000, "lots": 1, "owner": OWNER, "is_exit": 1}
    for _ in range(rate.EXITS_MAX - 1):
        rate.take_exit(held.c.rate, held.now)
    row = held.order(**fields)
    assert row >= 0
    core.placed(held.c, row, core.NOT_SENT, layout.REASON_SEND_FAILED, held.now)
    held.now += S
    assert held.order(**{**fields, "price": 1_000_001}) >= 0
    assert held.c.rate[risk.RT_EXITS] == 1
