"""Order handling without sockets: each reject reason, the order types, funds, fees, and a ledger that always sums to zero."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_house import SYMBOL, House

from sim.entry import Refused
from sim.limits import RateLimit


def assert_sums_to_zero(house):
    sums = defaultdict(Decimal)
    for amounts in house.exchange.ledger.all_totals().values():
        for currency, amount in amounts.items():
            sums[currency] += Decimal(amount)
    assert set(sums.values()) == {Decimal(0)}


def available(house, currency):
    return house.exchange.ledger.available("paper", currency)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"symbol": "NO-SUCH"}, "unknown_symbol"),
        ({"symbol": 7}, "bad_field"),
        ({"price": 64000.001}, "off_grid"),
        ({"quantity": 0.010001}, "off_grid"),
        ({"quantity": "0.00009"}, "too_small"),
        ({"quantity": "0.00010", "price": "1.00"}, "too_small"),
        ({"quantity": 10.00001}, "too_large"),
        ({"quantity": 10, "price": 64000}, "insufficient_funds"),
        ({"side": "sell", "quantity": 1.00001}, "insufficient_funds"),
        ({"side": "sell", "reduce_only": True}, "reduce_only"),
        ({"reduce_only": "yes"}, "bad_field"),
        ({"side": "long"}, "bad_field"),
        ({"type": "stop"}, "bad_field"),
        ({"type": ["limit"]}, "bad_field"),
        ({"price": None}, "bad_field"),
        ({"price": -1}, "bad_field"),
        ({"price": True}, "bad_field"),
        ({"quantity": "1e-2"}, "bad_field"),
        ({"quantity": "NaN"}, "bad_field"),
        ({"quantity": {}}, "bad_field"),
        ({"timestamp": "soon"}, "bad_field"),
        ({"recv_window": -5}, "bad_field"),
    ],
)
def test_order_is_rejected_with_its_reason_and_changes_nothing(fields, reason):
    house = House()
    before = house.exchange.ledger.all_totals()
    answer = house.place(**fields)
    assert (answer["type"], answer["reason"]) == ("reject", reason)
    assert house.said == [answer]
    assert house.exchange.ledger.all_totals() == before
    assert available(house, "USDC") == 100000
    assert house.exchange.open_orders() == []


def test_numbers_at_the_edge_of_the_grid_are_taken_exactly():
    house = House()
    assert house.place(quantity=0.00029, price=64000.07)["type"] == "ack"
    (order,) = house.exchange.open_orders()
    assert (order.lots, order.price_ticks) == (29, 6400007)


def test_order_past_its_deadline_is_rejected_and_one_at_it_is_not():
    house = House()
    late, just = house.order(), house.order()
    house.clock.us += 200_000
    assert house.exchange.place(just, house.manager)["type"] == "ack"
    house.clock.us += 1_000
    assert house.exchange.place(late, house.manager)["reason"] == "deadline_passed"


def test_order_from_the_future_is_rejected():
    house = House()
    ahead = house.clock() // 1000 + 1001
    assert house.place(timestamp=ahead)["reason"] == "deadline_passed"


def test_client_id_is_used_up_for_ever_by_filled_cancelled_and_rejected_orders():
    house = House()
    house.place(client_order_id="1")
    house.exchange.cancel({"client_order_id": "1"}, house.manager)
    house.place(client_order_id="2", quantity=0.010001)
    house.crowd("sell", 0.01, 64000)
    house.place(client_order_id="3")
    for number in ("1", "2", "3"):
        assert house.place(client_order_id=number)["reason"] == "duplicate_id"
    assert house.exchange.find("3").status == "filled"


@pytest.mark.parametrize("number", [None, 5, "", "12a", "-1", "٣", "1" * 33])
def test_order_without_a_usable_client_id_is_a_bad_field(number):
    house = House()
    with pytest.raises(Refused) as refused:
        house.place(client_order_id=number)
    assert refused.value.reason == "bad_field"


def test_read_key_may_not_trade_and_the_refusal_stands_in_the_ledger():
    house = House()
    key, _ = house.exchange.keys.create("read", "", house.clock())
    assert house.exchange.place(house.order(), key)["reason"] == "not_allowed"
    assert [use["what"] for use in key.refused] == ["order"]


def test_reject_all_switch_halts_orders_but_not_cancels():
    house = House()
    resting = house.place()
    house.exchange.faults.update({"reject_all": True})
    assert house.place()["reason"] == "halted"
    assert house.exchange.cancel(resting, house.manager)["type"] == "cancelled"


def test_rate_limit_refuses_orders_and_lets_cancels_pass():
    house = House(rate=RateLimit(per_s=1, burst=2))
    first = house.place()
    house.place()
    assert house.place()["reason"] == "rate_limited"
    assert house.exchange.cancel(first, house.manager)["type"] == "cancelled"
    house.clock.us += 1_000_000
    assert house.place()["type"] == "ack"


def test_ack_comes_before_the_fills_and_says_open():
    house = House()
    house.crowd("sell", 0.005, 63999)
    house.crowd("sell", 0.005, 64000)
    ack = house.place()
    assert house.kinds() == ["ack", "fill", "fill"]
    assert ack["status"] == "open"
    assert [(m["price"], m["cumulative"], m["leaves"]) for m in house.said[1:]] == [
        ("63999.00", "0.00500", "0.00500"),
        ("64000.00", "0.01000", "0.00000"),
    ]
    assert {m["liquidity"] for m in house.said[1:]} == {"taker"}


def test_fees_are_rounded_against_the_trader():
    house = House(instrument={"maker_fee_ppm": -33, "taker_fee_ppm": 33})
    house.crowd("sell", 0.00017, 64000.07)
    house.place(quantity=0.00017, price=64000.07)
    house.place("sell", quantity=0.00017, price=64000.07)
    house.crowd("buy", 0.00017, 64000.07)
    fees = [message["fee"] for message in house.said if message["type"] == "fill"]
    assert fees == ["0.00035905", "-0.00035904"]  # 64000.07 * 0.00017 * 33e-6 = 0.00035904039...
    assert_sums_to_zero(house)


@pytest.mark.parametrize("kind", ["ioc", "market"])
def test_rest_of_an_immediate_order_is_cancelled_unfilled(kind):
    house = House()
    house.crowd("sell", 0.004, 64000)
    house.place(kind=kind)
    assert house.kinds() == ["ack", "fill", "cancelled"]
    assert (house.said[-1]["reason"], house.said[-1]["cumulative"]) == ("unfilled", "0.00400")
    assert available(house, "USDC") == house.exchange.ledger.total("paper", "USDC")


def test_market_order_without_a_price_stops_five_percent_past_the_touch():
    house = House()
    house.crowd("sell", 0.001, 60000)
    house.crowd("sell", 0.001, 63000)
    house.crowd("sell", 0.001, 63000.01)
    house.place(kind="market", price=None)
    assert [m["price"] for m in house.said if m["type"] == "fill"] == ["60000.00", "63000.00"]
    assert house.said[-1]["reason"] == "unfilled"


def test_market_order_into_an_empty_book_ends_unfilled():
    house = House()
    house.place(kind="market", price=None)
    assert house.kinds() == ["ack", "cancelled"]


def test_fok_fills_whole_or_not_at_all():
    house = House()
    house.crowd("sell", 0.009, 64000)
    house.place(kind="fok")
    assert house.kinds() == ["ack", "cancelled"]
    house.crowd("sell", 0.001, 64000)
    house.place(kind="fok")
    assert house.kinds()[2:] == ["ack", "fill", "fill"]


def test_post_only_that_would_cross_is_rejected_without_an_ack():
    house = House()
    house.crowd("sell", 0.009, 64000)
    assert house.place(kind="post_only")["reason"] == "post_only_would_cross"
    assert house.kinds() == ["reject"]
    assert house.place(kind="post_only", price=63999.99)["type"] == "ack"


def test_self_trade_cancels_the_resting_own_order_first():
    house = House()
    house.place("buy")
    house.place("sell")
    assert house.kinds() == ["ack", "ack", "cancelled"]
    assert house.said[-1]["reason"] == "self_trade"
    assert house.said[-1]["client_order_id"] == house.said[0]["client_order_id"]
    assert [o.side for o in house.exchange.open_orders()] == ["sell"]


def test_resting_order_holds_funds_back_until_it_is_cancelled():
    house = House()
    ack = house.place(quantity=1, price=64000)
    assert available(house, "USDC") < 100000 - 64000
    assert house.place(quantity=1, price=64000)["reason"] == "insufficient_funds"
    house.exchange.cancel(ack, house.manager)
    assert available(house, "USDC") == 100000


def test_reduce_only_takes_no_more_than_the_position():
    house = House()
    house.crowd("sell", 0.02, 64000)
    house.place(quantity=0.02)
    assert house.place("sell", 0.02001, reduce_only=True)["reason"] == "reduce_only"
    assert house.place("sell", 0.02, reduce_only=True)["type"] == "ack"
    assert house.place("buy", 0.02, 63000, reduce_only=True)["reason"] == "reduce_only"


@pytest.mark.parametrize("ended", ["never", "filled", "cancelled", "rejected"])
def test_cancel_of_what_is_not_open_is_rejected(ended):
    house = House()
    if ended == "filled":
        house.crowd("sell", 0.01, 64000)
    if ended != "never":
        house.place(client_order_id="9", quantity=0.000001 if ended == "rejected" else 0.01)
    if ended == "cancelled":
        house.exchange.cancel({"client_order_id": "9"}, house.manager)
    answer = house.exchange.cancel({"client_order_id": "9"}, house.manager)
    assert answer["reason"] == ("not_found" if ended == "never" else "already_closed")


def test_late_cancel_is_rejected_and_the_order_stays():
    house = House()
    ack = house.place()
    stamp = house.clock() // 1000
    house.clock.us += 300_000
    fields = {"client_order_id": ack["client_order_id"], "timestamp": stamp, "recv_window": 200}
    assert house.exchange.cancel(fields, house.manager)["reason"] == "deadline_passed"
    assert len(house.exchange.open_orders()) == 1


def test_cancel_all_of_a_symbol_answers_the_ids_and_the_count():
    house = House()
    ids = [house.place()["client_order_id"] for _ in range(3)]
    assert house.exchange.cancel_all({"symbol": SYMBOL}, house.manager) == ids
    assert house.said[-1]["type"] == "cancel_all_ack"
    assert house.said[-1]["count"] == 3
    with pytest.raises(Refused):
        house.exchange.cancel_all({"symbol": "NO-SUCH"}, house.manager)


ORDERS = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["buy", "sell"]),
        st.integers(100, 60000),
        st.integers(9_990, 10_010),
        st.sampled_from(["limit", "market", "ioc", "fok", "post_only"]),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(ORDERS, st.sampled_from([-25, 0, 200]))
def test_money_is_conserved_and_no_balance_falls_below_zero(orders, maker_fee):
    house = House(instrument={"maker_fee_ppm": maker_fee, "min_notional": "0"})
    ledger = house.exchange.ledger
    for ours, side, lots, ticks, kind in orders:
        (house.place if ours else house.crowd)(side, str(Decimal(lots) / 100000), str(Decimal(ticks)), kind)
        assert_sums_to_zero(house)
        for currency in ("BTC", "USDC"):
            assert 0 <= ledger.available("paper", currency) <= ledger.total("paper", currency)
            assert ledger.total("clearing", currency) == 0
    house.exchange.cancel_all({}, house.manager)
    assert ledger.available("paper", "USDC") == ledger.total("paper", "USDC")
    assert ledger.available("paper", "BTC") == ledger.total("paper", "BTC")
    bought = sum((1 if f["side"] == "buy" else -1) * Decimal(f["quantity"]) for f in house.exchange.fills["paper"])
    assert bought == house.exchange.position(house.exchange.instruments[SYMBOL])
