"""Exact integer money at the edges of its range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from risk_house import World

from risk import money, tables

MONEY = st.integers(-money.MONEY_MAX, money.MONEY_MAX)


@given(MONEY, st.integers(0, 2_000_000))
def test_parts_per_million_round_exactly(value, ppm):
    value //= 2
    assert money.mul_ppm_floor(value, ppm) == value * ppm // 10**6
    assert money.mul_ppm_ceil(value, ppm) == -(-value * ppm // 10**6)


@given(MONEY, st.integers(1, money.LOTS_MAX), st.data())
def test_shares_are_exact_up_to_the_headroom(value, whole, data):
    part = data.draw(st.integers(0, whole))
    assert money.share_floor(value, part, whole) == value * part // whole
    assert money.share_ceil(value, part, whole) == -(-value * part // whole)
    assert money.share_ceil(value, whole, whole) == value


@given(MONEY, st.integers(1, money.LOTS_MAX))
def test_ceiling_division_is_exact(a, b):
    assert money.ceil_div(a, b) == -(-a // b)


def test_sound_instrument_has_headroom():
    w = World()
    w.instruments[0, tables.IN_MAX_LOTS] = money.position_bound(10)
    money.check_headroom(w.instruments[0])
    assert money.position_bound(10) * 2 * money.PRICE_TICKS_MAX * 10 <= money.MONEY_MAX


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IN_KIND", 2),
        ("IN_MULT", 0),
        ("IN_MULT", 11),
        ("IN_TICK_E8", -1),
        ("IN_MIN_LOTS", 0),
        ("IN_MAX_LOTS", 1),
        ("IN_MAX_LOTS", money.position_bound(10) + 1),
        ("IN_BASELINE_LOTS", -1),
        ("IN_MAKER_FEE_PPM", 100_001),
        ("IN_TAKER_FEE_PPM", -100_001),
        ("IN_MIN_NOTIONAL_E8", -1),
    ],
)
def test_instrument_without_exact_money_is_refused(name, value):
    row = World().instruments[0]
    row[getattr(tables, name)] = value
    with pytest.raises(ValueError, match=r"\d"):
        money.check_headroom(row)
