"""An amend makes a resting order smaller and nothing else: its place, its price and what it holds back stay right."""

from __future__ import annotations

import pytest
from sim_house import House

from sim.entry import Refused


def amend(house, number, quantity, **rest):
    return house.exchange.amend({"client_order_id": number, "quantity": quantity, **rest}, house.manager)


def test_amended_order_keeps_its_place_in_the_queue_and_releases_what_it_no_longer_needs():
    house = House()
    first = house.place(quantity=0.5, price=64000)["client_order_id"]
    house.crowd("buy", 0.5, 64000)
    answer = amend(house, first, 0.1)
    assert {key: answer[key] for key in ("type", "client_order_id", "quantity", "cumulative", "leaves")} == {
        "type": "amended", "client_order_id": first, "quantity": "0.10000", "cumulative": "0.00000", "leaves": "0.10000",
    }  # fmt: skip
    ledger = house.exchange.ledger
    assert 6400 < ledger.total("paper", "USDC") - ledger.available("paper", "USDC") < 6450
    house.crowd("sell", 0.2, 64000)
    fill = house.said[-1]
    assert (fill["type"], fill["quantity"], fill["leaves"]) == ("fill", "0.10000", "0.00000")
    assert house.exchange.open_orders() == []
    assert ledger.available("paper", "USDC") == ledger.total("paper", "USDC")


def test_quantity_is_the_whole_order_with_what_has_been_filled():
    house = House()
    number = house.place(quantity=0.5, price=64000)["client_order_id"]
    house.crowd("sell", 0.2, 64000)
    answer = amend(house, number, 0.3)
    assert (answer["quantity"], answer["cumulative"], answer["leaves"]) == ("0.30000", "0.20000", "0.10000")


@pytest.mark.parametrize(
    ("quantity", "reason"),
    [
        (0.5, "not_smaller"),
        (0.6, "not_smaller"),
        (0.2, "too_small"),
        (0.1, "too_small"),
        (0.200001, "off_grid"),
        (-1, "too_small"),
    ],
)
def test_amend_that_is_no_smaller_order_is_rejected_and_changes_nothing(quantity, reason):
    house = House()
    number = house.place(quantity=0.5, price=64000)["client_order_id"]
    house.crowd("sell", 0.2, 64000)
    before = house.exchange.ledger.available("paper", "USDC")
    assert amend(house, number, quantity)["reason"] == reason
    (order,) = house.exchange.open_orders()
    assert order.leaves == 30_000
    assert house.exchange.ledger.available("paper", "USDC") == before


def test_amend_of_what_is_not_open_is_rejected():
    house = House()
    assert amend(house, "9", 0.1)["reason"] == "not_found"
    number = house.place(quantity=0.5)["client_order_id"]
    house.exchange.cancel({"client_order_id": number}, house.manager)
    assert amend(house, number, 0.1)["reason"] == "already_closed"


def test_late_amend_is_rejected_and_the_order_stays_as_it_was():
    house = House()
    number = house.place(quantity=0.5)["client_order_id"]
    stamp = house.clock() // 1000
    house.clock.us += 300_000
    assert amend(house, number, 0.1, timestamp=stamp, recv_window=200)["reason"] == "deadline_passed"
    assert house.exchange.open_orders()[0].lots == 50_000


@pytest.mark.parametrize("quantity", [None, "many", True])
def test_amend_without_a_number_is_a_bad_field(quantity):
    house = House()
    number = house.place(quantity=0.5)["client_order_id"]
    with pytest.raises(Refused, match="bad_field"):
        amend(house, number, quantity)


def test_book_shows_the_smaller_size_at_once():
    house = House()
    number = house.place(quantity=0.5, price=64000)["client_order_id"]
    amend(house, number, 0.2)
    assert house.exchange.market.book.lots_at("buy", 6_400_000) == 20_000
