"""An order that the venue calls ended before its fills have come: what is missing is exposure until it is here."""

from __future__ import annotations

import pytest

from engine import orders, timers
from fabric import layout
from tests.engine.corekit import MS, Run

END = {"cancelled": layout.REASON_REQUESTED, "found_closed": -1, "expired": layout.REASON_DEADLINE_PASSED}


@pytest.fixture(params=sorted(END))
def ended(request: pytest.FixtureRequest) -> tuple[Run, int, str]:
    """(run, row, kind): an order of 10 lots of which 4 have been told, and the venue says that it ended with 7."""
    run = Run()
    run.tick(1_000_000, 1_000_010)
    row = run.order(price=1_000_000, lots=10)
    run.commands()
    run.ack(row)
    run.fill(row, 4)
    say(run, row, request.param)
    return run, row, request.param


def say(run: Run, row: int, kind: str, cumulative: int = 7) -> None:
    run.event(kind, order_id=run.get(row, "id"), instrument=0, cumulative=cumulative, reason=END[kind])


def test_the_missing_fills_stay_exposure_and_are_asked_for(ended: tuple[Run, int, str]) -> None:
    run, row, _ = ended
    assert (run.state_of(row), run.get(row, "lots"), run.get(row, "leaves")) == ("unknown", 7, 3)
    assert (run.position(), run.working(layout.SIDE_BUY)) == (4, 3)
    assert run.kinds() == ["query"]
    assert run.working_is_sum()


def test_the_last_missing_fill_ends_it(ended: tuple[Run, int, str]) -> None:
    run, row, kind = ended
    run.fill(row, 1)
    assert (run.state_of(row), run.working(layout.SIDE_BUY)) == ("unknown", 2)
    say(run, row, kind)
    run.fill(row, 2)
    assert (run.state_of(row), run.position(), run.working(layout.SIDE_BUY)) == ("filled", 7, 0)
    say(run, row, kind)
    assert run.count("events_late") == 1


def test_nothing_brings_it_back_to_life_and_nothing_cancels_it(ended: tuple[Run, int, str]) -> None:
    run, row, _ = ended
    run.commands()
    run.ack(row)
    run.event("found_open", order_id=run.get(row, "id"), instrument=0, cumulative=4)
    assert run.state_of(row) == "unknown"
    orders.cancel_matching(run.c, -1, -1, 0, layout.REASON_REQUESTED, run.now)
    assert run.kinds() == []
    run.timer(timers.QUERY_NS)
    assert run.kinds() == ["query"]


def test_without_the_fills_the_venue_s_word_counts_after_a_while_and_the_position_tells(ended: tuple[Run, int, str]) -> None:
    run, row, kind = ended
    run.now += orders.AWAIT_FILLS_NS
    say(run, row, kind)
    assert run.state_of(row) == "unknown"
    run.now += 1
    say(run, row, kind)
    assert run.state_of(row) in ("cancelled", "expired")
    assert run.working(layout.SIDE_BUY) == 0


def test_an_end_without_missing_fills_is_an_end() -> None:
    run = Run()
    run.tick(1_000_000, 1_000_010)
    row = run.order(price=1_000_000, lots=10)
    run.commands()
    run.fill(row, 4)
    say(run, row, "cancelled", 4)
    assert (run.state_of(row), run.working(layout.SIDE_BUY)) == ("cancelled", 0)


def test_a_cancel_that_comes_too_late_is_said_again_at_once_and_then_only_as_often_as_any() -> None:
    run = Run()
    run.tick(1_000_000, 1_000_010)
    row = run.order(price=1_000_000, lots=10)
    run.commands()
    run.ack(row)
    orders.want_cancel(run.c, row, layout.REASON_REQUESTED, run.now)
    said = 0
    for _ in range(1000):
        said += run.kinds().count("cancel")
        run.event("cancel_reject", order_id=run.get(row, "id"), reason=layout.REASON_DEADLINE_PASSED)
        run.timer(MS)
    assert said == 5  # one, one at once, and one each quarter of a second
