"""The whole system as its user starts it: ``python -m ops run`` in a home of its own, seen from outside.

A ``House`` writes the TOML file, starts the run, and waits until the exchange's ledger shows a resting order, which needs an
armed system. Everything asserted about trading comes from the exchange's ledger and its timestamps (wall time in us, the
same clock as ``now_us``), never from our own counters. Nothing survives ``close``: call it (or use ``with``) always.

    with House(tmp_path) as house:
        house.start({"lease": {"kill_ns": 600_000_000}})
        os.kill(house.pid("execution"), signal.SIGSTOP)
        code, summary = house.end()
        assert resting(house.last_ledger) == []
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from fabric.jit import ROOT, cache_dir
from ops import instance
from watchdog.client import WatchdogError, request

START_S = 600.0  # a changed source file is compiled first; with the cache it is a few seconds
POLL_S = 0.05
NAME = "paper"
Ledger = dict[str, Any]


def now_us() -> int:
    """The exchange's clock: wall time in us."""
    return time.time_ns() // 1000


def resting(ledger: Ledger, at_us: int | None = None) -> list[dict[str, Any]]:
    """Our orders open in the book, now or at an earlier time of the ledger's clock."""
    accepted = [order for order in ledger["orders"] if order["status"] != "rejected"]
    if at_us is None:
        return [order for order in accepted if order["status"] == "open"]
    return [o for o in accepted if o["received_ts"] <= at_us and (o["status"] == "open" or o["ended_ts"] > at_us)]


def accepted_after(ledger: Ledger, at_us: int) -> list[dict[str, Any]]:
    """Our orders that the exchange took later than that."""
    return [order for order in ledger["orders"] if order["status"] != "rejected" and order["received_ts"] > at_us]


def toml(values: dict[str, Any]) -> str:
    """A dict as TOML, tables inline."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in values.items())


class House:
    """One instance in ``home``, an existing empty directory with a short path (the socket's is limited to 107 bytes)."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        with pytest.MonkeyPatch.context() as patch:
            for key, value in self._directories().items():
                patch.setenv(key, value)
            where = instance.paths(NAME)
        self.run_dir, self.state_dir, self.shm_dir = where.run_dir, where.state_dir, where.shm_dir
        self.output = home / "output.txt"
        self.summary = home / "summary.json"
        self.process: subprocess.Popen[bytes] | None = None
        self.last_ledger: Ledger = {}

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- running

    def start(self, config: dict[str, Any] | str = "", *arguments: str, until: str = "trading") -> None:
        """Start a run. ``until``: "trading" (a resting order in the ledger), "venue" (the exchange answers), "" (no wait).

        ``config`` is TOML text or a dict of it; ``arguments`` follow ``run --headless --signal rules --json FILE``.
        """
        (self.home / "run").mkdir(mode=0o700, exist_ok=True)
        file = self.home / "pulex.toml"
        file.write_text(config if isinstance(config, str) else toml(config))
        self.summary.unlink(missing_ok=True)
        (self.run_dir / "config.json").unlink(missing_ok=True)  # of the run before: this one writes its own
        command = ["run", "--headless", "--signal", "rules", "--json", str(self.summary), "--config", str(file), *arguments]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops", *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=self.env(),
            )  # fmt: skip
        if until:
            self.wait(self.venue_answers, START_S, "the exchange to answer")
        if until == "trading":
            self.wait_trading()

    def wait_trading(self) -> None:
        """Until one of our orders rests in the book."""
        self.wait(lambda: bool(resting(self.ledger())), START_S, "a resting order")

    def env(self) -> dict[str, str]:
        """The environment of a user whose home this is; compiled kernels are shared with everybody."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PULEX_"))}
        return inherited | self._directories() | {"PULEX_CACHE_DIR": str(cache_dir())}

    def _directories(self) -> dict[str, str]:
        own = {"HOME": self.home, "XDG_RUNTIME_DIR": self.home / "run", "XDG_STATE_HOME": self.home / "state"}
        return {key: str(path) for key, path in own.items()}

    def cli(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Another ``pulex`` command of the same user, for example ``cli("kill", "--reason", "x")``."""
        command = [sys.executable, "-m", "ops", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.env(), capture_output=True, text=True, timeout=timeout_s)

    def wait(self, predicate: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Until ``predicate()``; AssertionError with the run's output when it takes too long or the run has ended."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"the run ended while the test waited for {what}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {timeout_s} s\n{self.tail()}")
            time.sleep(POLL_S)

    def end(self, timeout_s: float = 60.0) -> tuple[int, dict[str, Any]]:
        """Wait until the run and all its processes have ended by themselves: (exit code, summary).

        ``last_ledger`` is read all the way until the exchange goes.
        """
        assert self.process
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None or self.survivors():
            assert time.monotonic() < deadline, f"the run did not end in {timeout_s} s\n{self.tail()}"
            with contextlib.suppress(OSError):
                self.ledger()
            time.sleep(POLL_S)
        summary = json.loads(self.summary.read_text()) if self.summary.exists() else {}
        return self.process.returncode, summary

    def stop(self, timeout_s: float = 60.0) -> tuple[int, dict[str, Any]]:
        """Ctrl-C, then as ``end``."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.end(timeout_s)

    def close(self) -> list[int]:
        """Kill whatever of this run still lives and remove its shared memory; returns the pids that were left."""
        left = self.survivors()
        if self.process and self.process.poll() is None:  # first, so that it restarts nobody
            self.process.kill()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait()
        shutil.rmtree(self.shm_dir, ignore_errors=True)
        return left

    def survivors(self) -> list[int]:
        """Living processes with this run directory on their command line; the supervisor is not among them."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.run_dir).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    # --- looking

    @property
    def config(self) -> dict[str, Any]:
        """config.json of the latest run; empty until that is written."""
        try:
            values: dict[str, Any] = json.loads((self.run_dir / "config.json").read_text())
        except (OSError, ValueError):
            return {}
        return values

    def pid(self, role: str) -> int:
        """Of a role's newest process: supervisor, venue, watchdog, journal, feed, execution, signal."""
        if role == "supervisor":
            assert self.process
            return self.process.pid
        return int(json.loads((self.run_dir / "children.json").read_text())[role][0])

    def watchdog(self) -> dict[str, Any]:
        """The watchdog's status answer; empty while it does not answer."""
        try:
            return request(self.run_dir, {"op": "status"}, timeout_s=2.0)[0]
        except WatchdogError:
            return {}

    def tail(self, lines: int = 15) -> str:
        """The ends of the run's output and of its logs, for a failed assertion."""
        files = [self.output, *sorted((self.run_dir / "logs").glob("*.log"))]
        found = [(file.name, file.read_text(errors="replace").splitlines()[-lines:]) for file in files if file.exists()]
        return "\n".join(f"--- {name}\n" + "\n".join(text) for name, text in found if text)

    # --- the exchange's side channel

    def venue_answers(self) -> bool:
        """The exchange is up."""
        try:
            return "exchange_ts" in self._call("GET", "/v1/time")
        except OSError:
            return False

    def ledger(self) -> Ledger:
        """Everything that happened, as the exchange saw it. Raises OSError once the exchange is gone."""
        self.last_ledger = self._call("GET", "/sim/ledger")
        return self.last_ledger

    def faults(self, **switches: Any) -> None:
        """Make the exchange misbehave: docs/wire-protocol.md, POST /sim/faults."""
        self._call("POST", "/sim/faults", switches)

    def order(
        self, side: str, quantity: str, price: str | None = None, kind: str = "market", symbol: str = "BTC-USDC"
    ) -> dict[str, Any]:
        """An order of the anonymous second account, so that a test can trade against ours; the ack or the reject."""
        body: dict[str, Any] = {"side": side, "symbol": symbol, "type": kind, "quantity": quantity}
        return self._call("POST", "/sim/order", body if price is None else body | {"price": price})

    def management_key(self) -> str:
        """The paper exchange's management key."""
        return pathlib.Path(self.config["venue"]["management_key_file"]).read_text().strip()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        config = self.config
        if not config:
            raise OSError("the run has not written its configuration yet")
        headers = {"X-API-Key": self.management_key(), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(config["venue"]["rest_url"] + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(call, timeout=5.0) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as refusal:  # a refused order is an answer
            found = json.load(refusal)
        return found
