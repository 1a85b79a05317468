"""The breakers where one of their answers just changes into another one, and what a missing limit does to each."""

import pytest
from risk_house import NOW, OWNER, World

from fabric import layout
from risk import breakers, tables

MISSING = tables.LIMIT_MISSING
HALT, REDUCE, RELEASE = breakers.BREACH_HALT, breakers.BREACH_REDUCE, breakers.BREACH_RELEASE
PAUSED, LATCHED = breakers.OWNER_PAUSED, breakers.OWNER_LATCHED
ENTERED, LEFT = breakers.LIMIT_ONLY_ENTERED, breakers.LIMIT_ONLY_LEFT


def limited(**changed):
    """A world with these words in its limits, missing ones too."""
    w = World()
    for name, value in changed.items():
        w.limits[tables.LIMIT.index(name)] = value
    return w


def words(w, **changed):
    for name, value in changed.items():
        w.account[tables.ACCOUNT.index(name)] = value
    return w


@pytest.mark.parametrize(
    ("limit", "nav", "day_start", "answer", "reason"),
    [
        (MISSING, 500, 1_000, 0, "none"),
        (MISSING, 0, 1_000, HALT, "halted_nav"),
        (MISSING, -1, 1_000, HALT, "halted_nav"),
        (0, 999, 1_000, HALT, "halted_daily_loss"),
        (0, 1_000, 1_000, 0, "none"),
        (0, 1_001, 1_000, 0, "none"),
        (0, 1, 1, 0, "none"),
        (1_000_000, 500, 1_000, HALT, "halted_daily_loss"),
        (1_000_000, 501, 1_000, 0, "none"),
        (1_000_000, 1, 1_000, HALT, "halted_daily_loss"),
    ],
)
def test_the_days_loss_is_judged_from_its_first_unit_on(limit, nav, day_start, answer, reason):
    w = words(limited(day_loss_ppm=limit), nav_e8=nav, day_start_nav_e8=day_start)
    assert breakers.day_loss(w.account, w.limits) == answer
    assert w.account[tables.AC_REASON] == layout.REASON.index(reason)
    assert w.account[tables.AC_STATE] == (layout.RISK_HALTED if answer else layout.RISK_ACTIVE)


@pytest.mark.parametrize(
    ("limit", "hwm", "nav", "before", "answer", "after"),
    [
        (MISSING, 1_000, 1, 0, 0, 0),
        (100_000, 0, -5, 0, 0, 0),
        (100_000, -9, -50, 0, 0, 0),
        (100_000, 1, 0, 0, REDUCE, 2),
        (0, 1_000, 1_000, 0, 0, 0),
        (0, 1_000, 1_001, 0, 0, 0),
        (0, 1_000, 999, 0, REDUCE, 2),
        (100_000, 10, 9, 0, REDUCE, 1),
        (100_000, 1_000, 901, 0, 0, 0),
        (100_000, 1_000, 900, 0, REDUCE, 1),
        (100_000, 1_000, 900, 1, 0, 1),
        (100_000, 1_000, 850, 0, REDUCE, 1),
        (100_000, 1_000, 849, 0, REDUCE, 2),
        (100_000, 1_000, 849, 1, REDUCE, 2),
        (100_000, 1_000, 849, 2, 0, 2),
        (100_000, 1_000, 900, 2, 0, 2),
        (100_000, 1_010, 859, 0, REDUCE, 1),
        (100_000, 1_010, 858, 0, REDUCE, 2),
        (100_000, 1_000, 949, 1, 0, 1),
        (100_000, 1_000, 950, 1, RELEASE, 0),
        (100_000, 1_000, 950, 2, RELEASE, 0),
        (100_000, 1_000, 1_000, 1, RELEASE, 0),
        (100_000, 1_000, 950, 0, 0, 0),
        (100_000, 30, 29, 1, RELEASE, 0),
        (100_000, 30, 28, 1, 0, 1),
    ],
)
def test_drawdown_at_every_edge(limit, hwm, nav, before, answer, after):
    w = words(limited(drawdown_ppm=limit), nav_e8=nav, hwm_e8=hwm, drawdown_step=before)
    assert breakers.drawdown(w.account, w.limits) == answer
    assert w.account[tables.AC_DRAWDOWN_STEP] == after


def test_one_mark_may_halt_and_reduce_and_says_both():
    w = words(limited(day_loss_ppm=10_000, drawdown_ppm=10_000), nav_e8=500, day_start_nav_e8=1_000, hwm_e8=1_000)
    assert breakers.after_mark(w.account, w.owners, w.limits, NOW) == HALT | REDUCE


@pytest.mark.parametrize(
    ("pause", "most", "had", "until", "answer"),
    [
        (100, 3, 0, NOW + 100, PAUSED),
        (100, 3, 1, NOW + 100, PAUSED),
        (100, 3, 2, NOW + 100, LATCHED),
        (100, 1, 0, NOW + 100, LATCHED),
    ]
    + [(MISSING, 3, 0, NOW, PAUSED), (0, 3, 0, NOW, PAUSED), (1, 3, 0, NOW + 1, PAUSED), (100, MISSING, 0, NOW + 100, LATCHED)],
)
def test_a_pause_is_counted_and_the_last_of_the_day_latches(pause, most, had, until, answer):
    w = limited(pause_ns=pause, pauses_to_latch=most)
    w.owners[OWNER, tables.OW_PAUSES_TODAY] = had
    assert breakers.pause_owner(w.owners, OWNER, w.limits, NOW) == answer
    owner = w.owners[OWNER]
    assert (owner[tables.OW_PAUSED_UNTIL_NS], owner[tables.OW_PAUSES_TODAY]) == (until, had + 1)
    assert owner[tables.OW_LATCHED] == (answer == LATCHED)
    assert w.owners.sum() == owner.sum()


@pytest.mark.parametrize(
    ("result", "most", "had", "answer", "streak"),
    [(1, 3, 2, 0, 0), (0, 3, 2, 0, 2), (-1, 3, 1, 0, 2), (-1, 3, 2, PAUSED, 0), (-9, 1, 0, PAUSED, 0), (-1, 0, 0, PAUSED, 0)]
    + [(-1, MISSING, 2, 0, 2), (1, MISSING, 2, 0, 0)],
)
def test_a_result_moves_the_streak_of_its_owner(result, most, had, answer, streak):
    w = limited(losses_in_row=most)
    w.owners[OWNER, tables.OW_LOSS_STREAK] = had
    assert breakers.owner_result(w.owners, OWNER, result, w.limits, NOW) == answer
    assert w.owners[OWNER, tables.OW_LOSS_STREAK] == streak
    assert w.owners[OWNER, tables.OW_PAUSES_TODAY] == (1 if answer else 0)


@pytest.mark.parametrize(
    ("rejected", "most", "had", "answer", "row"),
    [(0, 3, 2, 0, 0), (1, 3, 0, 0, 1), (1, 3, 1, 0, 2), (1, 3, 2, PAUSED, 0), (1, 0, 0, PAUSED, 0), (1, MISSING, 5, 0, 6)]
    + [(1, 1, 0, PAUSED, 0)],
)
def test_a_reject_counts_and_an_ack_forgets(rejected, most, had, answer, row):
    w = words(limited(rejects_in_row=most), rejects_in_row=had)
    assert breakers.order_result(w.account, w.owners, OWNER, rejected, w.limits, NOW) == answer
    assert w.account[tables.AC_REJECTS_IN_ROW] == row
    assert w.owners[OWNER, tables.OW_PAUSES_TODAY] == (1 if answer else 0)


@pytest.mark.parametrize(
    ("side", "decision", "price", "sample"),
    [
        (layout.SIDE_BUY, 20_000, 10_010, 1_000),
        (layout.SIDE_BUY, 20_000, 9_990, -1_000),
        (layout.SIDE_SELL, 20_000, 9_990, 1_000),
        (layout.SIDE_SELL, 20_000, 10_010, -1_000),
        (layout.SIDE_BUY, 20_000, 10_000, 0),
        (layout.SIDE_BUY, 30_000, 15_001, 67),  # 66.7 ppm, rounded up
        (layout.SIDE_SELL, 30_000, 15_001, -66),
        (layout.SIDE_BUY, 1, 1, 1_000_000),
        (layout.SIDE_BUY, 2, 1, 0),
    ],
)
def test_slippage_of_a_first_fill_counts_whole(side, decision, price, sample):
    w = limited(slippage_ppm=MISSING)
    assert breakers.slippage(w.account, w.limits, side, decision, price) == 0
    assert w.account[tables.AC_SLIPPAGE_PPM] == sample
    assert w.account[tables.AC_SLIPPAGE_FILLS] == 1
    assert w.account[tables.AC_LIMIT_ONLY] == 0


@pytest.mark.parametrize(("decision", "price"), [(0, 10_000), (-1, 10_000), (20_000, 0), (20_000, -1)])
def test_slippage_without_two_prices_is_none(decision, price):
    w = limited(slippage_ppm=0)
    assert breakers.slippage(w.account, w.limits, layout.SIDE_BUY, decision, price) == 0
    assert w.account[tables.AC_SLIPPAGE_FILLS] == 0


@pytest.mark.parametrize(
    ("fills", "before", "price", "after"),
    [(1, 800, 10_010, 825), (1, 801, 10_010, 826), (5, 0, 10_010, 125), (9, -8, 10_000, -7)],
)
def test_slippage_of_a_later_fill_weighs_an_eighth_and_is_rounded_up(fills, before, price, after):
    w = words(limited(slippage_ppm=10_000), slippage_ppm=before, slippage_fills=fills)
    breakers.slippage(w.account, w.limits, layout.SIDE_BUY, 20_000, price)
    assert (w.account[tables.AC_SLIPPAGE_PPM], w.account[tables.AC_SLIPPAGE_FILLS]) == (after, fills + 1)


@pytest.mark.parametrize(
    ("limit", "average", "before", "answer", "after"),
    [
        (1_000, 999, 0, 0, 0),
        (1_000, 1_000, 0, ENTERED, 1),
        (1_000, 1_001, 1, 0, 1),
        (1_000, 501, 1, 0, 1),
        (1_000, 500, 1, LEFT, 0),
        (1_000, 500, 0, 0, 0),
        (1_001, 500, 1, LEFT, 0),
        (1_001, 501, 1, 0, 1),
        (0, 0, 0, ENTERED, 1),
        (0, 0, 1, 0, 1),
        (0, -1, 1, LEFT, 0),
        (0, -1, 0, 0, 0),
        (1, 0, 1, LEFT, 0),
        (MISSING, 9_999, 0, 0, 0),
        (MISSING, -9_999, 1, 0, 1),
    ],
)
def test_limit_only_is_entered_at_the_limit_and_left_at_half_of_it(limit, average, before, answer, after):
    w = words(limited(slippage_ppm=limit), limit_only=before)
    price = 10_000_000 + average * 10  # a first fill of exactly this many parts per million
    assert breakers.slippage(w.account, w.limits, layout.SIDE_BUY, 20_000_000, price) == answer
    assert w.account[tables.AC_SLIPPAGE_PPM] == average
    assert w.account[tables.AC_LIMIT_ONLY] == after
