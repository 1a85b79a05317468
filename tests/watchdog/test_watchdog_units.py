"""The shipped systemd units: the manager's own check, and a watchdog process that talks to a manager."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watchdog.conftest import Run
from tests.watchdog.stub import ROOT
from tests.watchdog.test_watchdog_guards import Manager

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
INSTALLED = "/opt/pulex/.venv/bin/pulex"


def settings(unit: Path) -> dict[str, str]:
    lines = [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def complaints(unit: Path, folder: Path, *changes: tuple[str, str]) -> str:
    """What systemd-analyze says of an instance of the unit, with its program in ``folder``; it exits 0 all the same."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("NOT TESTED: systemd-analyze is absent on this host, so nobody checked the units")
    program = folder / "pulex"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = unit.read_text()
    for old, new in ((INSTALLED, str(program)), *changes):
        assert old in text
        text = text.replace(old, new)
    made = folder / unit.name.replace("@", "@main")
    made.write_text(text)
    done = subprocess.run([tool, "verify", str(made)], capture_output=True, text=True)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"code {done.returncode}")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_manager_has_no_complaint(unit: Path, tmp_path: Path) -> None:
    assert complaints(unit, tmp_path) == ""


@pytest.mark.parametrize("change", [("WatchdogSec=30", "WatchDogSec=30"), ("Type=notify", "Type=notfy")])
def test_a_wrong_unit_would_be_noticed(change: tuple[str, str], tmp_path: Path) -> None:
    assert "main.service" in complaints(UNITS[0], tmp_path, change)


def test_there_is_a_unit_for_each_host() -> None:
    assert [unit.name for unit in UNITS] == ["pulex-witness@.service", "pulex@.service"]


def test_the_unit_lets_the_watchdog_outlive_everything_else() -> None:
    own = settings(ROOT / "deploy/systemd/pulex@.service")
    assert (own["Type"], own["NotifyAccess"], own["WatchdogSec"]) == ("notify", "all", "30")
    assert own["KillMode"] == "process"  # a dead supervisor must not take the watchdog with it
    assert own["OOMPolicy"] == "continue"
    assert own["RuntimeDirectoryPreserve"] == "yes"  # children.json
    assert int(own["TimeoutStopSec"]) > 60  # longer than a kill may take


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Must be asked for before ``run``, so that its process finds it."""
    made = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    yield made
    made.socket.close()


def until(manager: Manager, name: str) -> dict[str, str]:
    """The next datagram with that assignment."""
    manager.socket.settimeout(5)
    while True:
        text = manager.socket.recv(4096).decode()
        found = dict(line.split("=", 1) for line in text.splitlines())
        if name in found:
            return found


def test_a_watchdog_says_ready_lives_tells_its_state_and_stops(manager: Manager, run: Run) -> None:
    run.start()
    assert until(manager, "READY")["STATUS"] == "lease withheld, epoch 0"
    assert until(manager, "WATCHDOG") == {"WATCHDOG": "1"}
    run.ask("halt", reason="lunch")
    assert until(manager, "STATUS")["STATUS"] == "lease withdrawn, epoch 0, latched: halted: lunch"
    assert run.ask("stop") == {"ok": True}
    assert until(manager, "STOPPING")["STATUS"] == "ended, nothing left open"


def test_a_watchdog_that_hangs_gives_no_sign_of_life_though_its_process_is_there(manager: Manager, run: Run) -> None:
    run.start()
    until(manager, "WATCHDOG")
    assert run.dog is not None
    run.dog.send_signal(signal.SIGSTOP)
    manager.socket.setblocking(False)
    manager.heard()
    manager.socket.settimeout(0.3)  # six times the period
    with pytest.raises(socket.timeout):
        manager.socket.recv(4096)
    assert run.dog.poll() is None
    run.dog.send_signal(signal.SIGCONT)
    until(manager, "WATCHDOG")
