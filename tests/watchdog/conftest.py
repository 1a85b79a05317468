"""A run directory with a real watchdog process, the stub exchange, and a fake execution process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.watchdog.stub import LEASE, MANAGEMENT_KEY, ROOT, Engine, Exchange, exchange_line
from watchdog.processes import start_time


class Run:
    """One test's system; this test process is the supervisor."""

    def __init__(self, path: Path) -> None:
        self.path, self.state = path, path / "state"
        self.exchange = Exchange()
        self.engine: Engine | None = None
        self.dog: subprocess.Popen[bytes] | None = None
        for name in ("state", "shm", "logs"):
            (path / name).mkdir()
        key_file = path / "management.key"
        key_file.write_text(MANAGEMENT_KEY + "\n")
        key_file.chmod(0o600)
        self.config: dict[str, Any] = {
            "instance": 1,
            "state_dir": str(self.state),
            "shm_dir": str(path / "shm"),
            "config_hash": 1,
            "code_hash": 2,
            "venue": {"rest_url": self.exchange.url, "management_key_file": str(key_file)},
            "instruments": [{"symbol": "BTC-USDC", "tick_size": "0.01", "min_quantity": "0.00001"}],
            "lease": LEASE,
        }
        (path / "config.json").write_text(json.dumps(self.config))

    def start(self) -> None:
        log = open(self.path / "logs/watchdog.log", "ab")  # noqa: SIM115
        with log:
            self.dog = subprocess.Popen([sys.executable, "-m", "watchdog", str(self.path)], cwd=ROOT, stdout=log, stderr=log)
        self.wait(lambda: bool(self.try_ask({"op": "status"})))

    def try_ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return exchange_line(self.path, request)[0]
        except OSError:
            return {}

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return exchange_line(self.path, {"op": op, **fields})[0]

    def expect(self, pid: int, start: int | None = None, role: str = "execution") -> dict[str, Any]:
        start = start_time(pid) if start is None else start
        return self.ask("expect", role=role, pid=pid, start=start, code_hash=2, config_hash=1)

    def wait(self, condition: Callable[[], bool], seconds: float = 5.0) -> float:
        """Seconds until the condition held; fails the test when it never does."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, (self.path / "logs/watchdog.log").read_text()
            time.sleep(0.01)
        return time.monotonic() - began

    def register(self) -> dict[str, Any]:
        self.engine = Engine(self.path)
        assert self.expect(self.engine.pid) == {"ok": True}
        return self.engine.ask("register")

    def trade(self) -> Engine:
        """Everything up to a granted lease, with one resting order."""
        self.start()
        assert self.ask("kill_test")["result"] == "pass"
        answer = self.register()
        assert answer["ok"], answer.get("reason")
        self.wait(lambda: bool(self.ask("arm")["ok"]))
        self.wait(lambda: self.ask("status")["state"] == "granted")
        self.exchange.rest("1")
        self.exchange.probes.clear()
        assert self.engine is not None
        return self.engine

    def latch(self) -> dict[str, Any]:
        if not (self.state / "latch.json").exists():
            return {"steps": []}
        return dict(json.loads((self.state / "latch.json").read_text()))

    def end(self) -> None:
        if self.dog is not None:
            self.dog.kill()
            self.dog.wait()
        if self.engine is not None:
            self.engine.end()
        self.exchange.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    path = tmp_path / "r"
    path.mkdir()
    assert len(os.fspath(path)) < 90  # the socket's path has 108 bytes
    system = Run(path)
    yield system
    system.end()
