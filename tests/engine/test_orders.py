"""The order table: every order of events that a venue may send, and exposure against a slow plain model."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine import amends, core, orders, submit, tables
from fabric import layout
from risk import account
from risk import tables as risk
from tests.engine.corekit import MS, Run


@pytest.fixture
def run():
    r = Run()
    r.tick(1_000_000, 1_000_010)
    return r


@pytest.fixture
def live(run):
    """(run, row) of a live buy of 10 lots."""
    row = run.order()
    run.commands()
    run.ack(row)
    return run, row


def test_order_goes_from_pending_to_live_to_filled(run):
    row = run.order()
    assert run.state_of(row) == "pending_new"
    assert run.commands() == [("place", row, 999_000)]
    run.ack(row)
    assert run.state_of(row) == "live"
    run.fill(row, 4)
    assert (run.state_of(row), run.working(0)) == ("partially_filled", 6)
    run.fill(row, 6)
    assert (run.state_of(row), run.working(0), run.position()) == ("filled", 0, 10)


def test_client_order_id_carries_instance_epoch_and_counter(run):
    assert layout.split_order_id(run.get(run.order(), "id")) == (1, 7, 1)
    assert layout.split_order_id(run.get(run.order(price=999_001), "id")) == (1, 7, 2)


def test_intent_is_journaled_before_the_outcome(run):
    row = run.order()
    core.placed(run.c, row, core.SENT, 0, run.now)
    kinds = [layout.JOURNAL_KIND[k] for k in run.c.journal[: run.c.journal_count[0], layout.J_KIND]]
    assert kinds[-2:] == ["intent", "sent"]


def test_fill_before_ack_counts_and_the_ack_keeps_it(run):
    row = run.order()
    run.commands()
    run.fill(row, 3)
    run.ack(row)
    assert (run.state_of(row), run.get(row, "leaves"), run.position()) == ("partially_filled", 7, 3)


def test_late_fill_after_cancel_moves_the_position_and_not_the_state(live):
    run, row = live
    run.cancelled(row)
    run.fill(row, 2)
    assert (run.state_of(row), run.position(), run.working(0), run.count("events_late")) == ("cancelled", 2, 0, 1)


def test_duplicate_fill_is_applied_once(live):
    run, row = live
    run.fill(row, 2, trade=900)
    run.fill(row, 2, trade=900)
    assert (run.position(), run.get(row, "leaves"), run.count("fills_duplicate")) == (2, 8, 1)


def test_overfill_counts_in_full_and_asks_for_reconciliation(live):
    run, row = live
    run.fill(row, 13)
    assert (run.position(), run.working(0), run.state_of(row)) == (13, 0, "filled")
    assert run.c.scalars[tables.K_RECONCILE_WANTED] == 1


def test_cumulative_mismatch_asks_for_reconciliation(live):
    run, row = live
    run.fill(row, 2, cumulative=5)
    assert run.c.scalars[tables.K_RECONCILE_WANTED] == 1


def test_unsolicited_cancel_ends_the_order(live):
    run, row = live
    run.event("cancelled", order_id=run.get(row, "id"), reason=layout.REASON_SELF_TRADE)
    assert (run.state_of(row), run.working(0)) == ("cancelled", 0)
    assert run.get(row, "reason") == layout.REASON_SELF_TRADE


def test_cancel_reject_leaves_the_order_unknown_asked_about_and_still_exposure(live):
    run, row = live
    orders.want_cancel(run.c, row, 0, run.now)
    run.commands()
    run.event("cancel_reject", order_id=run.get(row, "id"), reason=layout.REASON_NOT_FOUND)
    assert (run.state_of(row), run.working(0)) == ("unknown", 10)
    assert run.kinds() == ["query"]


def test_duplicate_id_reject_proves_nothing(run):
    row = run.order()
    run.commands()
    run.event("reject", order_id=run.get(row, "id"), reason=layout.REASON_DUPLICATE_ID)
    assert (run.state_of(row), run.working(0)) == ("unknown", 10)


def test_reject_frees_the_exposure(run):
    row = run.order()
    run.commands()
    run.event("reject", order_id=run.get(row, "id"), reason=layout.REASON_INSUFFICIENT_FUNDS)
    assert (run.state_of(row), run.working(0), run.reason("insufficient_funds")) == ("rejected", 0, 1)


def test_order_that_was_not_sent_is_rejected_and_frees_its_exposure(run):
    row = run.order()
    core.placed(run.c, row, core.NOT_SENT, layout.REASON_SEND_FAILED, run.now)
    assert (run.state_of(row), run.working(0), run.count("orders_sent")) == ("rejected", 0, 0)


def test_order_sent_in_part_is_unknown(run):
    row = run.order()
    core.placed(run.c, row, core.IN_DOUBT, layout.REASON_SEND_FAILED, run.now)
    assert (run.state_of(row), run.working(0)) == ("unknown", 10)


def test_pending_order_past_its_deadline_becomes_unknown_not_before(run):
    row = run.order()
    run.commands()
    run.timer(400 * MS)
    assert run.state_of(row) == "pending_new"
    run.timer(1)
    assert (run.state_of(row), run.working(0)) == ("unknown", 10)


def test_not_found_ends_an_unknown_order_only_after_its_deadline(run):
    row = run.order()
    core.placed(run.c, row, core.IN_DOUBT, 0, run.now)
    run.event("found_missing", order_id=run.get(row, "id"))
    assert run.state_of(row) == "unknown"
    run.now += 401 * MS
    run.event("found_missing", order_id=run.get(row, "id"))
    assert (run.state_of(row), run.working(0)) == ("expired", 0)


def test_unanswered_cancel_is_said_again(live):
    run, row = live
    orders.want_cancel(run.c, row, 0, run.now)
    run.timer(249 * MS)
    assert run.kinds() == ["cancel"]
    run.timer(2 * MS)
    assert run.kinds() == ["cancel"]


def test_new_orders_stop_when_half_the_commands_are_taken_and_cancels_go_on(run):
    rows = []
    while (row := run.order(price=990_000 + len(rows), lots=2)) >= 0:
        rows.append(row)
    assert len(rows) == tables.COMMANDS // 2
    assert orders.want_cancel(run.c, rows[0], 0, run.now) == 1


def test_order_that_rests_for_a_whole_round_of_the_table_costs_one_counter_and_stops_nobody(live):
    run, row = live
    run.c.scalars[tables.K_NEXT_COUNTER] = counter = row + tables.ORDERS
    following = run.order(price=999_500)
    assert following == row + 1
    assert layout.split_order_id(run.get(following, "id"))[2] == counter + 1
    assert orders.find(run.c, run.get(row, "id")) == row


def test_table_full_of_open_orders_refuses_the_next_one(run):
    run.c.orders[:, tables.OR_STATE] = layout.STATE_LIVE
    assert run.order(price=999_500) == -1
    assert run.reason("order_table_full") == 1


def test_ids_find_their_rows_in_a_table_of_any_power_of_two(run):
    run.c = run.c._replace(orders=np.zeros((8, len(tables.ORDER)), np.int64))
    rows = [run.order(price=990_000 + k, lots=2) for k in range(8)]
    assert sorted(rows) == list(range(8))
    assert run.order(price=991_000, lots=2) == -1
    orders.close_order(run.c, rows[3], layout.STATE_CANCELLED, 0, run.now)
    assert run.order(price=991_000, lots=2) == rows[3]
    assert [orders.find(run.c, run.get(row, "id")) for row in rows] == rows


def test_own_orders_never_cross(live):
    run, row = live
    run.fill(run.order(price=999_001), 10)
    assert run.order(side=1, price=998_000, lots=5) == -1
    assert ("cancel", row, 999_000) in run.commands()
    run.cancelled(row)
    assert run.order(side=1, price=998_000, lots=5) >= 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12), st.booleans()), max_size=12),
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12)), min_size=1, max_size=6),
)
def test_own_crosses_are_those_that_a_walk_over_all_open_orders_finds(resting, takers):
    run = Run()
    run.tick(1_000_000, 1_000_010)
    for side, price, ends in resting:  # past the checks, so that the table itself may be crossed
        submit.clear_order_in(run.c)
        run.c.order_in[[risk.OI_SIDE, risk.OI_PRICE_TICKS, risk.OI_LOTS]] = side, 999_990 + price, 1
        row = orders.open_order(run.c, orders.free_row(run.c), run.c.order_in, 0, run.now)
        if ends:
            orders.close_order(run.c, row, layout.STATE_CANCELLED, 0, run.now)
    for side, price in takers:
        price += 999_990
        run.c.order_in[[risk.OI_SIDE, risk.OI_PRICE_TICKS]] = side, price
        o = run.c.orders
        still = (o[:, tables.OR_STATE] == layout.STATE_PENDING_NEW) & (o[:, tables.OR_SIDE] != side)
        reached = o[:, tables.OR_PRICE_TICKS] <= price if side == layout.SIDE_BUY else o[:, tables.OR_PRICE_TICKS] >= price
        assert submit.clear_own_cross(run.c, run.now) == int((still & reached).sum())


class Orders(RuleBasedStateMachine):
    """Random events against a model that only adds up."""

    def __init__(self):
        super().__init__()
        self.run = Run()
        self.run.tick(1_000_000, 1_000_010)
        self.model: dict[int, list[int]] = {}  # row -> [side, lots, filled, open]
        self.net = 0

    def pick(self, data):
        return data.draw(st.sampled_from(sorted(self.model)))

    @rule(lots=st.integers(2, 20))
    def place(self, lots):
        row = self.run.order(price=990_000 + len(self.model), lots=lots)
        self.run.commands()
        if row >= 0:
            self.model[row] = [0, lots, 0, 1]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), lots=st.integers(1, 25))
    def fill(self, data, lots):
        row = self.pick(data)
        self.run.fill(row, lots)
        entry = self.model[row]
        entry[2] += lots
        self.net += lots
        if entry[2] >= entry[1]:
            entry[3] = 0

    @precondition(lambda self: self.model)
    @rule(data=st.data(), kind=st.sampled_from(["cancelled", "reject", "expired"]))
    def end(self, data, kind):
        row = self.pick(data)
        self.run.event(kind, order_id=self.run.get(row, "id"), reason=layout.REASON_REQUESTED)
        self.model[row][3] = 0

    @precondition(lambda self: self.model)
    @rule(data=st.data(), lots=st.integers(1, 25), ask=st.booleans())
    def amend(self, data, lots, ask):
        """Asked for or not, the venue says how large the order is in all."""
        row = self.pick(data)
        if ask:
            amends.want(self.run.c, row, lots, self.run.now)
            self.run.commands()
        self.run.event("amended", order_id=self.run.get(row, "id"), lots=lots)
        entry = self.model[row]
        if entry[3]:
            entry[1] = max(lots, entry[2])
            entry[3] = int(entry[2] < entry[1])

    @precondition(lambda self: self.model)
    @rule(data=st.data(), kind=st.sampled_from(["ack", "cancel_reject", "found_open"]))
    def talk(self, data, kind):
        self.run.event(kind, order_id=self.run.get(self.pick(data), "id"), reason=layout.REASON_NOT_FOUND)
        self.run.commands()

    @rule(bid=st.integers(995_000, 1_005_000))
    def tick(self, bid):
        self.run.tick(bid, bid + 10)
        self.run.commands()

    @invariant()
    def what_is_kept_beside_the_tables_is_what_they_say(self):
        c = self.run.c
        worst = [int(account.exposure_e8(c.positions, c.books, c.instruments, i)) for i in range(2)]
        assert c.positions[:, risk.PO_EXPOSURE_E8].tolist() == worst
        assert c.account[risk.AC_EXPOSURE_E8] == sum(worst)
        prices = [self.run.get(row, "price_ticks") for row, entry in self.model.items() if entry[3]]
        assert (
            (max(prices) <= c.positions[0, risk.PO_OWN_BID_TICKS]) if prices else (c.positions[0, risk.PO_OWN_BID_TICKS] == 0)
        )

    @invariant()
    def exposure_is_the_sum(self):
        working = sum(max(lots - filled, 0) for _, lots, filled, is_open in self.model.values() if is_open)
        assert self.run.working(0) == working
        assert self.run.working_is_sum()
        assert self.run.position() == self.net
        assert self.run.c.scalars[tables.K_LIVE_COUNT] == sum(e[3] for e in self.model.values())
        unknown = int((self.run.c.orders[:, tables.OR_STATE] == layout.STATE_UNKNOWN).sum())
        assert self.run.c.account[risk.AC_UNKNOWN_ORDERS] == unknown
        for row, (_, _, filled, _) in self.model.items():
            assert self.run.get(row, "filled") == filled


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_compiled_and_interpreted_core_leave_the_same_bytes():
    class Plain:
        def __getattr__(self, name):
            return getattr(core, name).py_func

    def play(functions):
        r = Run(functions)
        r.tick(1_000_000, 1_000_010)
        row = r.order()
        r.commands()
        r.ack(row)
        r.fill(row, 3)
        r.oneshot(urgency=5)
        r.commands()
        r.timer(500 * MS)
        r.cancelled(row)
        return r.c

    for ours, theirs, name in zip(play(core), play(Plain()), tables.Core._fields, strict=True):
        assert np.array_equal(ours, theirs) or name == "strategy_calls", name


def test_cancel_without_a_session_waits_for_one_and_costs_no_message(run):
    row = run.order(price=990_000)
    run.commands()
    core.on_session(run.c, 0, run.now)
    orders.want_cancel(run.c, row, layout.REASON_REQUESTED, run.now)
    for _ in range(5):
        run.timer(MS)
    assert "cancel" not in run.kinds()
    assert run.get(row, "cancel_tries") == 0
    core.on_session(run.c, 1, run.now)
    run.timer(MS)
    assert "cancel" in run.kinds()
