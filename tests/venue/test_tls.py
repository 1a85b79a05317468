"""The verified handshake against another TLS implementation, and everything that must make it refuse."""

from __future__ import annotations

import pathlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
from tls_kit import Authority, TlsServer, server_context

from venue import sockets, tls
from venue.errors import VenueError
from venue.handshake import open_session

KEY = "sk_ro_secret_that_nobody_may_print"
Start = Callable[..., TlsServer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[TlsServer] = []

    def begin(context: ssl.SSLContext | None, talk: Callable[[socket.socket], None] = lambda sock: None) -> TlsServer:
        servers.append(TlsServer(context, talk))
        return servers[0]

    yield begin
    for server in servers:
        server.close()


def shake(server: TlsServer, host: str = "localhost", ca: Authority | None = None, timeout_s: float = 5.0) -> tls.TlsSocket:
    sock = sockets.connect("127.0.0.1", server.port, timeout_s)
    try:
        return tls.TlsSocket(sock, host, timeout_s, str(ca.file) if ca else None)
    except BaseException:
        sock.close()
        raise


def test_bytes_go_both_ways_and_the_server_is_asked_by_name(start: Start, authority: Authority) -> None:
    heard: list[bytes] = []

    def talk(sock: socket.socket) -> None:
        sock.sendall(b"x" * 50_000)
        heard.extend((sock.recv(100), sock.recv(100)))  # the second is the end: close_notify came, or this would raise

    server = start(server_context(authority.issue("localhost")), talk)
    ours = shake(server, ca=authority)
    data = b""
    while len(data) < 50_000:
        data += ours.recv(4096)
    assert data == b"x" * 50_000
    ours.sendall(b"thanks")
    sockets.part(ours.farewell(), 2.0)
    server.close()
    assert (heard, server.sni, server.error) == ([b"thanks", b""], ["localhost"], None)


@pytest.mark.parametrize(
    ("names", "days", "host", "said"),
    [
        (["venue.example"], 30, "localhost", "[Hh]ostname mismatch"),
        (["*.example.com"], 30, "a.b.example.com", "[Hh]ostname mismatch"),
        (["v*.example.com"], 30, "venue.example.com", "[Hh]ostname mismatch"),
        (["localhost"], 30, "127.0.0.1", "IP address mismatch"),
        (["localhost"], -1, "localhost", "certificate has expired"),
    ],
)
def test_certificate_that_does_not_hold_is_refused_and_says_why(
    start: Start, authority: Authority, names: list[str], days: int, host: str, said: str
) -> None:
    server = start(server_context(authority.issue(*names, days=days)))
    with pytest.raises(VenueError, match=f"^{host}: TLS refused: the certificate does not hold: {said}") as caught:
        shake(server, host, authority)
    assert caught.value.__cause__ is None
    server.close()
    assert server.error is not None, "the server was told"


@pytest.mark.parametrize(("names", "host"), [(["*.example.com"], "venue.example.com"), (["127.0.0.1"], "127.0.0.1")])
def test_certificate_may_name_a_wildcard_or_an_address(start: Start, authority: Authority, names: list[str], host: str) -> None:
    server = start(server_context(authority.issue(*names)))
    shake(server, host, authority).close()
    assert server.sni == ([host] if host[0] == "v" else [None])


def test_certificate_of_an_unknown_authority_is_refused(start: Start, authority: Authority, tmp_path: pathlib.Path) -> None:
    server = start(server_context(authority.issue("localhost")))
    other = Authority(tmp_path, "somebody else")
    with pytest.raises(VenueError, match="TLS refused: the certificate does not hold: unable to get local issuer"):
        shake(server, ca=other)


def test_roots_of_the_system_are_used_unless_told_otherwise(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    server = start(server_context(authority.issue("localhost")))
    shake(server).close()


def test_without_it_our_authority_is_nobody(start: Start, authority: Authority) -> None:
    server = start(server_context(authority.issue("localhost")))
    with pytest.raises(VenueError, match="the certificate does not hold"):
        shake(server)


def test_file_without_authorities_is_said(start: Start, authority: Authority, tmp_path: pathlib.Path) -> None:
    server = start(server_context(authority.issue("localhost")))
    (tmp_path / "empty.pem").write_text("nothing")
    sock = sockets.connect("127.0.0.1", server.port)
    with sock, pytest.raises(VenueError, match="no certificates of authorities can be read"):
        tls.TlsSocket(sock, "localhost", 1.0, str(tmp_path / "empty.pem"))


def test_server_that_speaks_no_tls_is_said(start: Start) -> None:
    server = start(None, lambda sock: (sock.recv(1000), sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), sock.recv(1000)))
    with pytest.raises(VenueError, match=r"TLS refused: (wrong version number|packet length too long)"):
        shake(server)


def test_server_that_breaks_off_is_said(start: Start) -> None:
    server = start(None, lambda sock: sock.recv(1000))
    with pytest.raises(VenueError, match=r"TLS refused: (connection broken off|[Uu]nexpected EOF|unexpected eof)"):
        shake(server)


def test_server_that_says_nothing_times_out(start: Start) -> None:
    done = threading.Event()
    server = start(None, lambda sock: (done.wait(5), None)[1])
    with pytest.raises(TimeoutError):
        shake(server, timeout_s=0.05)
    done.set()


def test_old_versions_are_refused(start: Start, authority: Authority) -> None:
    context = server_context(authority.issue("localhost"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = start(context)
    with pytest.raises(VenueError, match=r"TLS refused: .*protocol"):
        shake(server, ca=authority)


def test_alert_of_the_server_is_said_in_its_words_and_without_the_key(start: Start) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"\x15\x03\x03\x00\x02\x02\x31")  # fatal, access denied
        sock.recv(4096)

    server = start(None, talk)
    with pytest.raises(VenueError, match=r"TLS refused: .*alert access denied") as caught:
        open_session(f"wss://localhost:{server.port}/", KEY, 5.0)
    assert KEY not in str(caught.value)


def test_session_with_a_wrong_certificate_sends_no_key(start: Start, authority: Authority) -> None:
    heard: list[bytes] = []
    server = start(server_context(authority.issue("venue.example")), lambda sock: heard.append(sock.recv(1000)))
    with pytest.raises(VenueError, match=r"[Hh]ostname mismatch"):
        open_session(f"wss://localhost:{server.port}/", KEY, 5.0, ca_file=str(authority.file))
    server.close()
    assert heard == []
