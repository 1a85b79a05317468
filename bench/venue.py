# mypy: disable-error-code="no-untyped-call"
"""``python -m bench.venue RUN_DIR``: the venue of the bench. REST is the paper exchange's; the WebSocket side is the generator.

The first session that subscribes to ``ticker`` is the market session, the first with ``fills`` alone the order session;
their handshake and subscription are plain Python, everything after is ``bench.generator``. Both together make
``RUN_DIR/sessions``. From then on the venue waits for ``RUN_DIR/phase-K.json`` (K from 0), drives its bursts and writes
``RUN_DIR/result-K.json``. While a burst runs, its thread asks for SCHED_FIFO: it plays another machine, and what shares its
cpu must not be measured. Where the host refuses that, the result says so.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bench import generator as gen
from bench import tables as bt
from fabric.child import load_config, place
from sim.__main__ import HOST, build
from sim.http import HttpServer
from sim.rest import RestApi
from sim.server import VenueServer
from venue import tables as vt

TIMEOUT_NS = 100_000_000
POLL_S = 0.02
LEVELS = 5
BROKEN = ("", "a session ended", "a frame was not understood", f"{gen.GIVE_UP} ticks in a row without an order")


class Memory:
    """The arrays of the compiled generator."""

    def __init__(self) -> None:
        self.state: npt.NDArray[np.int64] = np.zeros(len(bt.STATE), np.int64)
        self.market: npt.NDArray[np.uint8] = np.zeros(gen.BUFFER_BYTES, np.uint8)
        self.orders: npt.NDArray[np.uint8] = np.zeros(gen.BUFFER_BYTES, np.uint8)
        self.send: npt.NDArray[np.uint8] = np.zeros(gen.SEND_BYTES, np.uint8)
        self.frame: npt.NDArray[np.int64] = np.zeros(len(vt.FRAME_WORDS), np.int64)
        self.scratch: npt.NDArray[np.int64] = np.zeros(2, np.int64)

    def _arrays(self) -> tuple[Any, ...]:
        market, orders = (self.market, self.market.ctypes.data), (self.orders, self.orders.ctypes.data)
        return (*market, *orders, self.frame, self.send, self.send.ctypes.data, self.scratch.ctypes.data)

    def drive(self, samples: npt.NDArray[np.int64], gaps: npt.NDArray[np.int64], gap_ns: int) -> int:
        return int(gen.drive(self.state, samples, gaps, gap_ns, TIMEOUT_NS, *self._arrays()))

    def serve(self) -> None:
        gen.serve(self.state, *self._arrays())


def warm() -> None:
    """Compile the generator, or load it: a burst of no ticks and one look at sockets that are not there."""
    memory = Memory()
    none = np.zeros(0, np.int64)
    memory.state[bt.G_MARKET_FD] = memory.state[bt.G_ORDER_FD] = -1
    memory.drive(none, none, 0)
    memory.serve()


class Sessions:
    """Accepts, upgrades and subscribes until there is one market session and one order session."""

    def __init__(self, port: int, server: VenueServer) -> None:
        self._server = server
        self._listener = socket.create_server((HOST, port))
        self.market: socket.socket | None = None
        self.orders: socket.socket | None = None

    def accept(self) -> None:
        """Until both sessions are there."""
        while self.market is None or self.orders is None:
            connection, _ = self._listener.accept()
            connection.settimeout(5.0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                channels = self._subscription(connection)
            except (OSError, ValueError) as error:
                print(f"venue: a session was refused: {error}", flush=True)
                connection.close()
                continue
            connection.setblocking(False)
            if "ticker" in channels:
                self.market = connection
            else:
                self.orders = connection

    def _subscription(self, connection: socket.socket) -> list[str]:
        """Upgrade, answer the first subscribe and return its channels."""
        protocol = ServerProtocol()
        channels: list[str] = []
        while not channels:
            data = connection.recv(65536)
            if not data:
                raise ValueError("it closed before it subscribed")
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    key = self._server.exchange.keys.find(event.headers.get("X-API-Key", ""))
                    if key is None or key.revoked:
                        protocol.send_response(protocol.reject(401, "unknown key\n"))
                        connection.sendall(b"".join(protocol.data_to_send()))
                        raise ValueError("unknown or revoked key")
                    protocol.send_response(protocol.accept(event))
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    message = orjson.loads(bytes(event.data))
                    channels = message.get("channels") or channels
                    self._answer(protocol, message)
            connection.sendall(b"".join(protocol.data_to_send()))
        return channels

    def _answer(self, protocol: ServerProtocol, message: dict[str, Any]) -> None:
        now_us = time.time_ns() // 1000
        said = {"type": "subscribed", "channels": message["channels"], "symbols": message["symbols"], "exchange_ts": now_us}
        protocol.send_text(orjson.dumps(said))


def book_snapshot(symbol: str) -> bytes:
    """A depth book around all prices of the ticks, as a whole frame. A client trusts the touch only with a book behind it."""
    cents, now_us = gen.PRICE_CENTS, time.time_ns() // 1000
    bids = [[f"{(cents - 1 - k) / 100:.2f}", "1.50000"] for k in range(LEVELS)]
    asks = [[f"{(cents + gen.STEPS + 1 + k) / 100:.2f}", "0.75000"] for k in range(LEVELS)]
    book = {"type": "book_snapshot", "symbol": symbol, "sequence": now_us, "bids": bids, "asks": asks}
    payload = orjson.dumps(book | {"exchange_ts": now_us, "index": -1})
    return bytes((0x81, 126)) + len(payload).to_bytes(2, "big") + payload


def raise_priority() -> bool:
    """SCHED_FIFO for this thread while it measures; False where that needs a right that we have not."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    return True


def run_phase(memory: Memory, phase: dict[str, Any]) -> dict[str, Any]:
    """Drive the bursts of one phase: warm-up first, a pause after each, and the session kept alive in between."""
    shape = (phase["warmup"] + phase["bursts"], phase["burst"])
    samples, gaps = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    state, fifo = memory.state, False
    before = state.copy()
    for number in range(shape[0]):
        fifo = raise_priority()
        memory.drive(samples[number], gaps[number], phase["gap_ns"])
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if state[bt.G_BROKEN]:
            break
        until = time.monotonic() + phase["pause_s"]
        while time.monotonic() < until and not state[bt.G_BROKEN]:
            memory.serve()
            time.sleep(POLL_S)
    return {
        "broken": BROKEN[int(state[bt.G_BROKEN])],
        "realtime": fifo,
        "strays": int(state[bt.G_STRAYS] - before[bt.G_STRAYS]),
        "samples": samples[phase["warmup"] :].tolist(),
        "gaps": gaps[phase["warmup"] :].tolist(),
    }


def write(file: pathlib.Path, value: Any) -> None:
    """Whole or not at all."""
    temporary = file.with_suffix(".part")
    temporary.write_bytes(orjson.dumps(value))
    temporary.rename(file)


def drive_phases(run_dir: pathlib.Path, sessions: Sessions, config: dict[str, Any]) -> None:
    """The generator's thread."""
    place(config["placement"]["house"][:1])
    sessions.accept()
    assert sessions.market is not None
    assert sessions.orders is not None
    memory = Memory()
    memory.state[bt.G_MARKET_FD], memory.state[bt.G_ORDER_FD] = sessions.market.fileno(), sessions.orders.fileno()
    write(run_dir / "sessions", True)
    number = 0
    while not memory.state[bt.G_BROKEN]:
        file = run_dir / f"phase-{number}.json"
        if file.exists():
            sessions.market.sendall(book_snapshot(config["instruments"][0]["symbol"]))
            time.sleep(POLL_S)
            write(run_dir / f"result-{number}.json", run_phase(memory, orjson.loads(file.read_bytes())))
            number += 1
        memory.serve()
        time.sleep(POLL_S)
    print(f"venue: {BROKEN[int(memory.state[bt.G_BROKEN])]}", flush=True)


async def serve(config: dict[str, Any], run_dir: pathlib.Path) -> None:
    """REST in this thread, the generator in its own, until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = build(config)
    sessions = Sessions(config["paper"]["ws_port"], server)
    threading.Thread(target=drive_phases, args=(run_dir, sessions, config), name="generator", daemon=True).start()
    http = HttpServer(RestApi(server).handle)
    rest = await http.listen(HOST, config["paper"]["rest_port"])
    await stop.wait()
    rest.close()
    await http.stop()


def main(run_dir: str) -> int:
    config = load_config(run_dir)
    place(config["placement"]["house"])
    warm()
    asyncio.run(serve(config, pathlib.Path(run_dir)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
