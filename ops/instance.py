"""Where a named instance lives, and the config.json that all its processes agree on.

The supervisor alone writes here, before anything starts: run directory (0700, gone after a reboot), state directory
(epoch, latch, journal: kept for ever), segments under /dev/shm. Readers: every process, by RUN_DIR/config.json. No secret
is ever in it; the paper venue's management key is a 0600 file of its own.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import socket
from typing import Any

from engine import journal_file
from fabric import layout
from fabric.jit import cache_dir
from fabric.segment import process_start, remove_dead
from ops import config as configuration
from ops import recorded
from ops.config import Config, ConfigError
from ops.placement import Placement
from watchdog.hashes import code_hash, config_hash, hash63

SHM = pathlib.Path("/dev/shm")
# Two generations of everything: a restarted writer makes its new segment while the old one is still mapped.
SHM_BYTES_MIN = 2 * (sum(layout.SIZE_OF_KIND.values()) + len(layout.COUNTERS_OF_ROLE) * layout.STATS_BYTES)
SOCKET_PATH_MAX = 107


class InstanceError(RuntimeError):
    """The instance cannot start or be found; one line with what to do."""


@dataclasses.dataclass(frozen=True)
class Paths:
    """Directories and files of one instance."""

    run_dir: pathlib.Path
    state_dir: pathlib.Path
    shm_dir: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        return self.run_dir / "config.json"

    @property
    def socket(self) -> pathlib.Path:
        return self.run_dir / "watchdog.sock"

    @property
    def key(self) -> pathlib.Path:
        return self.run_dir / "management.key"

    @property
    def children(self) -> pathlib.Path:
        return self.run_dir / "children.json"

    def log(self, role: str) -> pathlib.Path:
        return self.run_dir / "logs" / f"{role}.log"


def paths(name: str) -> Paths:
    """Where the instance of that name lives; nothing is created."""
    state = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local" / "state") / "pulex"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    run = pathlib.Path(runtime) / "pulex" if runtime else state / "run"
    where = f"{hash63(str(run / name).encode()):016x}"[-8:]  # two homes of one user do not share memory
    return Paths(run / name, state / name, SHM / f"pulex-{os.getuid()}-{name}-{where}")


def lock(where: Paths) -> int:
    """Make the directories and take the instance; the descriptor holds it until this process ends. Raises InstanceError."""
    for directory in (where.run_dir, where.run_dir / "logs", where.state_dir, where.shm_dir):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InstanceError(f"cannot create {directory}: {error.strerror}; make its parent writable") from None
    if len(str(where.socket)) > SOCKET_PATH_MAX:
        raise InstanceError(f"{where.socket} is too long for a socket; set XDG_RUNTIME_DIR to a shorter directory")
    descriptor = os.open(where.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InstanceError(f"{where.run_dir.name} is already running; watch it with pulex top, or use --name") from None
    return descriptor


def running(where: Paths) -> bool:
    """A supervisor holds this instance."""
    try:
        descriptor = os.open(where.run_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def clean(where: Paths) -> list[str]:
    """Remove what a dead run left; returns one line for each thing, with the reason. Call it holding the lock."""
    said = []
    for role, pid in _survivors(where):
        os.kill(pid, 9)
        said.append(f"ended {role} (pid {pid}): its supervisor is dead")
    where.children.unlink(missing_ok=True)
    if saved := journal_file.salvage(where.shm_dir, where.state_dir):
        said.append(f"saved {saved} journal records of a dead execution")
    said.extend(f"removed segment {name}: {reason}" for name, reason in remove_dead(where.shm_dir))
    for file in (where.config, where.socket, where.key):
        file.unlink(missing_ok=True)
    shutil.rmtree(where.run_dir / "logs")
    (where.run_dir / "logs").mkdir(mode=0o700)
    for name, target in (("shm", where.shm_dir), ("state", where.state_dir)):
        link = where.run_dir / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return said


def _survivors(where: Paths) -> list[tuple[str, int]]:
    """Children of a dead supervisor that still live: same pid and same start time, so never a stranger."""
    try:
        recorded: dict[str, list[int]] = json.loads(where.children.read_text())
    except (OSError, ValueError):
        return []
    return [(role, pid) for role, (pid, start) in recorded.items() if start and process_start(pid) == start]


def check_shm(where: Paths) -> None:
    """/dev/shm has room for all segments. Raises InstanceError."""
    stats = os.statvfs(where.shm_dir)
    free = stats.f_bavail * stats.f_frsize
    if free < SHM_BYTES_MIN:
        raise InstanceError(
            f"{SHM} has {free >> 20} MiB free, {(SHM_BYTES_MIN >> 20) + 1} MiB are needed; free space there or mount it larger"
        )


def choose_port(wanted: int, key: str) -> int:
    """``wanted`` when it is free, any free one for 0. Raises InstanceError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise InstanceError(f"{key} = {wanted}: {error.strerror}; choose another port, or 0 for a free one") from None
        return int(probe.getsockname()[1])


def compose(
    config: Config,
    where: Paths,
    placement: Placement,
    *,
    live: bool = False,
    data: str | None = None,
    source: str = "defaults",
) -> dict[str, Any]:
    """The dict of docs/processes.md. Raises ConfigError, InstanceError (a port in use)."""
    values = config.model_dump(mode="json")
    venue = values["venue"]
    if live:
        if missing := [key for key in ("ws_url", "rest_url", "budget_messages") if not venue[key]]:
            raise ConfigError(f"{source}: venue.{missing[0]}: missing; live mode needs it")
        if config.venue.key_sources() != 1:
            raise ConfigError(f"{source}: venue: live mode needs exactly one of {configuration.KEY_SOURCES}")
    else:
        ws = choose_port(config.paper.ws_port, "paper.ws_port")
        rest = choose_port(config.paper.rest_port, "paper.rest_port")
        venue |= {
            "ws_url": f"ws://127.0.0.1:{ws}/trading-api/ws",
            "rest_url": f"http://127.0.0.1:{rest}",
            "management_key_file": str(where.key),
            "management_key_credential": None,
            "management_key_vault": None,
        }
        values["paper"] |= {
            "ws_port": ws,
            "rest_port": rest,
            "source": "recording" if data else "synthetic",
            "data": str(pathlib.Path(data).resolve()) if data else None,
        }
    values["feed"] = {"hash_every": recorded.HASH_EVERY if data and not live else 0}
    for instrument in values["instruments"]:
        instrument["min_quantity"] = instrument["min_quantity"] or instrument["lot_size"]
        if instrument["baseline"] is None:
            instrument["baseline"] = "0" if live else configuration.BASELINES.get(instrument["base"], "0")
    for strategy in values["strategies"]:
        strategy["symbols"] = strategy["symbols"] or [instrument["symbol"] for instrument in values["instruments"]]
    values |= {
        "mode": "live" if live else "paper",
        "run_dir": str(where.run_dir),
        "shm_dir": str(where.shm_dir),
        "state_dir": str(where.state_dir),
        "limits": configuration.limits(config.limits, source),
        "placement": placement.as_config(),
        "warm": {"cache_dir": str(cache_dir())},
    }
    configuration.check_budget(config.venue, values["limits"], source)
    return values | {"config_hash": config_hash(values), "code_hash": code_hash()}


def write(where: Paths, values: dict[str, Any]) -> None:
    """config.json and, for the paper venue, a random management key; both 0600."""
    if values["mode"] == "paper":
        _write_private(where.key, f"sk_live_{secrets.token_hex(24)}\n")
    _write_private(where.config, json.dumps(values, indent=1) + "\n")


def _write_private(file: pathlib.Path, text: str) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def read(name: str) -> dict[str, Any]:
    """config.json of a running (or crashed) instance. Raises InstanceError."""
    file = paths(name).config
    try:
        values: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        raise InstanceError(f"no instance {name} here ({file} is missing); start one with pulex run") from None
    return values
