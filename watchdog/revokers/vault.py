"""HashiCorp Vault (or OpenBao): revoke every lease below a prefix, one by one and synchronously, and see them gone.

What a lease stands for is the operator's affair: the venue key of a secrets engine, a database or cloud credential, an SSH
login. ``PUT /v1/sys/leases/revoke`` with ``sync`` answers after the secrets engine has revoked the credential, not before; the
proof is that the lookup of each says ``invalid lease`` and that nothing is listed below the prefix. Its policy:
``docs/revokers.md``. The token is renewed while a lease is granted, when it can be.

``read_secret`` reads one field of one secret (key-value engine, version 1 or 2): a source of the management key.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from watchdog.revokers import RevokerError
from watchdog.venue import Answer, Secret, Venue

RENEW_S = 60.0
LEASES_MAX = 10_000


class VaultApi(Venue):
    """Vault's HTTP interface with one token; ``call`` as of a venue, with a deadline and without a secret in its errors."""

    key_header = "X-Vault-Token"

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, also: tuple[int, ...] = ()) -> Answer:
        """A call that answers 200 or 204, or a status of ``also``; raises RevokerError else."""
        answer = self.call(method, f"/v1/{quote(path, safe='/?=-')}", body)
        if answer.status not in (200, 204, *also):
            raise RevokerError(f"Vault answered {answer.status} to {method} {path}")
        return answer

    def listed(self, prefix: str) -> list[str]:
        """Ids of all leases below ``prefix``, which ends with a slash."""
        found: list[str] = []
        todo = [prefix]
        while todo:
            folder = todo.pop()
            answer = self.ask("GET", f"sys/leases/lookup/{folder}?list=true", also=(404,))
            keys = (answer.data.get("data") or {}).get("keys", []) if answer.status == 200 else []
            for key in keys:
                (todo if str(key).endswith("/") else found).append(folder + str(key))
            if len(found) + len(todo) > LEASES_MAX:
                raise RevokerError(f"more than {LEASES_MAX} leases below {prefix}")
        return found

    def gone(self, lease_id: str) -> bool:
        """Whether Vault says that there is no such lease; any other refusal proves nothing."""
        answer = self.ask("PUT", "sys/leases/lookup", {"lease_id": lease_id}, also=(400,))
        return answer.status == 400 and answer.data.get("errors") == ["invalid lease"]


def read_secret(api: VaultApi, path: str, field: str) -> Secret:
    """One field of a secret; raises RevokerError, Unreachable, ValueError (no usable key), none with the value."""
    data = api.ask("GET", path).data.get("data") or {}
    data = data.get("data") if isinstance(data.get("data"), dict) else data
    value = data.get(field) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise RevokerError(f"Vault's {path} has no text field {field}")
    return Secret(value)


class VaultLeases:
    """The leases below one prefix."""

    refresh_s = RENEW_S
    deadline_s = 2.0

    def __init__(self, api: VaultApi, prefix: str) -> None:
        if not prefix.endswith("/") or prefix.startswith("/") or len(prefix) < 3:
            raise RevokerError("vault: lease_prefix must be like pulex/creds/trade/, with a slash at its end only")
        self.api, self.prefix, self.name = api, prefix, f"vault {prefix}"
        self.revoked: dict[str, None] = {}

    def arm(self, deadline_s: float) -> str:
        """The token lives, and may list, look up and revoke."""
        self.api.deadline_s = deadline_s
        self.revoked = {}
        needed = {
            f"sys/leases/lookup/{self.prefix}": {"list", "sudo"},
            "sys/leases/lookup": {"update"},
            "sys/leases/revoke": {"update"},
        }
        answer = self.api.ask("POST", "sys/capabilities-self", {"paths": list(needed)})
        granted = answer.data.get("data") or {}
        for path, wanted in needed.items():
            held = set(granted.get(path) or ())
            if not wanted <= held and "root" not in held:
                raise RevokerError(f"the Vault token lacks {' and '.join(sorted(wanted - held))} on {path}: extend its policy")
        return f"{len(self.api.listed(self.prefix))} leases below {self.prefix}"

    def refresh(self, deadline_s: float) -> str:
        """Renew the token; one that does not expire, or cannot be renewed any further, is left as it is."""
        self.api.deadline_s = deadline_s
        token = self.api.ask("GET", "auth/token/lookup-self").data.get("data") or {}
        if token.get("renewable") is True:
            self.api.ask("POST", "auth/token/renew-self", {})
        elif token.get("expire_time") and int(token.get("ttl") or 0) < 10 * RENEW_S:
            raise RevokerError(f"the Vault token ends in {token.get('ttl')} s and cannot be renewed: replace it")
        return "token lives"

    def revoke(self, deadline_s: float) -> str:
        self.api.deadline_s = deadline_s
        leases, end = self.api.listed(self.prefix), time.monotonic() + deadline_s
        for count, lease_id in enumerate(leases):
            if time.monotonic() >= end:
                raise RevokerError(f"{count} of {len(leases)} leases revoked in {deadline_s:g} s")
            self.api.ask("PUT", "sys/leases/revoke", {"lease_id": lease_id, "sync": True})
            self.revoked[lease_id] = None
        return f"{len(leases)} leases revoked"

    def prove(self, deadline_s: float) -> str:
        self.api.deadline_s = deadline_s
        left = self.api.listed(self.prefix) + [lease_id for lease_id in self.revoked if not self.api.gone(lease_id)]
        if left:
            raise RevokerError(f"{len(left)} leases below {self.prefix} live on")
        return f"{len(self.revoked)} leases looked up and gone, none listed"

    def release(self, deadline_s: float) -> str:
        return "nothing to release"
