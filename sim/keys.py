"""API keys of the paper exchange: who may do what, since when, until when, and every refused use.

Only a digest of a secret is kept, and no secret reaches a log, an exception or the ledger.
Scopes: `read` reads; `trade` reads and trades; `manage` does everything.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCOPES = ("read", "trade", "manage")
_PREFIX = {"read": "sk_ro_", "trade": "sk_trade_", "manage": "sk_live_"}
MANAGEMENT_KEY_ID = "key_management"


class KeyFileError(Exception):
    """The management key file cannot be used; the text says what to do and never what the file holds."""


def read_management_key(path: Path) -> str:
    """The key in `path`, which must be this user's alone (0600 or stricter)."""
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077:
                raise KeyFileError(f"management key file {path} is open to others: chmod 600 it")
            if info.st_uid != os.geteuid():
                raise KeyFileError(f"management key file {path} belongs to another user: write one of your own")
            text = file.read(4096).decode("ascii", "replace").strip()
    except OSError as error:
        raise KeyFileError(f"management key file {path} cannot be read ({error.strerror}): create it, mode 0600") from None
    if len(text) < 16 or not text.isprintable() or not text.isascii() or " " in text:
        raise KeyFileError(f"management key file {path} holds no usable key: write one line of at least 16 characters")
    return text


@dataclass(slots=True)
class Key:
    """One key without its secret. Times in microseconds of wall time; `revoked_us` 0 = valid."""

    key_id: str
    scope: str
    label: str
    created_us: int
    revoked_us: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)

    @property
    def revoked(self) -> bool:
        return self.revoked_us != 0

    def may_trade(self) -> bool:
        return not self.revoked and self.scope in ("trade", "manage")

    def may_manage(self) -> bool:
        return not self.revoked and self.scope == "manage"

    def refuse(self, now_us: int, what: str, detail: str) -> None:
        """Remember a refused use; what: ws, rest or order."""
        self.refused.append({"ts": now_us, "what": what, "detail": detail})


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


class KeyStore:
    """All keys ever made. A dictionary of digests, so looking one up tells nothing about another by its timing."""

    def __init__(self, management_key: str, now_us: int) -> None:
        self._by_digest: dict[bytes, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._add(management_key, Key(MANAGEMENT_KEY_ID, "manage", "management", now_us))

    def _add(self, secret: str, key: Key) -> None:
        self._by_digest[_digest(secret)] = key
        self._by_id[key.key_id] = key

    def create(self, scope: str, label: str, now_us: int) -> tuple[Key, str]:
        """A new key and its secret, which cannot be asked for again."""
        secret = _PREFIX[scope] + secrets.token_urlsafe(24)
        key = Key("key_" + secrets.token_hex(8), scope, label, now_us)
        self._add(secret, key)
        return key, secret

    def find(self, secret: str | None) -> Key | None:
        """The key of a secret, revoked ones included; None for an unknown one."""
        return self._by_digest.get(_digest(secret)) if secret else None

    def get(self, key_id: str) -> Key | None:
        return self._by_id.get(key_id)

    def all(self) -> list[Key]:
        return list(self._by_id.values())
