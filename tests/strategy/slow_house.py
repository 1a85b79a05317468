# mypy: disable-error-code="no-untyped-call"
"""A small house for tests of the slow path: the other processes' segments, and a stub of an OpenAI-compatible endpoint."""

import json
import pathlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from fabric import layout
from fabric.rings import lossless_read, seqlock_write
from fabric.segment import Segment
from fabric.stats import StatsReader
from strategy.slow.process import SignalProcess
from strategy.slow.source import choose

GOOD = {"symbol": "BTC-USDC", "view": "buy", "urgency": 6, "size_percent": 50, "skew_bps": 3}


def config(shm_dir: pathlib.Path, **signal: Any) -> dict[str, Any]:
    btc = {
        "symbol": "BTC-USDC",
        "tick_size": "0.01",
        "lot_size": "0.00001",
        "min_quantity": "0.00001",
        "max_quantity": "10",
        "min_notional": "10",
    }
    return {
        "shm_dir": str(shm_dir),
        "instruments": [btc, {**btc, "symbol": "ETH-USDC", "lot_size": "0.0001", "min_quantity": "0.0001"}],
        "signal": {
            "source": "rules",
            "base_url": None,
            "model": "stub",
            "key_env": None,
            "period_ms": 1,
            "ttl_ms": 15_000,
            "timeout_ms": 5_000,
            "max_notional": "500",
            "default_stop_bps": 50,
            "default_holding_ms": 60_000,
            **signal,
        },
    }


class House:
    """The market's and execution's segments, written as their owners would."""

    def __init__(self, shm_dir: pathlib.Path, **signal: Any) -> None:
        self.shm_dir = shm_dir
        self.market = Segment.create(shm_dir, "market", "feed")
        self.exec = Segment.create(shm_dir, "exec", "execution")
        self.config = config(shm_dir, **signal)
        self.set_book(0, 6_000_000, 6_000_100)
        self.set_account()
        self.process = SignalProcess(self.config, choose(self.config["signal"]))
        self.exec.set_word(layout.EXEC_SIGNAL_CURSOR_OFFSET + 8, self.process.publisher.segment.generation)
        self.now_ns = 0

    def set_book(self, index: int, bid: int, ask: int, status: int = layout.BOOK_READY, age_ns: int = 0) -> None:
        row = np.zeros(layout.STATE_ROW_WORDS, np.int64)
        row[layout.ST_STATUS], row[layout.ST_BID_TICKS], row[layout.ST_ASK_TICKS] = status, bid, ask
        row[layout.ST_BID_LOTS], row[layout.ST_ASK_LOTS] = 900, 100
        row[layout.ST_RECV_NS] = time.monotonic_ns() - age_ns
        first = layout.STATE_LEVELS_WORD
        row[first : first + 4] = bid, 900, ask, 100
        address = self.market.address + layout.STATE_OFFSET + index * layout.STATE_ROW_WORDS * 8
        seqlock_write(address, row, layout.STATE_ROW_WORDS)

    def set_account(self) -> None:
        page = np.zeros(layout.ACCOUNT_BYTES // 8, np.int64)
        page[layout.AP_UPDATED_NS], page[layout.AP_NAV_E8] = 1, 10**13
        page[layout.AP_DAY_START_NAV_E8], page[layout.AP_RISK_STATE] = 10**13, layout.RISK_ACTIVE
        page[layout.ACCOUNT_ROWS_WORD + layout.AR_CAP_LOTS] = 1000
        seqlock_write(self.exec.address + layout.ACCOUNT_OFFSET, page, len(page))

    def turn(self) -> None:
        """One question, asked and answered."""
        self.ask()
        self.process.step(0)

    def ask(self, patience_s: float = 10) -> None:
        """One question; its answer is there but not taken yet."""
        self.now_ns += 10**9
        self.process.step(self.now_ns)
        deadline = time.monotonic() + patience_s
        while (question := self.process.question) and not question.done and time.monotonic() < deadline:
            time.sleep(0.001)

    def close(self) -> None:
        if self.process.source:
            self.process.source.stop()

    def counters(self) -> dict[str, int]:
        """Those that are not zero."""
        return {name: n for name, n in StatsReader(self.shm_dir, "signal").counters().items() if n}

    def records(self) -> list[dict[str, int]]:
        """Everything in the ring, as execution reads it."""
        ring = Segment.attach(self.shm_dir, "signal")
        out = np.zeros(16, np.int64)
        found: list[dict[str, int]] = []
        while (
            lossless_read(
                ring.address + layout.SIGNAL_CURSOR_OFFSET,
                ring.address + layout.SIGNAL_RING_OFFSET,
                layout.SIGNAL_SLOTS,
                len(found) + 1,
                out,
            )
            == layout.RING_OK
        ):
            found.append(dict(zip(layout.SIGNAL_SLOT, out.tolist(), strict=True)))
        return found


def completion(content: Any, **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content, **message}}]}).encode()


class Stub:
    """An endpoint that answers with what ``reply`` writes: (status, body) or raw control of the handler."""

    def __init__(self) -> None:
        self.reply: Callable[[BaseHTTPRequestHandler], tuple[int, bytes] | None] = lambda _: (200, completion("{}"))
        self.requests: list[dict[str, Any]] = []
        self.authorization: list[str | None] = []
        self.release = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stub.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                stub.authorization.append(self.headers["Authorization"])
                if answer := stub.reply(self):
                    self.send_response(answer[0])
                    self.send_header("Content-Length", str(len(answer[1])))
                    self.end_headers()
                    self.wfile.write(answer[1])

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def says(self, content: Any, **message: Any) -> None:
        body = completion(content, **message)
        self.reply = lambda _: (200, body)

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
