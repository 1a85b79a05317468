"""Markouts: each fill against the mid of its horizon, signed for us, or counted as a miss."""

from __future__ import annotations

import pytest

from engine import core, markouts, tables
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import MS, Run

BID, ASK = 1_000_000, 1_000_010


@pytest.fixture
def run():
    r = Run()
    r.tick(BID, ASK)
    return r


def filled(run, side, lots, price, **fields):
    row = run.order(side=side, price=price, lots=lots)
    run.commands()
    run.fill(row, lots, price=price, **fields)
    return row


def at(run, later_ms):
    run.now += later_ms * MS
    core.on_timer(run.c, run.now)


def sums(run):
    k = run.c.scalars
    return [(int(k[tables.K_MARKOUT_100MS_E8 + h]), int(k[tables.K_MARKED_100MS_E8 + h])) for h in range(markouts.HORIZONS)]


def test_fill_is_judged_at_each_horizon_and_not_before(run):
    mult = int(run.c.instruments[0, risk.IN_MULT])
    filled(run, 0, 4, BID)
    run.tick(BID + 100, ASK + 100)
    at(run, 99)
    assert run.count("markouts") == 0
    at(run, 1)
    assert sums(run) == [(105 * 4 * mult, 4 * BID * mult), (0, 0), (0, 0)]
    run.tick(BID - 100, ASK - 100)
    at(run, 900)
    assert sums(run)[1] == (-95 * 4 * mult, 4 * BID * mult)
    at(run, 9_000)
    assert [run.count("markouts"), run.count("markouts_missed")] == [3, 0]
    at(run, 60_000)
    assert run.count("markouts") == 3


def test_sale_before_a_fall_was_worth_it(run):
    filled(run, 0, 10, BID)
    before = sums(run)[0][0]
    filled(run, 1, 10, ASK)
    run.tick(BID - 100, ASK - 100)
    at(run, 100)
    mult = int(run.c.instruments[0, risk.IN_MULT])
    assert sums(run)[0][0] - before == (105 - 95) * 10 * mult


def test_no_price_is_made_up_for_a_book_in_doubt(run):
    filled(run, 0, 4, BID)
    run.market("disconnected", instrument=0)
    at(run, 100)
    assert (run.count("markouts"), run.count("markouts_missed"), sums(run)[0]) == (0, 1, (0, 0))


def test_fill_that_a_reconciliation_tells_late_is_a_miss(run):
    run.c.scalars[tables.K_WALL_OFFSET_NS] = 10**18
    filled(run, 0, 4, BID, venue_ns=10**18 + run.now - 101 * MS)
    assert (run.count("markouts_missed"), int(run.c.scalars[tables.K_MARKOUT_HEAD])) == (3, 0)
    filled(run, 0, 5, BID - 1, venue_ns=10**18 + run.now - 99 * MS)
    assert int(run.c.scalars[tables.K_MARKOUT_HEAD]) == 1


def test_ring_that_came_round_counts_what_it_lost_and_judges_the_rest(run):
    lost = 5
    run.c.scalars[tables.K_MARKOUT_HEAD] = tables.MARKOUTS + lost
    run.c.markouts[:, tables.MO_FILL_NS] = run.now
    run.c.markouts[:, tables.MO_LOTS], run.c.markouts[:, tables.MO_PRICE_TICKS] = 1, BID
    run.now += 100 * MS
    markouts.due(run.c, run.now)
    assert run.count("markouts") == markouts.DUE_PER_CALL
    for _ in range(tables.MARKOUTS):
        markouts.due(run.c, run.now)
        run.c.journal_count[0] = 0
    assert run.count("markouts") == tables.MARKOUTS
    assert run.count("markouts_missed") == markouts.HORIZONS * lost


def test_journal_tells_each_markout_with_the_order_that_it_belongs_to(run):
    row = filled(run, 0, 4, BID)
    run.c.journal_count[0] = 0
    at(run, 1_000)
    records = run.c.journal[: run.c.journal_count[0]]
    told = records[records[:, layout.J_KIND] == layout.JOURNAL_MARKOUT]
    assert told[:, layout.J_SIGNAL_ID].tolist() == [100 * MS, 1_000 * MS]
    assert set(told[:, layout.J_ORDER_ID].tolist()) == {run.get(row, "id")}
