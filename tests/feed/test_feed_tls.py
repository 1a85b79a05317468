# mypy: disable-error-code="no-untyped-call"
"""The compiled feed loop on a TLS session to another implementation: what comes is read, a ping answered, the end told."""

from __future__ import annotations

import json
import pathlib
import sys
import threading
import time
from collections.abc import Callable

import pytest
from feed_house import BTC, House
from websockets.sync.server import ServerConnection, serve

from feed import tables as ft

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "venue"))
from tls_kit import Authority, server_context

pytestmark = pytest.mark.timeout(600)  # it may be the first to compile the loop
TICK = {"type": "tick", "symbol": "BTCUSDT", "price": "100.50", "bid": "100.00", "bid_size": "1", "ask": "101.00"}
TICKS = [json.dumps(TICK | {"ask_size": "2", "sequence": k, "exchange_ts": 9, "index": k}) for k in range(200)]


def run_until(house: House, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done() and time.monotonic() < deadline:
        house.memory.run(10)
    assert done()


def test_feed_loop_reads_and_answers_over_tls(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, said = Authority(tmp_path), threading.Event()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    heard: list[object] = []

    def talk(connection: ServerConnection) -> None:
        heard.append(connection.recv(10))
        for text in TICKS:
            connection.send(text)
        connection.send(iter((TICKS[-1][:30], TICKS[-1][30:])))  # a duplicate, in two fragments
        heard.append(connection.ping(b"still there?").wait(20))
        said.set()
        connection.close(1001)
        heard.append(connection.protocol.close_rcvd)

    house = House([BTC])
    house.close()
    with serve(talk, "127.0.0.1", 0, ssl=server_context(authority.issue("localhost")), compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        link = house.memory.link
        link.open(f"wss://localhost:{server.socket.getsockname()[1]}/", "", [b"subscribe"])
        run_until(house, said.is_set)
        run_until(house, lambda: house.close_code)
        reason = link.reap()
        server.shutdown()
        thread.join(10)
    assert reason == "peer"
    assert house.counted() == {"ticks": len(TICKS), "duplicates": 1, "pings": 1}
    assert heard[:2] == ["subscribe", True]
    assert getattr(heard[2], "code", None) == 1001
    assert house.memory.table[ft.FD_SEND_END] == 0
