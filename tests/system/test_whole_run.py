"""``pulex run --headless --json``: every figure of the machine-readable form, held against the exchange's ledger."""

from __future__ import annotations

import json
import pathlib
from decimal import Decimal
from typing import Any

import numpy.typing as npt

from engine.journal import read_journal
from fabric import layout
from ops import summary as summaries
from ops.figures import Pages, snapshot
from tests.system.house import House, Ledger, resting

KEYS: dict[str, tuple[str, ...]] = {
    "source": ("kind",),
    "market": ("events", "lost", "gaps"),
    "signals": ("source", "published", "used", "expired"),
    "llm": ("calls", "valid", "latency_ms"),
    "orders": ("sent", "acked", "rejected", "unknown", "open_at_exit", "cancelled_at_exit"),
    "fills": ("count",),
    "account": ("position", "pnl"),
    "stages_ns": ("scan", "book", "publish", "ring_hop", "decide", "encode", "send", "tick_to_order"),
    "kill_test": ("result", "key_id", "refusal", "ms"),
    "exit": ("code", "name"),
}
OURS_AT_EXIT = {"open_at_exit", "kill_test", "exit"}  # what only the end can know


def missing(figures: dict[str, Any], sections: set[str]) -> list[str]:
    """Promised keys that are not there."""
    return [f"{name}.{key}" for name in sections for key in KEYS[name] if key not in figures.get(name, {})]


def orders_of(ledger: Ledger) -> list[dict[str, Any]]:
    """The engine's orders: those of the epochs' trading keys, not the probes of the kill test."""
    keys = {key["key_id"] for key in ledger["keys"] if "-epoch-" in key["label"] and key["scope"] == "trade"}
    return [order for order in ledger["orders"] if order["key_id"] in keys]


def journal_of(house: House) -> npt.NDArray[Any]:
    """Records of the only run of this home."""
    (file,) = (house.state_dir / "journal").glob("exec-*.bin")
    return read_journal(file)


def check_against_the_ledger(house: House, code: int, summary: dict[str, Any]) -> None:
    """Everything in which our figures and the exchange's must agree."""
    ledger, orders = house.last_ledger, summary["orders"]
    ours = orders_of(ledger)
    assert code == 0, house.tail()
    assert summary["exit"] == {"code": 0, "name": "ok"}
    assert summary["schema"] == summaries.SCHEMA
    assert missing(summary, set(KEYS)) == []
    assert summary["stages_ns"]["tick_to_order"].keys() >= {"count", "p50", "p99", "p999", "max"}
    assert summary["stages_ns"]["tick_to_order"]["count"] > 0

    rejected = [order for order in ours if order["status"] == "rejected"]
    assert (orders["sent"], orders["rejected"]) == (len(ours), len(rejected))
    assert orders["acked"] == len(ours) - len(rejected)
    assert (orders["unknown"], orders["open_at_exit"]) == (0, 0)
    assert [order for order in ours if order["status"] == "open"] == []
    assert summary["fills"]["count"] == len(ledger["fills"])
    last_cancels = [order for order in ours if order["end_reason"] == "requested"][-orders["cancelled_at_exit"] :]
    assert 1 <= orders["cancelled_at_exit"] == len(last_cancels)

    held: dict[str, Decimal] = dict.fromkeys(summary["account"]["position"], Decimal(0))
    for fill in ledger["fills"]:
        held[fill["symbol"]] += Decimal(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
    assert {symbol: Decimal(size) for symbol, size in summary["account"]["position"].items()} == held

    (key,) = (key for key in ledger["keys"] if key["key_id"] == summary["kill_test"]["key_id"])
    assert summary["kill_test"]["result"] == "pass"
    assert key["revoked_ts"]
    assert any(refused["ts"] >= key["revoked_ts"] for refused in key["refused"])


def wait_for_trading_to_get_going(house: House) -> None:
    """Until there is something to compare, and something rests that the end has to cancel."""
    house.wait(lambda: len(orders_of(house.ledger())) >= 20 and len(resting(house.last_ledger)) > 0, 90.0, "20 orders")


def check_the_journal(house: House, summary: dict[str, Any]) -> None:
    """Ids in the journal and in the ledger are equal as sets; a used record is one that an order which was sent carries."""
    records = journal_of(house)
    sent = records[records[:, layout.J_KIND] & 255 == layout.JOURNAL_SENT]
    assert {str(order_id) for order_id in sent[:, layout.J_ORDER_ID]} == {
        o["client_order_id"] for o in orders_of(house.last_ledger)
    }
    caused = sent[sent[:, layout.J_SIGNAL_ID] != 0]
    assert (caused[:, layout.J_MODEL_HASH] != 0).all()
    assert (caused[:, layout.J_PROMPT_HASH] != 0).all()
    assert summary["signals"]["used"] == len({(row[layout.J_PROMPT_HASH], row[layout.J_SIGNAL_ID]) for row in caused})
    assert summary["signals"]["used"] <= summary["signals"]["published"]


def check_the_market(house: House, summary: dict[str, Any]) -> None:
    """Every message of the source is accounted for by its index, from the first one on."""
    market, played = summary["market"], house.last_ledger["market"]
    assert (market["lost"], market["gaps"], market["source_gaps"], market["duplicates"]) == (0, 0, 0, 0)
    assert not any(market["bad"].values())
    assert (market["source_first"], played["first_index"]) == (0, 0)
    assert played["frames"] == played["last_index"] + 1 > market["source_last"]
    read = market["ticks"] + market["trades"] + market["books"] - market["book_resyncs"]
    assert abs(read - (market["source_last"] + 1)) <= 1  # the page is read while the feed writes it


def test_synthetic_run_agrees_with_the_ledger_and_stats_use_the_same_keys(house: House) -> None:
    house.start({})
    wait_for_trading_to_get_going(house)
    stats = house.cli("stats", "--once", "--json")
    live = json.loads(stats.stdout)
    assert missing(live, set(KEYS) - OURS_AT_EXIT - {"orders"}) == []
    assert set(KEYS["orders"]) - OURS_AT_EXIT <= live["orders"].keys()
    code, summary = house.stop()
    assert summary["source"]["kind"] == "synthetic"
    assert summary["signals"]["source"] == "rules"
    assert summary["signals"]["published"] > 0
    check_against_the_ledger(house, code, summary)
    check_the_journal(house, summary)
    check_the_market(house, summary)
    assert live["stages_ns"].keys() == summary["stages_ns"].keys()
    assert not house.survivors()
    assert not pathlib.Path(house.config["shm_dir"]).exists()


def test_recorded_run_accounts_for_every_played_frame(house: House, recordings: pathlib.Path) -> None:
    data = recordings / "binance" / "spot__btcusdt_20240808.gz"
    house.start({}, "--data", str(data))
    wait_for_trading_to_get_going(house)
    code, summary = house.stop()
    assert summary["source"]["kind"] == "recording"
    assert summary["market"]["source_last"] > 500
    check_against_the_ledger(house, code, summary)
    check_the_journal(house, summary)
    check_the_market(house, summary)


def test_real_language_model_answers_within_its_schema_and_is_named(house: House) -> None:
    house.start({"signal": {"period_ms": 100}}, "--signal", "llm")
    pages = Pages(house.config["shm_dir"])
    house.wait(lambda: snapshot(pages, house.config)["signals"]["published"] > 0, 90.0, "a valid answer of the model")
    code, summary = house.stop()
    assert code == 0, house.tail()
    assert summary["signals"]["source"] == "llm"
    assert summary["signals"]["published"] >= 1
    assert summary["llm"]["calls"] >= summary["llm"]["valid"] >= 1
    assert summary["llm"]["latency_ms"]["p99"] >= summary["llm"]["latency_ms"]["p50"] > 0
    assert "embedded" in (house.run_dir / "logs" / "signal.log").read_text()
    check_the_journal(house, summary)
