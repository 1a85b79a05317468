"""The book against a slow model that keeps one flat list of orders and searches it anew for each trade."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.market import CROWD, Closed, Execution, Order
from sim.matching import Book


def order(number, side="buy", ticks=100, lots=10, kind="limit", account="a"):
    return Order(str(number), number, account, "k", "S", side, kind, ticks, lots, 0)


def told(outcomes):
    return [
        (o.order.order_id, o.lots, o.price_ticks, o.maker) if isinstance(o, Execution) else (o.order.order_id, o.reason)
        for o in outcomes
    ]


class SlowModel:
    """(id, side, ticks, leaves, account) in order of arrival."""

    def __init__(self):
        self.resting = []

    def candidates(self, new):
        wants = [r for r in self.resting if r["side"] != new["side"]]
        if new["ticks"] is not None:
            wants = [r for r in wants if (r["ticks"] <= new["ticks"]) == (new["side"] == "buy") or r["ticks"] == new["ticks"]]
        return sorted(wants, key=lambda r: r["ticks"] if new["side"] == "buy" else -r["ticks"])  # stable: FIFO

    def place(self, new):
        said = []
        own = lambda r: r["account"] == new["account"] != CROWD  # noqa: E731
        reachable = self.candidates(new)
        if new["kind"] == "post_only" and reachable:
            return [(new["id"], "post_only_would_cross")]
        if new["kind"] == "fok" and sum(r["leaves"] for r in reachable if not own(r)) < new["leaves"]:
            return [(new["id"], "unfilled")]
        for maker in reachable:
            if new["leaves"] == 0:
                break
            if own(maker):
                self.resting.remove(maker)
                said.append((maker["id"], "self_trade"))
                continue
            lots = min(new["leaves"], maker["leaves"])
            new["leaves"] -= lots
            maker["leaves"] -= lots
            said += [(maker["id"], lots, maker["ticks"], True), (new["id"], lots, maker["ticks"], False)]
            if maker["leaves"] == 0:
                self.resting.remove(maker)
        if new["leaves"] and new["kind"] in ("limit", "post_only"):
            self.resting.append(new)
        elif new["leaves"]:
            said.append((new["id"], "unfilled"))
        return said

    def levels(self, side):
        prices = sorted({r["ticks"] for r in self.resting if r["side"] == side}, reverse=side == "buy")
        return [(p, sum(r["leaves"] for r in self.resting if (r["side"], r["ticks"]) == (side, p))) for p in prices]


STEP = st.one_of(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        st.integers(95, 105),
        st.integers(1, 20),
        st.sampled_from(["limit", "limit", "limit", "market", "ioc", "fok", "post_only"]),
        st.sampled_from(["a", "b", CROWD]),
    ),
    st.integers(0, 30),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_book_does_what_the_slow_model_does_and_never_crosses(steps):
    book, model, orders = Book(count(1)), SlowModel(), []
    for step in steps:
        if isinstance(step, int):
            if step < len(orders):
                known = [r for r in model.resting if r["id"] == step]
                assert book.cancel(orders[step]) == bool(known)
                model.resting = [r for r in model.resting if r["id"] != step]
        else:
            side, ticks, lots, kind, account = step
            ticks = None if kind == "market" else ticks
            new = order(len(orders), side, ticks, lots, kind, account)
            orders.append(new)
            row = {"id": new.order_id, "side": side, "ticks": ticks, "leaves": lots, "kind": kind, "account": account}
            assert told(book.place(new)) == model.place(row)
        assert [book.levels(side) for side in ("buy", "sell")] == [model.levels(side) for side in ("buy", "sell")]
        bid, ask = book.touch()
        assert bid is None or ask is None or bid < ask
    bought, sold = (sum(o.filled_lots for o in orders if o.side == side) for side in ("buy", "sell"))
    assert bought == sold
    assert all(0 <= o.filled_lots <= o.lots for o in orders)


def test_earlier_order_at_a_price_trades_first_and_keeps_its_place_after_a_part():
    book = Book(count(1))
    for number in (1, 2):
        book.place(order(number, account=f"a{number}"))
    assert told(book.place(order(3, "sell", 100, 4, account="b"))) == [(1, 4, 100, True), (3, 4, 100, False)]
    assert [o.order_id for o in book.queue("buy", 100)] == [1, 2]
    assert book.levels("buy") == [(100, 16)]


def test_both_sides_of_a_trade_share_a_trade_id_and_ids_rise():
    book = Book(count(7))
    book.place(order(1, lots=3))
    book.place(order(2, ticks=99, lots=3))
    executions = book.place(order(3, "sell", 99, 6, account="b"))
    assert [e.trade_id for e in executions if isinstance(e, Execution)] == [7, 7, 8, 8]


def test_fok_that_cannot_fill_leaves_own_resting_orders_alone():
    book = Book(count(1))
    own = order(1, lots=10)
    book.place(own)
    (only,) = book.place(order(2, "sell", 100, 10, "fok"))
    assert isinstance(only, Closed)
    assert only.reason == "unfilled"
    assert book.queue("buy", 100) == [own]


def test_take_changes_answers_each_changed_level_once_with_its_size_now():
    book = Book(count(1))
    book.place(order(1, ticks=100, lots=5))
    book.place(order(2, ticks=101, lots=5))
    book.take_changes()
    book.place(order(3, "sell", 100, 7, account="b"))
    assert book.take_changes() == ([(101, 0), (100, 3)], [])
    assert book.take_changes() == ([], [])
