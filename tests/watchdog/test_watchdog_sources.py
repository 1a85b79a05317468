"""Where secrets come from, and that what holds them is closed to others. Vault as a source: test_revokers_vault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchdog.credentials import CredentialError
from watchdog.sources import from_credential, from_file, management_key, vault_api

KEY = "sk_live_planted_in_a_file"


def secret(path: Path, mode: int = 0o600, text: str = KEY) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_of_ours_alone_gives_its_key(tmp_path: Path) -> None:
    for mode in (0o600, 0o400):
        assert from_file(secret(tmp_path / f"key{mode}", mode, KEY + "\n"), "key").reveal() == KEY
    assert management_key({"management_key_file": str(secret(tmp_path / "key"))}).reveal() == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o777])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(CredentialError, match="chmod 600") as caught:
        from_file(secret(tmp_path / "key", mode), "management key")
    assert "planted" not in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = secret(tmp_path / "key")
    os.chown(path, 12345, 12345)
    with pytest.raises(CredentialError, match="must be yours"):
        from_file(path, "management key")


@pytest.mark.parametrize("text", ["", "short", "two words of a planted key", "sk_live_plant\u00e9d_key", "sk_planted\x00key"])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(CredentialError, match="no usable key") as caught:
        from_file(secret(tmp_path / "key", text=text), "management key")
    assert "plant" not in str(caught.value)


def test_a_link_and_a_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(secret(tmp_path / "key"))
    for name in ("link", "."):
        with pytest.raises(CredentialError):
            from_file(tmp_path / name, "management key")


def test_a_systemd_credential_is_read_also_when_root_owns_it_with_an_access_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for mode in (0o400, 0o440):  # the group bits show the mask of the access list
        secret(tmp_path / f"key{mode}", mode)
        assert from_credential(f"key{mode}", "management key").reveal() == KEY
    assert management_key({"management_key_credential": "key256"}).reveal() == KEY
    for mode in (0o444, 0o460):
        with pytest.raises(CredentialError, match="open to others"):
            from_credential(secret(tmp_path / "open", mode).name, "management key")


@pytest.mark.parametrize("name", ["", "..", "../key", "a/b"])
def test_a_credential_name_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(CredentialError):
        from_credential(name, "management key")


def test_without_systemd_a_credential_says_what_the_unit_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(CredentialError, match="LoadCredential=pulex-key"):
        from_credential("pulex-key", "management key")


def test_vaults_token_has_the_same_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"url": "http://127.0.0.1:1"}
    assert vault_api(table | {"token_file": str(secret(tmp_path / "t"))}).key.reveal() == KEY
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert vault_api(table | {"token_credential": "t"}).key.reveal() == KEY
    with pytest.raises(CredentialError, match="token_file or token_credential"):
        vault_api(table)
