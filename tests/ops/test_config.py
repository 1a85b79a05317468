"""A wrong configuration is one line that names file, key and remedy."""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

import pytest

from ops import config as configuration
from ops.config import Config, ConfigError, limits, load, parse
from risk import limits as risk_limits
from risk import tables


def message(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(values, "pulex.toml")
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"signal": {"perod_ms": 3}}, "signal.perod_ms: unknown key; did you mean period_ms?"),
        ({"lease": {"ttl_ms": 200}}, "lease.ttl_ms: unknown key; write ttl_ns: the unit here is ns, not ms"),
        ({"lease": {"ttl_ns": 200}}, "the unit is ns"),
        ({"signal": {"period_ms": "soon"}}, "signal.period_ms: Input should be a valid integer (got 'soon')"),
        ({"instruments": [{"symbol": "A-B"}]}, "instruments.0.base: missing; add it"),
        ({"strategies": [{"name": "m", "symbols": ["X-Y"]}]}, "strategies: m trades X-Y, which is no instrument here"),
        ({"lease": {"ttl_ns": 2_000_000_000}}, "needs 2 x renew_ns <= ttl_ns <= kill_ns"),
        ({"colour": 1}, "colour: unknown key; known here: idle, instance, instruments, kill"),
        ({"idle": {"feed": "busy"}}, "idle.feed: Input should be 'auto', 'spin', 'yield', 'backoff' or 'sleep' (got 'busy')"),
        ({"paper": {"balance": "lots"}}, "'lots' is not a decimal number"),
        ({"paper": {"balance": "-1"}}, "must be a number of 0 or more"),
    ],
)
def test_wrong_file_is_refused_in_one_line(values: dict[str, Any], wanted: str) -> None:
    assert wanted in message(values)


def test_grid_whose_money_unit_is_not_whole_is_refused() -> None:
    pair = {"symbol": "A-B", "base": "A", "quote": "B", "tick_size": "0.000001", "lot_size": "0.00001"}
    assert "whole number of money units" in message({"instruments": [pair]})


def test_instruments_quoted_in_two_currencies_are_refused() -> None:
    one = {"symbol": "A-USDC", "base": "A", "quote": "USDC", "tick_size": "0.01", "lot_size": "0.01"}
    other = one | {"symbol": "B-USDT", "base": "B", "quote": "USDT"}
    assert "quoted in USDC and USDT; net asset value has one currency" in message({"instruments": [one, other]})
    assert parse({"instruments": [one, other | {"quote": "USDC"}]}, "pulex.toml").instruments[1].quote == "USDC"


@pytest.mark.parametrize("kind", ["linear", "inverse"])
def test_an_instrument_that_is_not_spot_is_refused(kind: str) -> None:
    one = {"symbol": "A-B", "base": "A", "quote": "B", "tick_size": "0.01", "lot_size": "0.01", "kind": kind}
    assert "instruments.0.kind: Input should be 'spot'" in message({"instruments": [one]})


def test_file_that_is_not_toml_and_file_that_is_absent_are_named(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "pulex.toml"
    with pytest.raises(ConfigError, match=r"pulex\.toml: No such file"):
        load(file)
    file.write_text("lease = [")
    with pytest.raises(ConfigError, match=r"pulex\.toml: not TOML"):
        load(file)


def test_example_is_valid_and_shows_the_defaults() -> None:
    example = pathlib.Path(configuration.__file__).parent.parent / "examples" / "pulex.toml"
    assert load(example).lease == Config().lease
    assert set(tomllib.loads(example.read_text())) <= set(Config.model_fields)


def test_every_limit_is_present_after_the_profile() -> None:
    merged = limits({}, "defaults")
    wanted = {name for name in tables.LIMIT if name != "_"}
    assert set(merged) == wanted
    assert merged["profile"] == "conservative"
    assert merged["day_loss_ppm"] == 10_000


def test_limit_of_the_file_overrides_the_profile() -> None:
    merged = limits({"profile": "aggressive", "day_loss_ppm": 7}, "pulex.toml")
    assert merged["day_loss_ppm"] == 7
    assert merged["drawdown_ppm"] == 200_000


def test_missing_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    short = risk_limits.profile("conservative")
    del short["collar_ppm"]
    monkeypatch.setattr(risk_limits, "profile", lambda name: short)
    with pytest.raises(ConfigError, match=r"limits\.collar_ppm: missing"):
        limits({}, "pulex.toml")


@pytest.mark.parametrize(
    "overrides", [{"profile": "brave"}, {"day_loss_bps": 100}, {"day_loss_ppm": -1}, {"day_loss_ppm": "1"}]
)
def test_wrong_limit_is_refused(overrides: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"pulex\.toml: limits"):
        limits(overrides, "pulex.toml")


@pytest.mark.parametrize(("mode", "confirmed", "live"), [("live", True, True), ("live", False, False), ("Live", True, False)])
def test_live_needs_the_literal_and_the_second_step(mode: str, confirmed: bool, live: bool) -> None:
    assert Config(mode=mode).live(confirmed) is live
