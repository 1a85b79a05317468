# mypy: disable-error-code="no-untyped-call"
"""Market making by its rules (TRADING-RULES 8), interpreted; one test compares the compiled form."""

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from fabric import layout
from strategy import loader, market_making, tables
from strategy.market_making import PARAMETERS, decide

NAMES = {name: index for index, name in enumerate(tables.STRATEGY_VIEW) if name != "_"}
CALM = {
    "now_ns": 10**9,
    "bid_ticks": 6_000_000,
    "bid_lots": 500,
    "ask_ticks": 6_000_100,
    "ask_lots": 500,
    "cap_lots": 10_000,
    "min_lots": 10,
    "max_lots": 100_000,
    "can_increase": 1,
    "book_status": layout.BOOK_READY,
}


@dataclasses.dataclass
class Quotes:
    bid: tuple[int, int] | None = None  # price, lots
    ask: tuple[int, int] | None = None


class Maker:
    """One strategy with its memory."""

    def __init__(self, **parameters: int) -> None:
        self.parameters = np.zeros(32, np.int64)
        self.parameters[: len(PARAMETERS)] = [{"allow_short": 1, **parameters}.get(n, v) for n, v in PARAMETERS.items()]
        self.state = np.zeros(64, np.int64)

    def quotes(self, **view: int) -> Quotes:
        row = np.zeros(32, np.int64)
        for name, value in {**CALM, **view}.items():
            row[NAMES[name]] = value
        intents = np.zeros((tables.INTENTS, len(tables.INTENT)), np.int64)
        assert decide(row, self.parameters, self.state, intents) == 2
        found: dict[str, Any] = {}
        for side, name, intent in ((layout.SIDE_BUY, "bid", intents[0]), (layout.SIDE_SELL, "ask", intents[1])):
            assert (intent[tables.NT_SIDE], intent[tables.NT_SLOT]) == (side, side)
            assert intent[tables.NT_TYPE] == layout.TYPE_POST_ONLY
            if intent[tables.NT_KIND] == tables.INTENT_QUOTE:
                found[name] = int(intent[tables.NT_PRICE_TICKS]), int(intent[tables.NT_LOTS])
            else:
                assert intent[tables.NT_KIND] == tables.INTENT_PULL
        return Quotes(**found)


def test_parameter_columns_follow_the_dict() -> None:
    for column, name in enumerate(PARAMETERS):
        constant = name.removesuffix("_bps_x100").removesuffix("_cap_ppm").upper()
        constant = {"SIZE_OF": "SIZE_OF_CAP"}.get(constant, constant)
        assert getattr(market_making, constant) == column, name


def test_both_sides_stand_half_spread_away_from_the_mid() -> None:
    quotes = Maker(half_spread_bps_x100=1000).quotes()  # 10 bps of 6,000,050 = 6,000.05
    assert quotes == Quotes((5_994_049, 500), (6_006_051, 500))


def test_the_micro_price_leans_toward_the_side_with_less_size() -> None:
    plain, micro = Maker().quotes(ask_lots=1500), Maker(micro_price=1).quotes(ask_lots=1500)
    assert micro.bid
    assert plain.bid
    assert micro.bid[0] < plain.bid[0]


def test_the_slow_paths_skew_moves_both_quotes_and_is_bounded() -> None:
    flat, up, absurd = (Maker(half_spread_bps_x100=2000).quotes(skew_bps_x100=skew) for skew in (0, 500, 10**9))
    assert flat.bid
    assert up.bid
    assert flat.ask
    assert up.ask
    assert up.bid[0] - flat.bid[0] == up.ask[0] - flat.ask[0] == 3000  # 5 bps
    assert absurd == up


def test_the_slow_path_sets_half_spread_and_size_within_bounds() -> None:
    assert Maker().quotes(half_spread_bps_x100=1000) == Maker(half_spread_bps_x100=1000).quotes()
    assert Maker().quotes(half_spread_bps_x100=1) == Maker(half_spread_bps_x100=50).quotes()
    half, twice = Maker().quotes(size_scale_ppm=500_000), Maker().quotes(size_scale_ppm=2_000_000)
    assert half.bid
    assert twice.bid
    assert (half.bid[1], twice.bid[1]) == (250, 500)


def test_inventory_leans_both_quotes_against_itself() -> None:
    flat, long = Maker().quotes(), Maker().quotes(position_lots=5000, net_lots=5000)
    assert flat.bid
    assert long.bid
    assert flat.ask
    assert long.ask
    assert long.bid[0] < flat.bid[0]
    assert long.ask[0] < flat.ask[0]


@pytest.mark.parametrize(("lots", "left"), [(10_000, "ask"), (-10_000, "bid"), (12_000, "ask"), (9_995, "ask")])
def test_at_the_inventory_cap_only_the_reducing_side_is_quoted(lots: int, left: str) -> None:
    quotes = Maker().quotes(position_lots=lots, net_lots=lots)
    assert [side for side in ("bid", "ask") if getattr(quotes, side)] == [left]


def test_near_the_cap_the_size_fits_the_room() -> None:
    quotes = Maker().quotes(position_lots=9_900, net_lots=9_900)
    assert quotes.bid
    assert quotes.ask
    assert (quotes.bid[1], quotes.ask[1]) == (100, 500)


def test_when_nothing_may_increase_only_what_is_owned_is_sold() -> None:
    quotes = Maker().quotes(can_increase=0, position_lots=200, net_lots=200)
    assert quotes.bid is None
    assert quotes.ask
    assert quotes.ask[1] == 200
    assert Maker().quotes(can_increase=0) == Quotes()


def test_without_short_selling_a_flat_account_only_bids() -> None:
    quotes = Maker(allow_short=0).quotes()
    assert quotes.bid
    assert quotes.ask is None


@pytest.mark.parametrize(
    "view",
    [
        {"book_status": layout.BOOK_DIRTY},
        {"book_status": layout.BOOK_EMPTY},
        {"bid_ticks": 0},
        {"ask_ticks": 0},
        {"bid_lots": 0},
        {"ask_lots": 0},
        {"ask_ticks": 6_000_000},
        {"ask_ticks": 5_999_999},
        {"ask_ticks": 1 << 41},
    ],
)
def test_without_a_ready_two_sided_market_both_are_pulled(view: dict[str, int]) -> None:
    maker = Maker()
    assert maker.quotes().bid
    assert maker.quotes(**view) == Quotes()


def test_a_post_only_reject_backs_off_for_the_configured_time() -> None:
    maker = Maker(back_off_ms=250)
    assert maker.quotes(reason=layout.REASON_POST_ONLY_WOULD_CROSS) == Quotes()
    assert maker.quotes(now_ns=10**9 + 249_999_999) == Quotes()
    assert maker.quotes(now_ns=10**9 + 250_000_000).bid
    assert Maker().quotes(reason=layout.REASON_RATE_QUEUED).bid  # other refusals do not


def test_a_quote_stays_until_it_is_far_enough_away() -> None:
    maker = Maker(requote_bps_x100=2)  # 12 ticks here
    first = maker.quotes()
    assert maker.quotes(bid_ticks=6_000_009, ask_ticks=6_000_109) == first
    assert maker.quotes(bid_ticks=6_000_020, ask_ticks=6_000_120) != first


def test_quotes_never_cross_the_market_or_each_other() -> None:
    chance = random.Random(5)
    maker = Maker(requote_bps_x100=16_000, min_half_spread_bps_x100=1)
    for _ in range(400):
        bid = chance.randint(1, 3000)
        ask = bid + chance.randint(1, 60)
        lots = chance.randint(-10_000, 10_000)
        quotes = maker.quotes(
            bid_ticks=bid,
            ask_ticks=ask,
            position_lots=lots,
            net_lots=lots,
            skew_bps_x100=chance.randint(-9000, 9000),
            half_spread_bps_x100=chance.randint(0, 300),
        )
        assert quotes.bid is None or 0 < quotes.bid[0] < ask
        assert quotes.ask is None or quotes.ask[0] > bid
        assert not (quotes.bid and quotes.ask) or quotes.bid[0] < quotes.ask[0]


def test_compiled_and_interpreted_leave_the_same_bytes() -> None:
    strategy = loader.load("market_making")
    compiled = strategy.keep[1].decide
    chance = random.Random(7)
    states = np.zeros((2, 64), np.int64)
    for step in range(300):
        view = np.zeros(32, np.int64)
        for name, index in NAMES.items():
            view[index] = chance.choice([CALM.get(name, 0), chance.randint(-50, 50), chance.randint(-(10**9), 10**9)])
        view[NAMES["now_ns"]] = step * 10**8
        parameters = np.array([chance.choice([d, chance.randint(-5, 500)]) for d in [*PARAMETERS.values()]] + [0] * 23)
        outputs = np.zeros((2, tables.INTENTS, len(tables.INTENT)), np.int64)
        results = [f(view, parameters, states[i], outputs[i]) for i, f in enumerate((compiled, strategy.python))]
        assert results[0] == results[1]
        assert np.array_equal(outputs[0], outputs[1])
        assert np.array_equal(states[0], states[1])
