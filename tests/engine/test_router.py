"""The router over its whole grid against an independent statement of the rules in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import router
from fabric import layout
from tests.risk.risk_house import interpreted


def stated_type(urgency, bid, ask, filled, lots, fee):
    spread_bps = Fraction(ask - bid) / (Fraction(ask + bid) / 2) * 10_000
    if urgency >= 9:
        return "market"
    if spread_bps > 20 and urgency <= 3 and -fee > 0:
        return "post_only"
    if Fraction(filled, lots) >= Fraction(9, 10) and urgency >= 6:
        return "fok"
    if spread_bps < 5 and urgency >= 5:
        return "ioc"
    return "limit"


def test_order_type_follows_the_rules_over_the_full_grid():
    touches = [(9995, 10005), (9990, 10010), (99899, 100100), (39990, 40010), (39991, 40010), (1000, 1001), (10, 11)]
    seen = set()
    for urgency in range(1, 11):
        for bid, ask in touches:
            for filled in (0, 89, 90, 99):
                for fee in (-1, 0, 1):
                    wanted = stated_type(urgency, bid, ask, filled, 100, fee)
                    got = layout.ORDER_TYPE[router.order_type(urgency, bid, ask, filled, 100, fee)]
                    assert got == wanted, (urgency, bid, ask, filled, fee)
                    seen.add(got)
    assert seen == {"market", "post_only", "fok", "ioc", "limit"}


def test_twenty_bps_is_not_post_only_and_five_bps_is_not_ioc_and_eight_is_not_market():
    assert router.order_type(1, 9990, 10010, 0, 10, -5) == layout.TYPE_LIMIT
    assert router.order_type(5, 39990, 40010, 0, 10, 0) == layout.TYPE_LIMIT
    assert router.order_type(8, 9990, 10010, 0, 10, 0) == layout.TYPE_LIMIT


def test_limit_price_is_the_formula_rounded_to_the_safe_side():
    for urgency in range(1, 11):
        for bid, ask in ((1000, 1001), (1000, 1007), (999, 1024)):
            offset = Fraction(ask - bid, 2) * (Fraction(2 * urgency, 10) - 1)
            middle = Fraction(ask + bid, 2)
            buy, sell = math.floor(middle + offset), math.ceil(middle - offset)
            assert router.limit_price(layout.SIDE_BUY, urgency, bid, ask, 10**6) == buy
            assert router.limit_price(layout.SIDE_SELL, urgency, bid, ask, 1) == sell


def test_no_type_at_any_urgency_goes_beyond_the_limit():
    for kind in range(layout.TYPE_LIMIT, layout.TYPE_POST_ONLY + 1):
        for urgency in range(1, 11):
            for limit in range(985, 1030, 3):
                buy = router.order_price(kind, layout.SIDE_BUY, urgency, 1000, 1010, limit, 5, 20_000)
                sell = router.order_price(kind, layout.SIDE_SELL, urgency, 1000, 1010, limit, 5, 20_000)
                assert buy == 0 or buy <= limit
                assert sell == 0 or sell >= limit


def test_taking_order_that_would_not_be_marketable_is_not_sent():
    for kind in (layout.TYPE_IOC, layout.TYPE_FOK, layout.TYPE_MARKET):
        assert router.order_price(kind, layout.SIDE_BUY, 5, 1000, 1010, 1009, 5, 20_000) == 0
        assert router.order_price(kind, layout.SIDE_SELL, 5, 1000, 1010, 1001, 5, 20_000) == 0
        assert router.order_price(kind, layout.SIDE_BUY, 5, 1000, 1010, 1010, 5, 20_000) == 1010


def test_ioc_crosses_by_the_configured_ticks_and_market_by_the_collar():
    assert router.order_price(layout.TYPE_IOC, layout.SIDE_BUY, 5, 1000, 1010, 2000, 5, 20_000) == 1015
    assert router.order_price(layout.TYPE_IOC, layout.SIDE_SELL, 5, 1000, 1010, 1, 5, 20_000) == 995
    assert router.order_price(layout.TYPE_MARKET, layout.SIDE_BUY, 9, 1000, 1010, 2000, 5, 20_000) == 1030
    assert router.order_price(layout.TYPE_MARKET, layout.SIDE_SELL, 9, 1000, 1010, 1, 5, 20_000) == 980
    assert router.wire_type(layout.TYPE_MARKET) == layout.TYPE_IOC


def test_post_only_never_reaches_the_far_touch():
    for urgency in range(1, 11):
        buy = router.order_price(layout.TYPE_POST_ONLY, layout.SIDE_BUY, urgency, 1000, 1003, 2000, 5, 0)
        sell = router.order_price(layout.TYPE_POST_ONLY, layout.SIDE_SELL, urgency, 1000, 1003, 1, 5, 0)
        assert buy < 1003
        assert sell > 1000


def routed(urgency, bid, ask, filled, lots, fee, side, limit, cross, collar):
    """Everything that the router says about one order: its type, its type on the wire, and the price of every type."""
    kind = router.order_type(urgency, bid, ask, filled, lots, fee)
    kinds = range(layout.TYPE_LIMIT, layout.TYPE_POST_ONLY + 1)
    prices = [router.order_price(one, side, urgency, bid, ask, limit, cross, collar) for one in kinds]
    return [int(word) for word in (kind, router.wire_type(kind), *prices)]


TICKS = st.one_of(st.integers(1, 100_000_000), st.integers(990, 1_010))


@settings(max_examples=300, deadline=None)
@given(
    *(st.integers(1, 10), TICKS, st.one_of(st.integers(1, 30), st.integers(1, 1_000_000)), st.integers(0, 2**31 - 1)),
    *(st.integers(1, 2**31 - 1), st.integers(-100, 100), st.integers(0, 1), TICKS, st.integers(0, 5)),
    st.sampled_from([0, 5_000, 20_000, 10_000_000]),
)
def test_compiled_and_interpreted_router_give_the_same_words(
    urgency, bid, spread, filled, lots, fee, side, limit, cross, collar
):
    inputs = (urgency, bid, bid + spread, min(filled, lots), lots, fee, side, limit, cross, collar)
    compiled = routed(*inputs)
    with interpreted(router):
        assert routed(*inputs) == compiled
