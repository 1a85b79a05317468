"""A witness process with a stub exchange, and a first host that is a thread with a real beacon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.watchdog.stub import MANAGEMENT_KEY, ROOT, Exchange, exchange_line
from watchdog import telegram
from watchdog.beacon import Beacon
from watchdog.telegram import EXPOSED

SHARED = "planted_shared_secret_of_two_hosts"
BEAT_MS, STOP_MS = 50, 800


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secret_file(path: Path) -> Path:
    path.write_text(SHARED + "\n")
    path.chmod(0o600)
    return path


class Host:
    """Beats from a thread every ``BEAT_MS`` through ``beacon`` until ``stop``; ``state`` may be changed."""

    def __init__(self, send_to: str, secret: Path, beacon: Beacon | None = None) -> None:
        self.state, self.alarms, self.killed = EXPOSED, list[str](), threading.Event()
        own = telegram.read_secret(secret)
        self.beacon = beacon or Beacon(
            send_to, own, 1, BEAT_MS * 1_000_000, lambda: (self.state, 7), self.alarms.append, self.killed.set, lambda _: None
        )
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.wait(0.005):
            self.beacon.tick(time.monotonic_ns())

    def stop(self) -> float:
        """Silence from now on; the time."""
        self.ended.set()
        self.thread.join()
        self.beacon.socket.close()
        return time.monotonic()


class Far:
    """The second host. ``prefix`` is put before its command (a network namespace)."""

    def __init__(self, path: Path, listen: str, exchange: Exchange, prefix: tuple[str, ...] = (), **own: Any) -> None:
        self.path, self.exchange, self.prefix, self.listen = path, exchange, prefix, listen
        self.process: subprocess.Popen[bytes] | None = None
        self.host: Host | None = None
        (path / "state").mkdir(parents=True)
        key = path / "management.key"
        key.write_text(MANAGEMENT_KEY + "\n")
        key.chmod(0o600)
        self.secret = secret_file(path / "witness.secret")
        config = {
            "instance": 1,
            "state_dir": str(path / "state"),
            "venue": {"rest_url": exchange.url, "management_key_file": str(key)},
            "instruments": [{"symbol": "BTC-USDC", "tick_size": "0.01", "min_quantity": "0.00001"}],
            "lease": {"ttl_ns": 200_000_000},
            "witness": {"listen": listen, "secret_file": str(self.secret), "stop_ms": STOP_MS, **own},
        }
        (path / "config.json").write_text(json.dumps(config))

    def start(self) -> None:
        command = [*self.prefix, sys.executable, "-m", "watchdog.witness", str(self.path)]
        with open(self.path / "log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "NOTIFY_SOCKET": ""})
        self.wait(lambda: bool(self.ask("status")))

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        try:
            return exchange_line(self.path, {"op": op, **fields})[0]
        except OSError:
            return {}

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def wait(self, condition: Callable[[], bool], seconds: float = 8.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{(self.path / 'log').read_text()}\n{self.status()}"
            time.sleep(0.01)

    def trade(self) -> dict[str, Any]:
        """The first host has minted a trading key and rests an order; the key's row at the exchange."""
        _, row = self.exchange.keys_request("POST", "/v1/keys", {"scope": "trade", "label": "pulex-1-epoch-7-execution"})
        self.exchange.rest("1")
        return row

    def watch(self) -> dict[str, Any]:
        """Everything up to a watched host that trades."""
        self.start()
        self.wait(lambda: self.status()["kill_test"]["result"] == "pass")
        self.exchange.probes.clear()
        row = self.trade()
        self.host = Host(self.listen, self.secret)
        self.wait(lambda: self.status()["state"] == "watching")
        return row

    def wait_proven(self) -> dict[str, Any]:
        self.wait(lambda: bool((self.status().get("kill") or {}).get("proven")))
        return dict(json.loads((self.path / "state/latch.json").read_text()))

    def end(self) -> None:
        if self.host is not None and not self.host.ended.is_set():
            self.host.stop()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
