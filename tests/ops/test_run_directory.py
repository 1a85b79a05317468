"""The run directory: taken once, cleaned of the dead with a reason, and a config.json without secrets."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
from typing import Any

import pytest

from fabric.segment import Segment, process_start
from ops import config as configuration
from ops import instance
from ops.config import Config, ConfigError
from ops.instance import InstanceError, Paths
from ops.placement import Host, place


def compose(where: Paths, config: Config, **options: Any) -> dict[str, Any]:
    return instance.compose(config, where, place(Host((0, 1))), **options)


def test_second_run_of_an_instance_is_refused(where: Paths) -> None:
    descriptor = instance.lock(where)
    assert instance.running(where)
    with pytest.raises(InstanceError, match="already running"):
        instance.lock(where)
    os.close(descriptor)
    assert not instance.running(where)


def test_segment_of_a_dead_writer_is_removed_and_named(where: Paths) -> None:
    segment = Segment.create(where.shm_dir, "control", "supervisor")
    fcntl.flock(segment.fd, fcntl.LOCK_UN)  # what the kernel does when its writer dies
    assert any("control.1" in line for line in instance.clean(where))
    assert not segment.path.exists()


def test_segment_of_a_living_writer_stays(where: Paths) -> None:
    segment = Segment.create(where.shm_dir, "control", "supervisor")
    assert instance.clean(where) == []
    assert segment.path.exists()


def test_orphan_is_ended_but_a_stranger_with_its_pid_is_not(where: Paths) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = process_start(orphan.pid)
    where.children.write_text(json.dumps({"feed": [orphan.pid, start + 1]}))
    assert instance.clean(where) == []
    assert orphan.poll() is None
    where.children.write_text(json.dumps({"feed": [orphan.pid, start]}))
    assert "ended feed" in instance.clean(where)[0]
    assert orphan.wait(5) == -signal.SIGKILL


def test_port_in_use_is_one_line_with_the_key(where: Paths) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = Config(paper=configuration.Paper(ws_port=port))
        with pytest.raises(InstanceError, match=rf"paper\.ws_port = {port}: Address already in use; choose"):
            compose(where, config)


def test_full_shared_memory_is_one_line(where: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "SHM_BYTES_MIN", 1 << 60)
    with pytest.raises(InstanceError, match="MiB free"):
        instance.check_shm(where)


def test_key_and_configuration_are_private_and_the_key_is_not_in_the_configuration(where: Paths) -> None:
    instance.write(where, compose(where, Config()))
    key = where.key.read_text().strip()
    assert key.startswith("sk_live_")
    assert key not in where.config.read_text()
    assert {stat.S_IMODE(file.stat().st_mode) for file in (where.key, where.config)} == {0o600}


def test_hash_changes_with_a_limit_and_fits_a_signed_word(where: Paths) -> None:
    values = compose(where, Config())
    assert values["config_hash"] == instance.config_hash(values) < 1 << 63
    changed = json.loads(json.dumps(values))
    changed["limits"]["day_loss_ppm"] += 1
    assert instance.config_hash(changed) != values["config_hash"]


def test_paper_account_has_inventory_on_both_sides(where: Paths) -> None:
    baselines = {i["symbol"]: i["baseline"] for i in compose(where, Config())["instruments"]}
    assert baselines == {"BTC-USDC": "1", "ETH-USDC": "20"}


def test_live_without_a_venue_is_refused(where: Paths) -> None:
    with pytest.raises(ConfigError, match=r"venue\.ws_url: missing"):
        compose(where, Config(mode="live"), live=True)


def test_unknown_instance_says_how_to_start_one(where: Paths) -> None:
    with pytest.raises(InstanceError, match="pulex run"):
        instance.read("test")


def test_socket_path_that_is_too_long_is_refused(where: Paths, tmp_path: pathlib.Path) -> None:
    far = Paths(tmp_path / ("x" * 100), where.state_dir, where.shm_dir)
    with pytest.raises(InstanceError, match="XDG_RUNTIME_DIR"):
        instance.lock(far)
