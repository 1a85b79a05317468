"""The gate: one answer per breach, its order of precedence, and exits."""

import itertools

import pytest
from risk_house import ASK, BID, NAV, NOW, OWNER, World

from fabric import layout
from risk import checks, gate, rate, tables


def column(table, row, name, value):
    def set_it(w):
        getattr(w, table)[row, getattr(tables, name)] = value

    return set_it


def word(table, name, value):
    def set_it(w):
        getattr(w, table)[getattr(tables, name)] = value

    return set_it


def attribute(name, value):
    return lambda w: setattr(w, name, value)


def full_rate(w):
    w.limits[tables.LM_ORDER_RATE_PER_S] = 1
    w.rate[tables.RT_COUNT], w.rate[tables.RT_HEAD], w.rate[rate.SLOTS_WORD] = 1, 1, NOW


def same_order_sent(w):
    w.owners[OWNER, tables.OW_LAST_ORDER_KEY] = checks.order_key(w.order)
    w.owners[OWNER, tables.OW_LAST_ORDER_NS] = w.now


def market_under_slippage(w):
    w.account[tables.AC_LIMIT_ONLY] = 1
    w.order[tables.OI_TYPE] = layout.TYPE_MARKET


BREACHES = {
    ("kill", "killed"): word("account", "AC_STATE", layout.RISK_KILLED),
    ("halt", "lease_lapsed"): attribute("lease_ok", 0),
    ("halt", "halted_operator"): word("account", "AC_STATE", layout.RISK_HALTED),
    ("halt", "shutdown"): word("account", "AC_STATE", layout.RISK_DISARMED),
    ("pause", "owner_latched"): column("owners", OWNER, "OW_LATCHED", 1),
    ("pause", "owner_paused"): column("owners", OWNER, "OW_PAUSED_UNTIL_NS", NOW + 1),
    ("reject", "unknown_symbol"): column("instruments", 0, "IN_ACTIVE", 0),
    ("reject", "off_grid"): word("order", "OI_LOTS", 1),
    ("reject", "duplicate_id"): word("account", "AC_LAST_ORDER_ID", 77),
    ("reject", "limit_missing"): word("limits", "LM_LOSSES_IN_ROW", tables.LIMIT_MISSING),
    ("reject", "reconcile_pending"): word("account", "AC_RECONCILED", 0),
    ("reject", "max_order_lots"): column("instruments", 0, "IN_MAX_LOTS", 99),
    ("reject", "book_dirty"): column("books", 0, "BK_STATUS", layout.BOOK_DIRTY),
    ("reject", "book_empty"): column("books", 0, "BK_BID_TICKS", 0),
    ("reject", "book_crossed"): column("books", 0, "BK_ASK_TICKS", BID),
    ("reject", "book_stale"): column("books", 0, "BK_UPDATED_NS", NOW - 5_000_000_001),
    ("reject", "price_collar"): word("order", "OI_PRICE_TICKS", 10_201),
    ("reject", "min_notional"): column("instruments", 0, "IN_MIN_NOTIONAL_E8", NAV),
    ("reject", "duplicate_order"): same_order_sent,
    ("reject", "unowned_position"): attribute("unowned_mask", 1),
    ("reject", "max_order_notional"): word("limits", "LM_MAX_ORDER_NOTIONAL_E8", 0),
    ("reject", "max_open_orders"): word("limits", "LM_MAX_OPEN_ORDERS", 0),
    ("reject", "position_cap"): word("limits", "LM_POSITION_PPM", 0),
    ("reject", "gross_exposure"): word("limits", "LM_GROSS_EXPOSURE_PPM", 0),
    ("reject", "message_rate"): word("limits", "LM_MESSAGE_RATE_PER_S", 0),
    ("reduce", "drawdown_reduced"): word("account", "AC_DRAWDOWN_STEP", 1),
    ("limit_only", "slippage_limit_only"): market_under_slippage,
    ("queue", "rate_queued"): full_rate,
}


def test_a_sound_order_passes_unchanged():
    w = World()
    assert w.answer() == ("pass", "none")
    assert list(w.out[:5]) == [0, layout.TYPE_LIMIT, 10_000, 100, 0]


@pytest.mark.parametrize(("action", "reason"), BREACHES)
def test_each_breach_alone_gets_its_own_answer(action, reason):
    w = World()
    BREACHES[action, reason](w)
    assert w.answer() == (action, reason)


def test_the_stronger_of_two_breaches_answers():
    refused = 0
    for (first, second), order in itertools.product(itertools.combinations(BREACHES, 2), (0, 1)):
        w = World()
        for breach in (first, second)[:: 1 - 2 * order]:
            BREACHES[breach](w)
        strongest = max(layout.ACTION.index(first[0]), layout.ACTION.index(second[0]))
        answer = w.judge()
        if strongest < layout.ACTION_REJECT:
            assert w.out[tables.OUT_APPLIED] == 1 << layout.ACTION.index(first[0]) | 1 << layout.ACTION.index(second[0])
            weakest_waits = "queue" in (first[0], second[0])
            assert answer == (layout.ACTION_QUEUE if weakest_waits else strongest)
        elif {"halted_operator", "shutdown", "killed"} >= {first[1], second[1]}:
            assert answer in (layout.ACTION_HALT, layout.ACTION_KILL)  # one state word: the last one set is the state
        else:
            assert answer == strongest, (first, second, answer)
            refused += 1
    assert refused > 600


def test_reduced_and_queued_order_waits_but_shows_both():
    w = World()
    w.account[tables.AC_DRAWDOWN_STEP] = 2
    full_rate(w)
    assert w.answer() == ("queue", "rate_queued")
    assert w.out[tables.OUT_LOTS] == 25
    assert w.out[tables.OUT_APPLIED] == 1 << layout.ACTION_REDUCE | 1 << layout.ACTION_QUEUE


@pytest.mark.parametrize(("lots", "step", "expected"), [(101, 1, 50), (101, 2, 25), (5, 1, 2), (3, 1, 0), (8, 2, 2), (7, 2, 0)])
def test_drawdown_rounds_down_and_too_little_is_refused(lots, step, expected):
    w = World().ask(lots=lots)
    w.account[tables.AC_DRAWDOWN_STEP] = step
    if expected:
        assert w.answer() == ("reduce", "drawdown_reduced")
        assert w.out[tables.OUT_LOTS] == expected
    else:
        assert w.answer() == ("reject", "drawdown_zero")


def test_drawdown_leaves_a_reducing_order_whole():
    w = World().hold(200).ask(side=layout.SIDE_SELL, lots=100)
    w.account[tables.AC_DRAWDOWN_STEP] = 2
    assert w.answer() == ("pass", "none")


def test_small_after_reduction_is_below_the_venue_minimum():
    w = World()
    w.instruments[0, tables.IN_MIN_NOTIONAL_E8] = 60 * 10_000 * 10
    w.account[tables.AC_DRAWDOWN_STEP] = 1
    assert w.answer() == ("reject", "min_notional")


@pytest.mark.parametrize(("lots", "passes"), [(499, True), (500, True), (501, False)])
@pytest.mark.parametrize("side", [layout.SIDE_BUY, layout.SIDE_SELL])
def test_position_cap_is_exact_on_both_sides(lots, passes, side):
    w = World(position_ppm=50_000).ask(side=side, lots=lots)
    assert w.answer() == (("pass", "none") if passes else ("reject", "position_cap"))


@pytest.mark.parametrize("order", [(100, True), (101, False)])
def test_working_orders_count_and_opposing_ones_do_not_net(order):
    lots, passes = order
    w = World(position_ppm=50_000).hold(300).ask(lots=lots)
    w.positions[0, tables.PO_WORKING_BUY_LOTS] = 100
    w.positions[0, tables.PO_WORKING_SELL_LOTS] = 300
    assert (w.answer()[0] == "pass") is passes


def test_above_the_cap_a_reducing_order_still_passes():
    w = World(position_ppm=50_000).hold(900)
    assert w.answer() == ("reject", "position_cap")
    assert w.ask(side=layout.SIDE_SELL, lots=900).answer() == ("pass", "none")
    assert w.ask(side=layout.SIDE_SELL, lots=1_401).answer() == ("reject", "position_cap")


def test_cap_uses_the_smaller_of_current_and_day_start_nav():
    for name in ("AC_NAV_E8", "AC_DAY_START_NAV_E8"):
        w = World(position_ppm=50_000).ask(lots=251)
        w.account[getattr(tables, name)] = NAV // 2
        assert w.answer() == ("reject", "position_cap")
        assert w.ask(lots=250).answer()[0] == "pass"


@pytest.mark.parametrize(("price", "passes"), [(9_799, False), (9_800, True), (10_200, True), (10_201, False)])
def test_collar_is_exact_on_both_sides(price, passes):
    assert (World().ask(price=price).answer() == ("pass", "none")) is passes


@pytest.mark.parametrize(("kind", "price"), [(layout.TYPE_LIMIT, 10_000), (layout.TYPE_MARKET, 0)])
def test_notional_counts_the_worse_of_limit_and_touch(kind, price):
    worth = 100 * ASK * 10
    w = World(max_order_notional_e8=worth).ask(kind=kind, price=price)
    assert w.answer()[0] == "pass"
    w = World(max_order_notional_e8=worth - 1).ask(kind=kind, price=price)
    assert w.answer() == ("reject", "max_order_notional")


def test_gross_adds_the_worst_case_of_every_instrument():
    w = World(gross_exposure_ppm=100_000).hold(-900, i=1)
    assert w.answer() == ("pass", "none")
    assert w.ask(lots=101).answer() == ("reject", "gross_exposure")


def test_above_the_gross_limit_what_does_not_raise_the_worst_case_still_passes():
    w = World(gross_exposure_ppm=50_000).hold(900).hold(-900, i=1)
    for lots, answer in [(900, ("pass", "none")), (1_800, ("pass", "none")), (1_801, ("reject", "gross_exposure"))]:
        assert w.ask(side=layout.SIDE_SELL, lots=lots).answer() == answer
    assert w.ask(side=layout.SIDE_BUY, lots=2).answer() == ("reject", "gross_exposure")


@pytest.mark.parametrize(("age", "passes"), [(5_000_000_000, True), (5_000_000_001, False)])
def test_book_age_at_the_limit_is_not_stale(age, passes):
    w = World()
    w.now += age
    assert (w.answer()[0] == "pass") is passes


@pytest.mark.parametrize(("opened", "passes"), [(199, True), (200, False)])
def test_open_orders_are_limited_exactly(opened, passes):
    w = World()
    w.account[tables.AC_OPEN_ORDERS] = opened
    assert (w.answer()[0] == "pass") is passes


@pytest.mark.parametrize("name", [n for n in tables.LIMIT[1 : tables.LM_REJECTS_IN_ROW + 1]])
def test_any_missing_limit_blocks_a_new_order(name):
    w = World()
    w.limits[tables.LIMIT.index(name)] = tables.LIMIT_MISSING
    assert w.answer() == ("reject", "limit_missing")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OI_INSTRUMENT", -1, "unknown_symbol"),
        ("OI_INSTRUMENT", 2, "unknown_symbol"),
        ("OI_OWNER", -1, "off_grid"),
        ("OI_OWNER", 8, "off_grid"),
        ("OI_SIDE", 2, "off_grid"),
        ("OI_TYPE", 0, "off_grid"),
        ("OI_TYPE", 6, "off_grid"),
        ("OI_LOTS", 0, "off_grid"),
        ("OI_LOTS", -(1 << 62), "off_grid"),
        ("OI_LOTS", 1 << 62, "max_order_lots"),
        ("OI_PRICE_TICKS", 0, "off_grid"),
        ("OI_PRICE_TICKS", -1, "off_grid"),
        ("OI_PRICE_TICKS", 1 << 62, "off_grid"),
    ],
)
@pytest.mark.parametrize("is_exit", [0, 1])
def test_malformed_orders_are_refused_with_a_reason(name, value, reason, is_exit):
    w = World().hold(200).ask(side=layout.SIDE_SELL, is_exit=is_exit)
    w.order[getattr(tables, name)] = value
    assert w.answer() == ("reject", reason)


def test_spot_sale_is_covered_by_confirmed_position_and_baseline():
    w = World().ask(side=layout.SIDE_SELL, lots=100)
    w.instruments[0, tables.IN_KIND], w.instruments[0, tables.IN_BASELINE_LOTS] = 0, 60
    w.hold(50)
    w.positions[0, tables.PO_WORKING_SELL_LOTS] = 10
    assert w.answer() == ("pass", "none")
    w.positions[0, tables.PO_WORKING_SELL_LOTS] = 11
    assert w.answer() == ("reject", "insufficient_funds")


EXIT_SKIPS = {
    *("owner_latched", "owner_paused", "book_dirty", "book_empty", "book_crossed", "book_stale", "unowned_position"),
    *("max_order_notional", "max_open_orders", "position_cap", "gross_exposure", "message_rate", "drawdown_reduced"),
    *("rate_queued", "halted_operator", "limit_missing"),
}


@pytest.mark.parametrize(("action", "reason"), BREACHES)
def test_exit_skips_limits_and_throttles_and_nothing_else(action, reason):
    w = World().hold(100).ask(side=layout.SIDE_SELL, is_exit=1)
    w.books[0, tables.BK_GOOD_MARK_X2_TICKS] = 20_000
    BREACHES[action, reason](w)
    assert w.answer() == (("pass", "none") if reason in EXIT_SKIPS else (action, reason))


def test_exit_still_needs_the_collar_limit():
    w = World().hold(100).ask(side=layout.SIDE_SELL, is_exit=1)
    w.limits[tables.LM_COLLAR_PPM] = tables.LIMIT_MISSING
    assert w.answer() == ("reject", "limit_missing")


@pytest.mark.parametrize(("lots", "passes"), [(59, True), (60, True), (61, False)])
def test_exit_is_bounded_by_confirmed_position_less_working_reducers(lots, passes):
    w = World().hold(100).ask(side=layout.SIDE_SELL, lots=lots, is_exit=1)
    w.positions[0, tables.PO_WORKING_SELL_LOTS] = 40
    assert w.answer() == (("pass", "none") if passes else ("reject", "exit_too_large"))


def test_exit_in_the_direction_of_the_position_is_too_large():
    assert World().hold(100).ask(lots=2, is_exit=1).answer() == ("reject", "exit_too_large")


def test_market_exit_on_a_stale_book_is_priced_at_the_collar_of_the_last_good_mark():
    w = World().hold(100).ask(side=layout.SIDE_SELL, price=0, kind=layout.TYPE_MARKET, is_exit=1)
    w.books[0, tables.BK_STATUS], w.books[0, tables.BK_GOOD_MARK_X2_TICKS] = layout.BOOK_DIRTY, 20_001
    assert w.answer() == ("limit_only", "slippage_limit_only")
    assert (w.out[tables.OUT_TYPE], w.out[tables.OUT_PRICE_TICKS]) == (layout.TYPE_IOC, 9_801)  # 9800.49 rounded up
    w.books[0, tables.BK_GOOD_MARK_X2_TICKS] = 0
    assert w.answer() == ("reject", "no_price")


@pytest.mark.parametrize(("side", "price", "edge"), [(0, 0, 10_200), (1, 0, 9_800), (0, 10_050, 10_050), (1, 9_950, 9_950)])
def test_limit_only_turns_market_into_ioc_at_the_collar_or_better(side, price, edge):
    w = World().ask(side=side, price=price, kind=layout.TYPE_MARKET)
    w.account[tables.AC_LIMIT_ONLY] = 1
    assert w.answer() == ("limit_only", "slippage_limit_only")
    assert (w.out[tables.OUT_TYPE], w.out[tables.OUT_PRICE_TICKS]) == (layout.TYPE_IOC, edge)


def test_state_table_is_what_the_rules_say():
    p, z, h, k = layout.ACTION_PASS, layout.ACTION_PAUSE, layout.ACTION_HALT, layout.ACTION_KILL
    rows = {
        layout.RISK_DISARMED: (h, h, h, h, p),
        layout.RISK_ACTIVE: (p, p, p, p, p),
        layout.RISK_PAUSED: (z, p, z, p, p),
        layout.RISK_HALTED: (h, p, h, h, p),
        layout.RISK_KILLED: (k, k, k, k, p),
        gate.STATE_LAPSED: (h, h, h, h, p),
        99: (k, k, k, k, p),
        -1: (k, k, k, k, p),
    }
    for state, row in rows.items():
        assert tuple(gate.state_action(state, operation) for operation in range(gate.OPERATIONS)) == row


def test_lapse_blocks_exits_even_while_halted():
    w = World().hold(100).ask(side=layout.SIDE_SELL, is_exit=1)
    w.account[tables.AC_STATE], w.lease_ok = layout.RISK_HALTED, 0
    assert w.answer() == ("halt", "lease_lapsed")


def test_the_same_order_is_refused_within_the_window_only():
    w = World()
    gate.sent(w.order, w.account, w.owners, w.rate, w.now)
    assert w.answer() == ("reject", "duplicate_id")
    w.order[tables.OI_ID] = 78
    w.now += 20_000_000 - 1
    assert w.answer() == ("reject", "duplicate_order")
    w.now += 1
    assert w.answer() == ("pass", "none")
