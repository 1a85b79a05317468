"""The gate where one of its answers just changes into another one."""

import pytest
from risk_house import NOW, OWNER, World

from fabric import layout
from risk import checks, gate, rate, tables


def full_rate(w):
    w.limits[tables.LM_ORDER_RATE_PER_S] = 1
    rate.take(w.rate, NOW)


def test_a_state_beyond_the_table_is_read_as_killed():
    for state in (-1, gate.STATE_LAPSED + 1):
        assert gate.state_action(state, tables.OPERATION_EXIT) == layout.ACTION_KILL
        assert gate.state_action(state, tables.OPERATION_CANCEL) == layout.ACTION_PASS


def test_drawdown_leaves_whole_what_just_flattens():
    w = World().hold(100).ask(side=layout.SIDE_SELL, lots=100)
    w.account[tables.AC_DRAWDOWN_STEP] = 1
    assert w.answer() == ("pass", "none")


@pytest.mark.parametrize(
    ("least", "lots", "answer"), [(0, 1, ("reject", "drawdown_zero")), (1, 2, ("reduce", "drawdown_reduced"))]
)
def test_drawdown_never_leaves_nothing_of_an_order(least, lots, answer):
    w = World().ask(lots=lots)
    w.instruments[0, tables.IN_MIN_LOTS] = least
    w.account[tables.AC_DRAWDOWN_STEP] = 1
    assert w.answer() == answer


def test_what_drawdown_refuses_does_not_wait_for_the_rate():
    w = World().ask(lots=3)
    w.account[tables.AC_DRAWDOWN_STEP] = 1
    full_rate(w)
    assert w.answer() == ("reject", "drawdown_zero")


def test_limit_only_leaves_limit_orders_as_they_are():
    w = World()
    w.account[tables.AC_LIMIT_ONLY] = 1
    assert w.answer() == ("pass", "none")
    assert list(w.out[1:3]) == [layout.TYPE_LIMIT, 10_000]


@pytest.mark.parametrize("price", [1, 10_000])
def test_market_exit_with_its_own_price_needs_no_book(price):
    w = World().hold(100).ask(side=layout.SIDE_SELL, kind=layout.TYPE_MARKET, price=price, is_exit=1)
    w.books[0, tables.BK_STATUS] = layout.BOOK_DIRTY
    w.books[0, tables.BK_GOOD_MARK_X2_TICKS] = 2 * price
    assert w.answer() == ("pass", "none")
    assert list(w.out[1:3]) == [layout.TYPE_MARKET, price]


def test_limit_only_goes_no_further_than_the_orders_own_price_however_low():
    w = World(collar_ppm=1_000_000).ask(kind=layout.TYPE_MARKET, price=1)
    w.books[0, tables.BK_BID_TICKS], w.books[0, tables.BK_ASK_TICKS] = 1, 3
    w.account[tables.AC_LIMIT_ONLY] = 1
    assert w.answer() == ("limit_only", "slippage_limit_only")
    assert list(w.out[1:3]) == [layout.TYPE_IOC, 1]


@pytest.mark.parametrize("is_exit", [0, 1])
def test_what_is_sent_takes_its_slot_its_message_and_for_an_exit_a_part_of_the_exits_budget(is_exit):
    w = World().ask(is_exit=is_exit)
    gate.sent(w.order, w.account, w.owners, w.rate, w.now)
    assert (w.rate[tables.RT_COUNT], w.rate[tables.RT_MESSAGES], w.rate[tables.RT_EXITS]) == (1, 1, is_exit)
    assert w.account[tables.AC_LAST_ORDER_ID] == 77
    assert list(w.owners[OWNER, [tables.OW_LAST_ORDER_KEY, tables.OW_LAST_ORDER_NS]]) == [checks.order_key(w.order), NOW]
    w.order[tables.OI_ID] = 5
    gate.sent(w.order, w.account, w.owners, w.rate, w.now)
    assert w.account[tables.AC_LAST_ORDER_ID] == 77


def test_exits_have_a_budget_of_their_own_and_one_beyond_it_is_answered_with_kill():
    w = World().hold(100).ask(side=layout.SIDE_SELL, is_exit=1)
    for _ in range(rate.EXITS_MAX):
        assert w.answer() == ("pass", "none")
        rate.take_exit(w.rate, w.now)
    assert w.answer() == ("kill", "exit_runaway")
    w.order[tables.OI_LOTS] = 101
    assert w.answer() == ("reject", "exit_too_large"), "what would not be sent is none"
    assert w.ask().answer() == ("pass", "none"), "new orders have theirs"
