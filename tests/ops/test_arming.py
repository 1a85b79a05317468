"""An account too small for the smallest valid order ends the run with the net asset value that it needs."""

from __future__ import annotations

from typing import Any

import pytest

from fabric import layout
from ops import arming, supervisor

E8 = 100_000_000
BTC = {"symbol": "BTC-USDC", "tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001", "min_notional": "10"}
ETH = {"symbol": "ETH-USDC", "tick_size": "0.01", "lot_size": "0.0001", "min_quantity": "0.5", "min_notional": "10"}
CONFIG: dict[str, Any] = {"limits": {"position_ppm": 50_000}, "instruments": [BTC, ETH]}


def page(
    nav: float, day_start: float | None = None, marks: tuple[int, ...] = (12_800_000, 600_000), reconciled: int = 1
) -> list[int]:
    """An account page; marks in half ticks."""
    row = [0] * (layout.ACCOUNT_BYTES // layout.WORD)
    row[layout.AP_RECONCILED] = reconciled
    row[layout.AP_NAV_E8] = round(nav * E8)
    row[layout.AP_DAY_START_NAV_E8] = round((nav if day_start is None else day_start) * E8)
    for index, mark in enumerate(marks):
        row[layout.ACCOUNT_ROWS_WORD + index * len(layout.ACCOUNT_ROW) + layout.AR_MARK_X2_TICKS] = mark
    return row


def test_smallest_order_is_the_larger_of_quantity_and_notional_in_whole_lots() -> None:
    found = arming.needs(CONFIG, page(100))
    assert found == {
        "BTC-USDC": "smallest order 10.24, position cap 5.00: needs NAV 204.80",  # 0.00016 at 64,000
        "ETH-USDC": "smallest order 1500.00, position cap 5.00: needs NAV 30000.00",  # 0.5 at 3,000
    }
    assert arming.refusal(CONFIG, found) == "account too small: " + "; ".join(f"{k}: {v}" for k, v in found.items())


@pytest.mark.parametrize(("nav", "too_small"), [(204.79, {"BTC-USDC", "ETH-USDC"}), (204.80, {"ETH-USDC"}), (30_000, set())])
def test_what_is_needed_is_exact(nav: float, too_small: set[str]) -> None:
    assert set(arming.needs(CONFIG, page(nav)) or ()) == too_small


def test_the_smaller_of_current_and_day_start_counts_as_it_does_in_the_gate() -> None:
    assert set(arming.needs(CONFIG, page(40_000, day_start=204)) or ()) == {"BTC-USDC", "ETH-USDC"}
    assert arming.needs(CONFIG, page(-5)) is not None


def test_an_account_that_can_trade_one_instrument_goes_on() -> None:
    assert arming.refusal(CONFIG, {"ETH-USDC": "why"}) == ""


def test_nothing_is_said_before_the_account_and_every_price_are_known() -> None:
    assert arming.needs(CONFIG, page(100, reconciled=0)) is None
    assert arming.needs(CONFIG, page(100, marks=(12_800_000, 0))) is None


def test_without_a_position_limit_no_nav_is_enough() -> None:
    assert "a position limit above 0" in str(arming.needs(CONFIG | {"limits": {"position_ppm": 0}}, page(10**6)))


@pytest.mark.parametrize(("nav", "ends"), [(100, True), (1_000, False)])
def test_supervisor_disarms_and_ends_the_run_or_names_the_instrument(
    nav: float, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    words: dict[str, int] = {}
    house = supervisor.Supervisor.__new__(supervisor.Supervisor)
    house.config, house.say, house.armed, house.halted, house._sized = CONFIG, said.append, True, "", False
    monkeypatch.setattr(house, "pages", None, raising=False)
    monkeypatch.setattr(house, "set_control", words.__setitem__)
    monkeypatch.setattr(supervisor, "account_row", lambda pages: page(nav, reconciled=0))
    house._look_at_size()
    assert not house._sized
    monkeypatch.setattr(supervisor, "account_row", lambda pages: page(nav))
    house._look_at_size()
    assert house._sized
    assert (house.armed, words) == ((False, {"armed": 0}) if ends else (True, {}))
    assert ("account too small" in house.halted) is ends
    assert any("ETH-USDC cannot be traded" in line and "needs NAV 30000.00" in line for line in said)
