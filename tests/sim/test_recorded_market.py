"""sim.recorded_market: the recording as messages, and strict matching against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sim.market import Closed, Execution, Instrument, Order, OrderType, Outcome, Side
from sim.recorded_market import FALL_WINDOW_NS, RecordedMarket, recorded_symbol
from sim.recording import MessageMaker, Recording

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance"
STEP_NS = 1_000_000_000  # between two frames: longer than the window in which a shown fall may still be explained
assert STEP_NS > FALL_WINDOW_NS
START_NS = 1_700_000_000_000_000_000

Frames = list[dict[str, Any]]
Play = Callable[..., RecordedMarket]


def instrument(symbol: str = "BTCUSDT", lot_size: str = "1") -> Instrument:
    one, big = Decimal(1), Decimal(1000)
    return Instrument(symbol, "BTC", "USDT", "spot", Decimal("0.01"), Decimal(lot_size), one, big, one, 200, 500)


def ticker(bid: int, bid_lots: int, ask: int, ask_lots: int) -> dict[str, Any]:
    return {"u": 1, "s": "BTCUSDT", "b": f"{bid / 100:.2f}", "B": str(bid_lots), "a": f"{ask / 100:.2f}", "A": str(ask_lots)}


def trade(ticks: int, lots: int, sold: bool = True) -> dict[str, Any]:
    return {"e": "trade", "s": "BTCUSDT", "t": 1, "p": f"{ticks / 100:.2f}", "q": str(lots), "m": sold}


def levels(pairs: dict[int, int]) -> list[list[str]]:
    return [[f"{ticks / 100:.2f}", str(lots)] for ticks, lots in pairs.items()]


def snapshot(bids: dict[int, int], asks: dict[int, int]) -> dict[str, Any]:
    return {"lastUpdateId": 10, "bids": levels(bids), "asks": levels(asks)}


def depth(number: int, bids: dict[int, int], asks: dict[int, int]) -> dict[str, Any]:
    return {"e": "depthUpdate", "s": "BTCUSDT", "U": number, "u": number, "b": levels(bids), "a": levels(asks)}


BOOK: Frames = [ticker(100, 5, 103, 4), snapshot({100: 5, 99: 8, 98: 2}, {103: 4, 104: 6, 106: 9})]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def start(frames: Frames, gap_ns: int = STEP_NS) -> RecordedMarket:
        """The market after BOOK, with `frames` still to come, one every `gap_ns`."""
        rows = [f"{START_NS + gap_ns * number} {json.dumps(frame)}" for number, frame in enumerate(BOOK + frames)]
        path = tmp_path / "recording"
        path.write_text("\n".join(rows) + "\n")
        market = RecordedMarket(path, instrument())
        market.advance(gap_ns, 0)
        return market

    return start


def order(side: Side, kind: OrderType, ticks: int | None, lots: int, number: int = 1, account: str = "us") -> Order:
    return Order(str(number), number, account, "key", "BTCUSDT", side, kind, ticks, lots, 0)


def fills(outcomes: list[Outcome]) -> list[tuple[int, int, bool]]:
    return [(outcome.price_ticks, outcome.lots, outcome.maker) for outcome in outcomes if isinstance(outcome, Execution)]


def rest(market: RecordedMarket) -> list[Outcome]:
    return list(market.advance(1 << 62, 0).outcomes)


# The source


def test_one_frame_is_one_message_at_its_own_time_until_done(play: Play) -> None:
    market = play([trade(100, 1), depth(11, {}, {104: 7})])
    assert market.next_at_ns() == 2 * STEP_NS
    assert market.advance(2 * STEP_NS - 1, 0).messages == []
    step = market.advance(2 * STEP_NS, 0)
    assert [(m.index, m.body["type"], m.channel, step.done) for m in step.messages] == [(2, "trade", "ticker", False)]
    step = market.advance(9 * STEP_NS, 0)
    assert [(m.index, m.body["type"], m.channel, step.done) for m in step.messages] == [(3, "book_delta", "orderbook", True)]
    assert market.next_at_ns() is None
    assert market.advance(99 * STEP_NS, 0).done


def test_recording_of_another_symbol_is_refused_by_name(play: Play) -> None:
    path = play([]).recording.path
    assert recorded_symbol(path) == "BTCUSDT"
    with pytest.raises(ValueError, match="is of BTCUSDT, the instrument is BTC-USDC"):
        RecordedMarket(path, instrument("BTC-USDC"))


def test_bad_line_leaves_its_index_out_and_foreign_or_off_grid_frames_are_only_sent(play: Play) -> None:
    odd = [{"e": "kline", "s": "BTCUSDT"}, {**ticker(1, 1, 2, 1), "s": "ETHUSDT"}, {**trade(100, 1), "p": "100.005"}]
    market = play(odd)
    assert [message.index for message in market.advance(1 << 62, 0).messages] == [3, 4]
    assert (market.recording.malformed, market.foreign, market.off_grid) == (1, 1, 1)
    assert market.touch("BTCUSDT") == (100, 103)


def test_touch_is_the_tickers_and_the_snapshot_is_the_depth_books(play: Play) -> None:
    market = play([ticker(101, 3, 102, 3), depth(11, {99: 0}, {})])
    rest(market)
    assert market.touch("BTCUSDT") == (101, 102)
    body = market.snapshot("BTCUSDT", 5).body
    assert (body["sequence"], body["index"], body["exchange_ts"]) == (11, -1, 5)
    assert body["bids"] == [["1.00", "5"], ["0.98", "2"]]
    assert body["asks"] == [["1.03", "4"], ["1.04", "6"], ["1.06", "9"]]


# Takers


def test_taker_walks_the_ticker_touch_and_then_the_depth_behind_it(play: Play) -> None:
    market = play([ticker(100, 5, 102, 1)])
    rest(market)
    mine = order("buy", "ioc", 104, 20)
    outcomes = market.place(mine, 0)
    assert fills(outcomes) == [(102, 1, False), (103, 4, False), (104, 6, False)]
    assert outcomes[-1] == Closed(mine, "unfilled")
    assert (mine.filled_lots, mine.status, mine.reason) == (11, "cancelled", "unfilled")


def test_depth_better_than_the_ticker_touch_is_not_taken(play: Play) -> None:
    market = play([ticker(100, 5, 104, 2)])
    rest(market)
    assert fills(market.place(order("buy", "market", None, 4), 0)) == [(104, 2, False), (106, 2, False)]


def test_what_we_took_stays_gone_until_the_level_is_shown_anew(play: Play) -> None:
    market = play([ticker(100, 6, 103, 4), depth(11, {}, {103: 4}), ticker(100, 6, 103, 5)])
    assert fills(market.place(order("buy", "ioc", 103, 3), 0)) == [(103, 3, False)]
    market.advance(3 * STEP_NS, 0)  # the other side moved; depth names our level, but the ticker is the truth there
    assert fills(market.place(order("buy", "ioc", 103, 3, 2), 0)) == [(103, 1, False)]
    rest(market)
    assert fills(market.place(order("buy", "ioc", 103, 9, 3), 0)) == [(103, 5, False)]


def test_what_we_took_behind_the_touch_comes_back_with_a_depth_update(play: Play) -> None:
    market = play([depth(11, {}, {106: 1}), depth(12, {}, {104: 6})])
    assert fills(market.place(order("buy", "market", None, 10), 0)) == [(103, 4, False), (104, 6, False)]
    market.advance(2 * STEP_NS, 0)
    assert fills(market.place(order("buy", "ioc", 105, 1, 2), 0)) == []
    rest(market)
    assert fills(market.place(order("buy", "ioc", 105, 1, 3), 0)) == [(104, 1, False)]


def test_fok_fills_in_full_or_not_at_all(play: Play) -> None:
    market = play([])
    mine = order("sell", "fok", 99, 14)
    assert market.place(mine, 0) == [Closed(mine, "unfilled")]
    assert mine.filled_lots == 0
    assert fills(market.place(order("sell", "fok", 99, 13, 2), 0)) == [(100, 5, False), (99, 8, False)]


def test_post_only_that_would_cross_is_refused_even_where_takers_emptied_the_level(play: Play) -> None:
    market = play([])
    market.place(order("buy", "ioc", 103, 4), 0)
    mine = order("buy", "post_only", 103, 1, 2)
    assert market.would_cross(mine)
    assert market.place(mine, 0) == [Closed(mine, "post_only_would_cross")]
    assert not market.would_cross(order("buy", "post_only", 102, 1, 3))


# Resting orders


def test_resting_order_fills_only_by_what_trades_beyond_the_queue(play: Play) -> None:
    market = play([trade(100, 3), trade(100, 4), trade(100, 100)])
    mine = order("buy", "limit", 100, 10)
    assert market.place(mine, 0) == []
    assert fills(list(market.advance(2 * STEP_NS, 0).outcomes)) == []
    assert fills(list(market.advance(3 * STEP_NS, 0).outcomes)) == [(100, 2, True)]
    assert fills(rest(market)) == [(100, 8, True)]
    assert mine.leaves == 0
    assert not market.cancel(mine, 0)


def test_buyers_lifting_the_ask_do_not_move_a_bids_queue(play: Play) -> None:
    market = play([trade(100, 50, sold=False), trade(103, 50, sold=False)])
    market.place(order("buy", "limit", 100, 10), 0)
    assert rest(market) == []


def test_trade_through_the_price_fills_at_our_price_up_to_its_volume(play: Play) -> None:
    market = play([trade(98, 4), trade(98, 100)])
    market.place(order("buy", "limit", 100, 10), 0)
    assert fills(list(market.advance(2 * STEP_NS, 0).outcomes)) == [(100, 4, True)]
    assert fills(rest(market)) == [(100, 6, True)]


def test_queue_behind_the_touch_is_the_depth_size_and_inside_the_spread_nothing(play: Play) -> None:
    market = play([trade(101, 2), trade(99, 10)])
    inside, behind = order("buy", "limit", 101, 2), order("buy", "limit", 99, 5, 2)
    market.place(behind, 0)
    market.place(inside, 0)
    assert rest(market) == [Execution(inside, 2, 101, True, 1), Execution(behind, 2, 99, True, 2)]


def test_one_trade_never_fills_two_orders_beyond_its_volume(play: Play) -> None:
    market = play([trade(100, 8)])
    first, second = order("buy", "limit", 100, 2), order("buy", "limit", 100, 9, 2)
    market.place(first, 0)
    market.place(second, 0)
    assert fills(rest(market)) == [(100, 2, True), (100, 1, True)]
    assert (first.leaves, second.leaves) == (0, 8)


def test_displayed_size_below_the_queue_replaces_it(play: Play) -> None:
    market = play([ticker(100, 1, 103, 4), ticker(100, 50, 103, 4), trade(100, 3)])
    market.place(order("buy", "limit", 100, 10), 0)
    assert fills(rest(market)) == [(100, 2, True)]


def test_depth_update_behind_the_touch_cuts_the_queue(play: Play) -> None:
    market = play([depth(11, {99: 1}, {}), trade(99, 3)])
    market.place(order("buy", "limit", 99, 10), 0)
    assert fills(rest(market)) == [(99, 2, True)]


def test_trade_told_just_after_its_fall_was_shown_is_not_counted_twice(play: Play) -> None:
    frames = [ticker(100, 1, 103, 4), trade(100, 4), trade(100, 2)]
    soon = play(frames, 1_000_000)
    soon.place(order("buy", "limit", 100, 10), 0)
    assert fills(rest(soon)) == [(100, 1, True)]  # the fall of 4 was the first trade; the second passed the 1 left
    late = play(frames)
    late.place(order("buy", "limit", 100, 10), 0)
    assert fills(rest(late)) == [(100, 3, True), (100, 2, True)]  # a fall that no trade explains was a cancel


def test_order_that_comes_between_the_fall_and_its_trade_gains_nothing_from_it(play: Play) -> None:
    market = play([ticker(100, 1, 103, 4), trade(100, 4), trade(100, 2)], 1_000_000)
    market.advance(2_000_000, 0)
    market.place(order("buy", "limit", 100, 10), 0)
    assert fills(rest(market)) == [(100, 1, True)]


def test_sell_side_is_the_mirror(play: Play) -> None:
    market = play([trade(103, 5, sold=False), ticker(100, 5, 105, 1), trade(105, 2, sold=False)])
    market.place(order("sell", "limit", 103, 2), 0)
    market.place(order("sell", "limit", 104, 2, 2), 0)
    assert fills(rest(market)) == [(103, 1, True), (103, 1, True), (104, 1, True)]


def test_cancelled_order_fills_no_more(play: Play) -> None:
    market = play([trade(98, 100)])
    mine = order("buy", "limit", 100, 10)
    market.place(mine, 0)
    assert market.cancel(mine, 0)
    assert not market.cancel(mine, 0)
    assert rest(market) == []


def test_second_account_meets_our_order_after_the_recorded_size_at_that_price(play: Play) -> None:
    market = play([])
    mine, other = order("buy", "limit", 100, 3), order("sell", "ioc", 100, 7, 2, "other")
    market.place(mine, 0)
    assert market.place(other, 0) == [
        Execution(other, 5, 100, False, 1),
        Execution(mine, 2, 100, True, 2),
        Execution(other, 2, 100, False, 2),
    ]


def test_taker_that_meets_its_own_order_ends_that_one_and_goes_on(play: Play) -> None:
    market = play([])
    mine, crossing = order("buy", "limit", 101, 3), order("sell", "ioc", 100, 4, 2)
    market.place(mine, 0)
    assert market.place(crossing, 0) == [Closed(mine, "self_trade"), Execution(crossing, 4, 100, False, 1)]
    assert not market.cancel(mine, 0)


def test_rest_of_a_marketable_limit_stands_at_its_price(play: Play) -> None:
    market = play([trade(104, 1), trade(103, 9)])
    mine = order("buy", "limit", 103, 6)
    assert fills(market.place(mine, 0)) == [(103, 4, False)]
    assert fills(rest(market)) == [(103, 2, True)]


# The real thing


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"recordings absent: {SHARED.name} (../shared/data/binance)")
def test_shared_recording_plays_whole_with_a_quote_at_the_touch_and_twice_the_same() -> None:
    path = SHARED / "spot__btcusdt_20240808.gz"
    maker = MessageMaker("BTCUSDT")
    expected = [maker.message(frame) for frame in Recording(path)]

    def run() -> tuple[list[dict[str, Any]], list[tuple[int, int, bool]], RecordedMarket]:
        market = RecordedMarket(path, instrument(lot_size="0.00001"))
        told: list[dict[str, Any]] = []
        filled: list[tuple[int, int, bool]] = []
        quote: Order | None = None
        while (due := market.next_at_ns()) is not None:
            step = market.advance(due + 100_000_000, 0)
            told += [message.body for message in step.messages]
            filled += fills(list(step.outcomes))
            bid, _ = market.touch("BTCUSDT")
            if quote is None or quote.leaves == 0 or quote.price_ticks != bid:
                if quote is not None:
                    market.cancel(quote, 0)
                quote = order("buy", "post_only", bid, 1000, len(told))
                market.place(quote, 0)
        return told, filled, market

    told, filled, market = run()
    assert told == expected
    assert (market.recording.malformed, market.foreign, market.off_grid, market.depth.off_grid) == (0, 0, 0, 3)
    assert market.depth.gaps == 0
    assert len(filled) > 20
    assert run()[1] == filled
