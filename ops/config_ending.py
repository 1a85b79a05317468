"""The part of the configuration that says how trading is ended and who watches over it: keys' vault, kill, witness.

Read through ``ops.config`` alone, which checks the whole file.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class VaultToken(Model):
    """A Vault or OpenBao, and where the watchdog finds its token there."""

    url: Annotated[str, Field(pattern=r"^https?://[^/?#]+/?$")]
    token_file: str | None = None
    token_credential: str | None = None

    @pydantic.model_validator(mode="after")
    def _one_token(self) -> VaultToken:
        if bool(self.token_file) == bool(self.token_credential):
            raise ValueError("needs token_file or token_credential, one of them")
        return self


class VaultSecret(VaultToken):
    """One field of one secret of its key-value engine, such as secret/data/pulex."""

    path: str
    field: str = "management_key"


class TimerRevoker(Model):
    """The venue's dead-man timer: its length, and the least that the venue takes, to which a kill shortens it."""

    kind: Literal["timer"]
    length_ms: Milliseconds = 10_000
    least_ms: Milliseconds = 1000

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> TimerRevoker:
        if self.least_ms > self.length_ms or self.length_ms < 1000:
            raise ValueError("needs least_ms <= length_ms and length_ms >= 1000")
        return self


class VaultRevoker(VaultToken):
    """All leases of Vault or OpenBao below a prefix."""

    kind: Literal["vault"]
    lease_prefix: Annotated[str, Field(pattern=r"^[^/].*[^/]/$")]


class CutRevoker(Model):
    """nftables drops what leaves for the order session's address and for more peers, HOST:PORT each."""

    kind: Literal["cut"]
    peers: tuple[str, ...] = Field(default=(), strict=False)


class ExecutableRevoker(Model):
    """A program of the operator's own: docs/revokers.md. refresh_ms 0 = it wants none."""

    kind: Literal["executable"]
    path: Annotated[str, Field(pattern=r"^/")]
    deadline_ms: Annotated[int, Field(ge=10, le=60_000)] = 5000
    refresh_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 0


REVOKERS: dict[str, type[BaseModel]] = {
    "timer": TimerRevoker, "vault": VaultRevoker, "cut": CutRevoker, "executable": ExecutableRevoker,
}  # fmt: skip
Revoker = Annotated[TimerRevoker | VaultRevoker | CutRevoker | ExecutableRevoker, Field(discriminator="kind")]


class Kill(Model):
    """What a kill and a halt do with what is open, and what a kill revokes beside the venue's key."""

    revokers: Annotated[tuple[Revoker, ...], Field(max_length=16, strict=False)] = ()
    flatten: Literal["never"] = "never"  # the only policy that the watchdog knows so far; another word is refused
    on_halt: Literal["hold", "exit"] = "hold"


class Watchdog(Model):
    """What else guards the watchdog. device: the kernel's watchdog device, which resets a machine that hangs."""

    device: str | None = None


class Witness(Model):
    """A watchdog on a second host. The first host sends beats to send_to, the witness listens; key_id: one key does it all."""

    send_to: str | None = None
    listen: str | None = None
    secret_file: str | None = None
    beat_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    stop_ms: Annotated[int, Field(ge=100, le=600_000)] = 3000
    key_id: str | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Witness:
        if (self.send_to or self.listen) and not self.secret_file:
            raise ValueError("send_to and listen need secret_file, the same secret on both hosts")
        for key in ("send_to", "listen"):
            host, _, port = (getattr(self, key) or "127.0.0.1:1").rpartition(":")
            try:
                ipaddress.ip_address(host.strip("[]"))
                if not 0 < int(port) < 65536:
                    raise ValueError
            except ValueError:
                raise ValueError(f"{key} must be ADDRESS:PORT with a numeric address") from None
        if self.stop_ms < 5 * self.beat_ms:
            raise ValueError("stop_ms must be at least 5 x beat_ms: a few lost packets are no dead host")
        return self
