"""The journal folded again gives what the core had: at every cut, through any checkpoint, once or twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import core as cores
from engine import restart, state, tables
from engine.checkpoint import decode, encode, tables_of
from engine.fold import Fold
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import MS, config
from tests.engine.journalkit import Journaled, checkpoint_of, durable

BID, ASK = 1_000_000, 1_000_010
DAY_NS = 86_400_000_000_000


def folded(run: Journaled, cut: int | None = None, checkpoint_at: int = 0) -> dict[str, Any]:
    """What a restart would know after ``cut`` records, by way of a checkpoint file at an earlier record."""
    batch = run.batch()[:cut]
    values = config()
    fold = Fold(restart.bare(values, checkpoint_of({n: t.copy() for n, t in run.start.items()}, {"life": 1})))
    fold.apply(batch[:checkpoint_at])
    image = checkpoint_of(tables_of(fold.core), {"life": 1}, position=fold.position, trades=fold.trades)
    again = decode(encode(image))
    second = Fold(restart.bare(values, again), again.position, again.last_ns, again.trades)
    second.apply(batch[checkpoint_at:])
    assert second.position == len(batch)
    return durable(second.core)


ACTIONS = ("order", "sell", "exit", "oneshot", "ack", "fill", "partial", "twice", "cancelled", "reject", "late", "stranger")
ACTIONS += ("tick", "crash", "reconcile", "difference", "deposit", "wait", "midnight", "not_sent", "gone", "amended")


class Script:
    """Random but legal life of a run; each action is one pass of the loop."""

    def __init__(self) -> None:
        self.run = Journaled(losses_in_row=1, pauses_to_latch=2, slippage_ppm=200, rejects_in_row=3, drawdown_ppm=20_000)
        self.cuts: list[tuple[int, dict[str, Any]]] = []
        self.end()

    def open_rows(self) -> list[int]:
        c, rows, row = self.run.c, [], int(self.run.c.scalars[tables.K_LIVE_HEAD])
        while row >= 0:
            rows.append(row)
            row = int(c.orders[row, tables.OR_NEXT_LIVE])
        return rows

    def end(self, outcome: int = cores.SENT) -> None:
        self.run.commands(outcome)
        self.cuts.append((len(self.run.records), durable(self.run.c)))

    def act(self, action: str, number: int) -> None:
        r = self.run
        rows = self.open_rows()
        row = rows[number % len(rows)] if rows else -1
        price = BID + number % 7 - 3
        outcome = cores.NOT_SENT if action == "not_sent" else cores.IN_DOUBT if action == "gone" else cores.SENT
        r.now += 3 * MS
        if action in ("order", "not_sent", "gone"):
            r.order(price=price, lots=1 + number % 40, decision_x2_ticks=BID + ASK, model_hash=number, owner=1 + number % 3)
        elif action == "sell" and r.position() > 0:
            r.order(side=1, price=ASK + number % 5, lots=1 + number % r.position())
        elif action == "exit" and r.position() > 0:
            r.order(side=1, price=BID - 5, lots=1, is_exit=1, reduce_only=1)
        elif action == "oneshot":
            r.oneshot(lots=1 + number % 20, limit_ticks=ASK + number % 9, expires_ns=r.now + (1 + number % 50) * MS)
        elif action == "tick":
            r.tick(BID + number % 2000 - 1000, ASK + number % 2000 - 1000)
        elif action == "crash":
            r.tick(BID * 3 // 4, ASK * 3 // 4)
        elif action in ("reconcile", "difference"):
            lots = r.position() + (number % 3 if action == "difference" else 0)
            r.now += 2000 * MS
            r.event("reconcile_begin")
            r.event("position", instrument=0, lots=lots)
            r.event("balance", extra=int(r.c.account[risk.AC_CASH_E8]) + number % 2)
            r.event("reconcile_end")
        elif action == "deposit":
            r.event("capital_flow", extra=(number - 40) * 10**9)
        elif action == "wait":
            r.now += number * 10 * MS
        elif action == "midnight":
            r.c.scalars[tables.K_WALL_OFFSET_NS] += DAY_NS
        elif action == "stranger":
            r.event("fill", order_id=5, trade_id=10**6 + number, instrument=0, side=number % 2, lots=1, price_ticks=BID)
        elif row >= 0:
            self.answer(action, row, number)
        r.timer()
        self.end(outcome)

    def answer(self, action: str, row: int, number: int) -> None:
        r = self.run
        leaves = r.get(row, "leaves")
        price = r.get(row, "price_ticks") + (number % 3 - 1) * 400
        if action == "ack":
            r.ack(row)
        elif action == "fill":
            r.fill(row, leaves, price=price, fee_e8=number, liquidity=layout.LIQUIDITY_TAKER)
        elif action == "amended":
            r.event("amended", order_id=r.get(row, "id"), lots=max(r.get(row, "filled"), 1) + number % 9)
        elif action == "partial":
            r.fill(row, max(leaves // 2, 1), price=price)
        elif action == "twice":
            r.fill(row, 1, trade=777_000 + number)
            r.fill(row, 1, trade=777_000 + number)
        elif action == "cancelled":
            r.cancelled(row)
        elif action == "late":
            r.cancelled(row)
            r.fill(row, 1, price=price)
        elif action == "reject":
            r.event("reject", order_id=r.get(row, "id"), reason=layout.REASON_VENUE_REJECT)


STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99)), min_size=5, max_size=40)
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(STEPS, st.data())
def test_state_is_the_same_after_checkpoint_and_journal_at_every_cut(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    script = Script()
    for action, number in steps:
        script.act(action, number)
    for cut, known in script.cuts:
        checkpoint_at = data.draw(st.integers(0, cut))
        assert folded(script.run, cut, checkpoint_at) == known


def test_every_action_of_the_script_happens() -> None:
    """The property above would say nothing about what never occurs in it."""
    script = Script()
    for action in ("tick", "order", "ack", "partial", "sell", "fill", "oneshot", "tick", "twice", "late", "reject", "gone"):
        script.act(action, 3)
    for action in ("not_sent", "difference", "difference", "stranger", "wait", "midnight", "deposit"):
        script.act(action, 2)
    kinds = {layout.JOURNAL_KIND[int(record[layout.J_KIND]) & 255] for record in script.run.records}
    assert kinds >= {"market", "signal", "event", "timer", "intent", "sent", "not_sent", "state", "fill"}
    assert script.cuts[-1][1] == folded(script.run)


def test_pause_latch_and_streak_survive() -> None:
    run = Journaled(losses_in_row=2, pauses_to_latch=2)
    run.tick(BID, ASK)
    for _ in range(4):
        run.now += run.c.limits[risk.LM_PAUSE_NS]
        run.tick(BID, ASK)
        buy = run.order(price=ASK, lots=10)
        run.commands()
        run.fill(buy, 10, price=ASK)
        sell = run.order(side=1, price=BID, lots=10, is_exit=1, reduce_only=1)
        run.commands()
        run.fill(sell, 10, price=BID)
    run.commands()
    fold = Fold(restart.bare(config(), checkpoint_of(run.start, {"life": 1})))
    fold.core.limits[:] = run.c.limits
    fold.apply(run.batch())
    owner = fold.core.owners[risk.OWNER_OPERATOR]
    assert (owner[risk.OW_PAUSES_TODAY], owner[risk.OW_LATCHED]) == (2, 1)
    assert owner[risk.OW_PAUSED_UNTIL_NS] == run.now + run.c.limits[risk.LM_PAUSE_NS]


def test_trades_are_complete_only_up_to_what_two_later_rounds_have_asked_for() -> None:
    run = Journaled()
    run.tick(BID, ASK)
    row = run.order(price=ASK, lots=10)
    run.commands()
    run.fill(row, 1, trade=41)

    def complete() -> int:
        fold = Fold(restart.bare(config(), checkpoint_of({n: t.copy() for n, t in run.start.items()}, {"life": 1})))
        fold.apply(run.batch())
        return fold.trades_complete

    answers = []
    for _ in range(3):
        run.event("reconcile_begin")
        run.event("reconcile_end")
        answers.append(complete())
    assert answers == [0, 0, 41]


def test_fold_never_trades_or_changes_its_batch() -> None:
    run = Journaled()
    run.tick(BID, ASK)
    run.oneshot()
    run.tick(BID, ASK)
    run.commands()
    batch = run.batch()
    before = batch.copy()
    fold = Fold(restart.bare(config(), checkpoint_of(run.start, {"life": 1})))
    fold.apply(batch)
    assert np.array_equal(batch, before)
    assert fold.core.scalars[tables.K_ORDERS_SENT] == 1
    assert int(fold.core.scalars[tables.K_LIVE_COUNT]) == 1


def test_intent_on_the_row_of_an_open_order_is_refused() -> None:
    run = Journaled()
    run.tick(BID, ASK)
    run.order(price=BID, lots=1)
    run.commands()
    batch = run.batch()
    intent = batch[batch[:, layout.J_KIND] == layout.JOURNAL_INTENT]
    fold = Fold(state.build(config()))
    fold.apply(intent)
    with pytest.raises(ValueError, match="open"):
        fold.apply(intent)
