"""One-shots over a restart: none enters again, what holds is left, and no id is forgotten."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from engine import tables
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import MS, config
from tests.engine.journalkit import at, begin, live_one, reconcile, save_checkpoint, write

BID, ASK = 1_000_000, 1_000_010


@pytest.fixture
def home(tmp_path: pathlib.Path) -> dict[str, Any]:
    """The configuration of a live account with its state in a directory of its own."""
    live = {"mode": "live", "venue": {"rest_url": "https://venue"}, "config_hash": 1, "code_hash": 2}
    return config() | live | {"state_dir": str(tmp_path)}


def test_one_shots_enter_no_more_and_are_known_again(home: dict[str, Any]) -> None:
    life = begin(home, at())
    run = live_one(life)
    reconcile(run)
    run.tick(BID, ASK)
    run.oneshot(lots=10, limit_ticks=ASK, id=501)
    (_, row, _), *_ = run.commands()
    run.tick(BID, ASK)
    run.fill(row, 10, price=ASK)
    run.oneshot(limit_ticks=BID - 5000, stop_ticks=900_000, id=502)
    write(run, home, life)
    again = live_one(begin(home, at(run, 5 * MS)))
    again.now = run.now + 5 * MS
    reconcile(again, 10, int(again.c.account[risk.AC_CASH_E8]))
    again.tick(BID - 9000, ASK - 9000)
    assert [kind for kind in again.kinds() if kind == "place"] == []  # the one that waited is over
    assert {again.oneshot(id=501), again.oneshot(id=502)} == {layout.REASON_DUPLICATE_ID}
    again.tick(980_000, 980_010)
    assert again.kinds() == ["place"]  # the one that holds is left by its stop
    assert again.c.orders[(again.c.scalars[tables.K_NEXT_COUNTER] - 1) % tables.ORDERS, tables.OR_IS_EXIT] == 1


@pytest.mark.parametrize("checkpoint_at", [None, 300])
def test_one_shot_ended_long_ago_fires_no_more_after_a_restart_by_checkpoint_or_by_journal(
    home: dict[str, Any], checkpoint_at: int | None
) -> None:
    life = begin(home, at())
    run = live_one(life)
    reconcile(run)
    run.tick(BID, ASK)
    ids = range(501, 501 + 300)
    for number in ids:  # each ends before the next one comes and leaves its row to it
        assert run.oneshot(id=number, limit_ticks=BID - 5000, stop_ticks=900_000, expires_ns=run.now + 1) == 0
        run.timer(2)
    run.commands()
    write(run, home, life)
    if checkpoint_at is not None:
        save_checkpoint(run, home, life, checkpoint_at)
    again = live_one(begin(home, at(run, 5 * MS)))
    again.now = run.now + 5 * MS
    assert {again.oneshot(id=number) for number in ids} == {layout.REASON_DUPLICATE_ID}
    third = live_one(begin(home, at(again, 5 * MS)))  # and of a life that wrote nothing but its first checkpoint
    third.now = again.now + 5 * MS
    assert {third.oneshot(id=number) for number in ids} == {layout.REASON_DUPLICATE_ID}
