"""The account against a slow exact model, and its conservation laws."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_house import ASK, BID, MULT, NAV, NOW, OWNER, World, interpreted

from fabric import layout
from risk import account, tables

BUY, SELL = layout.SIDE_BUY, layout.SIDE_SELL
FILLS = st.lists(
    st.tuples(
        st.sampled_from([BUY, SELL]),
        st.integers(1, 50),
        st.integers(9_000, 11_000),
        st.integers(-300, 900),
        st.sampled_from([OWNER, OWNER + 1]),
        st.integers(0, 1),
    ),
    max_size=30,
)


class Exact:
    """Average cost in fractions: no rounding anywhere."""

    def __init__(self):
        self.lots, self.cost, self.realised = 0, Fraction(0), Fraction(0)

    def fill(self, signed, price, fee):
        if self.lots * signed < 0:
            closed = min(abs(self.lots), abs(signed)) * (1 if signed > 0 else -1)
            given_up = self.cost * Fraction(-closed, self.lots)
            self.realised += -closed * price * MULT - given_up
            self.cost -= given_up
            self.lots += closed
            signed -= closed
        self.lots += signed
        self.cost += signed * price * MULT
        self.realised -= fee


@settings(max_examples=60, deadline=None)
@given(FILLS)
def test_account_follows_the_exact_model_and_conserves_every_unit(fills):
    w, exact, paid, returned = World(), {}, {}, {}
    for side, lots, price, fee, owner, i in fills:
        signed = lots if side == BUY else -lots
        for key in ((None, i), (owner, i)):
            exact.setdefault(key, Exact()).fill(signed, price, fee)
            paid[key] = paid.get(key, 0) + signed * price * MULT + fee
        returned[owner] = returned.get(owner, 0) + w.fill(side, lots, price, fee, owner, i)
    for (owner, i), model in exact.items():
        row = w.positions[i] if owner is None else w.subbooks[owner * 2 + i]
        lots, cost, realised = (int(v) for v in row[:3])
        assert lots == model.lots
        assert cost - realised == paid[owner, i]  # exactly: no unit is lost or made
        assert abs(realised - model.realised) < len(fills)  # each partial close rounds by less than one unit
        assert lots != 0 or (cost == 0 and realised == model.realised)
    for owner, total in returned.items():
        assert w.owners[owner, tables.OW_REALISED_E8] == total
    w.mark()
    assert w.account[tables.AC_CASH_E8] == NAV - sum(v for (owner, _), v in paid.items() if owner is None)
    unrounded = NAV + w.account[tables.AC_REALISED_E8] + w.account[tables.AC_UNREALISED_E8]
    assert w.account[tables.AC_NAV_E8] == unrounded
    assert (w.positions[:, tables.PO_CONFIRMED_LOTS] == w.positions[:, tables.PO_LOTS]).all()


@settings(max_examples=30, deadline=None)
@given(FILLS)
def test_compiled_and_interpreted_account_leave_the_same_bytes(fills):
    compiled, plain = World(), World()
    for fill in fills:
        compiled.fill(*fill)
    compiled.mark()
    with interpreted():
        for fill in fills:
            plain.fill(*fill)
        plain.mark()
    for a, b in zip(compiled.arrays(), plain.arrays(), strict=True):
        assert np.array_equal(a, b)


def test_partial_close_rounds_against_us_and_the_rest_stays():
    w = World()
    w.fill(BUY, 1, 100)
    w.fill(BUY, 2, 101)  # cost 3020 for 3 lots: a third is 1006 2/3
    assert w.fill(SELL, 1, 101) == 1010 - 1007
    assert w.positions[0, tables.PO_COST_E8] == 2013
    w = World()
    w.fill(SELL, 1, 100)
    w.fill(SELL, 2, 101)
    assert w.fill(BUY, 1, 101) == -1010 + 1006
    assert w.positions[0, tables.PO_COST_E8] == -2014


def test_fill_through_zero_closes_all_and_opens_the_rest_at_its_price():
    w = World()
    w.fill(BUY, 10, 100, fee=3)
    assert w.fill(SELL, 15, 110, fee=4) == 10 * 10 * MULT - 4
    assert list(w.subbooks[OWNER * 2, :4]) == [-5, -5 * 110 * MULT, 10 * 10 * MULT - 7, 7]


def test_owners_keep_apart_what_nets_in_the_account():
    w = World()
    w.fill(BUY, 10, 100, owner=OWNER)
    w.fill(SELL, 10, 103, owner=OWNER + 1)
    assert w.positions[0, tables.PO_LOTS] == 0
    assert w.account[tables.AC_REALISED_E8] == 300
    assert (w.subbooks[OWNER * 2, 0], w.subbooks[OWNER * 2 + 2, 0]) == (10, -10)
    assert w.owners[OWNER + 1, tables.OW_REALISED_E8] == 0


def test_round_result_counts_from_flat():
    w = World()
    w.fill(BUY, 10, 100, fee=1)
    w.fill(SELL, 10, 90, fee=1)
    assert w.subbooks[OWNER * 2, tables.SB_ROUND_REALISED_E8] == -1002
    w.fill(BUY, 10, 100, fee=1)
    assert w.subbooks[OWNER * 2, tables.SB_ROUND_REALISED_E8] == -1


def test_mark_is_the_mid_and_raises_the_high_water_mark_only():
    w = World().hold(10)
    w.books[0, tables.BK_ASK_TICKS] = ASK + 3
    w.mark()
    gain = 10 * 3 * MULT // 2
    assert w.account[tables.AC_NAV_E8] == w.account[tables.AC_HWM_E8] == NAV + gain
    assert w.positions[0, tables.PO_UNREALISED_E8] == w.account[tables.AC_UNREALISED_E8] == gain
    w.books[0, tables.BK_ASK_TICKS] = ASK
    w.mark()
    assert (w.account[tables.AC_NAV_E8], w.account[tables.AC_HWM_E8]) == (NAV, NAV + gain)
    assert w.account[tables.AC_GROSS_E8] == 10 * 10_000 * MULT


def test_half_a_unit_of_value_rounds_down_for_long_and_short():
    for lots in (1, -1):
        w = World().hold(lots)
        w.instruments[0, tables.IN_MULT] = 1
        w.positions[0, tables.PO_COST_E8] = 0
        w.books[0, tables.BK_ASK_TICKS] = ASK + 1
        w.mark()
        assert w.positions[0, tables.PO_UNREALISED_E8] == (10_000 if lots > 0 else -10_001)


def test_stale_mark_is_the_worse_of_good_mark_and_last_trade_by_sign():
    for lots, trade, expected in [(5, 9_900, 19_800), (5, 10_100, 20_000), (-5, 10_100, 20_200), (-5, 9_900, 20_000)]:
        w = World().hold(lots)
        w.mark()
        w.books[0, tables.BK_TRADE_TICKS] = trade
        w.books[0, tables.BK_BID_TICKS], w.books[0, tables.BK_ASK_TICKS] = BID * 2, ASK * 2
        w.now = NOW + int(w.limits[tables.LM_STALE_BOOK_NS]) + 1
        w.mark()
        assert w.books[0, tables.BK_MARK_X2_TICKS] == expected
        assert w.books[0, tables.BK_GOOD_MARK_X2_TICKS] == 20_000


def test_position_without_any_price_is_carried_at_cost():
    w = World().hold(7)
    w.books[:] = 0
    w.mark()
    assert w.account[tables.AC_NAV_E8] == NAV


def test_deposit_is_no_profit_and_no_recovery():
    w = World().hold(10)
    w.mark()
    before = w.account.copy()
    account.capital_flow(w.account, 5_000)
    w.mark()
    moved = w.account - before
    names = {tables.ACCOUNT[k] for k in np.flatnonzero(moved)}
    assert names == {"nav_e8", "day_start_nav_e8", "hwm_e8", "cash_e8", "flows_e8"}
    assert set(moved[moved != 0]) == {5_000}


def test_day_rolls_once_and_never_back():
    w = World()
    w.owners[OWNER, tables.OW_PAUSES_TODAY], w.owners[OWNER, tables.OW_LATCHED] = 2, 1
    assert account.roll_day(w.account, w.owners, 20) == 1
    w.account[tables.AC_NAV_E8] = NAV - 5
    assert account.roll_day(w.account, w.owners, 20) == account.roll_day(w.account, w.owners, 19) == 0
    assert w.account[tables.AC_DAY_START_NAV_E8] == NAV
    assert account.roll_day(w.account, w.owners, 21) == 1
    assert w.account[tables.AC_DAY_START_NAV_E8] == NAV - 5
    assert (w.owners[OWNER, tables.OW_PAUSES_TODAY], w.owners[OWNER, tables.OW_LATCHED]) == (0, 1)


def test_opposing_working_orders_never_net():
    w = World().hold(3)
    w.positions[0, tables.PO_WORKING_BUY_LOTS], w.positions[0, tables.PO_WORKING_SELL_LOTS] = 10, 8
    assert account.worst_long(w.positions, 0) == 13
    assert account.worst_short(w.positions, 0) == 5


def test_reducible_is_the_smaller_of_booked_and_confirmed():
    w = World().hold(10)
    w.positions[0, tables.PO_CONFIRMED_LOTS] = 4
    assert account.reducible_lots(w.positions, 0, SELL) == 4
    assert account.reducible_lots(w.positions, 0, BUY) == 0
    w.positions[0, tables.PO_CONFIRMED_LOTS] = -4
    assert account.reducible_lots(w.positions, 0, SELL) == account.reducible_lots(w.positions, 0, BUY) == 0
