# mypy: disable-error-code="no-untyped-call"
"""The socket kernels on real local sockets, and what ``connect`` says when it cannot."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator

import numpy as np
import pytest

from venue import sockets
from venue.errors import VenueError


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a window that fills at once
        host, port = server.getsockname()
        ours = sockets.connect(host, port, timeout_s=2.0, for_orders=True)
        theirs, _ = server.accept()
        with ours, theirs:
            yield ours, theirs


def test_receive_says_bytes_nothing_closed_and_error(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    buf = np.zeros(64, np.uint8)
    assert sockets.receive(ours.fileno(), buf.ctypes.data, 64) == sockets.RECV_WOULD_BLOCK
    theirs.sendall(b"hello")
    select.select([ours], [], [], 2.0)
    assert sockets.receive(ours.fileno(), buf.ctypes.data, 64) == 5
    assert bytes(buf[:6]) == b"hello\0"
    theirs.close()
    select.select([ours], [], [], 2.0)
    assert sockets.receive(ours.fileno(), buf.ctypes.data, 64) == sockets.RECV_CLOSED
    fd = ours.fileno()
    ours.close()
    assert sockets.receive(fd, buf.ctypes.data, 64) == sockets.RECV_ERROR


def test_transmit_counts_what_went_and_says_when_the_buffer_is_full(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    buf = np.full(65536, 120, np.uint8)
    assert sockets.transmit(ours.fileno(), buf.ctypes.data, 3) == 3
    assert theirs.recv(10) == b"xxx"
    for _ in range(1000):  # nobody reads: the peer's buffer fills, then ours
        sent = sockets.transmit(ours.fileno(), buf.ctypes.data, len(buf))
        word = np.zeros(1, np.int64)
        unsent = sockets.unsent_bytes(ours.fileno(), word.ctypes.data)
        if sent == sockets.SEND_WOULD_BLOCK and unsent > 0:
            break
    assert sent == sockets.SEND_WOULD_BLOCK
    assert unsent == struct.unpack("i", fcntl.ioctl(ours, termios.TIOCOUTQ, b"\0" * 4))[0] > 0


def test_transmit_to_a_closed_peer_is_an_error_not_a_signal(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    select.select([ours], [], [], 2.0)
    buf = np.zeros(8, np.uint8)
    assert sockets.transmit(ours.fileno(), buf.ctypes.data, 8) == sockets.SEND_ERROR


def test_unsent_bytes_of_no_socket_is_an_error() -> None:
    buf = np.zeros(8, np.uint8)
    assert sockets.unsent_bytes(-1, buf.ctypes.data) == sockets.SEND_ERROR


def test_order_socket_has_no_delay_and_drops_unsent_bytes_at_close(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == sockets.ORDER_USER_TIMEOUT_MS


def test_busy_polling_is_set_or_said_to_be_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    before = ours.getsockopt(socket.SOL_SOCKET, 46)
    done = sockets.busy_poll(ours.fileno(), before + 50)
    assert ours.getsockopt(socket.SOL_SOCKET, 46) == (before + 50 if done else before)
    assert sockets.busy_poll(ours.fileno(), 0), "less is always allowed"
    assert ours.getsockopt(socket.SOL_SOCKET, 46) == 0


def test_a_dead_first_address_leaves_time_for_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as server:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # its queue is full: a further connect gets no answer
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", one.getsockname()) for one in (full, server)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with sockets.connect("venue.example", 1, timeout_s=0.6) as ours:
            assert ours.getpeername() == server.getsockname()
            assert ours.gettimeout() == 0.6
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1] * 2)
        start = time.monotonic()
        with pytest.raises(VenueError, match=r"cannot connect to venue\.example:1: timed out"):
            sockets.connect("venue.example", 1, timeout_s=0.2)
        assert time.monotonic() - start < 1.0
        for one in waiting:
            one.close()


def test_connect_names_the_address_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(VenueError, match=f"cannot connect to 127.0.0.1:{port}: Connection refused"):
        sockets.connect("127.0.0.1", port, timeout_s=1.0)
