"""The machine-readable summary has every promised key, and the one for people says the same."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from fabric.stats import StatsWriter
from ops import exits, summary
from ops.figures import Pages, snapshot
from ops.instance import Paths

PROMISED = {
    "source": ("kind",),
    "market": ("events", "lost", "gaps"),
    "signals": ("source", "published", "used", "expired"),
    "llm": ("calls", "valid", "latency_ms"),
    "orders": ("sent", "acked", "rejected", "unknown", "open_at_exit", "cancelled_at_exit"),
    "fills": ("count",),
    "account": ("position", "pnl"),
    "stages_ns": ("tick_to_order", "ring_hop", "decide", "encode", "send", "ack"),
    "kill_test": ("result", "key_id", "refusal", "ms"),
}
LEDGER: dict[str, Any] = {"orders": [{"status": "open"}], "keys": [], "fills": [], "market": {}}


def make(where: Paths, config: dict[str, Any]) -> dict[str, Any]:
    execution, signals = StatsWriter(where.shm_dir, "execution"), StatsWriter(where.shm_dir, "signal")
    execution.set("orders_sent", 5)
    execution.set("signals_used", 5)  # all records, the three parameters among them
    execution.set("parameters_used", 3)
    execution.record("tick_to_order", 2100)
    signals.record("llm_latency", 400_000_000)
    figures = snapshot(Pages(where.shm_dir), config)
    return summary.final(figures, config, LEDGER, {}, {}, exits.UNCLEAN, 1.5)


def test_every_promised_key_is_there(where: Paths, config: dict[str, Any]) -> None:
    final = make(where, config)
    for section, keys in PROMISED.items():
        assert set(keys) <= set(final[section]), section
    assert set(final["stages_ns"]["tick_to_order"]) == {"count", "p50", "p99", "p999", "max"}
    assert final["schema"] == "pulex.run/1"


def test_figures_come_from_the_pages_and_the_ledger(where: Paths, config: dict[str, Any]) -> None:
    final = make(where, config)
    assert final["orders"]["sent"] == 5
    assert final["orders"]["open_at_exit"] == 1
    assert final["signals"]["used"] == 5
    assert final["stages_ns"]["tick_to_order"]["count"] == 1
    assert 395 <= final["llm"]["latency_ms"]["p50"] <= 405
    assert final["exit"] == {"code": 7, "name": "unclean"}


def test_table_for_people_names_the_exit_and_the_open_orders(where: Paths, config: dict[str, Any]) -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(summary.table(make(where, config)))
    assert "1 open" in out.getvalue()
    assert "7 unclean" in out.getvalue()


def test_status_line_says_when_nothing_may_trade(where: Paths, config: dict[str, Any]) -> None:
    line = summary.status_line(65.0, False, snapshot(Pages(where.shm_dir), config))
    assert line.startswith("01:05 NOT ARMED")


def test_durations_have_three_digits_and_a_unit() -> None:
    values = (None, 950, 2_100, 12_345_678, 4_070_000_000_000)
    assert [summary.micros(value) for value in values] == ["-", "950 ns", "2.1 µs", "12.3 ms", "4070 s"]
