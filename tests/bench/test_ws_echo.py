"""The echo client over real sockets: the case list as a conformance server plays it, and ``websockets``' own server."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from bench import ws_echo

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "venue"))
from tls_kit import Authority, server_context
from wire_cases import MESSAGE_MAX, every
from wire_server import WireServer

SAID = ["", "hello", "κόσμε" * 50, b"\x00\xff" * 300, "x" * 70_000, b"y" * 1_000_000]


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_every_case_of_the_list_is_answered_rightly_over_a_socket(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    cases, authority = every()[:: 5 if secure else 1], Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    server = WireServer(cases, server_context(authority.issue("127.0.0.1")) if secure else None)
    try:
        assert ws_echo.main([server.url, "--agent", "here"], MESSAGE_MAX) == 0
    finally:
        server.close()
    assert server.verdicts == []
    assert (server.played, server.reports) == (len(cases), ["here"])
    assert capsys.readouterr().out == f"{len(cases)} of {len(cases)} cases played as here\n"


def test_it_runs_by_its_path_and_stops_after_so_many_cases() -> None:
    server = WireServer(every()[:5])
    try:
        path = pathlib.Path(ws_echo.__file__)
        done = subprocess.run([sys.executable, str(path), server.url, "--cases", "2"], cwd="/", capture_output=True, text=True)
    finally:
        server.close()
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 of 5 cases played as pulex\n", "")
    assert (server.played, server.verdicts) == (2, [])


@pytest.fixture
def server() -> Iterator[tuple[Server, list[object]]]:
    heard: list[object] = []

    def talk(connection: ServerConnection) -> None:
        for message in SAID:
            connection.send(message)
        waiter = connection.ping(b"are you there")
        heard.extend(connection.recv(5) for _ in SAID)
        heard.append(waiter.wait(5))
        connection.send(part for part in ("in ", "", "three parts"))
        heard.append(connection.recv(5))
        connection.close(1001, "köln")
        heard.append(connection.protocol.close_rcvd)

    with serve(talk, "127.0.0.1", 0, compression=None, max_size=None) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one, heard
        one.shutdown()
        thread.join()


def test_websockets_own_server_gets_its_messages_back_and_a_clean_end(server: tuple[Server, list[object]]) -> None:
    one, heard = server
    client = ws_echo.EchoClient(2_000_000)
    got = client.run(f"ws://127.0.0.1:{one.socket.getsockname()[1]}/")
    assert got == [m.encode() if isinstance(m, str) else m for m in [*SAID, "in three parts"]]
    assert client.code == 1001
    one.shutdown()
    *echoed, ponged, last, close = heard
    assert (echoed, ponged, last) == (SAID, True, "in three parts")
    assert getattr(close, "code", None) == 1001


def test_server_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert ws_echo.main(["ws://127.0.0.1:1"]) == 1
    assert "cannot connect to 127.0.0.1:1" in capsys.readouterr().err
