"""Where secrets come from: a file of mode 0600, a systemd credential, or Vault. Read once, at the start.

``venue`` of the configuration names one of: ``management_key_file`` (a path), ``management_key_credential`` (a name below
``$CREDENTIALS_DIRECTORY``: ``LoadCredential=`` or ``LoadCredentialEncrypted=`` of the unit), ``management_key_vault``
(``{url, token_file or token_credential, path, field}``). Raises CredentialError; its text never shows what a source holds.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from watchdog.credentials import CredentialError
from watchdog.revokers import RevokerError
from watchdog.revokers.vault import VaultApi, read_secret
from watchdog.venue import Secret, Unreachable

VAULT_DEADLINE_S = 2.0


def from_file(path: Path, what: str) -> Secret:
    """The secret in a file that is ours and open to nobody else."""
    return _read(path, what, (os.getuid(),), 0o077, "must be yours with mode 0600: chmod 600 it")


def from_credential(name: str, what: str) -> Secret:
    """A systemd credential; systemd gives it to us by owner or, then owned by root, by an access list (shown as group read)."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise CredentialError(f"{what}: $CREDENTIALS_DIRECTORY is not set: start the unit with LoadCredential={name}:PATH")
    if "/" in name or name in ("", ".", ".."):
        raise CredentialError(f"{what}: {name!r} is no name of a credential")
    return _read(Path(directory) / name, what, (os.getuid(), 0), 0o037, "is open to others: let systemd pass it")


def vault_api(table: dict[str, Any]) -> VaultApi:
    """Vault at ``url`` with the token of ``token_file`` or ``token_credential``."""
    if table.get("token_credential"):
        token = from_credential(str(table["token_credential"]), "Vault token")
    elif table.get("token_file"):
        token = from_file(Path(table["token_file"]), "Vault token")
    else:
        raise CredentialError("Vault needs token_file or token_credential")
    return VaultApi(str(table["url"]), token, VAULT_DEADLINE_S)


def management_key(venue: dict[str, Any]) -> Secret:
    """The management key from the one source that ``venue`` names."""
    if venue.get("management_key_vault"):
        table = venue["management_key_vault"]
        api = vault_api(table)
        try:
            return read_secret(api, str(table["path"]), str(table["field"]))
        except (RevokerError, Unreachable, ValueError) as error:
            raise CredentialError(f"management key from Vault: {error}") from None
        finally:
            api.close()
    if venue.get("management_key_credential"):
        return from_credential(str(venue["management_key_credential"]), "management key")
    return from_file(Path(venue["management_key_file"]), "management key")


def _read(path: Path, what: str, owners: tuple[int, ...], forbidden: int, remedy: str) -> Secret:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(fd, encoding="ascii") as file:
            info = os.fstat(file.fileno())
            if info.st_uid not in owners or stat.S_IMODE(info.st_mode) & forbidden or not stat.S_ISREG(info.st_mode):
                raise CredentialError(f"{what} file {path} {remedy}")
            return Secret(file.read(1024).strip())
    except OSError as error:
        raise CredentialError(f"{what} file {path}: {error.strerror}") from None
    except ValueError:  # also UnicodeDecodeError, whose text would show the file
        raise CredentialError(f"{what} file {path} holds no usable key") from None
