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

from tests.watchdog.stub import MANAGEMENT_KEY, ROOT, Engine, Exchange, Feed, configuration, exchange_line
from watchdog import hashes
from watchdog.processes import start_time


class Run:
    """One test's system; this test process is the supervisor."""

    def __init__(self, path: Path) -> None:
        self.path, self.state = path, path / "state"
        self.exchange = Exchange()
        self.engine: Engine | None = None
        self.answer: dict[str, Any] = {}
        self.feed: Feed | None = None
        self.dog: subprocess.Popen[bytes] | None = None
        for name in ("state", "shm", "logs"):
            (path / name).mkdir()
        key_file = path / "management.key"
        key_file.write_text(MANAGEMENT_KEY + "\n")
        key_file.chmod(0o600)
        self.config = configuration(path, self.exchange.url, key_file)
        self.configure()

    def configure(self, **values: Any) -> None:
        """Write config.json, with these sections changed."""
        values = {name: self.config[name] | value if isinstance(value, dict) else value for name, value in values.items()}
        self.config |= values
        self.config["config_hash"] = hashes.config_hash(self.config)
        (self.path / "config.json").write_text(json.dumps(self.config))

    def start(self, command: list[str] | None = None) -> None:
        """The watchdog (by ``command``, when something has to be around it), and a feed that it is told of."""
        command = command or [sys.executable, "-m", "watchdog", str(self.path)]
        log = open(self.path / "logs/watchdog.log", "ab")  # noqa: SIM115
        with log:
            self.dog = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.wait(lambda: bool(self.try_ask({"op": "status"})))
        if self.feed is None:
            self.feed = Feed(self.path / "shm", self.config)
        assert self.expect(os.getpid(), role="feed") == {"ok": True}

    def try_ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return exchange_line(self.path, request)[0]
        except OSError:
            return {}

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return exchange_line(self.path, {"op": op, **fields})[0]

    def expect(self, pid: int, start: int | None = None, role: str = "execution") -> dict[str, Any]:
        start = start_time(pid) if start is None else start
        return self.ask("expect", role=role, pid=pid, start=start, **self.own_hashes())

    def own_hashes(self) -> dict[str, int]:
        return {name: self.config[name] for name in hashes.OWN_HASHES}

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
        self.answer = self.engine.ask("register")
        return self.answer

    def trade(self, command: list[str] | None = None) -> Engine:
        """Everything up to a granted lease, with one resting order."""
        self.start(command)
        engine = self.trade_started()
        self.exchange.rest("1")
        self.exchange.probes.clear()
        return engine

    def trade_started(self) -> Engine:
        """From a watchdog that runs to a granted lease."""
        assert self.ask("kill_test")["result"] == "pass"
        answer = self.register()
        assert answer["ok"], answer.get("reason")
        self.wait(lambda: bool(self.ask("arm")["ok"]))
        self.wait(lambda: self.ask("status")["state"] == "granted")
        assert self.engine is not None
        return self.engine

    def killed(self, seconds: float = 5.0) -> dict[str, Any]:
        """Wait for a proven kill; its record."""
        self.wait(lambda: bool((self.ask("status")["kill"] or {}).get("proven")), seconds)
        return self.latched()

    def latched(self, seconds: float = 5.0) -> dict[str, Any]:
        """The latch of a proven kill; the watchdog tells before the disk has taken it."""
        self.wait(lambda: bool(self.latch().get("proven")), seconds)
        return self.latch()

    def lapsed(self, fault: str, seconds: float = 5.0) -> None:
        """Wait for a lapse for this reason."""
        self.wait(lambda: self.ask("status")["state"] == "lapsed", seconds)
        assert self.ask("status")["reason"].startswith(f"lapsed: {fault}:"), self.ask("status")["reason"]

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
        if self.feed is not None:
            self.feed.end()
        self.exchange.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    path = tmp_path / "r"
    path.mkdir()
    assert len(os.fspath(path)) < 90  # the socket's path has 108 bytes
    system = Run(path)
    yield system
    system.end()
