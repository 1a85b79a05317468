from __future__ import annotations

import pytest

from sim.keys import KeyFileError, KeyStore, read_management_key

SECRET = "sk_live_0123456789abcdef"


def key_file(tmp_path, text=SECRET, mode=0o600):
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_management_key_is_read_from_a_private_file(tmp_path):
    assert read_management_key(key_file(tmp_path, SECRET + "\n")) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_key_file_open_to_others_is_refused_without_showing_it(tmp_path, mode):
    with pytest.raises(KeyFileError, match="chmod 600") as refused:
        read_management_key(key_file(tmp_path, mode=mode))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ["", "short", "two words that are long", "line one of it\nline two of it"])
def test_key_file_without_a_usable_key_is_refused(tmp_path, text):
    with pytest.raises(KeyFileError, match="no usable key"):
        read_management_key(key_file(tmp_path, text))


def test_missing_key_file_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="create it"):
        read_management_key(tmp_path / "none")


def test_store_finds_a_key_by_its_secret_alone_and_never_holds_it():
    store = KeyStore(SECRET, 1)
    key, secret = store.create("trade", "epoch-7", 2)
    assert secret.startswith("sk_trade_")
    assert store.find(secret) is key
    assert store.find(key.key_id) is None
    assert store.find(None) is None
    assert store.find("\udcff") is None
    assert secret not in repr(vars(store))
    assert SECRET not in repr(vars(store))


def test_revoked_key_may_do_nothing():
    key, _ = KeyStore(SECRET, 1).create("manage", "", 2)
    assert key.may_trade()
    assert key.may_manage()
    key.revoked_us = 3
    assert not key.may_trade()
    assert not key.may_manage()
