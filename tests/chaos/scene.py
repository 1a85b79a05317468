"""A house for chaos: the real system, warm, with its ledger, and the words in which faults are written.

One ``Scene`` is one home with one configuration. It meets many faults one after the other; what is killed is resumed by an
operator and stands again (``tests.chaos.warm``). Nothing of it survives ``close``.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from fabric.jit import ROOT, cache_dir
from fabric.segment import process_start
from ops import config as configuration
from ops import instance
from ops.placement import place, read_host
from risk import limits as risk_limits
from tests.chaos.judge import Ledger, trading_keys
from tests.chaos.strategies import tireless
from tests.system.house import NAME, House, now_us
from watchdog.client import WatchdogError, request

HERE = pathlib.Path(__file__).parent
SYMBOL = "BTC-USDC"
READY_S, POLL_S = 40.0, 0.01
GENTLE_S = 0.04  # between two looks at the exchange, which has other work
BUDGET = {"budget_messages": 1000, "budget_window_ms": 1000}
STRATEGY = str(pathlib.Path(tireless.__file__))
# Wide, so that nothing but the rate binds.
LIMITS: dict[str, Any] = risk_limits.profile("aggressive") | {
    "profile": "aggressive",
    "day_loss_ppm": 900_000,
    "drawdown_ppm": 900_000,
    "position_ppm": 1_000_000,
    "gross_exposure_ppm": 3_000_000,
    "losses_in_row": 10**9,
    "slippage_ppm": 900_000,
    "duplicate_window_ns": 0,
    "rejects_in_row": 10**9,
    "order_rate_per_s": 60,  # a burst of all of them is no runaway
    "unsent_bytes_max": 4096,
}
CONFIG: dict[str, Any] = {
    "mode": "live",  # on an exchange that outlives the house, so that the account goes on after a kill
    "instruments": [
        {"symbol": SYMBOL, "base": "BTC", "quote": "USDC", "tick_size": "0.01", "lot_size": "0.00001", "baseline": "1"}
    ],
    "limits": LIMITS,
    "signal": {"source": "none"},
    "strategies": [
        {"name": "rests", "file": STRATEGY, "parameters": {"role": 0}},
        {"name": "sends", "file": STRATEGY, "parameters": {"role": 1}},
    ],
    "tiers": {"lapsing": "lapse"},  # many faults in a minute are the plan here
}


# `python -m sim`, which ends with us: nobody else would end it.
EXCHANGE = "import ctypes, sys; ctypes.CDLL(None).prctl(1, 9); from sim.__main__ import main; sys.exit(main(sys.argv[1:]))"


def gone(pid: int) -> bool:
    """Ended; a zombie counts."""
    try:
        return b") Z" in pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


class ChaosError(AssertionError):
    """A house that did not do what its fault asked of it; the text has the ends of its logs.

    ``figures``: what the ledger said, where it had been asked; a failure counts in the histograms.
    """

    figures: dict[str, Any] = {}


class Warm:
    """The process from which houses are forked; shared by all scenes of a run."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.lock = threading.Lock()

    def start(self, run_dir: pathlib.Path, planted: str, preload: dict[str, str]) -> int:
        """Fork a house; its supervisor's pid. What has to be in the environment from the first has a process of its own."""
        name = preload.get("CHAOS_CLOCKS", "")
        if name not in self.processes:
            self.processes[name] = self._begin(run_dir, preload)
        return self._ask({"run_dir": str(run_dir), "planted": planted}, name)

    def _ask(self, message: dict[str, Any], name: str = "") -> int:
        process = self.processes[name]
        assert process.stdin
        assert process.stdout
        with self.lock:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            return int(json.loads(process.stdout.readline())["pid"])

    def second(self, run_dir: pathlib.Path) -> int:
        """Another execution process of a house that has one; its pid."""
        return self._ask({"run_dir": str(run_dir), "second": True})

    def _begin(self, run_dir: pathlib.Path, preload: dict[str, str]) -> subprocess.Popen[str]:
        env = os.environ | {"PULEX_CACHE_DIR": str(cache_dir()), "OPENBLAS_NUM_THREADS": "1"} | preload
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.warm", str(run_dir)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env,
        )  # fmt: skip
        assert process.stdout
        assert json.loads(process.stdout.readline()) == {"ready": True}
        return process

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            with process:  # closes its pipes
                process.wait()


class Scene(House):
    """See the module. ``rng`` decides what the seed decides; ``fault_us`` is the moment of the fault."""

    def __init__(
        self,
        home: pathlib.Path,
        warm: Warm,
        planted: str = "plain",
        changes: dict[str, Any] | None = None,
        preload: dict[str, str] | None = None,
    ) -> None:
        super().__init__(home)
        self.warm, self.planted, self.changes, self.preload = warm, planted, changes or {}, preload or {}
        self.rng, self.fault_us, self.stand, self.stand_start = random.Random(0), 0, 0, 0
        self.venue: dict[str, str] = {}
        self.stranger = 0
        self.exchange: subprocess.Popen[bytes] | None = None

    # --- standing

    def open_exchange(self) -> None:
        """The paper exchange as a process of its own, with its own directory and management key."""
        place_ = self.home / "exchange"
        place_.mkdir(mode=0o700)
        where = instance.Paths(place_, place_, place_)
        paper = configuration.parse({"instruments": CONFIG["instruments"], "paper": {"seed": 7}}, "chaos")
        config = instance.compose(paper, where, place(read_host()), source="chaos")
        config["venue"] |= BUDGET
        instance.write(where, config)
        self.venue = {name: config["venue"][name] for name in ("ws_url", "rest_url", "management_key_file")}
        with (place_ / "log").open("wb") as log:
            command = [sys.executable, "-c", EXCHANGE, str(place_)]
            self.exchange = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        with contextlib.suppress(OSError):  # it plays another machine: what keeps ours busy does not slow it
            os.setpriority(os.PRIO_PROCESS, self.exchange.pid, -5)
        self.until(self.venue_answers, READY_S, "the exchange")

    def build(self) -> None:
        """A new supervisor in this home, up to trading; an operator resumes what is latched."""
        (self.home / "run").mkdir(mode=0o700, exist_ok=True)
        where = instance.Paths(self.run_dir, self.state_dir, self.shm_dir)
        lock = instance.lock(where)
        try:
            instance.clean(where)
            (self.run_dir / "spawned").unlink(missing_ok=True)
            if self.exchange is None:
                self.open_exchange()
            config = configuration.parse(CONFIG | {"name": NAME, "venue": self.venue | BUDGET} | self.changes, "chaos")
            instance.write(where, instance.compose(config, where, place(read_host()), live=True, source="chaos"))
        finally:
            os.close(lock)
        self.stand = self.warm.start(self.run_dir, self.planted, self.preload)
        self.stand_start = process_start(self.stand)
        self.until(lambda: self._resumed() or not self.standing(), READY_S, "a watchdog")
        self.until(lambda: self._armed() or not self.standing(), READY_S, "an armed house")
        if not self.standing():
            raise ChaosError(f"the house did not start\n{self.tail()}")
        self.until(lambda: len(self.open_orders()) >= 2, READY_S, "resting orders", GENTLE_S)

    def _armed(self) -> bool:
        return bool(self.tell("state", quiet=True).get("armed"))

    def _resumed(self) -> bool:
        status = self.watchdog()
        if status.get("latched"):
            self.ask(op="resume", operator="chaos", reason="the fault was looked at")
        return bool(status) and not status.get("latched")

    def again(self) -> dict[str, Any]:
        """Stand again after whatever happened: resume and restart, or build anew when the supervisor is gone."""
        self.faults(
            revoke="normal", revoked_sessions_stay=False, cancel_on_disconnect=False, stop_reading_s=0, reject_all=False
        )
        answer = self.tell("again")
        if not answer.get("ok"):
            raise ChaosError(f"the house does not stand again: {answer.get('reason')}\n{self.tail()}")
        self.until(lambda: len(self.open_orders()) >= 2, READY_S, "resting orders", GENTLE_S)
        return answer

    def standing(self) -> bool:
        """Its supervisor lives."""
        return process_start(self.stand) == self.stand_start

    def tell(self, op: str, quiet: bool = False) -> dict[str, Any]:
        """A word to the supervisor of this stand, and its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60.0)
            try:
                connection.connect(str(self.run_dir / "stand.sock"))
                connection.sendall(json.dumps({"op": op}).encode())
                answer: dict[str, Any] = json.loads(connection.recv(65536))
            except OSError:
                if quiet:
                    return {}
                raise
        return answer

    def ask(self, **message: Any) -> dict[str, Any]:
        """A question to the watchdog; empty while it does not answer."""
        with contextlib.suppress(WatchdogError):
            return request(self.run_dir, message, timeout_s=5.0)[0]
        return {}

    def until(self, predicate: Callable[[], bool], timeout_s: float, what: str, every_s: float = POLL_S) -> None:
        """A fine wait; ChaosError with the logs' ends when it takes too long."""
        end = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError):
                if predicate():
                    return
            if time.monotonic() > end:
                raise ChaosError(f"{what}: not within {timeout_s} s\n{self.tail()}")
            time.sleep(every_s)

    def survivors(self) -> list[int]:
        """Living processes that this house has started, and its supervisor."""
        found = []
        with contextlib.suppress(OSError):
            for line in (self.run_dir / "spawned").read_text().splitlines():
                pid, start = map(int, line.split())
                if start and process_start(pid) == start and not gone(pid):
                    found.append(pid)
        return found + ([self.stand] if self.stand and self.standing() else [])

    def close(self) -> list[int]:
        left = self.survivors()
        for pid in reversed(left):  # the supervisor first, so that it restarts nobody
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.exchange:
            self.exchange.kill()
            self.exchange.wait()
        super().close()
        return left

    def pid(self, role: str) -> int:
        return self.stand if role == "supervisor" else super().pid(role)

    # --- the exchange

    def management_key(self) -> str:
        return pathlib.Path(self.venue["management_key_file"]).read_text().strip()

    @property
    def config(self) -> dict[str, Any]:
        """The house's config.json; where the exchange is, before there is one."""
        return super().config or {"venue": self.venue}

    def open_orders(self) -> list[dict[str, Any]]:
        """What rests now."""
        return list(self._call("GET", "/v1/orders/open")["orders"])

    def since(self, at_us: int) -> Ledger:
        """The ledger from that time on."""
        self.last_ledger = self._call("GET", f"/sim/ledger?since={at_us}")
        return self.last_ledger

    def revoke(self, key_id: str) -> None:
        """Somebody takes a key away at the venue."""
        self._call("DELETE", f"/v1/keys/{key_id}")

    def command(self, mode: int) -> None:
        """Tell the strategy how to send: past the exchange's own market."""
        word = mode * tireless.NUMBERS + self.rng.randrange(tireless.NUMBERS)
        price, size = f"{tireless.MARK // 100}.{tireless.MARK % 100:02d}", f"{word // 100_000}.{word % 100_000:05d}"
        trade = {"type": "trade", "price": price, "size": size, "side": "buy", "trade_id": time.time_ns() // 1000}
        text = json.dumps(trade | {"symbol": SYMBOL, "exchange_ts": now_us(), "index": -1})
        for _ in range(3):  # a strategy that is not asked at this moment would not hear it; a word counts once
            self.faults(raw=text)

    # --- faults

    def mark(self) -> int:
        """The fault begins now."""
        self.fault_us = now_us()
        return self.fault_us

    def signal(self, role: str, number: int) -> int:
        """Signal one process of the house; its pid."""
        pid = self.pid(role)
        os.kill(pid, number)
        return pid

    def plant(self, word: str) -> None:
        """Tell the planted execution what to do."""
        file = self.run_dir / "planted.new"
        file.write_text(word)
        file.rename(self.run_dir / "planted")

    def set_clock(self, word: int, ns: int) -> None:
        """Wall clock (0), boot clock (1) of our processes ahead by so much; or how long each of their fsyncs takes (2)."""
        with open(self.preload["CHAOS_CLOCKS"], "r+b") as file:
            file.seek(word * 8)
            file.write(ns.to_bytes(8, "little"))

    # --- what became of it

    def latch(self) -> dict[str, Any]:
        """The durable latch, empty while there is none."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.state_dir / "latch.json").read_text())
            return found
        return {}

    def proven(self) -> bool:
        latch = self.latch()
        return latch.get("kind") == "kill" and latch.get("proven") is True

    def next_epoch(self) -> bool:
        """A later key than those of the fault has sent an order."""
        ledger = self.since(self.fault_us)
        new = {key["key_id"] for key in trading_keys(ledger) if key["created_ts"] > self.fault_us}
        return any(order["key_id"] in new and order["status"] != "rejected" for order in ledger["orders"])
