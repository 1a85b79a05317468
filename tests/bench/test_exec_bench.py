# mypy: disable-error-code="no-untyped-call"
"""The bench of the execution process does the work that it times; nothing here judges a time."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import numpy as np
import pytest

from bench.exec import cycles, gates, house, orders, peer, table
from bench.instance import placement
from engine import tables as et
from fabric import layout

pytestmark = pytest.mark.skipif(not cycles.AVAILABLE, reason="no time stamp counter")
ONE = {"min": 1.0, "p50": 90.0, "p90": 100.0, "p99": 110.0, "p999": 900.0, "max": 1e6, "mean": 95.0}


def test_a_tick_is_what_the_clock_says() -> None:
    tick = cycles.tick_ns()
    assert 0.1 < tick < 2
    assert cycles.empty(1000, tick)["n"] == 1000


def test_every_order_of_the_gate_is_let_through_and_one_that_is_not_ends_the_run() -> None:
    judge = gates.Judge(placement(), 2)
    assert (judge.gate(300) > 0).all()
    judge.orders[0, 6] = 0
    with pytest.raises(cycles.Idle, match="of 300 orders through"):
        judge.gate(300)


def test_a_check_is_compared_with_its_plain_form() -> None:
    judge = gates.Judge(placement(), 1)
    loop = gates.timed(gates.CHECKS["gross"])
    assert judge.check("gross", loop, 128, 1.0) > 0
    with pytest.raises(cycles.Idle, match="outside"):
        judge.check("owner_state", gates.timed(lambda q, c, now: 3), 128, 1.0)


def test_the_table_stays_as_full_and_every_order_is_found() -> None:
    whole = orders.Table(placement(), 32)
    assert (whole.operations(200) > 0).all()
    assert int(whole.core.scalars[et.K_LIVE_COUNT]) == 32
    assert (whole.submits(100) > 0).all()
    assert whole.core.counters[layout.EC_FILLS] == 200


def test_the_peer_gets_the_same_orders_as_we() -> None:
    rows = house.order_rows(peer.WISHES, 1)
    for row, (side, price, quantity) in zip(rows, peer.wishes(), strict=True):
        assert (row[3], row[5], row[6]) == (side, round(float(price) * 100), round(float(quantity) * 100_000))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise ImportError('no module')", "FAILED, not compared: ImportError: no module"),
        ("print('{\"reached\": 4}')", "sent 4 of 5 orders"),
    ],
)
def test_a_peer_that_fails_or_sends_less_is_said_and_left_out(
    script: str, said: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "peer.py"
    file.write_text(script)
    monkeypatch.setattr(peer, "SCRIPT", file)
    assert peer.nautilus(5, pathlib.Path(sys.executable)) is None
    assert said in capsys.readouterr().out


def test_a_peer_that_is_not_installed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer.nautilus(5, pathlib.Path("nowhere")) is None
    assert "NAUTILUS TRADER IS ABSENT" in capsys.readouterr().out


def test_targets_are_judged_by_their_bounds_and_nothing_absent_is_met() -> None:
    operations = {name: dict(ONE) for name in orders.OPERATIONS}
    found: dict[str, Any] = {
        "gate_ns": {"1": ONE, "32": ONE | {"p50": 121.0}},
        "decision_ns": {f"{s}_{i}": ONE for s in ("1_strategy", "4_strategies") for i in ("1_instrument", "32_instruments")},
        "orders_ns": {"16": operations, "65536": operations | {"open": ONE | {"p50": 200.0}}},
        "submit_ns": {"pulex": ONE, "nautilus_trader": None, "nautilus_to_pulex": None},
    }
    met = {one["name"]: one["met"] for one in table.judge(found)}
    assert [name for name, answer in met.items() if answer is False] == [
        "gate p50, 32 instruments",
        "open p50, 65536 open / 16",
    ]
    assert [name for name, answer in met.items() if answer is None] == [
        "decision, 1024 instruments / 1 (tables end at 32)",
        "nautilus_trader / pulex, submit p50",
    ]


def test_samples_become_figures_and_none_is_left_out() -> None:
    one = cycles.summary(np.array([100] * 99 + [10_000]), 0.5)
    assert (one["min"], one["p50"], one["max"], one["mean"], one["n"]) == (50.0, 50.0, 5000.0, 99.5, 100)
