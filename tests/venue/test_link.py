# mypy: disable-error-code="no-untyped-call"
"""A link over TCP and TLS to ``websockets``' own server: what it hands to the loop, and what the venue hears at the end."""

from __future__ import annotations

import os
import pathlib
import queue
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from tls_kit import Authority, server_context
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from fabric import layout
from venue import tables as t
from venue import transport
from venue.errors import VenueError
from venue.link import Link

KEY = "sk_ro_secret_that_nobody_may_print"


class Venue:
    """Says hello to each session and remembers its first message and how it ended."""

    def __init__(self, file: pathlib.Path | None) -> None:
        self.heard: queue.Queue[object] = queue.Queue()
        self.connections: list[ServerConnection] = []
        context = server_context(file) if file else None
        self._server = serve(self._talk, "127.0.0.1", 0, ssl=context, compression=None)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"{'wss' if file else 'ws'}://localhost:{self._server.socket.getsockname()[1]}/feed"

    def _talk(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        connection.send("hello")
        try:
            self.heard.put(connection.recv(10))
            connection.recv(10)
        except ConnectionClosed as ended:
            self.heard.put(ended.rcvd.code if ended.rcvd else None)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["ws", "wss"])
def venue(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Venue]:
    one = Venue(authority.issue("localhost") if request.param == "wss" else None)
    yield one
    one.close()


def received(link: Link) -> bytes:
    """What the loop would read, once something is there."""
    row = link.row
    while (count := int(transport.receive(row, int(row[t.SE_BUFFER]), int(row[t.SE_CAPACITY])))) == 0:
        pass
    return link.buffer[: max(count, 0)].tobytes()


def test_loop_gets_an_open_session_and_a_stop_of_ours_is_told(venue: Venue, authority: Authority) -> None:
    link = Link(4096, ca_file=str(authority.file))
    link.open(venue.url, KEY, [b"subscribe"])
    assert link.state == layout.SESSION_LOOP
    early = link.buffer[: link.row[t.SE_END]].tobytes()
    assert (early or received(link)) == b"\x81\x05hello"
    assert venue.heard.get(timeout=10) == "subscribe"
    link.close()
    assert venue.heard.get(timeout=10) == 1000
    assert (link.state, int(link.row[t.SE_SSL])) == (layout.SESSION_DOWN, 0)


def test_order_session_ends_at_once_without_a_word(venue: Venue, authority: Authority) -> None:
    link = Link(4096, for_orders=True, ca_file=str(authority.file))
    link.open(venue.url, KEY, [b"logon"])
    assert venue.heard.get(timeout=10) == "logon"
    link.close()
    assert venue.heard.get(timeout=10) is None


def test_link_can_be_opened_again(venue: Venue, authority: Authority) -> None:
    link = Link(4096, ca_file=str(authority.file))
    for number in (b"1", b"2"):
        link.open(venue.url, KEY, [number])
        assert venue.heard.get(timeout=10) == number.decode()
        link.row[t.SE_STATE] = layout.SESSION_CLOSING
        link.row[t.SE_CLOSE_CODE] = t.CLOSE_PEER
        assert link.reap() == "peer"
        assert link.reap() is None
        assert venue.heard.get(timeout=10) in (None, 1006)


def test_broken_tls_is_named_in_the_reason(authority: Authority) -> None:
    venue = Venue(authority.issue("localhost"))
    link = Link(4096, ca_file=str(authority.file))
    link.open(venue.url, KEY, [b"subscribe"])
    assert venue.heard.get(timeout=10) == "subscribe"
    if link.row[t.SE_END] == 0:
        received(link)
    wrapped = venue.connections[0].socket
    assert isinstance(wrapped, ssl.SSLSocket)
    with socket.socket(fileno=os.dup(wrapped.fileno())) as raw:
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"z" * 32)
    assert received(link) == b""
    link.row[t.SE_STATE], link.row[t.SE_CLOSE_CODE] = layout.SESSION_CLOSING, t.CLOSE_ERROR
    assert link.reap() == "error: TLS: decryption failed or bad record mac"
    venue.close()


def test_link_that_cannot_be_opened_stays_down(authority: Authority) -> None:
    venue = Venue(authority.issue("venue.example"))
    link = Link(4096, ca_file=str(authority.file))
    with pytest.raises(VenueError, match=r"[Hh]ostname mismatch"):
        link.open(venue.url, KEY, [])
    assert (link.state, int(link.row[t.SE_SSL])) == (layout.SESSION_DOWN, 0)
    venue.close()
