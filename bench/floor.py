# mypy: disable-error-code="no-untyped-call"
"""``python -m bench.floor RUN_DIR``: the floor, a client that sends one prebuilt order for whatever it receives.

Handshake and subscription in Python; then the C program of ``native/floor.c`` takes over both sockets, or, without a
compiler, a compiled loop of the same shape. Nothing is decoded, so no client can be faster on this machine.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import numpy as np

from bench.instance import LOT, PLACE, client_config
from bench.spin import floor_loop
from fabric.child import place
from fabric.jit import cache_misses
from venue import frames
from venue.handshake import open_session
from venue.purpleflea import subscribe_text

HERE = pathlib.Path(__file__).parent / "native"
BINARY = HERE / "build" / "floor"


def compile_native() -> str:
    """Path of the C floor, built when its source is newer; empty when there is no compiler."""
    source = HERE / "floor.c"
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return ""
    if not BINARY.exists() or BINARY.stat().st_mtime < source.stat().st_mtime:
        BINARY.parent.mkdir(exist_ok=True)
        done = subprocess.run([compiler, "-O2", "-o", str(BINARY), str(source)], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"bench: {compiler} failed, the floor is compiled Python: {done.stderr.strip()[:200]}", flush=True)
            return ""
    return str(BINARY)


def order_frame() -> bytes:
    """One masked order, as long as a real one."""
    text = PLACE % (b"9007203549708289", LOT, b"64000.01", time.time_ns() // 1_000_000)
    out = np.zeros(1024, np.uint8)
    out[frames.ROOM : frames.ROOM + len(text)] = np.frombuffer(text, np.uint8)
    end = frames.seal(out, 0, frames.ROOM + len(text), frames.OP_TEXT, 0x12345678)
    return out[:end].tobytes()


def open_both(url: str, key: str, symbol: str) -> tuple[socket.socket, socket.socket]:
    """(market session, order session), subscribed."""
    opened = []
    for channels in (["ticker", "orderbook"], ["fills"]):
        sock, _, protocol = open_session(url, key, for_orders=channels == ["fills"])
        assert isinstance(sock, socket.socket), "the floor speaks plain TCP"
        protocol.send_text(subscribe_text(channels, [symbol]))
        sock.sendall(b"".join(protocol.data_to_send()))
        opened.append(sock)
    return opened[0], opened[1]


def main(run_dir: str) -> int:
    config, key = client_config(run_dir)
    market, orders = open_both(config["venue"]["ws_url"], key, config["instruments"][0]["symbol"])
    place(config["placement"]["execution"])
    order = order_frame()
    if binary := compile_native():
        for sock in (market, orders):
            sock.set_inheritable(True)
        os.execv(binary, [binary, str(market.fileno()), str(orders.fileno()), order.hex()])
    data, buffer = np.frombuffer(order, np.uint8).copy(), np.zeros(65536, np.uint8)
    print(f"floor: compiled Python, {cache_misses()} kernels compiled", flush=True)
    floor_loop(market.fileno(), orders.fileno(), data.ctypes.data, len(data), buffer.ctypes.data, len(buffer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
