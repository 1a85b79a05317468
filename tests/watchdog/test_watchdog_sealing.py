"""Secrets at rest, and the keys a restarted watchdog takes up."""

from __future__ import annotations

import json
from pathlib import Path

from watchdog.credentials import KeyRing
from watchdog.latch import Durable
from watchdog.sealing import Sealer
from watchdog.venue import Answer, Secret

MANAGEMENT, TRADE = Secret("sk_live_planted_management"), Secret("sk_trade_planted_secret")


class Mint:
    """A venue that mints one trading key and lists it."""

    def __init__(self) -> None:
        self.revoked = False

    def create_key(self, scope: str, label: str) -> Answer:
        return Answer(201, {"key_id": "key_1", "api_key": TRADE.reveal()})

    def keys(self) -> Answer:
        return Answer(200, {"keys": [{"key_id": "key_1", "scope": "trade", "label": "x", "revoked": self.revoked}]})

    def revoke_key(self, key_id: str) -> Answer:
        self.revoked = True
        return Answer(200, {})


def ring(path: Path, key: Secret = MANAGEMENT) -> KeyRing:
    return KeyRing(path, Durable(path), 1, Sealer(key))


def test_what_is_sealed_opens_with_the_same_management_key_only() -> None:
    text = Sealer(MANAGEMENT).seal(TRADE)
    opened = Sealer(MANAGEMENT).open(text)
    assert opened is not None
    assert opened.reveal() == TRADE.reveal()
    assert Sealer(Secret("another_management_key")).open(text) is None


def test_the_text_shows_nothing_and_is_new_each_time() -> None:
    first, second = (Sealer(MANAGEMENT).seal(TRADE) for _ in range(2))
    assert first != second
    assert TRADE.reveal().encode().hex() not in first
    assert MANAGEMENT.reveal().encode().hex() not in first


def test_any_change_of_the_text_is_noticed() -> None:
    sealer = Sealer(MANAGEMENT)
    text = sealer.seal(TRADE)
    for place in range(len(text)):
        digit = "0" if text[place] != "0" else "1"
        assert sealer.open(text[:place] + digit + text[place + 1 :]) is None
    for damaged in ("", "zz", text[:-2], text[:20], None, 7):
        assert sealer.open(damaged) is None


def test_a_restarted_watchdog_has_the_secret_and_the_file_has_it_not(tmp_path: Path) -> None:
    venue = Mint()
    ring(tmp_path).mint(venue, "execution", 1, 2)  # type: ignore[arg-type]
    assert "planted" not in (tmp_path / "keys.json").read_text()
    successor = ring(tmp_path)
    secret = successor.secret("key_1")
    assert secret is not None
    assert secret.reveal() == TRADE.reveal()
    assert ring(tmp_path, Secret("another_management_key")).secret("key_1") is None


def test_a_file_of_an_older_watchdog_without_sealed_secrets_is_read(tmp_path: Path) -> None:
    row = {"key_id": "key_1", "scope": "trade", "role": "execution", "epoch": 3, "pid": 1, "start": 2}
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [row]}))
    assert ring(tmp_path).secret("key_1") is None


def test_only_a_key_of_ours_that_we_did_not_revoke_was_revoked_elsewhere(tmp_path: Path) -> None:
    venue = Mint()
    own = ring(tmp_path)
    own.mint(venue, "execution", 1, 2)  # type: ignore[arg-type]
    assert own.revoked_elsewhere(venue) == ""  # type: ignore[arg-type]
    venue.revoked = True
    assert own.revoked_elsewhere(venue) == "key_1"  # type: ignore[arg-type]
    assert ring(tmp_path).revoked_elsewhere(venue) == ""  # type: ignore[arg-type] - the former one may have done it
    own.revoke(venue, "key_1")  # type: ignore[arg-type]
    assert own.revoked_elsewhere(venue) == ""  # type: ignore[arg-type]
