"""What a new life takes over, what it refuses, and what of it is durable before anything can be armed."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from engine import checkpoint, journal_file, restart, tables
from engine.checkpoint import tables_of
from engine.fold import Fold
from engine.restart import Clock, Life, RestartError
from engine.tables import Core
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import MS, config
from tests.engine.journalkit import Journaled, at, begin, durable, live_one, reconcile, write

BID, ASK = 1_000_000, 1_000_010
STRATEGY = risk.OWNER_FIRST_STRATEGY
HOUR_NS = 3_600 * 10**9


@pytest.fixture
def home(tmp_path: pathlib.Path) -> dict[str, Any]:
    """The configuration of a live account with its state in a directory of its own."""
    live = {"mode": "live", "venue": {"rest_url": "https://venue"}, "config_hash": 1, "code_hash": 2}
    return config(losses_in_row=1) | live | {"state_dir": str(tmp_path)}


@pytest.fixture
def traded(home: dict[str, Any]) -> tuple[dict[str, Any], Journaled, Life, int]:
    """(configuration, run, life, row of an open order): 30 lots held at a loss, an owner paused, an order half filled."""
    life = begin(home, at())
    run = live_one(life)
    reconcile(run)
    run.tick(BID, ASK)
    for lots in (10, 40):
        buy = run.order(price=ASK, lots=lots, owner=STRATEGY)
        run.commands()
        run.fill(buy, lots, price=ASK)
    sell = run.order(side=1, price=BID, lots=10, owner=STRATEGY)
    run.commands()
    run.fill(sell, 10, price=BID)
    resting = run.order(price=BID - 10, lots=8, owner=risk.OWNER_OPERATOR)
    run.commands()
    run.ack(resting)
    run.fill(resting, 3)
    run.timer(2 * MS)
    write(run, home, life)
    return home, run, life, resting


def kept(core: Core) -> dict[str, Any]:
    """What a restart on the same account leaves exactly as it was."""
    known = durable(core)
    known["account"] = [value for column, value in enumerate(known["account"]) if column != 12]  # reconciled
    return known


def test_first_start_without_files_is_fresh_and_durable_before_it_goes_on(home: dict[str, Any]) -> None:
    life = begin(home, at())
    assert (life.card["life"], life.continued, life.said) == (1, False, ())
    (image,), bad = checkpoint.load(home["state_dir"])
    assert (image.age, bad) == ((1, 0), [])
    assert list(journal_file.cards(home["state_dir"])) == [1]


def test_life_that_never_reconciled_leaves_a_first_start(home: dict[str, Any]) -> None:
    write(live_one(begin(home, at())), home, begin(home, at()))
    life = begin(home, at())
    assert not life.continued
    run = live_one(life)
    reconcile(run, 7)
    assert run.position() == 7  # at once, and the cash is no gain
    assert run.c.account[risk.AC_DAY_START_NAV_E8] == run.c.account[risk.AC_CASH_E8] == 10**13


def test_everything_is_taken_over_on_the_same_account(traded: Any) -> None:
    values, run, _, row = traded
    life = begin(values, at(run, 5 * MS))
    assert life.continued
    assert kept(life.core) == kept(run.c)
    assert life.core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] > run.now
    o = life.core.orders[row]
    assert (o[tables.OR_STATE], o[tables.OR_LEAVES], o[tables.OR_OWNER]) == (layout.STATE_UNKNOWN, 5, risk.OWNER_OPERATOR)
    assert life.core.account[risk.AC_UNKNOWN_ORDERS] == life.core.account[risk.AC_OPEN_ORDERS] == 1
    assert life.core.account[risk.AC_STATE] == layout.RISK_DISARMED


def test_restarting_twice_is_restarting_once(traded: Any) -> None:
    values, run, _, _ = traded
    once, twice = begin(values, at(run, 5 * MS)), begin(values, at(run, 6 * MS))
    assert twice.card["life"] == once.card["life"] + 1
    assert durable(once.core) == durable(twice.core)


def test_open_order_is_cancelled_by_id_asked_about_and_ended_by_the_venue_alone(traded: Any) -> None:
    values, run, _, row = traded
    life = begin(values, at(run, 5 * MS))
    again = live_one(life)
    again.now = run.now + 5 * MS
    again.timer()
    assert set(again.commands()) == {("cancel", row, BID - 10), ("query", row, BID - 10)}
    assert again.order() == -1  # not before the account is reconciled
    again.fill(row, 5, trade=900)
    assert again.state_of(row) == "filled"
    assert again.c.subbooks[risk.OWNER_OPERATOR * 2, risk.SB_LOTS] == 8
    assert again.count("unowned_fills") == 0
    again.fill(row, 5, trade=900)
    assert again.count("fills_duplicate") == 1


def test_order_not_found_is_no_answer_before_its_deadline(traded: Any) -> None:
    values, run, _, row = traded
    again = live_one(begin(values, at(run, 5 * MS)))
    again.now = run.now + 5 * MS
    again.event("found_missing", order_id=again.get(row, "id"))
    assert again.state_of(row) == "unknown"
    again.now += 1000 * MS
    again.event("found_missing", order_id=again.get(row, "id"))
    assert again.state_of(row) == "expired"


@pytest.mark.parametrize(("change", "shift"), [(5 * 10**9, 5 * 10**9), (-5 * 10**9, 0)])
def test_cash_that_came_meanwhile_is_a_flow_and_cash_that_went_is_a_loss(traded: Any, change: int, shift: int) -> None:
    values, run, _, _ = traded
    again = live_one(begin(values, at(run, 5 * MS)))
    a = again.c.account
    before = a.copy()
    reconcile(again, again.position(), int(a[risk.AC_CASH_E8]) + change)
    assert a[risk.AC_CASH_E8] - before[risk.AC_CASH_E8] == change
    assert a[risk.AC_DAY_START_NAV_E8] - before[risk.AC_DAY_START_NAV_E8] == shift
    assert a[risk.AC_HWM_E8] - before[risk.AC_HWM_E8] == shift


def test_position_that_differs_after_a_restart_is_believed_when_seen_twice(traded: Any) -> None:
    values, run, _, _ = traded
    again = live_one(begin(values, at(run, 5000 * MS)))
    again.now = run.now + 5000 * MS
    held, cash = again.position(), int(again.c.account[risk.AC_CASH_E8])
    reconcile(again, held + 2, cash - 7)
    assert (again.position(), int(again.c.account[risk.AC_CASH_E8])) == (held, cash)
    reconcile(again, held + 2, cash - 7)
    assert (again.position(), int(again.c.account[risk.AC_CASH_E8])) == (held + 2, cash - 7)
    assert again.c.scalars[tables.K_UNOWNED_MASK] == 1


def test_pause_is_served_in_full_over_another_boot_and_goes_on_within_one(traded: Any) -> None:
    values, run, _, _ = traded
    until = int(run.c.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS])
    same = begin(values, at(run, 100 * 10**9))
    assert same.core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] == until
    other = begin(values, Clock(77 * 10**9, 10**18 + 10 * HOUR_NS, boot_id=2))
    left = until - (run.now + 100 * 10**9)  # the life between has begun then
    assert other.core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] == 77 * 10**9 + left


def test_holding_time_counts_on_over_another_boot_but_never_backwards(home: dict[str, Any]) -> None:
    for hours, expected in ((2, 2 * HOUR_NS), (-2, 0)):
        core = restart.state.build(home)
        core.signals[0, tables.SG_ENTERED_NS] = 5_000
        found = checkpoint.Checkpoint({"life": 1}, 0, 6_000, 10**18, 1, (0,), {}, {})
        restart.rebase(core, found, 6_000, Clock(50_000, 10**18 + hours * HOUR_NS, boot_id=2))
        assert core.signals[0, tables.SG_ENTERED_NS] == 49_000 - expected


def halted(traded: Any) -> tuple[dict[str, Any], Journaled]:
    values, run, life, _ = traded
    run.c.limits[risk.LM_DAY_LOSS_PPM] = 1
    run.tick(BID // 2, BID // 2 + 10)
    run.timer(2 * MS)
    assert run.c.account[risk.AC_STATE] == layout.RISK_HALTED
    write(run, values, life)
    return values, run


def test_halt_stays_until_an_operator_clears_it(traded: Any) -> None:
    values, run = halted(traded)
    for _ in range(2):
        account = begin(values, at(run, 24 * HOUR_NS)).core.account
        assert (account[risk.AC_STATE], account[risk.AC_REASON]) == (layout.RISK_HALTED, layout.REASON_HALTED_DAILY_LOSS)
    file = pathlib.Path(values["state_dir"]) / restart.CLEAR
    file.write_text(json.dumps({"operator": "ann", "reason": "seen", "peak": False}))
    life = begin(values, at(run, 24 * HOUR_NS))
    a = life.core.account
    assert (a[risk.AC_STATE], a[risk.AC_DAY_START_NAV_E8]) == (layout.RISK_DISARMED, a[risk.AC_NAV_E8])
    assert a[risk.AC_HWM_E8] > a[risk.AC_NAV_E8]
    assert life.core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] == 0
    assert not file.exists()
    assert begin(values, at(run, 24 * HOUR_NS)).core.account[risk.AC_STATE] == layout.RISK_DISARMED


def test_damaged_clearance_is_refused(traded: Any) -> None:
    values, run, _, _ = traded
    (pathlib.Path(values["state_dir"]) / restart.CLEAR).write_text('{"operator"')
    with pytest.raises(RestartError, match="pulex clear again"):
        begin(values, at(run))


def test_day_change_between_lives_rolls_once_from_the_last_value(traded: Any) -> None:
    values, run, _, _ = traded
    again = live_one(begin(values, at(run, 5 * MS)))
    again.now = run.now + 5 * MS
    nav = int(again.c.account[risk.AC_NAV_E8])
    again.c.scalars[tables.K_WALL_OFFSET_NS] += 24 * HOUR_NS
    again.timer()
    assert again.c.account[risk.AC_DAY_START_NAV_E8] == nav
    assert again.c.owners[STRATEGY, risk.OW_PAUSES_TODAY] == 0
    assert again.c.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] > again.now
    again.c.account[risk.AC_DAY_START_NAV_E8] = 1
    again.timer()
    assert again.c.account[risk.AC_DAY_START_NAV_E8] == 1


def test_torn_journal_gives_the_state_of_the_last_good_record_and_says_so(traded: Any) -> None:
    values, run, life, _ = traded
    file = journal_file.path(values["state_dir"], life.card["life"])
    raw = file.read_bytes()
    records = len(raw) // journal_file.RECORD_BYTES
    good, _ = checkpoint.load(values["state_dir"])
    for length in range(len(raw) - 3 * journal_file.RECORD_BYTES, len(raw), 37):
        file.write_bytes(raw[:length])
        found = restart.resume(values, values["state_dir"])
        assert found is not None
        fold = Fold(restart.bare(values, good[0]))
        fold.apply(run.batch()[: length // journal_file.RECORD_BYTES])
        assert durable(found[1].core) == durable(fold.core)
        assert ("torn" in " ".join(found[2])) == (length % journal_file.RECORD_BYTES != 0)
    assert records > 10


def test_damaged_newest_checkpoint_is_replaced_by_the_one_before_and_more_journal(traded: Any) -> None:
    values, run, life, _ = traded
    good, _ = checkpoint.load(values["state_dir"])
    fold = Fold(restart.bare(values, good[0]))
    fold.apply(run.batch()[:5])
    image = checkpoint.Checkpoint(life.card, 5, run.now, 0, 1, fold.trades, {}, tables_of(fold.core))
    checkpoint.save(values["state_dir"], image)
    expected = restart.resume(values, values["state_dir"])
    newest = pathlib.Path(values["state_dir"]) / checkpoint.SLOTS[1]
    newest.write_bytes(b"x" + newest.read_bytes()[1:])
    found = restart.resume(values, values["state_dir"])
    assert expected is not None
    assert found is not None
    assert durable(found[1].core) == durable(expected[1].core) == durable(run.c)
    assert "checkpoint-1.bin" in found[2][0]


def test_files_without_a_whole_checkpoint_refuse_to_start(traded: Any) -> None:
    values, run, _, _ = traded
    state_dir = pathlib.Path(values["state_dir"])
    for slot in checkpoint.SLOTS:
        if (state_dir / slot).exists():
            (state_dir / slot).write_bytes(b"torn")
    with pytest.raises(RestartError, match=r"no whole checkpoint.*pulex forget"):
        begin(values, at(run))
    for slot in checkpoint.SLOTS:
        (state_dir / slot).unlink(missing_ok=True)
    with pytest.raises(RestartError, match="none there"):
        begin(values, at(run))


def test_records_of_a_later_life_than_any_checkpoint_refuse_to_start(traded: Any) -> None:
    values, run, _, _ = traded
    state_dir = pathlib.Path(values["state_dir"])
    old = {slot: (state_dir / slot).read_bytes() for slot in checkpoint.SLOTS if (state_dir / slot).exists()}
    second = begin(values, at(run))
    write(run, values, second)
    for slot in checkpoint.SLOTS:
        (state_dir / slot).write_bytes(old.get(slot, b"damaged"))
    with pytest.raises(RestartError, match="end before life 2"):
        begin(values, at(run))


def test_start_that_died_before_it_traded_changes_nothing(traded: Any) -> None:
    values, run, _, _ = traded
    journal_file.write_card(values["state_dir"], {"life": 2})
    assert begin(values, at(run)).card["life"] == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"venue": {"rest_url": "https://other"}}, "another account"),
        ({"mode": "paper"}, "another account"),
        ({"instance": 2}, "another account"),
        ({"instruments": "first"}, "instruments are not those"),
        ({"strategies": [{"name": "other"}]}, "strategy test holds a position"),
    ],
)
def test_changed_meaning_of_the_state_is_refused(traded: Any, change: dict[str, Any], match: str) -> None:
    values, run, _, _ = traded
    if "instruments" in change:
        change = {"instruments": values["instruments"][:1]}
    with pytest.raises(RestartError, match=match):
        begin(values | change, at(run))
    assert begin(values, at(run)).continued  # nothing was changed by the refusal


def test_other_limits_judge_from_now_on_and_what_was_in_force_stays(traded: Any) -> None:
    values, run, _, _ = traded
    life = begin(values | {"limits": values["limits"] | {"day_loss_ppm": 77}}, at(run))
    assert life.core.limits[risk.LM_DAY_LOSS_PPM] == 77
    assert life.core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] > run.now


def test_owners_are_known_by_name_and_one_that_is_away_finds_its_pause_again(traded: Any) -> None:
    values, run, _, _ = traded
    core = restart.resume(values, values["state_dir"])
    assert core is not None
    pause = int(core[1].core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS])
    two = [{"name": "new"}, {"name": "test"}]
    moved = begin(values | {"strategies": two}, at(run))
    assert moved.core.owners[STRATEGY + 1, risk.OW_PAUSED_UNTIL_NS] == pause
    assert moved.core.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] == 0
    assert moved.core.subbooks[(STRATEGY + 1) * 2, risk.SB_LOTS] == 40


@pytest.fixture
def paper(home: dict[str, Any]) -> tuple[dict[str, Any], Journaled]:
    """A paper life that has lost 3 of 100,000 in the day, with an owner paused."""
    values = home | {"mode": "paper"}
    life = begin(values, at())
    run = live_one(life)
    reconcile(run)
    run.tick(BID, ASK)
    run.timer(2 * MS)
    buy = run.order(price=ASK, lots=100, owner=STRATEGY)
    run.commands()
    run.fill(buy, 100, price=ASK)
    run.c.owners[STRATEGY, risk.OW_PAUSED_UNTIL_NS] = 0
    run.tick(BID - 300, ASK - 300)
    run.timer(2 * MS)
    write(run, values, life)
    return values, run


def test_paper_account_begins_anew_with_the_distance_to_its_limits(paper: Any) -> None:
    values, run = paper
    a = run.c.account
    lost, down = a[risk.AC_DAY_START_NAV_E8] - a[risk.AC_NAV_E8], a[risk.AC_HWM_E8] - a[risk.AC_NAV_E8]
    assert lost > 0
    life = begin(values, at(run, 5 * MS))
    assert not life.continued
    again = live_one(life)
    assert again.position() == again.c.scalars[tables.K_LIVE_COUNT] == 0
    reconcile(again, 0, 3 * 10**13)
    b = again.c.account
    assert (b[risk.AC_NAV_E8], b[risk.AC_CASH_E8]) == (3 * 10**13, 3 * 10**13)
    assert (b[risk.AC_DAY_START_NAV_E8] - b[risk.AC_NAV_E8], b[risk.AC_HWM_E8] - b[risk.AC_NAV_E8]) == (lost, down)
    again.event("fill", order_id=5, trade_id=1, instrument=0, side=0, lots=1, price_ticks=BID)
    assert again.count("fills_duplicate") == 0  # its trades count from one again


def test_paper_run_may_trade_other_instruments_and_strategies(paper: Any) -> None:
    values, run = paper
    other = [dict(values["instruments"][0], symbol="X-Y")]
    life = begin(values | {"instruments": other, "strategies": []}, at(run))
    assert life.core.account[risk.AC_DAY_START_NAV_E8] > life.core.account[risk.AC_NAV_E8]
    back = begin(values, at(run))
    assert back.core.owners[STRATEGY, risk.OW_FILLS] == 1  # came back by name
