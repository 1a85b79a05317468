"""The quote keeper's cheapest way to another wish: keep, make smaller in place, wait at a good place, or cancel."""

from __future__ import annotations

import pytest

from engine import core, state, tables
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import MS, Run
from tests.engine.test_core import quoting

BID, ASK = 1_000_000, 1_000_010


@pytest.fixture
def run():
    """A run whose bid and ask of 40 lots rest at the touch, long enough to be moved."""
    r = Run()
    r.tick(BID, ASK)
    row = r.order(price=BID, lots=100)
    r.commands()
    r.ack(row)
    r.fill(row, 100)
    state.bind_strategy(r.c, 0, quoting.address, [0], [40, 0])
    r.tick(BID, ASK)
    for _, row, _ in r.commands():
        r.ack(row)
    r.now += 100 * MS
    return r


def wish(run, lots, **sizes):
    """The strategy wants another size at the touch, which shows these sizes; what the engine says."""
    run.c.strategy_memory[0, len(tables.STRATEGY_VIEW)] = lots
    shown = {"bid_lots": 500, "ask_lots": 500} | sizes
    run.market("tick", instrument=0, status=layout.BOOK_READY, bid_ticks=BID, ask_ticks=ASK, **shown)
    count = int(run.c.scalars[tables.K_COMMANDS])
    asked = [int(lots) for lots in run.c.commands[:count, tables.CM_LOTS]]
    return list(zip(run.kinds(), asked, strict=True))


def bid(run):
    return int(run.c.quotes[0, tables.QS_ROW])


def amended(run, lots):
    run.event("amended", order_id=run.get(bid(run), "id"), lots=lots)


def test_smaller_wish_amends_and_the_exposure_shrinks_only_with_the_answer(run):
    row = bid(run)
    assert wish(run, 20) == [("amend", 20), ("amend", 20)]
    assert (run.state_of(row), run.working(0)) == ("pending_replace", 40)
    assert wish(run, 20) == [], "asked once"
    amended(run, 20)
    assert (run.state_of(row), run.get(row, "lots"), run.working(0)) == ("live", 20, 20)
    assert run.get(row, "id") == run.get(bid(run), "id")
    assert (run.count("amends_sent"), run.count("orders_amended")) == (2, 1)


def test_amend_counts_what_has_been_filled(run):
    row = bid(run)
    run.fill(row, 10)
    run.commands()
    assert wish(run, 12)[0] == ("amend", 22)
    amended(run, 22)
    assert (run.get(row, "leaves"), run.state_of(row)) == (12, "partially_filled")


def test_fill_on_its_way_during_an_amend_counts_against_the_new_size(run):
    row = bid(run)
    wish(run, 20)
    run.fill(row, 15)
    assert (run.state_of(row), run.working(0)) == ("pending_replace", 25)
    amended(run, 20)
    assert (run.get(row, "leaves"), run.state_of(row)) == (5, "partially_filled")
    run.fill(row, 5)
    assert (run.state_of(row), run.get(row, "leaves")) == ("filled", 0)
    assert run.working_is_sum()


def test_amend_to_what_is_filled_already_ends_the_order(run):
    row = bid(run)
    wish(run, 20)
    run.fill(row, 20)
    amended(run, 20)
    assert (run.state_of(row), run.get(row, "leaves")) == ("filled", 0)
    assert run.working_is_sum()


def test_size_that_no_order_may_have_is_not_amended_to(run):
    run.c.instruments[0, risk.IN_MIN_LOTS] = 15
    assert wish(run, 10)[0][0] == "cancel"


def test_amend_below_the_least_notional_is_a_cancel(run):
    run.c.instruments[0, risk.IN_MIN_NOTIONAL_E8] = 15 * BID * run.c.instruments[0, risk.IN_MULT]
    assert wish(run, 14)[0][0] == "cancel"


def test_young_quote_is_not_amended_either(run):
    run.now -= 90 * MS
    assert wish(run, 20) == []


@pytest.mark.parametrize("reason", [layout.REASON_NOT_FOUND, layout.REASON_VENUE_REJECT])
def test_refused_amend_leaves_the_full_exposure_and_asks_what_became_of_the_order(run, reason):
    row = bid(run)
    wish(run, 20)
    run.event("amend_reject", order_id=run.get(row, "id"), reason=reason)
    assert (run.state_of(row), run.working(0)) == ("unknown", 40)
    assert run.kinds() == ["query"]
    run.event("found_open", order_id=run.get(row, "id"), lots=40, cumulative=0)
    assert (run.state_of(row), run.working(0)) == ("live", 40)


def test_late_amend_leaves_the_order_as_it_was(run):
    row = bid(run)
    wish(run, 20)
    run.event("amend_reject", order_id=run.get(row, "id"), reason=layout.REASON_DEADLINE_PASSED)
    assert (run.state_of(row), run.working(0)) == ("live", 40)


def test_amend_that_did_not_leave_was_never_asked_for(run):
    row = bid(run)
    wish(run, 20)
    core.amend_said(run.c, row, core.NOT_SENT, run.now)
    assert (run.state_of(row), run.get(row, "amend_lots")) == ("live", 0)


def test_amend_without_an_answer_is_asked_about_and_what_is_found_counts(run):
    row = bid(run)
    wish(run, 20)
    run.now += 200 * MS
    core.on_timer(run.c, run.now)
    assert run.state_of(row) == "pending_replace"
    run.now += 300 * MS
    core.on_timer(run.c, run.now)
    assert run.state_of(row) == "unknown"
    run.event("found_open", order_id=run.get(row, "id"), lots=20, cumulative=0)
    assert (run.state_of(row), run.working(0), run.get(row, "amend_lots")) == ("live", 20, 0)


def test_look_at_the_venue_before_the_amend_landed_does_not_undo_it(run):
    row = bid(run)
    wish(run, 20)
    run.event("found_open", order_id=run.get(row, "id"), lots=40, cumulative=0)
    assert run.state_of(row) == "pending_replace"
    amended(run, 20)
    assert run.working(0) == 20


def test_size_that_grew_at_the_venue_counts_at_once_and_asks_for_a_reconciliation(run):
    row = bid(run)
    run.c.scalars[tables.K_RECONCILE_WANTED] = 0
    amended(run, 90)
    assert (run.get(row, "leaves"), run.working(0)) == (90, 90)
    assert run.c.scalars[tables.K_RECONCILE_WANTED] == 1


def test_session_lost_during_an_amend_makes_the_order_unknown(run):
    row = bid(run)
    wish(run, 20)
    run.event("session_down")
    assert (run.state_of(row), run.working(0)) == ("unknown", 40)


def test_protective_pull_goes_past_an_amend_on_its_way(run):
    row = bid(run)
    wish(run, 20)
    run.market("disconnected", instrument=0)
    assert "cancel" in run.kinds()
    assert run.state_of(row) == "pending_cancel"
    amended(run, 20)
    assert run.state_of(row) == "pending_cancel"


def test_larger_wish_waits_at_a_good_place_and_is_placed_anew_from_a_bad_one(run):
    row = bid(run)
    assert run.get(row, "ahead_lots") == -1
    assert wish(run, 40, bid_lots=340) == []
    assert run.get(row, "ahead_lots") == 340, "everything that is shown stands ahead of a new order, at most"
    wish(run, 40, bid_lots=100)
    assert run.get(row, "ahead_lots") == 100, "what was ahead has traded or left"
    kept = run.count("quotes_kept")
    wish(run, 80, bid_lots=240)
    assert run.state_of(row) == "live", "100 ahead, at least 100 behind"
    assert run.count("quotes_kept") > kept
    wish(run, 80, bid_lots=230)
    assert run.state_of(row) == "pending_cancel", "more ahead than behind"


def test_quote_that_stands_alone_at_its_price_gives_no_place_up(run):
    row = bid(run)
    wish(run, 80, bid_lots=40)
    assert run.state_of(row) == "pending_cancel"


@pytest.mark.parametrize("lease_ok", [0, 1])
def test_nothing_is_amended_without_a_lease(run, lease_ok):
    run.c.scalars[tables.K_LEASE_OK] = lease_ok
    assert [kind for kind, _ in wish(run, 20)].count("amend") == 2 * lease_ok
