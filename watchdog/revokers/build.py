"""From ``kill.revokers`` of the configuration to revokers. A table: ``{"kind": ..., the fields of its kind}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from watchdog.credentials import CredentialError
from watchdog.revokers import Revoker, RevokerError
from watchdog.revokers.cut import MARK, Cut, peer_of
from watchdog.revokers.executable import Executable
from watchdog.revokers.timer import Timer
from watchdog.revokers.vault import VaultLeases
from watchdog.sources import vault_api
from watchdog.venue import Venue


class Broken:
    """Stands for a revoker that cannot be built when a kill waits to be finished: that must not keep the others from it."""

    refresh_s = 0.0
    deadline_s = 1.0

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def arm(self, deadline_s: float) -> str:
        raise RevokerError(self.reason)

    refresh = revoke = prove = release = arm


def tables(config: dict[str, Any]) -> list[dict[str, Any]]:
    return list(config.get("kill", {}).get("revokers", ()))


def mark_of(config: dict[str, Any]) -> int:
    """What the watchdog's own packets must be marked with, so that a local cut lets them pass; 0 without a cut."""
    return MARK if any(table["kind"] == "cut" for table in tables(config)) else 0


def build(config: dict[str, Any], new_venue: Callable[[], Venue], lenient: bool) -> list[Revoker]:
    """All of them; RevokerError with what to do for one that this host cannot have, unless ``lenient``."""
    built: list[Revoker] = []
    for table in tables(config):
        try:
            built.append(_one(table, config, new_venue))
        except (RevokerError, CredentialError, ValueError) as error:
            if not lenient:
                raise RevokerError(f"kill.revokers: {error}") from None
            built.append(Broken(str(table["kind"]), str(error)))
    return built


def _one(table: dict[str, Any], config: dict[str, Any], new_venue: Callable[[], Venue]) -> Revoker:
    kind, instance = table["kind"], int(config["instance"])
    if kind == "timer":
        return Timer(new_venue(), int(table["length_ms"]), int(table["least_ms"]))
    if kind == "vault":
        return VaultLeases(vault_api(table), str(table["lease_prefix"]))
    if kind == "cut":
        return Cut([*(table.get("peers") or ()), peer_of(config["venue"]["ws_url"])], instance)
    if kind == "executable":
        return Executable(str(table["path"]), instance, int(table["deadline_ms"]) / 1e3, int(table["refresh_ms"]) / 1e3)
    raise RevokerError(f"there is no revoker of kind {kind!r}")
