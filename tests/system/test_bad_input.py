"""Bad input into the running system: a counted reason or one line with what to do; no process dies, no order is unknown.

What one room can show alone is tested there (tests/feed, tests/strategy, tests/ops); this is what it does to the whole.
"""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fabric import layout
from fabric.jit import ROOT
from ops import exits
from ops.figures import Pages, snapshot
from tests.system.house import House, accepted_after, now_us

AHEAD = 10**12  # a sequence that the synthetic market never reaches
GARBAGE = {  # what a model says, and the reason that counts it
    "I would buy, if I were you.": "not_json",
    '{"symbol": "BTC-USDC"}': "schema",
    '{"symbol":"DOGE-USDC","view":"buy","urgency":5,"size_percent":10,"skew_bps":0}': "unknown_symbol",
    '{"symbol":"BTC-USDC","view":"buy","urgency":5000,"size_percent":10,"skew_bps":0}': "out_of_range",
    "": "no_text",
}
ROLES = ("venue", "watchdog", "journal", "feed", "execution", "signal")


class GarbageModel(http.server.BaseHTTPRequestHandler):
    """An endpoint that answers each question with the next garbage."""

    said = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        text = list(GARBAGE)[GarbageModel.said % len(GARBAGE)]
        GarbageModel.said += 1
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def garbage_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), GarbageModel)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def book(kind: str, sequence: int, bids: list[list[str]], asks: list[list[str]], **more: Any) -> str:
    """A depth message of the second instrument."""
    message = {"type": f"book_{kind}", "symbol": "ETH-USDC", "sequence": sequence, "bids": bids, "asks": asks, **more}
    return json.dumps(message | {"exchange_ts": 1_772_600_000_000_000, "index": -1})


def tick(**changes: Any) -> str:
    fields = {"type": "tick", "symbol": "BTC-USDC", "price": "64000.00", "bid": "63999.00", "bid_size": "1.00000"}
    fields |= {"ask": "64001.00", "ask_size": "1.00000", "sequence": AHEAD, "exchange_ts": 1_772_600_000_000_000}
    return json.dumps(fields | {"index": -1} | changes)


RAW = {  # text sent as it is to the feed, and the counters that it moves
    '{"type":"tick","symbol":': "bad_json",
    "": "bad_json",
    tick(bid="6x.5"): "bad_number",
    tick(symbol="DOGE-USDC"): "unknown_symbol",
    tick(bid="63999.001"): "off_grid",
    '{"type":"weather","forecast":"rain"}': "unknown_type",
    book("snapshot", AHEAD, [["3000.00", "1.0000"]], [["2999.00", "1.0000"]]): "book_crossed",
    book("snapshot", AHEAD + 1, [], []): "book_empty",
    book("delta", AHEAD + 9, [["3000.00", "1.0000"]], [], prev_sequence=AHEAD + 8): "book_gaps",
}


def test_malformed_market_data_and_a_babbling_model_are_counted_and_trading_goes_on(house: House, garbage_url: str) -> None:
    signal = {"source": "llm", "base_url": garbage_url, "model": "babble", "period_ms": 100}
    house.start({"signal": signal, "idle": {"feed": "backoff", "execution": "sleep"}}, "--signal", "llm")
    pages = Pages(house.config["shm_dir"])
    for role, idle in (("feed", "backoff"), ("execution", "sleep")):
        page = pages.stats(role)
        assert page
        assert layout.IDLE[page.status()["idle"]] == idle
    pids = {role: house.pid(role) for role in ROLES}

    def counted(role: str, name: str) -> int:
        reader = pages.stats(role)
        assert reader
        return reader.counters()[name]

    def wait_for_more(role: str, name: str, than: int) -> None:
        house.wait(lambda: counted(role, name) > than, 20.0, f"{name} to be counted")

    for text, counter in RAW.items():
        before = counted("feed", counter)
        house.faults(raw=text)
        wait_for_more("feed", counter, before)
    told_us = now_us()
    house.wait(lambda: len(accepted_after(house.ledger(), told_us)) >= 2, 20.0, "orders after all of it")
    wait_for_more("feed", "book_resyncs", 0)
    for reason in GARBAGE.values():
        wait_for_more("signal", f"bad_{reason}", 0)
    figures = snapshot(pages, house.config)
    assert {role: house.pid(role) for role in ROLES} == pids
    assert figures["signals"]["published"] == figures["llm"]["valid"] == 0
    assert figures["orders"]["unknown"] == 0
    code, summary = house.stop()
    assert code == 0, house.tail()
    assert (summary["orders"]["unknown"], summary["orders"]["open_at_exit"]) == (0, 0)
    assert summary["market"]["lost"] == 0


def refusal(house: House, config: str, *prefix: str) -> tuple[int, list[str]]:
    """Exit code and lines of standard error of a run that is not to start."""
    file = house.home / "pulex.toml"
    file.write_text(config)
    (house.home / "run").mkdir(mode=0o700, exist_ok=True)
    command = [*prefix, sys.executable, "-m", "ops", "run", "--headless", "--config", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=house.env(), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr.splitlines()


def test_wrong_key_and_wrong_limit_are_one_line_and_start_nothing(house: House) -> None:
    wanted = "pulex: pulex.toml: limits.day_loss_bps: unknown key; write day_loss_ppm: the unit here is ppm, not bps"
    assert refusal(house, "[limits]\nday_loss_bps = 1\n") == (exits.CONFIG, [wanted])
    assert house.survivors() == []


def test_a_loop_that_may_not_spin_is_told_so_in_one_line_and_starts_nothing(house: House) -> None:
    code, lines = refusal(house, 'idle = {feed = "spin"}\n')
    assert code == exits.CONFIG
    assert len(lines) == 1
    assert lines[0].startswith("pulex: pulex.toml: idle: spin needs a cpu of its own")
    assert house.survivors() == []


def test_port_in_use_is_one_line_and_starts_nothing(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = refusal(house, f"[paper]\nrest_port = {port}\n")
    assert code == exits.CONFIG
    assert lines == [f"pulex: paper.rest_port = {port}: Address already in use; choose another port, or 0 for a free one"]
    assert house.survivors() == []


def test_full_shared_memory_is_one_line_and_starts_nothing(house: House) -> None:
    small = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "sh", "-c", small], capture_output=True).returncode:
        pytest.skip("needs root and a mount namespace to make /dev/shm small")
    code, lines = refusal(house, "", "unshare", "-m", "sh", "-c", f'{small} && exec "$@"', "sh")
    assert code == exits.CONFIG
    assert len(lines) == 1
    assert lines[0].startswith("pulex: /dev/shm has ")
    assert lines[0].endswith("MiB are needed; free space there or mount it larger")
    assert house.survivors() == []


def test_missing_model_file_ends_the_start_in_one_line_with_nothing_left(house: House, tmp_path: pathlib.Path) -> None:
    missing = tmp_path / "absent.gguf"
    house.start({"signal": {"source": "llm", "model": str(missing)}}, "--signal", "llm", until="")
    assert house.process
    assert house.process.wait(100.0) == exits.START
    lines = [line for line in house.output.read_text().splitlines() if line.startswith("pulex: ")]
    assert len(lines) == 1
    assert f"model file {missing} is missing: correct signal.model, or set signal.source = 'rules'" in lines[0]
    assert house.survivors() == []
