"""What ``pulex witness`` decides before the witness starts: its directories and its config.json (no secrets)."""

from __future__ import annotations

import pathlib
from typing import Any

from ops import config as configuration
from ops import instance
from ops.config import Config, ConfigError
from ops.instance import Paths
from watchdog.hashes import code_hash, config_hash


def prepare(file: str, name: str | None) -> tuple[pathlib.Path, int]:
    """(run directory, descriptor that holds the instance). Raises ConfigError, InstanceError."""
    config = configuration.load(file)
    source = pathlib.Path(file).name
    where = instance.paths(name or f"{config.name}-witness")
    values = compose(config, where, source)
    lock = instance.lock(where)
    instance.clean(where)
    instance.write(where, values)
    return where.run_dir, lock


def compose(config: Config, where: Paths, source: str) -> dict[str, Any]:
    """config.json of a witness. Raises ConfigError for what it cannot do without."""
    values = config.model_dump(mode="json")
    for section, keys in (("witness", ("listen", "secret_file")), ("venue", ("rest_url",))):
        for key in keys:
            if not values[section][key]:
                raise ConfigError(f"{source}: {section}.{key}: missing; a witness needs it")
    if config.venue.key_sources() != 1:
        raise ConfigError(f"{source}: venue: a witness needs exactly one of {configuration.KEY_SOURCES}")
    if config.kill.revokers:
        raise ConfigError(f"{source}: kill.revokers: a witness has none, only the first host has: take them out")
    for instrument in values["instruments"]:
        instrument["min_quantity"] = instrument["min_quantity"] or instrument["lot_size"]
    values |= {
        "name": where.run_dir.name,
        "mode": "witness",
        "run_dir": str(where.run_dir),
        "shm_dir": str(where.shm_dir),
        "state_dir": str(where.state_dir),
        "limits": configuration.limits(config.limits, source),
    }
    return values | {"config_hash": config_hash(values), "code_hash": code_hash()}
