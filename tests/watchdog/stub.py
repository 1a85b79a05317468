"""A stub exchange and a fake execution process for the watchdog's tests; nothing of ``sim`` or ``engine``."""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import mmap
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog import hashes, page
from watchdog.processes import start_time

ROOT = Path(__file__).resolve().parents[2]
MANAGEMENT_KEY = "sk_live_planted_management_secret"
LEASE = {
    "ttl_ns": 200_000_000,
    "renew_ns": 40_000_000,
    "poll_ns": 5_000_000,
    "suspect_ns": 50_000_000,
    "kill_ns": 400_000_000,
    "orders_per_beat_max": 64,
}


class Exchange:
    """Keys and orders of one account, and what happened to them, with times of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.probes: list[tuple[float, int]] = []
        self.cancelled_at = 0.0
        self.revoke = "normal"
        self.unsupported = False
        self.position = "0.01000"
        self.fills: list[dict[str, Any]] = []
        self.one_key = False  # the management key is a key like the others, and can be revoked
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *_: Any) -> None: ...

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def answer(self, status: int, data: dict[str, Any]) -> None:
                body = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else {}
                self.answer(*exchange.request(self.command, self.path, self.headers.get("X-API-Key", ""), body))

            do_GET = do_POST = do_DELETE = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def scope(self, key: str) -> str | None:
        if key == MANAGEMENT_KEY and not self.one_key:
            return "manage"
        rows = [row for row in self.keys.values() if row["api_key"] == key and not row["revoked"]]
        return rows[0]["scope"] if rows else None

    def rest(self, order_id: str) -> None:
        self.orders[order_id] = {"client_order_id": order_id, "symbol": "BTC-USDC", "side": "buy", "leaves": "0.00100"}

    def request(self, method: str, path: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        scope = self.scope(key)
        if (method, path) == ("POST", "/v1/orders"):
            self.probes.append((time.monotonic(), 401 if scope is None else 201))
        if scope is None:
            return 401, {"error": "unauthorized", "message": f"key {key} is unknown"}
        if path.startswith("/v1/keys"):
            return self.keys_request(method, path, body)
        if (method, path) == ("POST", "/v1/orders"):
            return 201, {"type": "ack"}
        if (method, path) == ("DELETE", "/v1/orders"):
            ids, self.orders = list(self.orders), {}
            if ids:
                self.cancelled_at = time.monotonic()
            return 200, {"cancelled": ids, "count": len(ids)}
        answers: dict[str, dict[str, Any]] = {
            "/v1/orders/open": {"orders": list(self.orders.values())},
            "/v1/positions": {"positions": [{"symbol": "BTC-USDC", "position": self.position, "baseline": "0"}]},
            "/v1/balances": {"balances": [{"currency": "USDC", "total": "100000", "available": "100000"}]},
            "/v1/fills": {"fills": self.fills},
        }
        path = path.partition("?")[0]
        return (200, answers[path]) if path in answers else (404, {"error": "not_found"})

    def keys_request(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.unsupported:
            return 404, {"error": "not_found"}
        if method == "GET":
            hidden = [{name: row[name] for name in row if name != "api_key"} for row in self.keys.values()]
            return 200, {"keys": hidden}
        if method == "POST":
            key_id = f"key_{len(self.keys)}"
            prefix = "sk_trade_" if body["scope"] == "trade" else "sk_ro_"
            row = {"key_id": key_id, "api_key": prefix + secrets.token_hex(12), "revoked": False, **body}
            self.keys[key_id] = row
            return 201, row
        if self.revoke == "fail":
            return 503, {"error": "unavailable"}
        if self.revoke == "slow":
            time.sleep(0.6)
        if self.revoke != "lie":
            self.keys[path.rpartition("/")[2]]["revoked"] = True
        return 200, {"revoked": True}


class Engine:
    """A fake execution process: registers when told, then beats every 2 ms through a real exec segment."""

    def __init__(self, run_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from tests.watchdog import stub; stub.engine_main(sys.argv[1])", run_dir],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        assert self.read() == {"ready": True}

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def segment(shm_dir: Path, name: str, kind: int, size: int, config: dict[str, Any]) -> Any:
    """The words of a published segment of this process, its header as every writer makes it."""
    path, shared, _ = page.create_segment(shm_dir, name, size)
    words = memoryview(shared).cast("q")
    for word, value in {
        layout.H_KIND: kind,
        layout.H_SCHEMA_HASH: layout.schema_hash(),
        layout.H_OWNER_PID: os.getpid(),
        layout.H_OWNER_START: start_time(os.getpid()),
        layout.H_CODE_HASH: config["code_hash"],
        layout.H_CONFIG_HASH: config["config_hash"],
        layout.H_MAGIC: layout.MAGIC,
    }.items():
        words[word] = value
    page.publish_link(path, name)
    return words


class Feed:
    """A feed in this process: its heart beats every 10 ms while ``beating``, its cursor moves when told."""

    def __init__(self, shm_dir: Path, config: dict[str, Any]) -> None:
        self.stats = segment(shm_dir, "stats-feed", layout.SEGMENT_STATS, layout.STATS_BYTES, config)
        self.market = segment(shm_dir, "market", layout.SEGMENT_MARKET, layout.MARKET_BYTES, config)
        self.beating, self.publishing = True, False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.wait(0.01):
            if self.beating:
                self.stats[layout.HEARTBEAT_OFFSET // layout.WORD] = time.monotonic_ns()
            if self.publishing:
                self.market[layout.MARKET_CURSOR_OFFSET // layout.WORD] += 1

    def quote(self, bid_ticks: int, ask_ticks: int) -> None:
        """The touch of the first instrument, as the state table has it."""
        base = layout.STATE_OFFSET // layout.WORD
        self.market[base + layout.ST_BID_TICKS], self.market[base + layout.ST_ASK_TICKS] = bid_ticks, ask_ticks

    def end(self) -> None:
        self.ended.set()
        self.thread.join()


def configuration(path: Path, url: str, key_file: Path) -> dict[str, Any]:
    """A config.json whose hashes are true."""
    config: dict[str, Any] = {
        "instance": 1,
        "state_dir": str(path / "state"),
        "shm_dir": str(path / "shm"),
        "venue": {"rest_url": url, "management_key_file": str(key_file)},
        "instruments": [
            {"symbol": "BTC-USDC", "quote": "USDC", "tick_size": "0.01", "lot_size": "0.00001", "min_quantity": "0.00001"}
        ],
        "limits": {"max_open_orders": 20, "position_ppm": 50_000, "gross_exposure_ppm": 200_000, "day_loss_ppm": 10_000},
        "lease": LEASE,
        "tiers": {},
    }
    return config | {"config_hash": hashes.config_hash(config), "code_hash": hashes.code_hash()}


def engine_main(run_dir: str) -> None:
    """The child: one command per line on stdin, one JSON line per answer."""
    config = json.loads((Path(run_dir) / "config.json").read_text())
    words = segment(Path(config["shm_dir"]), "exec", layout.SEGMENT_EXEC, layout.EXEC_BYTES, config)
    account = layout.ACCOUNT_OFFSET // layout.WORD
    words[account + layout.AP_RECONCILED], words[account + layout.AP_OPEN_ORDERS] = 1, 100
    words[account + layout.ACCOUNT_ROWS_WORD + layout.AR_POSITION_LOTS] = 1000
    base = layout.BEAT_OFFSET // layout.WORD
    control: dict[str, Any] = {"beating": True, "heart": True, "config": config, "each": 1}

    def beat() -> None:
        while True:
            now = time.monotonic_ns()
            if control["beating"]:
                words[base + layout.B_MONO_NS] = now
                words[base + layout.B_PASSES] += control["each"]
            if control["heart"]:
                words[layout.HEARTBEAT_OFFSET // layout.WORD] = now
            time.sleep(0.002)

    threading.Thread(target=beat, daemon=True).start()
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        print(json.dumps(_engine_command(line.strip(), Path(run_dir), words, base, control)), flush=True)


def _engine_command(line: str, run_dir: Path, words: Any, base: int, control: dict[str, Any]) -> dict[str, Any]:
    command, _, value = line.partition(" ")
    account = layout.ACCOUNT_OFFSET // layout.WORD
    if command == "register":
        request = {"op": "register", "role": "execution"}
        answer, fd = exchange_line(run_dir, request | {name: control["config"][name] for name in hashes.OWN_HASHES})
        if fd is not None:
            control["fd"], control["old_lease"] = fd, control.get("lease")
            control["lease"] = memoryview(mmap.mmap(fd, layout.LEASE_BYTES, prot=mmap.PROT_READ)).cast("q")
            words[base + layout.B_EPOCH] = answer["epoch"]
        return answer
    if command in ("lease", "old_lease"):
        return dict(zip(layout.LEASE_PAGE, control[command], strict=False)) | {"now": time.monotonic_ns()}
    if command == "eat":
        control["eaten"] = bytearray(os.urandom(1 << 20) * 256)
    if command == "exit_main_thread":
        ctypes.CDLL(None).syscall(60, 0)  # exit, not exit_group: the beating thread lives on
    if command == "forge":
        return {"refused": forge(control["fd"])}
    if command == "runaway":
        words[base + layout.B_ORDERS_SENT] += 100_000
    elif command == "epoch":
        words[base + layout.B_EPOCH] += int(value)
    elif command == "passes":
        words[base + layout.B_PASSES] += int(value)
    elif command == "each":  # passes per beat: 500 times that many in a second
        control["each"] = int(value)
    elif command == "market":
        words[base + layout.B_MARKET_SEQ] = int(value)
    elif command == "position":
        words[account + layout.ACCOUNT_ROWS_WORD + layout.AR_POSITION_LOTS] = int(value)
    elif command == "open_orders":
        words[account + layout.AP_OPEN_ORDERS] = int(value)
    elif command == "damage":  # any word of the header
        words[int(value)] ^= 1
    else:  # "beat", "hush" (all stands), "hollow" (the heart of a thread beside a hung loop)
        control["beating"], control["heart"] = command == "beat", command in ("beat", "hollow")
    return {"ok": True}


def forge(fd: int) -> list[str]:
    """Every way to write the page that the same user could try; the names of those that failed."""
    refused = []
    reopened = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    attempts: dict[str, Any] = {
        "write": lambda: os.pwrite(fd, b"x", 32),
        "mmap": lambda: mmap.mmap(fd, layout.LEASE_BYTES),
        "reopened write": lambda: os.pwrite(reopened, b"x", 32),
        "reopened mmap": lambda: mmap.mmap(reopened, layout.LEASE_BYTES),
        "truncate": lambda: os.ftruncate(reopened, 0),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            refused.append(name)
    return refused


def exchange_line(run_dir: Path, request: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """One request over a fresh connection: the answer, and the descriptor that came with it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(8)
        sock.connect(str(run_dir / "watchdog.sock"))
        sock.sendall((json.dumps(request) + "\n").encode())
        data, control, _, _ = sock.recvmsg(65536, socket.CMSG_LEN(4))
        while not data.endswith(b"\n"):
            more = sock.recv(65536)
            if not more:
                break
            data += more
    fds = array.array("i")
    for _, _, payload in control:
        fds.frombytes(payload)
    return json.loads(data) if data else {}, (fds[0] if fds else None)
