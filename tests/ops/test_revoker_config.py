"""Revokers, key sources and the venue's budget in the configuration."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from ops import config as configuration
from ops import instance
from ops.config import Config, ConfigError, parse
from ops.placement import Placement

LIVE = {"ws_url": "wss://v/ws", "rest_url": "https://v", "management_key_file": "/k", "budget_messages": 1000}


def message(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(values, "pulex.toml")
    return str(caught.value)


def kill(*revokers: dict[str, Any]) -> dict[str, Any]:
    return {"kill": {"revokers": list(revokers)}}


def test_several_revokers_are_chosen_at_once_and_come_out_whole() -> None:
    config = parse(
        kill(
            {"kind": "timer", "length_ms": 8000},
            {"kind": "vault", "url": "https://vault:8200", "token_file": "/t", "lease_prefix": "pulex/creds/trade/"},
            {"kind": "cut"},
            {"kind": "executable", "path": "/usr/local/bin/lock-account"},
        ),
        "pulex.toml",
    )
    tables = config.model_dump(mode="json")["kill"]["revokers"]
    assert tables[0] == {"kind": "timer", "length_ms": 8000, "least_ms": 1000}
    assert [table["kind"] for table in tables] == ["timer", "vault", "cut", "executable"]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (kill({"kind": "prayer"}), "kill.revokers.0"),
        (kill({"kind": "timer", "lenght_ms": 1}), "did you mean length_ms?"),
        (kill({"kind": "timer", "length_ms": 1000, "least_ms": 2000}), "least_ms <= length_ms"),
        (kill({"kind": "vault", "url": "https://v", "lease_prefix": "a/b/"}), "token_file or token_credential"),
        (kill({"kind": "vault", "url": "https://v", "token_file": "/t", "lease_prefix": "/a/b"}), "lease_prefix"),
        (kill({"kind": "executable", "path": "lock-account"}), "kill.revokers.0.executable.path"),
    ],
)
def test_wrong_revoker_is_refused_in_one_line(values: dict[str, Any], wanted: str) -> None:
    text = message(values)
    assert wanted in text
    assert "\n" not in text


def compose(tmp_path: pathlib.Path, values: dict[str, Any]) -> dict[str, Any]:
    where = instance.Paths(tmp_path / "run", tmp_path / "state", tmp_path / "shm")
    placement = Placement((0,), (0,), (0,), ("yield", "yield"))
    return instance.compose(
        parse(values, "pulex.toml"), where, placement, live=values.get("mode") == "live", source="pulex.toml"
    )


def test_live_needs_the_venues_budget_and_exactly_one_source_of_the_key(tmp_path: pathlib.Path) -> None:
    assert compose(tmp_path, {"mode": "live", "venue": LIVE})["mode"] == "live"
    for change, wanted in (
        ({"budget_messages": 0}, r"venue\.budget_messages: missing"),
        ({"management_key_credential": "key"}, "exactly one of"),
        ({"management_key_file": ""}, "exactly one of"),
    ):
        with pytest.raises(ConfigError, match=wanted):
            compose(tmp_path, {"mode": "live", "venue": LIVE | change})


@pytest.mark.parametrize(
    ("messages", "window_ms", "fits"), [(58, 1000, True), (57, 1000, False), (115, 1001, True), (114, 1001, False)]
)
def test_limits_beyond_seventy_percent_of_the_budget_are_refused(
    tmp_path: pathlib.Path, messages: int, window_ms: int, fits: bool
) -> None:
    """The conservative profile: 20 messages a second and 20 open orders, in each second that a window can touch."""
    values = {"venue": {"budget_messages": messages, "budget_window_ms": window_ms}}
    if fits:
        assert compose(tmp_path, values)["venue"]["budget_messages"] == messages
    else:
        with pytest.raises(ConfigError, match="lower them"):
            compose(tmp_path, values)


def test_a_budget_that_leaves_the_watchdog_no_view_of_the_account_is_refused(tmp_path: pathlib.Path) -> None:
    few = {"message_rate_per_s": 2, "max_open_orders": 2}
    configuration.check_budget(configuration.Venue(budget_messages=14), few, "pulex.toml")
    with pytest.raises(ConfigError, match="one look at the account in 10 s"):
        configuration.check_budget(configuration.Venue(budget_messages=7), few, "pulex.toml")


def test_the_paper_venue_has_its_own_key_whatever_the_file_says(tmp_path: pathlib.Path) -> None:
    venue = compose(tmp_path, {"venue": {"management_key_credential": "mine"}})["venue"]
    assert venue["management_key_credential"] is None
    assert venue["management_key_file"] == str(tmp_path / "run" / "management.key")


def test_without_a_stated_budget_nothing_is_refused() -> None:
    configuration.check_budget(Config().venue, {"message_rate_per_s": 10**6, "max_open_orders": 10**6}, "defaults")
