"""Entry points: strategies and quotes, breakers' effect on working orders, lapse, stop, session, reconciliation."""

from __future__ import annotations

import numba
import pytest
from numba import types

from engine import core, state, tables
from engine.tables import (
    INTENT_QUOTE,
    NT_KIND,
    NT_LOTS,
    NT_PRICE_TICKS,
    NT_SIDE,
    NT_SLOT,
    NT_TYPE,
    SV_ASK_TICKS,
    SV_BID_TICKS,
    SV_HALF_SPREAD_BPS_X100,
)
from fabric import atomics, layout
from risk import tables as risk
from tests.engine.corekit import MS, Run

INTENTS, INTENT_WORDS = tables.INTENTS, len(tables.INTENT)


@numba.cfunc(types.int64(types.int64, types.int64, types.int64, types.int64))
def quoting(view_at, parameters_at, state_at, intents_at):
    """Both sides at the touch, or a slow-path number of ticks behind it; parameter 0: size, 1: answer a fault."""
    view, parameters = atomics.row(view_at, 32), atomics.row(parameters_at, 32)
    own, out = atomics.row(state_at, 64), atomics.table(intents_at, INTENTS, INTENT_WORDS)
    own[0] += 1
    away = view[SV_HALF_SPREAD_BPS_X100]
    for side in range(2):
        out[side, NT_KIND] = INTENT_QUOTE
        out[side, NT_SIDE] = side
        out[side, NT_SLOT] = side
        out[side, NT_TYPE] = layout.TYPE_POST_ONLY
        out[side, NT_LOTS] = parameters[0]
        out[side, NT_PRICE_TICKS] = view[SV_BID_TICKS] - away if side == 0 else view[SV_ASK_TICKS] + away
    return -1 if parameters[1] != 0 else 2


@pytest.fixture
def run():
    """A run that owns 100 lots and quotes instrument 0, nothing sent yet."""
    r = Run()
    r.tick(1_000_000, 1_000_010)
    row = r.order(price=1_000_000, lots=100)
    r.commands()
    r.ack(row)
    r.fill(row, 100)
    state.bind_strategy(r.c, 0, quoting.address, [0], [10, 0])
    return r


@pytest.fixture
def quoted(run):
    """(run, bid row, ask row) with both quotes live."""
    run.tick(1_000_000, 1_000_010)
    rows = [row for kind, row, _ in run.commands() if kind == "place"]
    for row in rows:
        run.ack(row)
    return run, rows[0], rows[1]


def test_tick_places_both_quotes_in_the_same_pass(run):
    run.tick(1_000_000, 1_000_010)
    assert [(k, p) for k, _, p in run.commands()] == [("place", 1_000_000), ("place", 1_000_010)]


def test_quote_that_matches_is_kept(quoted):
    run, bid, _ = quoted
    run.now += 100 * MS
    run.tick(1_000_000, 1_000_010)
    assert run.commands() == []
    assert run.count("quotes_kept") == 2
    assert run.state_of(bid) == "live"


def test_quote_that_the_drawdown_halved_is_kept(run):
    run.c.account[risk.AC_DRAWDOWN_STEP] = 1
    run.tick(1_000_000, 1_000_010)
    rows = [row for _, row, _ in run.commands()]
    assert run.get(rows[0], "lots") == 5
    for row in rows:
        run.ack(row)
    run.now += 100 * MS
    run.tick(1_000_000, 1_000_010)
    assert run.commands() == []


def test_moved_quote_is_cancelled_at_once_and_placed_again_when_that_is_confirmed(quoted):
    run, bid, _ = quoted
    run.now += 100 * MS
    run.tick(999_990, 1_000_010)
    assert run.commands() == [("cancel", bid, 1_000_000)]
    run.tick(999_990, 1_000_010)
    assert run.commands() == []
    run.cancelled(bid)
    assert [(k, p) for k, _, p in run.commands()] == [("place", 999_990)]


def test_quote_younger_than_its_minimum_life_stays_but_a_dirty_book_pulls_it(quoted):
    run, bid, ask = quoted
    run.now += 10 * MS
    run.tick(999_990, 1_000_020)
    assert run.commands() == []
    run.market("disconnected", instrument=0)
    assert {(k, r) for k, r, _ in run.commands()} == {("cancel", bid), ("cancel", ask)}


def test_stale_book_pulls_quotes(quoted):
    run, bid, ask = quoted
    run.timer(10_001 * MS)
    assert {(k, r) for k, r, _ in run.commands()} == {("cancel", bid), ("cancel", ask)}


def test_lapped_market_ring_pulls_quotes(quoted):
    run, _, _ = quoted
    core.on_lost(run.c, run.now)
    assert run.kinds() == ["cancel", "cancel"]


def test_faulty_strategy_is_counted_and_its_quotes_are_pulled(quoted):
    run, _, _ = quoted
    run.c.strategy_memory[0, len(tables.STRATEGY_VIEW) + 1] = 1
    run.tick(1_000_000, 1_000_010)
    assert run.kinds() == ["cancel", "cancel"]
    assert run.count("strategy_errors") == 1


def test_post_only_reject_backs_off_and_tells_the_strategy(quoted):
    run, bid, _ = quoted
    run.event("reject", order_id=run.get(bid, "id"), reason=layout.REASON_POST_ONLY_WOULD_CROSS)
    assert run.c.strategy_memory[0, tables.SV_REASON] == layout.REASON_POST_ONLY_WOULD_CROSS
    run.tick(1_000_000, 1_000_010)
    assert run.commands() == []
    run.now += 101 * MS
    run.tick(1_000_000, 1_000_010)
    assert run.kinds() == ["place"]


def test_parameter_is_used_once_when_it_changed_an_order_that_was_sent(run):
    run.parameter(layout.PARAM_HALF_SPREAD_BPS_X100, 7)
    run.tick(1_000_000, 1_000_010)
    rows = [row for _, row, _ in run.commands()]
    assert [run.get(row, "price_ticks") for row in rows] == [999_993, 1_000_017]
    assert [run.get(row, "model_hash") for row in rows] == [11, 11]
    assert (run.count("parameters_used"), run.count("signals_used")) == (1, 1)
    calls_without_double = run.c.strategy_memory[0, len(tables.STRATEGY_VIEW) + tables.STRATEGY_PARAMETERS]
    assert calls_without_double == 1


def test_parameter_that_changes_nothing_is_not_used(run):
    run.parameter(layout.PARAM_SKEW_BPS_X100, 7)
    run.tick(1_000_000, 1_000_010)
    assert len(run.commands()) == 2
    assert run.count("parameters_used") == 0


def test_daily_loss_halts_cancels_everything_and_refuses_new_orders(quoted):
    run, bid, ask = quoted
    run.oneshot(limit_ticks=990_500)
    run.c.account[risk.AC_CASH_E8] -= 2 * 10**11
    run.timer(2 * MS)
    assert {(k, r) for k, r, _ in run.commands()} == {("cancel", bid), ("cancel", ask)}
    assert layout.SIGNAL_STATE[run.c.signals[0, tables.SG_STATE]] == "refused"
    assert run.order(price=990_000) == -1
    assert run.reason("halted_daily_loss") >= 1


def test_working_orders_beyond_the_cap_are_cancelled_and_the_others_kept(quoted):
    run, bid, ask = quoted
    run.c.limits[risk.LM_POSITION_PPM] = 1000
    run.timer(2 * MS)
    assert run.commands() == [("cancel", bid, 1_000_000)]
    assert run.state_of(ask) == "live"


def test_losses_in_a_row_pause_the_owner_and_pull_its_quotes():
    r = Run(losses_in_row=1)
    r.tick(1_000_000, 1_000_010)
    state.bind_strategy(r.c, 0, quoting.address, [0], [10, 0])
    r.tick(1_000_000, 1_000_010)
    bid = r.commands()[0][1]
    r.ack(bid)
    r.fill(bid, 10)
    rows = [row for kind, row, _ in r.commands() if kind == "place"]
    sell = next(row for row in rows if r.get(row, "side") == layout.SIDE_SELL)
    r.ack(sell)
    r.fill(sell, 10, price=980_000)
    r.commands()
    assert r.c.owners[risk.OWNER_FIRST_STRATEGY, risk.OW_PAUSED_UNTIL_NS] == r.now + 300_000 * MS
    assert r.count("pauses") == 1
    assert r.c.scalars[tables.K_LIVE_COUNT] == 1
    r.timer(2 * MS)
    assert r.kinds() == ["cancel"]
    r.now += 1000 * MS
    r.tick(1_000_000, 1_000_010)
    assert "place" not in r.kinds()


def test_lapse_cancels_all_once_and_refuses_until_the_lease_is_back(quoted):
    run, _, _ = quoted
    core.on_lease(run.c, 0, run.now)
    assert run.kinds() == ["cancel_all", "cancel", "cancel"]
    core.on_lease(run.c, 0, run.now)
    assert run.commands() == []
    assert run.order(price=990_000) == -1
    assert run.reason("lease_lapsed") == 1
    core.on_lease(run.c, 1, run.now)
    assert run.order(price=990_000) >= 0


def test_stop_cancels_everything_and_places_nothing(quoted):
    run, bid, ask = quoted
    core.stop(run.c, run.now)
    assert run.kinds() == ["cancel_all", "cancel", "cancel"]
    run.cancelled(bid)
    run.cancelled(ask)
    run.tick(1_000_000, 1_000_010)
    assert run.commands() == []
    assert run.c.scalars[tables.K_LIVE_COUNT] == 0
    assert run.count("orders_cancelled_at_exit") == 2


def test_session_down_makes_pending_orders_unknown_and_keeps_their_exposure(run):
    row = run.order(price=990_000)
    run.commands()
    core.on_session(run.c, 0, run.now)
    assert (run.state_of(row), run.working(0)) == ("unknown", 10)
    assert run.order(price=990_001) == -1
    assert run.reason("session_down") == 1
    core.on_session(run.c, 1, run.now)
    assert run.order(price=990_002) == -1
    assert run.reason("reconcile_pending") == 1
    reconcile(run, 100)
    assert run.order(price=990_003) >= 0


def reconcile(run, lots, found=()):
    run.event("reconcile_begin")
    for row in found:
        run.event("found_open", order_id=run.get(row, "id"), instrument=0)
    run.event("position", instrument=0, lots=lots)
    run.event("reconcile_end")


def test_order_not_found_by_reconciliation_is_asked_about_and_one_found_is_known(quoted):
    run, bid, ask = quoted
    run.now += 1000 * MS
    reconcile(run, 100, [bid])
    assert (run.state_of(bid), run.state_of(ask)) == ("live", "unknown")
    assert ("query", ask, 1_000_010) in run.commands()
    run.event("found_closed", order_id=run.get(ask, "id"), cumulative=0)
    assert run.state_of(ask) == "cancelled"


def test_young_order_is_not_missed_by_a_reconciliation(quoted):
    run, _, ask = quoted
    reconcile(run, 100)
    assert run.state_of(ask) == "live"


def test_position_difference_goes_to_unowned_when_seen_twice(run):
    run.now += 2000 * MS
    reconcile(run, 103)
    assert run.position() == 100
    assert run.c.scalars[tables.K_RECONCILE_WANTED] == 1
    reconcile(run, 103)
    assert run.position() == 103
    assert run.c.subbooks[risk.OWNER_UNOWNED * 2, risk.SB_LOTS] == 3
    assert run.c.scalars[tables.K_UNOWNED_MASK] == 1
    assert run.order(price=990_000) == -1
    assert run.reason("unowned_position") == 1


def test_fill_without_an_order_goes_to_unowned(run):
    run.event("fill", order_id=5, trade_id=77, instrument=0, side=0, lots=4, price_ticks=1_000_000)
    assert run.position() == 104
    assert run.c.subbooks[risk.OWNER_UNOWNED * 2, risk.SB_LOTS] == 4
    assert run.c.scalars[tables.K_UNOWNED_MASK] == 1


def test_order_of_an_earlier_life_is_cancelled_and_a_stranger_alarms(run):
    run.event("found_open", order_id=layout.order_id(1, 3, 12), instrument=0, lots=5)
    assert run.kinds() == ["cancel"]
    assert run.c.scalars[tables.K_UNOWNED_MASK] == 0
    run.event("found_open", order_id=layout.order_id(2, 3, 12), instrument=0, lots=5)
    assert run.kinds() == []
    assert run.c.scalars[tables.K_UNOWNED_MASK] == 1


def test_crossed_and_empty_touches_are_not_tradable(run):
    run.tick(1_000_010, 1_000_010)
    assert run.c.books[0, risk.BK_STATUS] == layout.BOOK_DIRTY
    run.tick(0, 1_000_010)
    assert run.c.books[0, risk.BK_STATUS] == layout.BOOK_EMPTY
    assert run.commands() == []


def test_disarmed_core_sends_nothing(run):
    run.c.scalars[tables.K_ARMED] = 0
    run.tick(1_000_000, 1_000_010)
    assert run.order() == -1
    assert run.commands() == []
