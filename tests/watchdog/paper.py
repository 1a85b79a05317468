"""A run directory with a real watchdog and the real paper exchange, both as processes; the fake execution of ``stub``."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.watchdog.conftest import Run
from tests.watchdog.stub import MANAGEMENT_KEY, ROOT, Engine

INSTRUMENT = {
    "symbol": "BTC-USDC", "base": "BTC", "quote": "USDC", "kind": "spot", "tick_size": "0.01", "lot_size": "0.00001",
    "min_quantity": "0.00001", "max_quantity": "10", "min_notional": "10", "maker_fee_ppm": 200, "taker_fee_ppm": 500,
    "baseline": "1",
}  # fmt: skip


class Caller:
    """REST calls with one key over one connection; ``None`` as status when nobody answers."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.connection: http.client.HTTPConnection | None = None

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int | None, dict[str, Any]]:
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
            data = None if body is None else json.dumps(body)
            self.connection.request(method, path, data, {"X-API-Key": self.key})
            answer = self.connection.getresponse()
            return answer.status, json.load(answer)
        except (OSError, http.client.HTTPException):
            self.close()
            return None, {}

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Nobody:
    """What ``Run`` has for the stub exchange; the ledger of the real one is asked instead."""

    def __init__(self) -> None:
        self.probes: list[Any] = []
        self.url = "http://127.0.0.1:1"

    def rest(self, _order_id: str) -> None: ...

    def close(self) -> None: ...


class PaperRun(Run):
    """``venue`` and ``kill`` are tables of config.json beside the usual ones."""

    def __init__(self, path: Path, venue: dict[str, Any] | None = None, revokers: list[dict[str, Any]] | None = None) -> None:
        super().__init__(path)
        self.exchange.close()
        self.exchange = Nobody()  # type: ignore[assignment]
        self.config["paper"] = {"ws_port": 0, "rest_port": 0, "seed": 1, "balance": "1000000", "start": "at_once", "speed": 1}
        self.config["instruments"] = [INSTRUMENT]
        self.config["venue"] |= venue or {}
        self.config["kill"] = {"revokers": revokers or []}
        self.config["limits"] = {}  # a storm of orders is no matter of the independent view here
        self.configure()
        self.sim = subprocess.Popen(
            [sys.executable, "-m", "sim", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, stderr=subprocess.STDOUT
        )
        assert self.sim.stdout is not None
        line = self.sim.stdout.readline()
        assert line.startswith("venue ready"), line
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.config["venue"] |= {"ws_url": words["ws"], "rest_url": words["rest"]}
        self.configure()
        self.port = int(words["rest"].rpartition(":")[2])
        self.manage = Caller(self.port, MANAGEMENT_KEY)

    def trade_started(self) -> Engine:
        """The account of this exchange begins flat, and the fake engine says so; many open orders never surprise it."""
        engine = super().trade_started()
        engine.ask("position 0")
        engine.ask("open_orders 100000")
        return engine

    def ledger(self) -> dict[str, Any]:
        return self.manage("GET", "/sim/ledger")[1]

    def faults(self, **switches: Any) -> None:
        assert self.manage("POST", "/sim/faults", switches)[0] == 200

    def open_orders(self) -> int:
        return sum(order["status"] == "open" for order in self.ledger()["orders"])

    def timer_events(self) -> list[str]:
        return [event["what"] for event in self.ledger()["timer"]]

    def trade_key(self) -> str:
        """A trading key that the watchdog did not mint: for what a test does beside the fake execution."""
        return str(self.manage("POST", "/v1/keys", {"scope": "trade", "label": "test"})[1]["api_key"])

    def end(self) -> None:
        super().end()
        self.manage.close()
        self.sim.kill()
        self.sim.wait()
        assert self.sim.stdout is not None
        self.sim.stdout.close()


def order(number: int, window_ms: int = 1000) -> dict[str, Any]:
    """A bid far below the market, which rests."""
    return {
        "action": "place_order", "client_order_id": str(number), "symbol": "BTC-USDC", "side": "buy", "quantity": 0.001,
        "price": 20000.0, "type": "limit", "reduce_only": False, "timestamp": time.time_ns() // 10**6, "recv_window": window_ms,
    }  # fmt: skip


class Storm(threading.Thread):
    """Orders and cancels of one key's session at ``per_s`` messages a second, until ``stop`` or until the venue closes it.

    ``heard`` counts the answers by type, with the reason of a refusal; ``closed`` is the venue's close code.
    """

    def __init__(self, url: str, key: str, per_s: float) -> None:
        super().__init__(daemon=True)
        self.open = contextlib.ExitStack()
        self.session = self.open.enter_context(connect(url, additional_headers={"X-API-Key": key}, compression=None))
        self.session.send(json.dumps({"action": "subscribe", "channels": ["fills"]}))
        self.per_s, self.sent, self.closed = per_s, 0, 0
        self.heard: collections.Counter[str] = collections.Counter()
        self.stopping = threading.Event()
        self.listener = threading.Thread(target=self._listen, daemon=True)

    def run(self) -> None:
        self.listener.start()
        began = time.monotonic()
        with contextlib.suppress(ConnectionClosed):
            while not self.stopping.wait(0.005):
                while self.sent < (time.monotonic() - began) * self.per_s:
                    self.session.send(json.dumps(self._message(self.sent)))
                    self.sent += 1

    @staticmethod
    def _message(number: int) -> dict[str, Any]:
        if number % 2 == 0:
            return order(10_000 + number)
        return {"action": "cancel_order", "client_order_id": str(10_000 + number - 1)}

    def _listen(self) -> None:
        try:
            for frame in self.session:
                message = json.loads(frame)
                self.heard[" ".join([message["type"], message.get("reason", "")]).strip()] += 1
        except ConnectionClosed:
            pass
        self.closed = self.session.close_code or 0

    def refused(self) -> int:
        return self.heard["reject rate_limited"] + self.heard["error rate_limited"]

    def stop(self) -> None:
        self.stopping.set()
        self.join(10.0)
        self.open.close()
        self.listener.join(10.0)
