"""Each check at the value where its answer changes."""

import pytest
from risk_house import ASK, BID, MULT, NOW, OWNER, World

from fabric import layout
from risk import checks, tables


def reason(number):
    return layout.REASON[number]


@pytest.mark.parametrize(
    ("state", "word", "said"),
    [
        (layout.RISK_HALTED, layout.REASON_HALTED_DAILY_LOSS, "halted_daily_loss"),
        (layout.RISK_HALTED, 0, "halted_operator"),
        (layout.RISK_PAUSED, 0, "owner_paused"),
        (layout.RISK_DISARMED, 0, "shutdown"),
        (layout.RISK_KILLED, layout.REASON_HALTED_NAV, "killed"),
    ],
)
def test_a_state_is_explained_by_the_accounts_own_word_where_there_is_one(state, word, said):
    w = World()
    w.account[[tables.AC_STATE, tables.AC_REASON]] = state, word
    assert reason(checks.state_reason(w.account, 1)) == said
    assert w.answer()[1] == said


def test_the_first_owner_is_judged_like_any_other():
    w = World()
    w.order[tables.OI_OWNER] = 0
    assert w.answer() == ("pass", "none")
    w.owners[0, tables.OW_LATCHED] = 1
    assert w.answer() == ("pause", "owner_latched")


@pytest.mark.parametrize("owner", [-1, 8])
def test_an_owner_that_does_not_exist_is_off_the_grid_whatever_the_last_ones_state(owner):
    w = World()
    w.owners[7, tables.OW_LATCHED] = 1
    w.order[tables.OI_OWNER] = owner
    assert checks.owner_state(w.order, w.owners, w.now) == 0
    assert w.answer() == ("reject", "off_grid")


@pytest.mark.parametrize("kind", range(layout.TYPE_LIMIT, layout.TYPE_POST_ONLY + 1))
def test_every_order_type_is_known(kind):
    assert World().ask(kind=kind).answer() == ("pass", "none")


@pytest.mark.parametrize(
    ("number", "last", "said"),
    [(0, 5, "none"), (6, 5, "none"), (5, 5, "duplicate_id"), (1, 1, "duplicate_id"), (-1, 0, "duplicate_id")],
)
def test_ids_only_rise_and_0_is_given_later(number, last, said):
    w = World()
    w.order[tables.OI_ID], w.account[tables.AC_LAST_ORDER_ID] = number, last
    assert reason(checks.duplicate_id(w.order, w.account)) == said


def test_a_limit_of_zero_is_there():
    w = World()
    w.limits[:] = 0
    assert checks.limits_present(w.order, w.limits) == 0


@pytest.mark.parametrize("limit", range(tables.LM_DAY_LOSS_PPM, tables.LM_REJECTS_IN_ROW + 1))
def test_each_limit_that_can_judge_an_order_is_looked_at(limit):
    w = World()
    w.limits[limit] = tables.LIMIT_MISSING
    assert reason(checks.limits_present(w.order, w.limits)) == "limit_missing"


def test_a_limit_that_judges_no_order_blocks_none():
    w = World()
    w.limits[tables.LM_REJECTS_IN_ROW + 1 :] = tables.LIMIT_MISSING
    assert checks.limits_present(w.order, w.limits) == 0


@pytest.mark.parametrize("i", [0, 1])
@pytest.mark.parametrize(("lots", "said"), [(100, "none"), (101, "unowned_position")])
def test_an_unexplained_position_lets_exactly_what_reduces_through_and_only_there(i, lots, said):
    w = World().hold(100, i=i).ask(side=layout.SIDE_SELL, lots=lots)
    w.order[tables.OI_INSTRUMENT] = i
    assert reason(checks.unowned(w.order, w.positions, 1 << i)) == said
    assert checks.unowned(w.order, w.positions, 2 >> i) == 0


@pytest.mark.parametrize(
    ("status", "bid", "ask", "said"),
    [
        (layout.BOOK_READY, BID, ASK, "none"),
        (layout.BOOK_READY, 1, 2, "none"),
        (layout.BOOK_READY, 1, 1, "book_crossed"),
        (layout.BOOK_READY, 2, 1, "book_crossed"),
        (layout.BOOK_READY, 0, 1, "book_empty"),
        (layout.BOOK_READY, 1, 0, "book_empty"),
        (layout.BOOK_EMPTY, BID, ASK, "book_empty"),
        (layout.BOOK_DIRTY, 0, 0, "book_dirty"),
    ],
)
def test_a_book_has_two_sides_apart(status, bid, ask, said):
    w = World()
    w.books[0, [tables.BK_STATUS, tables.BK_BID_TICKS, tables.BK_ASK_TICKS]] = status, bid, ask
    assert reason(checks.book(w.order, w.books, w.limits, w.now)) == said


@pytest.mark.parametrize(
    ("kind", "lots", "price", "least", "most", "said"),
    [
        (layout.TYPE_LIMIT, 1, 1, 1, 1, "none"),
        (layout.TYPE_LIMIT, 1, 1, 0, 1, "none"),
        (layout.TYPE_LIMIT, 0, 1, 0, 1, "off_grid"),
        (layout.TYPE_LIMIT, 0, 1, -1, 1, "off_grid"),
        (layout.TYPE_LIMIT, 1, 1, 2, 5, "off_grid"),
        (layout.TYPE_LIMIT, 2, 100_000_000, 2, 5, "none"),
        (layout.TYPE_LIMIT, 2, 100_000_001, 2, 5, "off_grid"),
        (layout.TYPE_LIMIT, 5, 1, 2, 5, "none"),
        (layout.TYPE_LIMIT, 6, 1, 2, 5, "max_order_lots"),
        (layout.TYPE_LIMIT, 2, 0, 2, 5, "off_grid"),
        (layout.TYPE_MARKET, 2, 0, 2, 5, "none"),
        (layout.TYPE_MARKET, 2, -1, 2, 5, "off_grid"),
    ],
)
def test_size_and_price_are_on_the_grid(kind, lots, price, least, most, said):
    w = World().ask(kind=kind, lots=lots, price=price)
    w.instruments[0, [tables.IN_MIN_LOTS, tables.IN_MAX_LOTS]] = least, most
    assert reason(checks.grid(w.order, w.instruments)) == said


def stale(w, mark_x2=0):
    """No usable book any more, and this last good mark."""
    w.books[0, [tables.BK_STATUS, tables.BK_GOOD_MARK_X2_TICKS]] = layout.BOOK_DIRTY, mark_x2
    return w


@pytest.mark.parametrize(("mark", "reference"), [(-5, 0), (0, 0), (1, 1), (20_001, 20_001)])
def test_the_reference_is_the_mid_else_the_last_good_mark(mark, reference):
    w = World()
    assert checks.reference_x2(w.books[0], w.limits, w.now) == BID + ASK
    assert checks.reference_x2(stale(w, mark).books[0], w.limits, w.now) == reference


@pytest.mark.parametrize(
    ("side", "mark_x2", "ppm", "price"),
    [
        (0, 20_000, 10_000, 10_100),
        (1, 20_000, 10_000, 9_900),
        (0, 20_001, 10_000, 10_100),
        (1, 20_001, 10_000, 9_901),
        (0, 3, 0, 1),
    ]
    + [(1, 3, 0, 2), (1, 3, 1_000_000, 1), (1, 2, 2_000_000, 1), (0, 2, 1_000_000, 2), (0, 1, 0, 0)],
)
def test_the_collar_is_rounded_inwards_and_a_sale_costs_at_least_a_tick(side, mark_x2, ppm, price):
    assert checks.collar_price(side, mark_x2, ppm) == price


@pytest.mark.parametrize(
    ("side", "price", "ready", "mark", "judged"),
    [
        (0, 5, 1, 0, 5),
        (0, 1, 1, 0, 1),
        (0, 0, 1, 0, ASK),
        (1, 0, 1, 0, BID),
        (0, 0, 0, 20_000, 10_000),
        (0, 0, 0, 20_001, 10_001),
    ],
)
def test_an_order_without_a_price_is_judged_at_the_far_touch_or_the_mark_rounded_up(side, price, ready, mark, judged):
    w = World().ask(side=side, price=price)
    if not ready:
        stale(w, mark)
    assert checks.judged_price(w.order, w.books[0], w.limits, w.now) == judged


@pytest.mark.parametrize(("mark", "said"), [(0, "no_price"), (1, "none"), (200_000_000, "none"), (200_000_001, "no_price")])
def test_a_collar_needs_a_mark_within_the_headroom(mark, said):
    w = stale(World(), mark).ask(price=max(mark // 2, 1))
    w.limits[tables.LM_COLLAR_PPM] = 1_000_000
    assert reason(checks.collar(w.order, w.books, w.limits, w.now)) == said


def test_a_market_order_without_a_book_is_left_to_be_priced_at_the_collar():
    w = World().ask(kind=layout.TYPE_MARKET, price=0)
    w.limits[tables.LM_COLLAR_PPM] = 0
    assert reason(checks.collar(w.order, w.books, w.limits, w.now)) == "price_collar", "the touch is a tick from the mid"
    stale(w, 20_001)
    assert checks.collar(w.order, w.books, w.limits, w.now) == 0
    w.order[tables.OI_PRICE_TICKS] = 10_001
    assert reason(checks.collar(w.order, w.books, w.limits, w.now)) == "price_collar"


@pytest.mark.parametrize(
    ("side", "price", "limit", "said"),
    [
        (0, 20_000, 100 * 20_000 * MULT, "none"),
        (0, 20_000, 100 * 20_000 * MULT - 1, "max_order_notional"),
        (0, 5_000, 100 * ASK * MULT, "none"),
        (0, 5_000, 100 * ASK * MULT - 1, "max_order_notional"),
        (1, 5_000, 100 * BID * MULT, "none"),
        (1, 5_000, 100 * BID * MULT - 1, "max_order_notional"),
    ],
)
def test_notional_is_lots_at_the_worse_of_price_and_far_touch(side, price, limit, said):
    w = World().ask(side=side, price=price)
    w.limits[tables.LM_MAX_ORDER_NOTIONAL_E8] = limit
    assert reason(checks.max_notional(w.order, w.books, w.instruments, w.limits)) == said


def test_a_touch_beyond_the_headroom_counts_as_its_edge():
    w = World().ask(lots=1, price=1)
    w.books[0, tables.BK_ASK_TICKS] = 1 << 60
    w.limits[tables.LM_MAX_ORDER_NOTIONAL_E8] = 100_000_000 * MULT
    assert checks.max_notional(w.order, w.books, w.instruments, w.limits) == 0


@pytest.mark.parametrize(("least", "said"), [(100 * 10_000 * MULT, "none"), (100 * 10_000 * MULT + 1, "min_notional")])
def test_smallest_notional_is_reached_exactly(least, said):
    w = World()
    w.instruments[0, tables.IN_MIN_NOTIONAL_E8] = least
    assert reason(checks.min_notional(w.order, 100, w.books, w.instruments, w.limits, w.now)) == said


@pytest.mark.parametrize(
    ("held", "lots", "cap", "said"),
    [(0, 1, 0, "position_cap"), (0, 1, 1, "none"), (0, 2, 1, "position_cap"), (-5, 5, 0, "none")],
)
def test_a_position_stays_within_its_cap_to_the_lot(held, lots, cap, said):
    w = World(position_ppm=100 * cap).hold(held).ask(lots=lots)
    assert reason(checks.position(w.order, w.account, w.positions, w.books, w.instruments, w.limits, w.now)) == said


def gross(w):
    w.expose()
    return reason(checks.gross(w.order, w.account, w.positions, w.books, w.instruments, w.limits, w.now))


@pytest.mark.parametrize("i", [0, 1])
def test_gross_replaces_the_instruments_own_worst_case_and_adds_the_others(i):
    lot_ppm = 100  # of NAV, for one lot at the mid
    w = World(gross_exposure_ppm=300 * lot_ppm).hold(100, i=i).hold(-120, i=1 - i)
    w.order[tables.OI_INSTRUMENT] = i
    for lots, said in ((80, "none"), (81, "gross_exposure")):
        w.order[tables.OI_LOTS] = lots
        assert gross(w) == said
    w.account[tables.AC_DRAWDOWN_STEP] = 1
    w.order[tables.OI_LOTS] = 2
    assert gross(w) == "gross_exposure"


def test_gross_lets_through_what_does_not_raise_the_worst_case_and_what_only_reduces():
    w = World(gross_exposure_ppm=0).hold(100)
    for side, lots, said in ((1, 200, "none"), (1, 201, "gross_exposure"), (1, 100, "none"), (0, 1, "gross_exposure")):
        w.ask(side=side, lots=lots)
        assert gross(w) == said
    w = World(gross_exposure_ppm=0).ask(lots=1)
    assert gross(w) == "gross_exposure"


def test_gross_rounds_half_a_unit_up_and_stands_still_beyond_its_headroom():
    w = World().ask(lots=1)
    w.instruments[0, tables.IN_MULT] = 1
    w.books[0, tables.BK_BID_TICKS], w.books[0, tables.BK_ASK_TICKS] = 10_000, 10_001
    w.account[[tables.AC_NAV_E8, tables.AC_DAY_START_NAV_E8]] = 10_001
    w.limits[tables.LM_GROSS_EXPOSURE_PPM] = 1_000_000
    assert gross(w) == "none"
    w.account[tables.AC_NAV_E8] = 10_000
    assert gross(w) == "gross_exposure"


@pytest.mark.parametrize(("nav", "said"), [(100_000_000, "none"), (99_999_999, "gross_exposure")])
def test_gross_values_a_mark_beyond_the_headroom_at_its_edge(nav, said):
    w = stale(World(gross_exposure_ppm=1_000_000), 500_000_000).ask(lots=1)
    w.instruments[0, tables.IN_MULT] = 1
    w.account[[tables.AC_NAV_E8, tables.AC_DAY_START_NAV_E8]] = nav
    assert gross(w) == said


def test_no_limit_on_gross_reaches_beyond_the_headroom_of_the_sum():
    w = World(gross_exposure_ppm=10_000_000)
    w.account[[tables.AC_NAV_E8, tables.AC_DAY_START_NAV_E8]] = 1 << 57
    one = checks.money.ceil_div(100 * (BID + ASK) * MULT, 2)
    for others, said in ((checks.money.EXPOSURE_MAX - 1 - one, 0), (checks.money.EXPOSURE_MAX - one, 1)):
        w.account[tables.AC_EXPOSURE_E8] = others
        answer = checks.gross(w.order, w.account, w.positions, w.books, w.instruments, w.limits, w.now)
        assert (answer != 0) == bool(said)


@pytest.mark.parametrize(
    ("kind", "side", "lots", "said"),
    [(0, 1, 60, "none"), (0, 1, 61, "insufficient_funds"), (1, 1, 61, "none"), (0, 0, 61, "none")],
)
def test_a_spot_sale_is_covered_by_what_is_there_less_what_is_for_sale(kind, side, lots, said):
    w = World().hold(50).ask(side=side, lots=lots)
    w.positions[0, tables.PO_WORKING_SELL_LOTS] = 20
    w.instruments[0, [tables.IN_KIND, tables.IN_BASELINE_LOTS]] = kind, 30
    assert reason(checks.funds(w.order, w.positions, w.instruments)) == said


def test_orders_are_alike_in_instrument_side_price_and_size_alone():
    w = World()
    key = int(checks.order_key(w.order))
    assert key > 0
    keys = {key}
    for column, value in (
        (tables.OI_INSTRUMENT, 1),
        (tables.OI_SIDE, 1),
        (tables.OI_PRICE_TICKS, 10_001),
        (tables.OI_LOTS, 101),
    ):
        w.ask()
        w.order[column] = value
        keys.add(int(checks.order_key(w.order)))
    assert len(keys) == 5
    w.ask(price=100_000_000, lots=(1 << 31) - 1, side=1)
    w.order[tables.OI_INSTRUMENT] = 15
    assert int(checks.order_key(w.order)) == 15 << 59 | 1 << 58 | 100_000_000 << 31 | (1 << 31) - 1
    w.order[tables.OI_INSTRUMENT] = 17
    assert int(checks.order_key(w.order)) >> 59 == 1


@pytest.mark.parametrize(
    ("later", "quote", "said"), [(0, 0, "duplicate_order"), (99, 0, "duplicate_order"), (100, 0, "none"), (0, 1, "none")]
)
def test_a_repeat_is_refused_within_the_window_unless_it_is_a_quote(later, quote, said):
    w = World(duplicate_window_ns=100)
    w.owners[OWNER, [tables.OW_LAST_ORDER_KEY, tables.OW_LAST_ORDER_NS]] = checks.order_key(w.order), NOW
    w.order[tables.OI_IS_QUOTE] = quote
    assert reason(checks.duplicate_order(w.order, w.owners, w.limits, NOW + later)) == said


def test_another_order_a_moment_later_is_no_repeat():
    w = World(duplicate_window_ns=100)
    w.owners[OWNER, [tables.OW_LAST_ORDER_KEY, tables.OW_LAST_ORDER_NS]] = checks.order_key(w.order), NOW
    w.order[tables.OI_LOTS] += 1
    assert checks.duplicate_order(w.order, w.owners, w.limits, NOW) == 0
