"""Keys: mint and revoke them, remember ids only.

``state/keys.json`` lists the keys that may still be alive: ``{"keys":[{key_id, scope, role, epoch, pid, start, sealed}]}``. A
secret lives in this process's memory until its key is revoked, because the proof of a kill needs it; a trading key's is
also ``sealed`` under the management key (``watchdog.sealing``) for the watchdog that has to finish this one's kill.
Every label starts with ``pulex-INSTANCE-``: a key whose id was lost in a crash is found by it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from fabric import layout
from watchdog.keeper import Keeper
from watchdog.latch import Durable, StateError, write_durable
from watchdog.processes import ProcessError, start_time
from watchdog.sealing import Sealer
from watchdog.venue import Answer, Secret, Unreachable, Venue


class CredentialError(Exception):
    """A key could not be read, minted or revoked; the text never holds a key."""


class Minted(NamedTuple):
    epoch: int
    key_id: str
    secret: Secret


class KeyRing:
    """The keys of one account. Used by several threads, each with its own Venue."""

    def __init__(self, state_dir: Path, durable: Durable, instance: int, sealer: Sealer | None = None) -> None:
        self.path, self.sealer = state_dir / "keys.json", sealer
        self.durable = durable
        self.label = f"pulex-{instance}-"
        self.lock, self.file_lock = threading.Lock(), threading.Lock()
        self.removals = Keeper(lambda _: self._save())
        self.secrets: dict[str, Secret] = {}
        self.live: set[str] = set()  # minted by this process, and not yet asked to be revoked
        try:
            rows = json.loads(self.path.read_text("utf-8"))["keys"]
            self.rows = {str(row["key_id"]): dict(row) for row in rows}
            self.unseal({key_id: row.get("sealed") for key_id, row in self.rows.items() if "sealed" in row})
        except FileNotFoundError:
            self.rows = {}
        except (OSError, ValueError, KeyError, TypeError):
            raise StateError(f"{self.path} is damaged: revoke the account's trade keys, then remove it") from None

    def ids(self, scope: str) -> list[str]:
        with self.lock:
            return [key_id for key_id, row in self.rows.items() if row["scope"] == scope]

    def sealed(self, key_ids: list[str]) -> dict[str, str]:
        """The sealed secrets of these keys, as a record on disk may hold them."""
        if self.sealer is None:
            return {}
        known = {key_id: self.secret(key_id) for key_id in key_ids}
        return {key_id: self.sealer.seal(secret) for key_id, secret in known.items() if secret is not None}

    def unseal(self, sealed: dict[str, Any]) -> None:
        """Take up secrets that a former watchdog sealed; what cannot be opened stays unknown."""
        for key_id, text in sealed.items():
            secret = self.sealer.open(text) if self.sealer is not None else None
            if secret is not None:
                self.secrets.setdefault(key_id, secret)

    def revoked_elsewhere(self, venue: Venue) -> str:
        """A trading key of this epoch that the venue lists as revoked and that we never asked it to; "" for none."""
        rows = venue.keys().data.get("keys")
        for row in rows if isinstance(rows, list) else []:
            if row.get("revoked") is True and row.get("key_id") in self.live and row.get("scope") == "trade":
                return str(row["key_id"])
        return ""

    def secret(self, key_id: str) -> Secret | None:
        return self.secrets.get(key_id)

    def highest_epoch(self) -> int:
        with self.lock:
            return max((int(row.get("epoch", 0)) for row in self.rows.values()), default=0)

    def mint(self, venue: Venue, role: str, pid: int, start: int) -> Minted:
        """A key for ``role``: the role's older keys are dead first, and a new epoch is durable before a trading key."""
        scope = "trade" if role == "execution" else "read"
        self.retire(venue, [key_id for key_id, row in list(self.rows.items()) if row["role"] == role])
        if scope == "trade":
            self.retire(venue, self.strays(venue))
            epoch = self.durable.take_epoch(self.highest_epoch() + 1)
        else:
            epoch = self.durable.epoch()
        key_id, secret = self.create(venue, scope, f"epoch-{epoch}-{role}")
        row = {"key_id": key_id, "scope": scope, "role": role, "epoch": epoch, "pid": pid, "start": start}
        if scope == "trade" and self.sealer is not None:
            row["sealed"] = self.sealer.seal(secret)
        with self.lock:
            self.rows[key_id] = row
            self.secrets[key_id] = secret
            self.live.add(key_id)
        self._save()
        return Minted(epoch, key_id, secret)

    def create(self, venue: Venue, scope: str, label: str) -> tuple[str, Secret]:
        """Mint a key that is not remembered; raises CredentialError (KeysUnsupported when the venue has no such call)."""
        answer = venue.create_key(scope, self.label + label)
        key_id, value = answer.data.get("key_id"), answer.data.get("api_key")
        if answer.status in (404, 405):
            raise KeysUnsupported(f"the venue cannot mint keys ({answer.summary()})")
        if answer.status != 201 or not isinstance(key_id, str) or not isinstance(value, str):
            raise CredentialError(f"the venue minted no {scope} key ({answer.summary()})")
        try:
            return key_id, Secret(value)
        except ValueError as error:
            raise CredentialError(str(error)) from None

    def revoke(self, venue: Venue, key_id: str) -> str:
        """Revoke one key and forget its row; its secret stays for the proof. Returns the venue's answer."""
        self.live.discard(key_id)
        answer = venue.revoke_key(key_id)
        if answer.status not in (200, 204, 404):
            raise CredentialError(f"key {key_id} is not revoked ({answer.summary()})")
        with self.lock:
            known = self.rows.pop(key_id, None) is not None
        if known:  # what a stalled or full disk forgets is revoked a second time, which changes nothing
            with contextlib.suppress(OSError):
                self.removals.keep("")
        return answer.summary()

    def retire(self, venue: Venue, key_ids: list[str]) -> int:
        """Revoke all of these, or raise CredentialError or Unreachable; the secrets are dropped."""
        for key_id in key_ids:
            self.revoke(venue, key_id)
            self.secrets.pop(key_id, None)
        return len(key_ids)

    def strays(self, venue: Venue) -> list[str]:
        """Living trade keys with our label that ``keys.json`` does not know: minted, but the crash came first."""
        answer = venue.keys()
        if answer.status in (404, 405):
            return []
        rows = answer.data.get("keys")
        if answer.status != 200 or not isinstance(rows, list):
            raise Unreachable(f"GET /v1/keys: {answer.summary()}")
        found = []
        for row in rows:
            ours = str(row.get("label", "")).startswith(self.label) and row.get("scope") == "trade"
            if ours and row.get("revoked") is not True and row.get("key_id") not in self.rows:
                found.append(str(row["key_id"]))
        return found

    def listed_as_revoked(self, venue: Venue, key_id: str) -> bool:
        """Whether the venue's own list calls this key revoked; a key it does not list proves nothing."""
        rows = venue.keys().data.get("keys")
        rows = rows if isinstance(rows, list) else []
        return any(row.get("key_id") == key_id and row.get("revoked") is True for row in rows)

    def left_over(self) -> list[str]:
        """Keys of a former watchdog to revoke: all but a read key whose holder still runs."""
        with self.lock:
            rows = list(self.rows.values())
        return [str(row["key_id"]) for row in rows if row["scope"] == "trade" or not _alive(row)]

    def _save(self) -> None:
        """The rows as they are when the disk's turn comes: nobody who only asks for a row waits for it."""
        with self.file_lock:
            with self.lock:
                text = json.dumps({"keys": list(self.rows.values())}, indent=1) + "\n"
            write_durable(self.path, text)


class KeysUnsupported(CredentialError):
    """The venue has no call that mints keys."""


def _alive(row: dict[str, Any]) -> bool:
    try:
        return start_time(int(row["pid"])) == int(row["start"])
    except (ProcessError, KeyError, TypeError, ValueError):
        return False


def probe_order(config: dict[str, Any], epoch: int, deadline_ms: int) -> dict[str, Any]:
    """An order that can neither fill nor rest should the key live after all: IOC buy of the least size at one tick."""
    instrument = config["instruments"][0]
    number = layout.ID_WATCHDOG_COUNTER + secrets.randbelow(1 << 28)
    return {
        "action": "place_order",
        "client_order_id": str(layout.order_id(int(config["instance"]), max(epoch, 1), number)),
        "symbol": instrument["symbol"],
        "side": "buy",
        "quantity": float(instrument["min_quantity"]),
        "price": float(instrument["tick_size"]),
        "type": "ioc",
        "reduce_only": False,
        "timestamp": time.time_ns() // 1_000_000,
        "recv_window": deadline_ms,
    }


def probe(venue: Venue, key: Secret, order: dict[str, Any]) -> Answer:
    """Send the probe with ``key`` over a connection of its own; only status 401 is a proof."""
    session = venue.with_key(key)
    try:
        return session.place(order)
    finally:
        session.close()


def kill_test(venue: Venue, ring: KeyRing, order: dict[str, Any]) -> dict[str, Any]:
    """Create, use, revoke and probe a throwaway key.

    {"result": "pass"|"fail"|"not_proven", key_id, refusal, ms, "at_ms": {step: when it was done}}; the running epoch is not
    touched.
    """
    began = time.monotonic_ns()
    key_id = ""
    at_ms: dict[str, float] = {}

    def since_ms() -> float:
        return round((time.monotonic_ns() - began) / 1e6, 3)

    def outcome(result: str, refusal: str) -> dict[str, Any]:
        return {"result": result, "key_id": key_id, "refusal": refusal, "ms": since_ms(), "at_ms": at_ms}

    try:
        key_id, key = ring.create(venue, "trade", "killtest")
        at_ms["create"] = since_ms()
        session = venue.with_key(key)
        used = session.balances()
        session.close()
        if used.status != 200:
            return outcome("fail", f"the fresh key did not work: {used.summary()}")
        at_ms["use"] = since_ms()
        revoked = venue.revoke_key(key_id)
        if revoked.status in (404, 405):  # the key is there, so it is the call that is not
            return outcome("not_proven", f"the venue cannot revoke keys ({revoked.summary()}): remove {key_id} by hand")
        if revoked.status not in (200, 204):
            return outcome("fail", f"key {key_id} is not revoked ({revoked.summary()}): remove it by hand")
        at_ms["revoke"] = since_ms()
        answer = probe(venue, key, order)
        at_ms["probe"] = since_ms()
        if answer.status == 401:
            return outcome("pass", answer.summary())
        venue.cancel(order["client_order_id"])
        return outcome("fail", f"the revoked key was not refused: {answer.summary()}")
    except KeysUnsupported as error:
        return outcome("not_proven", str(error))
    except (CredentialError, Unreachable) as error:
        return outcome("fail", str(error))
