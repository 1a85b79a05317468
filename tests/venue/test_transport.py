# mypy: disable-error-code="no-untyped-call"
"""What the compiled loop sees of a TLS session: the same answers as over plain TCP, alerts and a full pipe included."""

from __future__ import annotations

import pathlib
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tls_kit import ROOM, Authority, Session

from venue import session, sockets, tls, transport
from venue import tables as t


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


Open = Callable[[Callable[[socket.socket], None]], Session]


@pytest.fixture(params=["plain", "tls"])
def connect(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Open]:
    yield from opener(authority, authority.issue("localhost") if request.param == "tls" else None)


@pytest.fixture
def connect_tls(authority: Authority) -> Iterator[Open]:
    yield from opener(authority, authority.issue("localhost"))


def opener(authority: Authority, file: pathlib.Path | None) -> Iterator[Open]:
    opened: list[Session] = []

    def begin(talk: Callable[[socket.socket], None]) -> Session:
        opened.append(Session(file, authority.file, talk))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def test_nothing_there_bytes_and_end_are_told_apart(connect: Open) -> None:
    more = threading.Event()

    def talk(sock: socket.socket) -> None:
        more.wait(60)
        sock.sendall(b"hello")
        assert sock.recv(10) == b"thanks"
        sockets.part(sock.unwrap() if hasattr(sock, "unwrap") else sock, 1.0)

    one = connect(talk)
    assert [session.fill(one.row) for _ in range(5)] == [0] * 5
    more.set()
    assert (one.fill(5), one.data) == (5, b"hello")
    reply = np.frombuffer(b"thanks", np.uint8)
    assert transport.transmit(one.row, reply.ctypes.data, 6) == 6
    assert one.fill(ROOM) == sockets.RECV_CLOSED
    assert one.row[t.SE_TLS_ERROR] == 0
    assert one.server.error is None


def test_large_transfers_survive_a_pipe_that_is_full(connect: Open) -> None:
    """3 MB each way; the server reads only after we can send no more, and what was not taken is offered again."""
    size, full = 3_000_000, threading.Event()
    heard: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        full.wait(60)
        data = bytearray()
        while len(data) < size and (chunk := sock.recv(65536)):
            data += chunk
        heard.append(bytes(data))
        sock.sendall(data)
        sock.recv(1)

    one = connect(talk)
    data = np.arange(size, dtype=np.uint32).view(np.uint8)[:size].copy()
    at, times_full = 0, 0
    while at < size:
        sent = int(transport.transmit(one.row, data.ctypes.data + at, size - at))
        assert sent >= 0
        at += sent
        if sent == 0:
            times_full += 1
            full.set()
            select.select([], [one.channel], [], 5.0)
    assert times_full
    one.fill(size)
    assert one.data == data.tobytes() == heard[0]


def test_reset_is_an_error(connect: Open) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket(fileno=sock.detach()).close()

    one = connect(talk)
    transport.transmit(one.row, np.frombuffer(b"x", np.uint8).ctypes.data, 1)
    assert one.fill(ROOM) == sockets.RECV_ERROR
    assert transport.transmit(one.row, one.buffer.ctypes.data, 10) == sockets.SEND_ERROR


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "unexpected eof while reading"),  # the end of the stream without close_notify
        (b"\x17\x03\x03\x00\x20" + b"z" * 32, "decryption failed or bad record mac"),  # not ours, or changed on the way
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "bad record type|wrong version number"),
    ],
)
def test_stream_that_was_tampered_with_ends_the_session_and_says_why(connect_tls: Open, said: bytes, why: str) -> None:
    def talk(sock: socket.socket) -> None:
        raw = socket.socket(fileno=sock.detach())
        raw.sendall(said)
        sockets.part(raw, 2.0)

    one = connect_tls(talk)
    assert one.fill(ROOM) == sockets.RECV_ERROR
    assert re.fullmatch(why, tls.reason(int(one.row[t.SE_TLS_ERROR])))


def test_error_of_one_session_is_not_taken_for_that_of_another(connect_tls: Open) -> None:
    def breaks(sock: socket.socket) -> None:
        sockets.part(socket.socket(fileno=sock.detach()), 2.0)

    broken, whole = connect_tls(breaks), connect_tls(lambda sock: sock.recv(1))
    assert broken.fill(ROOM) == sockets.RECV_ERROR
    assert session.fill(broken.row) == sockets.RECV_ERROR
    assert [session.fill(whole.row) for _ in range(3)] == [0, 0, 0]
