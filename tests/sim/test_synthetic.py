"""sim.synthetic: messages as the wire protocol says, determinism, and our orders among the crowd's."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from sim.flow_figures import default_instruments
from sim.market import CROWD, Closed, Execution, Order, OrderType, Side
from sim.synthetic import SyntheticMarket

SECOND_NS = 1_000_000_000
SYMBOLS = ("BTC-USDC", "ETH-USDC")


def market(seed: int = 7) -> SyntheticMarket:
    return SyntheticMarket(default_instruments(), seed)


def bodies(source: SyntheticMarket, until_ns: int) -> list[dict[str, Any]]:
    return [message.body for message in source.advance(until_ns, 5).messages]


def order(side: Side, kind: OrderType, ticks: int | None, lots: int, number: int = 1, account: str = "us") -> Order:
    return Order(str(number), number, account, "key", "BTC-USDC", side, kind, ticks, lots, 0)


def test_same_seed_gives_the_same_messages_whatever_the_steps() -> None:
    whole, stepped = market(), market()
    expected = bodies(whole, 3 * SECOND_NS)
    got = [body for step in range(1, 301) for body in bodies(stepped, step * SECOND_NS // 100)]
    assert got == expected
    assert bodies(market(8), 3 * SECOND_NS) != expected


def test_starts_with_a_snapshot_and_a_tick_of_each_symbol_at_time_zero() -> None:
    source = market()
    assert source.next_at_ns() == 0
    first = bodies(source, 0)
    assert [(body["type"], body["symbol"]) for body in first] == [
        (kind, symbol) for symbol in SYMBOLS for kind in ("book_snapshot", "tick")
    ]
    assert (source.next_at_ns() or 0) > 0


def test_index_is_contiguous_over_all_symbols_and_sequence_within_each() -> None:
    messages = market().advance(10 * SECOND_NS, 77).messages
    assert [message.index for message in messages] == list(range(len(messages)))
    assert all(message.body["index"] == message.index and message.body["exchange_ts"] == 77 for message in messages)
    for symbol in SYMBOLS:
        deltas = [m.body for m in messages if m.symbol == symbol and m.body["type"] == "book_delta"]
        start = next(m.body["sequence"] for m in messages if m.symbol == symbol and m.body["type"] == "book_snapshot")
        assert [delta["prev_sequence"] for delta in deltas] == list(range(start, start + len(deltas)))
        assert all(delta["sequence"] == delta["prev_sequence"] + 1 for delta in deltas)


def test_deltas_on_the_snapshot_rebuild_the_book_and_ticks_are_its_touch() -> None:
    source = market()
    books: dict[str, dict[str, dict[Decimal, Decimal]]] = {}
    told: dict[str, dict[str, Any]] = {}
    for body in bodies(source, 20 * SECOND_NS):
        book = books.setdefault(body["symbol"], {"bids": {}, "asks": {}})
        if body["type"].startswith("book_"):
            for side in ("bids", "asks"):
                for price, size in body[side]:
                    book[side][Decimal(price)] = Decimal(size)
                book[side] = {price: size for price, size in book[side].items() if size}
        first_tick = body["type"] == "tick" and body["symbol"] not in told
        if body["type"] == "tick":
            told[body["symbol"]] = body
        if first_tick or body["type"] == "book_delta":  # later ticks lead the delta that they belong to
            bid, ask, tick = max(book["bids"]), min(book["asks"]), told[body["symbol"]]
            assert (Decimal(tick["bid"]), Decimal(tick["ask"])) == (bid, ask)
            assert (Decimal(tick["bid_size"]), Decimal(tick["ask_size"])) == (book["bids"][bid], book["asks"][ask])
    for symbol in SYMBOLS:
        shown = source.snapshot(symbol, 9).body
        assert shown["index"] == -1
        for side in ("bids", "asks"):
            assert {Decimal(price): Decimal(size) for price, size in shown[side]} == books[symbol][side]
            assert len(shown[side]) >= 20


def test_tick_comes_exactly_when_the_touch_changed() -> None:
    ticks = [body for body in bodies(market(), 20 * SECOND_NS) if body["type"] == "tick" and body["symbol"] == SYMBOLS[0]]
    touches = [(tick["bid"], tick["bid_size"], tick["ask"], tick["ask_size"]) for tick in ticks]
    assert len(ticks) > 100
    assert all(before != after for before, after in pairwise(touches))


def test_our_market_order_takes_from_the_crowd_and_is_told_in_the_next_advance() -> None:
    source = market()
    source.advance(SECOND_NS, 0)
    _, ask = source.touch("BTC-USDC")
    mine = order("buy", "market", None, 10)
    outcomes = source.place(mine, 0)
    assert outcomes == [Execution(mine, 10, ask or 0, False, outcomes[0].trade_id)]  # type: ignore[union-attr]
    assert mine.filled_lots == 10
    assert source.next_at_ns() == 0
    told = bodies(source, SECOND_NS)
    assert [body["type"] for body in told] == ["trade", "tick", "book_delta"]
    assert (told[0]["side"], told[0]["size"], told[0]["trade_id"]) == ("buy", "0.00010", outcomes[0].trade_id)


def test_our_improving_quote_becomes_the_touch_and_the_crowd_fills_it() -> None:
    source = market()
    source.advance(SECOND_NS, 0)
    bid, ask = source.touch("BTC-USDC")
    assert bid is not None
    assert ask is not None
    mine = order("buy", "post_only", ask - 1, 50)
    assert not source.would_cross(mine)
    assert source.place(mine, 0) == []
    assert source.touch("BTC-USDC") == (ask - 1, ask)
    fills = source.advance(60 * SECOND_NS, 0).outcomes
    assert sum(fill.lots for fill in fills if isinstance(fill, Execution)) == 50
    assert all(isinstance(fill, Execution) and fill.maker and fill.price_ticks == ask - 1 for fill in fills)
    assert mine.leaves == 0
    assert not source.cancel(mine, 0)


def test_cancel_takes_our_quote_out_and_tells_it() -> None:
    source = market()
    source.advance(SECOND_NS, 0)
    bid, ask = source.touch("BTC-USDC")
    assert ask is not None
    mine = order("buy", "limit", ask - 1, 50)
    source.place(mine, 0)
    source.advance(SECOND_NS, 0)
    assert source.cancel(mine, 0)
    assert source.touch("BTC-USDC") == (bid, ask)
    tick, delta = bodies(source, SECOND_NS)
    assert [size for _, size in delta["bids"]] == ["0.00000"]
    assert Decimal(tick["bid"]) == Decimal(bid or 0) / 100


@pytest.mark.parametrize(("kind", "reason"), [("fok", "unfilled"), ("post_only", "post_only_would_cross")])
def test_order_that_may_not_trade_is_closed_and_changes_nothing(kind: OrderType, reason: str) -> None:
    source = market()
    source.advance(SECOND_NS, 0)
    _, ask = source.touch("BTC-USDC")
    mine = order("buy", kind, ask, 10_000_000_000)
    assert source.place(mine, 0) == [Closed(mine, reason)]
    assert (mine.reason, mine.status) == (reason, "rejected" if kind == "post_only" else "cancelled")
    assert (mine.filled_lots, bodies(source, SECOND_NS)) == (0, [])


def test_second_account_trades_against_our_quote_and_both_sides_are_told() -> None:
    source = market()
    source.advance(SECOND_NS, 0)
    _, ask = source.touch("BTC-USDC")
    assert ask is not None
    mine, other = order("buy", "limit", ask - 1, 50), order("sell", "ioc", ask - 1, 20, 2, "other")
    source.place(mine, 0)
    outcomes = source.place(other, 0)
    assert [(o.order, o.lots, o.maker) for o in outcomes if isinstance(o, Execution)] == [(mine, 20, True), (other, 20, False)]


def test_no_outcome_of_the_crowd_reaches_the_exchange() -> None:
    source = market()
    assert source.advance(30 * SECOND_NS, 0).outcomes == []
    mine = order("buy", "market", None, 1)
    assert all(outcome.order.account != CROWD for outcome in source.place(mine, 0))
