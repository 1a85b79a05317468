"""``pulex why``: the chain of an order from the journal files alone, held against what the test made happen."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from typer.testing import CliRunner

from engine import journal_file, tables
from fabric import layout
from ops import instance
from ops.cli import app
from ops.why import WhyError, chain, lines
from risk import tables as risk
from tests.engine.corekit import MS, config
from tests.engine.journalkit import Journaled

BID, ASK = 1_000_000, 1_000_010


def card(life: int) -> dict[str, Any]:
    values = config()
    return {
        "life": life,
        "config_hash": 111,
        "code_hash": 222,
        "account": ["live", 1, "https://venue"],
        "instruments": values["instruments"],
        "strategies": ["maker"],
        "limits": {"profile": "standard", **values["limits"]},
        "started_ns": 1,
    }


def keep(run: Journaled, state_dir: pathlib.Path, life: int = 1) -> None:
    """The run's records and card as the house leaves them."""
    run.commands()
    journal_file.write_card(state_dir, card(life))
    journal_file.path(state_dir, life).write_bytes(journal_file.seal(run.batch(), 1))


@pytest.fixture
def run() -> Journaled:
    """A run on a ready book, valued once."""
    r = Journaled()
    r.c.scalars[tables.K_WALL_OFFSET_NS] = 20_000 * 86_400 * 10**9  # a day begins, so the account is told
    r.tick(BID + 500, ASK + 500)
    r.timer(2 * MS)
    r.commands()
    r.now += MS
    return r


def what(found: dict[str, Any]) -> list[str]:
    return [said["what"] for said in found["said"]]


def test_order_of_a_signal_is_told_from_market_event_to_fill(run: Journaled, tmp_path: pathlib.Path) -> None:
    run.oneshot(
        id=501, lots=10, limit_ticks=ASK, model_hash=77, prompt_hash=88, source=layout.SOURCE_LLM, issued_ns=run.now - 40 * MS
    )
    run.commands()
    run.now += 3 * MS
    run.tick(BID, ASK)
    (_, row, _), *_ = run.commands()
    run.now += MS
    run.ack(row)
    run.commands()
    run.fill(row, 10, price=ASK, trade=9, fee_e8=1234, liquidity=layout.LIQUIDITY_TAKER)
    keep(run, tmp_path)
    found = chain(tmp_path, run.get(row, "id"))
    assert (found["owner"], found["signal_id"], found["model_hash"], found["prompt_hash"]) == ("signals", 501, 77, 88)
    assert (found["config_hash"], found["code_hash"]) == (111, 222)
    signal = {key: found["signal"][key] for key in ("source", "kind", "side", "size", "limit", "urgency", "age_ms")}
    assert signal == {
        "source": "llm", "kind": "oneshot", "side": "buy", "size": "0.0010", "limit": "10000.10", "urgency": 9, "age_ms": 43,
    }  # fmt: skip
    assert (found["trigger"]["what"], found["trigger"]["bid"], found["trigger"]["ask"]) == (
        "market tick",
        "10000.00",
        "10000.10",
    )
    assert found["market"]["record"] == found["trigger"]["record"]
    assert (found["decision"]["side"], found["decision"]["size"], found["decision"]["exit"]) == ("buy", "0.0010", False)
    assert found["decision"]["mid"] == "10000.05"
    assert what(found) == ["intent", "sent", "ack", "fill", "booked"]
    fill = next(said for said in found["said"] if said["what"] == "fill")
    assert (fill["trade_id"], fill["price"], fill["fee"], fill["liquidity"]) == (9, "10000.10", "0.00001234", "taker")
    assert fill["after_ns"] == MS
    assert found["checks"]["limits"]["profile"] == "standard"
    account = found["checks"]["account"]
    assert (account["nav"], account["day_start_nav"], account["age_ms"]) == ("100000.00", "100000.00", 4)
    assert found["decision"]["wall"].startswith("2024-10-04T00:16:40.")


def test_order_of_a_strategy_names_its_parameter_record_and_what_the_gate_changed(
    run: Journaled, tmp_path: pathlib.Path
) -> None:
    run.parameter(layout.PARAM_SKEW_BPS_X100, 300, seq=4711, source=layout.SOURCE_AGENT)
    run.c.account[risk.AC_DRAWDOWN_STEP] = 1
    source = -2 - (0 * len(layout.PARAMETER) + layout.PARAM_SKEW_BPS_X100)
    row = run.order(lots=10, owner=risk.OWNER_FIRST_STRATEGY, signal_row=source, model_hash=5)
    keep(run, tmp_path)
    found = chain(tmp_path, run.get(row, "id"))
    assert (found["owner"], found["signal_id"], found["model_hash"]) == ("maker", 4711, 5)
    named = {key: found["signal"][key] for key in ("kind", "source", "parameter", "value")}
    assert named == {"kind": "parameter", "source": "agent", "parameter": "skew_bps_x100", "value": 300}
    assert found["checks"]["changed_by"] == "drawdown_reduced"
    assert found["decision"]["size"] == "0.0005"


def test_refusals_cancels_and_orders_that_never_left_are_told_with_their_reasons(
    run: Journaled, tmp_path: pathlib.Path
) -> None:
    from engine import orders

    rejected = run.order(price=999_000)
    run.commands()
    run.event("reject", order_id=run.get(rejected, "id"), reason=layout.REASON_VENUE_REJECT)
    cancelled = run.order(price=999_001)
    run.commands()
    orders.want_cancel(run.c, cancelled, layout.REASON_BOOK_STALE, run.now)
    run.commands()
    run.cancelled(cancelled)
    unsent = run.order(price=999_002)
    run.commands(0)
    keep(run, tmp_path)

    def said(row: int) -> list[tuple[str, str]]:
        return [(one["what"], one.get("reason", "")) for one in chain(tmp_path, run.get(row, "id"))["said"]]

    assert said(rejected) == [("intent", ""), ("sent", ""), ("reject", "venue_reject")]
    assert ("cancel intent", "book_stale") in said(cancelled)
    assert said(cancelled)[-1] == ("cancelled", "requested")
    assert said(unsent) == [("intent", ""), ("not sent", "")]


def test_what_a_later_life_learns_belongs_to_the_chain(run: Journaled, tmp_path: pathlib.Path) -> None:
    row = run.order(price=999_000, lots=5)
    order_id = run.get(row, "id")
    keep(run, tmp_path)
    later = Journaled()
    later.records.clear()
    later.event("fill", order_id=order_id, trade_id=31, instrument=0, side=0, lots=5, price_ticks=999_000)
    later.event("found_closed", order_id=order_id, cumulative=5)
    later.event("fill", order_id=order_id, trade_id=31, instrument=0, side=0, lots=5, price_ticks=999_000)
    keep(later, tmp_path, 2)
    found = chain(tmp_path, order_id)
    assert found["life"] == 1
    assert [(one["what"], one["life"]) for one in found["said"]][-2:] == [("fill", 2), ("found closed", 2)]
    assert "later life  fill trade_id 31" in "\n".join(lines(found))


def test_order_set_off_by_the_venue_or_by_time_says_so(run: Journaled, tmp_path: pathlib.Path) -> None:
    run.tick(BID, ASK)
    run.commands()
    run.now += MS
    by_time = run.order(price=999_000)
    run.commands()
    run.now += MS
    run.event("ack", order_id=run.get(by_time, "id"), venue_id=1)
    by_venue = run.order(price=999_001)
    keep(run, tmp_path)
    assert chain(tmp_path, run.get(by_time, "id"))["trigger"]["what"] == "timer"
    assert chain(tmp_path, run.get(by_venue, "id"))["trigger"]["what"] == "venue ack"


def test_torn_end_of_a_running_journal_hides_nothing_before_it(run: Journaled, tmp_path: pathlib.Path) -> None:
    row = run.order(price=999_000)
    keep(run, tmp_path)
    file = journal_file.path(tmp_path, 1)
    file.write_bytes(file.read_bytes() + b"half a record")
    assert what(chain(tmp_path, run.get(row, "id"))) == ["intent", "sent"]


def test_unknown_order_is_an_error_that_says_what_is_known(run: Journaled, tmp_path: pathlib.Path) -> None:
    with pytest.raises(WhyError, match="it is empty"):
        chain(tmp_path, 5)
    keep(run, tmp_path)
    with pytest.raises(WhyError, match="order 5 is not in the journal"):
        chain(tmp_path, 5)


def test_command_prints_the_chain_or_one_line_of_error(
    run: Journaled, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    where = instance.paths("paper").state_dir
    row = run.order(price=999_000)
    keep(run, where)
    order_id = str(run.get(row, "id"))
    text = CliRunner().invoke(app, ["why", order_id])
    assert text.exit_code == 0
    assert [line.split()[0] for line in text.stdout.splitlines()][:4] == ["order", "owner", "hashes", "market"]
    data = json.loads(CliRunner().invoke(app, ["why", order_id, "--json"]).stdout)
    assert data["order_id"] == int(order_id)
    assert CliRunner().invoke(app, ["why", "77"]).exit_code == 8


def test_every_intent_carries_its_owner_and_hashes(run: Journaled) -> None:
    """What the chain is made of is in the record that is written before anything is sent."""
    run.oneshot(limit_ticks=ASK, model_hash=77, prompt_hash=88)
    run.tick(BID, ASK)
    run.commands()
    batch = run.batch()
    (intent,) = batch[batch[:, layout.J_KIND] == layout.JOURNAL_INTENT]
    assert (intent[layout.J_OWNER], intent[layout.J_MODEL_HASH], intent[layout.J_PROMPT_HASH]) == (risk.OWNER_SIGNALS, 77, 88)
    assert intent[layout.J_SIGNAL_ID] == run.signal
    assert intent[layout.J_VALUE] >> 1 == BID + ASK
    assert int(run.c.orders[run.c.scalars[tables.K_LIVE_HEAD], tables.OR_ID]) == intent[layout.J_ORDER_ID]
