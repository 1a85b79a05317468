"""The floor answers whatever arrives with its one order, byte for byte, in C and in compiled Python."""

from __future__ import annotations

import json
import socket
import subprocess
import threading

import numpy as np
import pytest

from bench import generator as gen
from bench.floor import compile_native, order_frame
from bench.spin import floor_loop
from venue import tables as vt


def test_the_prebuilt_order_is_a_masked_order_of_the_dialect() -> None:
    buffer, frame = np.frombuffer(order_frame(), np.uint8).copy(), np.zeros(len(vt.FRAME_WORDS), np.int64)
    assert gen.client_frame(buffer, 0, len(buffer), frame) == vt.FRAME_COMPLETE
    order = json.loads(buffer[frame[vt.FR_AT] : frame[vt.FR_NEXT]].tobytes())
    assert order["action"] == "place_order"
    assert order["client_order_id"].isdecimal()


def test_the_c_floor_answers_two_ticks_and_ends_with_the_market_session() -> None:
    binary, order = compile_native(), order_frame()
    if not binary:
        pytest.skip("no C compiler")
    market, its_market = socket.socketpair()
    orders, its_orders = socket.socketpair()
    with market, orders:
        with its_market, its_orders:
            fds = (its_market.fileno(), its_orders.fileno())
            process = subprocess.Popen([binary, *map(str, fds), order.hex()], pass_fds=fds)
        for _ in range(2):
            market.sendall(b"anything")
            assert orders.recv(1024) == order
        market.close()
        assert process.wait(5.0) == 0


def test_the_compiled_floor_does_the_same() -> None:
    order = np.frombuffer(order_frame(), np.uint8).copy()
    buffer = np.zeros(65536, np.uint8)
    market, its_market = socket.socketpair()
    orders, its_orders = socket.socketpair()
    with its_market, its_orders, orders:
        call = (its_market.fileno(), its_orders.fileno(), order.ctypes.data, len(order), buffer.ctypes.data, len(buffer))
        thread = threading.Thread(target=floor_loop, args=call)
        thread.start()
        market.sendall(b"anything")
        assert orders.recv(1024) == order.tobytes()
        market.close()
        thread.join(5.0)
        assert not thread.is_alive()
