"""The upgrade against ``websockets``' own server protocol, and against servers that misbehave."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from websockets.server import ServerProtocol

from venue.errors import VenueError
from venue.handshake import open_session

KEY = "sk_ro_secret_that_nobody_may_print"
Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def start(answer: Callable[[socket.socket], None]) -> str:
            def run() -> None:
                sock, _ = server.accept()
                with sock:
                    answer(sock)

            threads.append(threading.Thread(target=run))
            threads[0].start()
            return f"ws://127.0.0.1:{server.getsockname()[1]}/trading-api/ws"

        yield start
        for thread in threads:
            thread.join(5)


def say(text: bytes) -> Callable[[socket.socket], None]:
    def answer(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(text)

    return answer


def test_session_opens_with_the_key_in_its_header_and_keeps_early_frames(serve: Serve) -> None:
    heard: list[str] = []

    def answer(sock: socket.socket) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(sock.recv(4096))
        (request,) = protocol.events_received()
        heard.extend((request.path, request.headers["X-API-Key"], request.headers.get("Sec-WebSocket-Extensions", "")))
        protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
        sock.sendall(b"".join(protocol.data_to_send()) + b"\x81\x02{}")
        sock.recv(1)

    sock, leftover, _ = open_session(serve(answer), KEY, 2.0)
    with sock:
        assert not sock.getblocking()
        early = b"".join([leftover, *([] if leftover else [sock.recv(16)])])
    assert early == b"\x81\x02{}"
    assert heard == ["/trading-api/ws", KEY, ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "refused the key"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "broke the upgrade"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 1", "closed the connection"),
        (b"x" * 20_000, "no end of header"),
    ],
)
def test_refused_upgrade_is_one_line_without_the_key(
    serve: Serve, caplog: pytest.LogCaptureFixture, text: bytes, said: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(VenueError, match=said) as caught:
        open_session(serve(say(text)), KEY, 2.0)
    assert KEY not in str(caught.value) + caplog.text
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_silent_server_times_out(serve: Serve) -> None:
    done = threading.Event()
    url = serve(lambda sock: (done.wait(5), None)[1])
    with pytest.raises(VenueError, match=r"did not answer the handshake within 0\.05 s"):
        open_session(url, KEY, 0.05)
    done.set()


def test_address_of_another_kind_is_refused_before_connecting() -> None:
    with pytest.raises(VenueError, match="not a WebSocket address"):
        open_session("http://x/", KEY)
