"""Each breaker trips at its limit and not just below it, and clears only as the rules say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_house import NOW, OWNER, World, interpreted

from fabric import layout
from risk import account, breakers, tables

NAV = 1_000_000


def funded(nav, day_start=NAV, hwm=NAV, **changed):
    w = World(**changed)
    w.account[tables.AC_NAV_E8], w.account[tables.AC_DAY_START_NAV_E8] = nav, day_start
    w.account[tables.AC_HWM_E8] = hwm
    return w


def judge(w):
    return breakers.after_mark(w.account, w.owners, w.limits, NOW)


# 1 % of the smaller NAV, which is the current one: 9,900 is just less than 1 % of 990,100; 9,901 more than 1 % of 990,099.
@pytest.mark.parametrize(("loss", "halts"), [(0, False), (9_900, False), (9_901, True), (9_902, True)])
def test_daily_loss_halts_at_the_limit_and_not_just_below(loss, halts):
    w = funded(NAV - loss, day_loss_ppm=10_000)
    assert judge(w) == (breakers.BREACH_HALT if halts else 0)
    assert w.account[tables.AC_STATE] == (layout.RISK_HALTED if halts else layout.RISK_ACTIVE)
    assert w.account[tables.AC_REASON] == (layout.REASON_HALTED_DAILY_LOSS if halts else 0)


def test_daily_loss_equal_to_the_limit_halts():
    assert judge(funded(990_000, day_start=999_899, day_loss_ppm=10_000)) == 0
    assert judge(funded(990_000, day_start=999_900, day_loss_ppm=10_000)) == breakers.BREACH_HALT


@pytest.mark.parametrize(("nav", "halts"), [(1, False), (0, True), (-1, True)])
def test_nav_at_zero_halts(nav, halts):
    w = funded(nav, day_start=nav, hwm=nav)
    assert (judge(w) == breakers.BREACH_HALT) is halts
    assert w.account[tables.AC_REASON] == (layout.REASON_HALTED_NAV if halts else 0)


def test_halt_stays_through_recovery_and_day_roll():
    w = funded(NAV // 2)
    assert judge(w) & breakers.BREACH_HALT
    w.account[tables.AC_NAV_E8] = 2 * NAV
    account.roll_day(w.account, w.owners, 9)
    assert judge(w) & breakers.BREACH_HALT == 0
    assert w.account[tables.AC_STATE] == layout.RISK_HALTED


def test_paused_account_still_halts_and_disarmed_or_killed_is_left_alone():
    for state, expected in [
        (layout.RISK_PAUSED, layout.RISK_HALTED),
        (layout.RISK_DISARMED, layout.RISK_DISARMED),
        (layout.RISK_KILLED, layout.RISK_KILLED),
    ]:
        w = funded(0)
        w.account[tables.AC_STATE] = state
        judge(w)
        assert w.account[tables.AC_STATE] == expected


def test_armed_account_that_the_venue_has_not_told_of_yet_is_not_judged():
    w = funded(0, day_start=0, hwm=0)
    w.account[tables.AC_RECONCILED] = 0
    assert judge(w) == 0
    assert w.account[tables.AC_STATE] == layout.RISK_ACTIVE


@pytest.mark.parametrize(("down", "step"), [(99_999, 0), (100_000, 1), (100_001, 1), (150_000, 1), (150_001, 2), (300_000, 2)])
def test_drawdown_steps_at_the_limit_and_beyond_half_as_much_again(down, step):
    w = funded(NAV - down, day_start=NAV - down, drawdown_ppm=100_000)
    assert judge(w) == (breakers.BREACH_REDUCE if step else 0)
    assert w.account[tables.AC_DRAWDOWN_STEP] == step
    assert judge(w) == 0  # told once


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize(("down", "released"), [(99_999, False), (50_001, False), (50_000, True), (0, True)])
def test_drawdown_is_released_at_half_the_limit(first, down, released):
    w = funded(NAV - down, day_start=NAV - down, drawdown_ppm=100_000)
    w.account[tables.AC_DRAWDOWN_STEP] = first
    assert judge(w) == (breakers.BREACH_RELEASE if released else 0)
    assert w.account[tables.AC_DRAWDOWN_STEP] == (0 if released else first)


def results(w, *values):
    return [breakers.owner_result(w.owners, OWNER, value, w.limits, NOW) for value in values]


def test_losses_in_a_row_pause_that_owner_alone():
    w = World(losses_in_row=3)
    assert results(w, -1, -1, -1) == [0, 0, breakers.OWNER_PAUSED]
    assert w.owners[OWNER, tables.OW_PAUSED_UNTIL_NS] == NOW + 300_000_000_000
    assert not w.owners[OWNER + 1].any()


def test_zero_neither_counts_nor_resets_and_a_gain_resets():
    w = World(losses_in_row=3)
    assert results(w, -1, 0, -1, 0, 1, -1, -1, 0, -1) == [0] * 8 + [breakers.OWNER_PAUSED]


def test_third_pause_in_a_day_latches_and_a_new_day_counts_afresh():
    w = World(losses_in_row=1, pauses_to_latch=3)
    assert results(w, -1, -1) == [breakers.OWNER_PAUSED] * 2
    account.roll_day(w.account, w.owners, 5)
    assert results(w, -1, -1, -1) == [breakers.OWNER_PAUSED] * 2 + [breakers.OWNER_LATCHED]
    account.roll_day(w.account, w.owners, 6)
    assert w.owners[OWNER, tables.OW_LATCHED] == 1


def test_owner_runs_again_when_its_pause_ends():
    w = World(losses_in_row=1)
    results(w, -1)
    w.now = NOW + 300_000_000_000 - 1
    w.books[:, tables.BK_UPDATED_NS] = w.now
    assert w.answer() == ("pause", "owner_paused")
    w.now += 1
    assert w.answer() == ("pass", "none")


def test_storm_of_rejects_pauses_and_an_ack_ends_the_row():
    w = World(rejects_in_row=3)

    def tell(rejected):
        return breakers.order_result(w.account, w.owners, OWNER, rejected, w.limits, NOW)

    assert [tell(r) for r in (1, 1, 0, 1, 1, 1, 1)] == [0, 0, 0, 0, 0, breakers.OWNER_PAUSED, 0]


def slip(w, side, price, decision_x2=20_000):
    return breakers.slippage(w.account, w.limits, side, decision_x2, price)


@pytest.mark.parametrize(("side", "worse"), [(layout.SIDE_BUY, 1), (layout.SIDE_SELL, -1)])
@pytest.mark.parametrize(("ticks", "trips"), [(29, False), (30, True), (31, True), (-500, False)])
def test_slippage_is_signed_and_trips_at_the_limit(side, worse, ticks, trips):
    w = World(slippage_ppm=3_000)
    assert slip(w, side, 10_000 + worse * ticks) == (breakers.LIMIT_ONLY_ENTERED if trips else 0)
    assert w.account[tables.AC_SLIPPAGE_PPM] == ticks * 100


def test_slippage_leaves_limit_only_at_half_the_limit():
    w = World(slippage_ppm=3_000)
    slip(w, layout.SIDE_BUY, 10_030)
    average, answers = 3_000, []
    while w.account[tables.AC_LIMIT_ONLY] and len(answers) < 20:
        answers.append(slip(w, layout.SIDE_BUY, 10_000))
        average = -(-average * 7 // 8)
        assert w.account[tables.AC_SLIPPAGE_PPM] == average
        assert (answers[-1] == breakers.LIMIT_ONLY_LEFT) == (average <= 1_500)
    assert answers == [0] * 5 + [breakers.LIMIT_ONLY_LEFT]


def test_slippage_without_a_decision_price_is_not_judged():
    w = World()
    assert slip(w, layout.SIDE_BUY, 10_000, decision_x2=0) == 0
    assert w.account[tables.AC_SLIPPAGE_FILLS] == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-2_000_000, 2_000_000), st.integers(0, 1)), max_size=25),
    st.sampled_from([0, 100, 10_000, 1_000_000]),
)
def test_compiled_and_interpreted_breakers_leave_the_same_bytes(steps, limit):
    def play():
        w = funded(NAV, day_loss_ppm=limit, drawdown_ppm=limit, slippage_ppm=limit, losses_in_row=2, rejects_in_row=2)
        answers = []
        for what, value, side in steps:
            if what == 0:
                w.account[tables.AC_NAV_E8] += value
                answers.append(judge(w))
            elif what == 1:
                answers += results(w, value)
            elif what == 2:
                answers.append(slip(w, side, 10_000 + value // 1_000))
            else:
                answers.append(breakers.order_result(w.account, w.owners, OWNER, side, w.limits, NOW))
        return w, answers

    compiled, answers = play()
    with interpreted():
        plain, same = play()
    assert answers == same
    for a, b in zip(compiled.arrays(), plain.arrays(), strict=True):
        assert np.array_equal(a, b)


def test_numbers_that_the_journal_keeps_are_for_ever():
    assert (breakers.BREACH_HALT, breakers.BREACH_REDUCE, breakers.BREACH_RELEASE) == (1, 2, 4)
    assert (breakers.OWNER_PAUSED, breakers.OWNER_LATCHED) == (1, 2)
    assert (breakers.LIMIT_ONLY_ENTERED, breakers.LIMIT_ONLY_LEFT) == (1, 2)
    assert breakers.SLIPPAGE_WEIGHT == 8
