"""The witness's configuration, and ``pulex witness`` as a command."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fabric.jit import ROOT
from ops import config as configuration
from ops import instance
from ops.config import ConfigError
from ops.instance import Paths
from ops.witness import compose, prepare
from tests.watchdog.far_host import Host, free_port, secret_file
from tests.watchdog.stub import MANAGEMENT_KEY, Exchange, exchange_line


def toml(folder: pathlib.Path, exchange_url: str, listen: str) -> pathlib.Path:
    key = folder / "own.key"
    key.write_text(MANAGEMENT_KEY + "\n")
    key.chmod(0o600)
    file = folder / "far.toml"
    file.write_text(
        f'name = "test"\n[venue]\nrest_url = "{exchange_url}"\nmanagement_key_file = "{key}"\n'
        f'[witness]\nlisten = "{listen}"\nsecret_file = "{secret_file(folder / "shared")}"\nbeat_ms = 50\nstop_ms = 600\n'
    )
    return file


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"send_to": "192.0.2.1:7"}, "secret_file"),
        ({"listen": "witness.example:7", "secret_file": "s"}, "ADDRESS:PORT"),
        ({"listen": "192.0.2.1", "secret_file": "s"}, "ADDRESS:PORT"),
        ({"listen": "192.0.2.1:0", "secret_file": "s"}, "ADDRESS:PORT"),
        ({"beat_ms": 200, "stop_ms": 999}, "5 x beat_ms"),
        ({"listen": "[2001:db8::1]:7", "secret_file": "s", "beat_s": 1}, "did you mean|write beat_ms"),
    ],
)
def test_a_witness_table_that_cannot_work_is_refused_with_what_to_do(table: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        configuration.parse({"witness": table}, "pulex.toml")


@pytest.mark.parametrize(("section", "key"), [("witness", "listen"), ("venue", "rest_url")])
def test_what_a_witness_cannot_do_without_is_named(section: str, key: str, where: Paths) -> None:
    tables = {
        "witness": {"listen": "127.0.0.1:7", "secret_file": "s"},
        "venue": {"rest_url": "http://127.0.0.1:1", "management_key_file": "k"},
    }
    del tables[section][key]
    with pytest.raises(ConfigError, match=f"{section}.{key}: missing"):
        compose(configuration.parse(tables, "far.toml"), where, "far.toml")


@pytest.mark.parametrize(
    ("venue", "kill", "text"),
    [
        ({}, {}, "exactly one of management_key_file, management_key_credential and"),
        ({"management_key_file": "k", "management_key_credential": "c"}, {}, "exactly one of"),
        ({"management_key_file": "k"}, {"revokers": [{"kind": "timer", "length_ms": 10_000, "least_ms": 1000}]}, "has none"),
    ],
)
def test_a_witness_has_one_source_of_its_key_and_no_revokers(
    venue: dict[str, str], kill: dict[str, object], text: str, where: Paths
) -> None:
    tables = {"witness": {"listen": "127.0.0.1:7", "secret_file": "s"}, "venue": {"rest_url": "http://127.0.0.1:1", **venue}}
    with pytest.raises(ConfigError, match=text):
        compose(configuration.parse({**tables, "kill": kill}, "far.toml"), where, "far.toml")


def test_its_key_may_come_from_the_service_manager(where: Paths) -> None:
    venue = {"rest_url": "http://127.0.0.1:1", "management_key_credential": "key"}
    tables = {"witness": {"listen": "127.0.0.1:7", "secret_file": "s"}, "venue": venue}
    assert compose(configuration.parse(tables, "far.toml"), where, "far.toml")["venue"]["management_key_credential"] == "key"


def test_its_directories_are_its_own_and_hold_no_secret(tmp_path: pathlib.Path, where: Paths) -> None:
    run_dir, lock = prepare(str(toml(tmp_path, "http://127.0.0.1:1", "127.0.0.1:7")), None)
    config = json.loads((run_dir / "config.json").read_text())
    assert (config["name"], config["mode"]) == ("test-witness", "witness")
    assert config["state_dir"] != str(where.state_dir)
    assert MANAGEMENT_KEY not in (run_dir / "config.json").read_text()
    assert instance.running(instance.paths("test-witness"))
    with pytest.raises(instance.InstanceError, match="already running"):
        prepare(str(tmp_path / "far.toml"), None)
    os.close(lock)


def test_the_command_watches_kills_and_is_asked_by_name(tmp_path: pathlib.Path, where: Paths) -> None:
    exchange = Exchange()
    listen = f"127.0.0.1:{free_port()}"
    file = toml(tmp_path, exchange.url, listen)
    run_dir = instance.paths("test-witness").run_dir
    process = subprocess.Popen([sys.executable, "-m", "ops", "witness", "--config", str(file)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not (run_dir / "watchdog.sock").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        _, row = exchange.keys_request("POST", "/v1/keys", {"scope": "trade", "label": "pulex-1-epoch-7-execution"})
        exchange.rest("1")
        host = Host(listen, tmp_path / "shared")
        while exchange_line(run_dir, {"op": "status"})[0]["state"] != "watching":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        host.stop()
        status = [sys.executable, "-m", "ops", "status", "--name", "test-witness"]
        while True:
            shown = json.loads(subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
            if (shown["kill"] or {}).get("proven"):
                break
            assert time.monotonic() < deadline
        assert row["revoked"] is True
        assert exchange.orders == {}
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        exchange.close()
