"""A configuration and shared pages of an instance that never ran, for the rooms that only read them."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pytest

from ops import config as configuration
from ops import instance
from ops.instance import Paths
from ops.placement import Host, place


@pytest.fixture
def where(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Directories of an instance in a temporary home; segments in a temporary directory instead of /dev/shm."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(instance, "SHM", tmp_path)
    paths = instance.paths("test")
    for directory in (paths.run_dir / "logs", paths.state_dir, paths.shm_dir):
        directory.mkdir(parents=True)
    return paths


@pytest.fixture
def config(where: Paths) -> dict[str, Any]:
    """A written config.json with defaults."""
    values = instance.compose(configuration.Config(name="test"), where, place(Host((0,))))
    values["placement"]["house"] = sorted(os.sched_getaffinity(0))
    instance.write(where, values)
    assert json.loads(where.config.read_text()) == values
    return values
