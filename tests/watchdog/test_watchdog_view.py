"""The independent view as a pure judge: limits at 1.2 times the engine's, and disagreement for more than 3 s."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from watchdog.beat import Account
from watchdog.venue import Answer, Unreachable
from watchdog.view import AccountJudge, Order, Reading, exact, flow_of, read

S = 1_000_000_000
DAY = 86_400 * S
INSTRUMENTS = [{"symbol": "BTC-USDC", "quote": "USDC", "tick_size": "0.01", "lot_size": "0.001"}]
LIMITS = {"max_open_orders": 10, "position_ppm": 100_000, "gross_exposure_ppm": 200_000, "day_loss_ppm": 10_000, "profile": "x"}
MARK = {"BTC-USDC": Decimal(50_000)}


class Bench:
    """A judge and a clock; ``look`` makes one reading a second."""

    def __init__(self) -> None:
        self.judge = AccountJudge(INSTRUMENTS, LIMITS)
        self.now, self.wall = 100 * S, 5 * DAY
        self.mark = dict(MARK)

    def look(self, lots: int = 0, orders: int = 0, cash: int = 100_000, counts: bool = True, **more: Any) -> str:
        self.now += S
        self.wall += S
        reading = Reading(
            self.now - S // 100,
            self.now,
            more.get("open", [Order("BTC-USDC", "buy", Decimal("0.001"))] * orders),
            {"BTC-USDC": lots * Decimal("0.001")},
            more.get("fills", []),
            {"USDC": Decimal(cash)},
            more.get("revoked", ""),
        )
        return self.judge.judge(reading, self.now, self.wall, self.mark, counts)[0]

    def says(self, lots: int, orders: int = 0) -> None:
        self.judge.say(self.now, Account(1, orders, (lots,)))


@pytest.mark.parametrize(("what", "engine", "venue"), [("sign error", -5, 5), ("doubled fill", 10, 5), ("lost fill", 0, 5)])
def test_an_injected_error_is_a_disagreement_after_more_than_three_seconds(what: str, engine: int, venue: int) -> None:
    bench = Bench()
    bench.says(engine)
    found = [bench.look(venue) for _ in range(5)]
    assert found == ["", "", "", "disagreement", "disagreement"], what


def test_the_configured_baseline_is_not_a_position() -> None:
    judge = AccountJudge([INSTRUMENTS[0] | {"baseline": "2"}], LIMITS)
    judge.say(0, Account(1, 0, (5,)))
    for second in range(1, 9):
        reading = Reading(second * S, second * S, [], {"BTC-USDC": Decimal("2.005")}, [], {"USDC": Decimal(100_000)}, "")
        assert judge.judge(reading, second * S, 5 * DAY, MARK, True) == ("", "")
        assert judge.held_count(reading) == 1


def test_an_order_that_the_engine_does_not_know_of_is_a_disagreement() -> None:
    bench = Bench()
    bench.says(0, orders=1)
    assert [bench.look(0, orders=2) for _ in range(5)][-1] == "disagreement"
    bench = Bench()
    bench.says(0, orders=3)  # pending and unknown ones count with us and not yet, or no more, with the venue
    assert {bench.look(0, orders=2) for _ in range(9)} == {""}


def test_a_fill_that_one_side_has_seen_earlier_is_no_disagreement() -> None:
    bench = Bench()
    for lots in range(20):  # the engine hears of each fill after the reading that shows it
        bench.says(lots)
        assert bench.look(lots + 1) == ""
        bench.says(lots + 1)
        assert bench.look(lots + 1) == ""


def test_a_difference_that_heals_within_three_seconds_begins_anew() -> None:
    bench = Bench()
    bench.says(0)
    assert [bench.look(1), bench.look(1)] == ["", ""]
    bench.says(1)
    assert bench.look(1) == ""
    bench.says(0)
    for _ in range(3):
        bench.now += S // 2
    assert [bench.look(1), bench.look(1), bench.look(1)] == ["", "", ""]


def test_an_engine_without_lease_or_not_reconciled_is_not_compared() -> None:
    bench = Bench()
    bench.says(7)
    assert {bench.look(0, counts=False) for _ in range(9)} == {""}


@pytest.mark.parametrize(("orders", "found"), [(12, ""), (13, "over_limit")])
def test_open_orders_beyond_twelve_tenths_of_the_limit(orders: int, found: str) -> None:
    bench = Bench()
    assert bench.look(orders=orders) == ""
    assert bench.look(orders=orders) == found


@pytest.mark.parametrize(("lots", "found"), [(272, ""), (273, "over_limit"), (-214, ""), (-215, "over_limit")])
def test_a_position_beyond_twelve_tenths_of_the_limit(lots: int, found: str) -> None:
    """12 % of the account's value; a position of 50 per lot is part of that value."""
    bench = Bench()
    bench.look(lots)
    assert bench.look(lots) == found


def test_working_orders_count_as_if_filled() -> None:
    bench = Bench()
    working = [Order("BTC-USDC", "sell", Decimal("0.25"))]
    bench.look(open=working)
    assert bench.look(open=working) == "over_limit"


def test_one_reading_alone_beyond_a_limit_is_not_believed() -> None:
    bench = Bench()
    assert {bench.look(orders=orders) for orders in (13, 0, 13, 0, 13)} == {""}


def test_the_days_loss_is_counted_from_fills_and_marks_and_never_from_a_withdrawal() -> None:
    bench = Bench()
    bench.look(100)
    assert {bench.look(100, cash=50_000) for _ in range(3)} == {""}  # money taken out
    bench.mark["BTC-USDC"] -= 11_000
    assert {bench.look(100, cash=100_000) for _ in range(3)} == {""}  # 1100 of 105000 lost: within 1.2 %
    bench.mark["BTC-USDC"] -= 2_000
    assert [bench.look(100), bench.look(100)] == ["", "over_limit"]
    bench = Bench()
    bench.look(0)
    bench.look(0, fills=[(1, Decimal(-50_000)), (2, Decimal(48_700))])  # bought and sold for 1300 less
    assert bench.look(0, fills=[(2, Decimal(48_700))]) == "over_limit"


def test_the_loss_begins_anew_with_the_day() -> None:
    bench = Bench()
    bench.look(100)
    bench.mark["BTC-USDC"] -= 11_000
    bench.look(100)
    bench.wall += DAY
    bench.look(100)
    bench.mark["BTC-USDC"] -= 11_000
    assert {bench.look(100) for _ in range(3)} == {""}


def test_a_key_that_somebody_else_revoked_is_told_first() -> None:
    assert Bench().look(revoked="key_9") == "key_revoked_elsewhere"


def test_a_fill_is_money_less_fee_and_a_number_that_is_none_is_refused() -> None:
    fill = {"trade_id": 4, "side": "buy", "price": "100", "quantity": "2", "fee": "0.5"}
    assert flow_of(fill) == (4, Decimal("-200.5"))
    assert flow_of(fill | {"side": "sell"}) == (4, Decimal("199.5"))
    for text in ("NaN", "Infinity", "x", None):
        with pytest.raises((ValueError, ArithmeticError)):
            exact(text)


@pytest.mark.parametrize(
    "answer", [{"positions": [{"symbol": "X"}]}, {"positions": [{"symbol": "X", "position": "NaN"}]}, {"positions": [3]}]
)
def test_an_answer_of_another_shape_is_an_unreachable_venue(answer: dict[str, Any]) -> None:
    class Strange:
        def open_orders(self) -> list[Any]:
            return []

        def positions(self) -> list[Any]:
            return list(answer["positions"])

        def fills(self, after: int) -> list[Any]:
            return []

        def balances(self) -> Answer:
            return Answer(200, {})

    with pytest.raises(Unreachable, match="cannot be read"):
        read(Strange(), None, 0)  # type: ignore[arg-type]
