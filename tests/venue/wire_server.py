"""A conformance server for tests: plays the case list and judges the answers, at the addresses that fuzzing servers use.

``/getCaseCount`` says how many cases, ``/runCase?case=K&agent=A`` plays one (each in random pieces),
``/updateReports?agent=A`` closes the report. What a client answered is read with ``websockets``' frames; ``verdicts`` has
one line per case that went wrong.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol, State
from websockets.server import ServerProtocol
from wire_cases import CLOSE, Answers, Case, closing, frame

PATIENCE_S = 20.0


class WireServer:
    """One connection at a time, over TLS when it is given a context; ``url`` is its address."""

    def __init__(self, cases: list[Case], context: ssl.SSLContext | None = None) -> None:
        self.cases = cases
        self._context = context
        self.verdicts: list[str] = []
        self.played = 0
        self.reports: list[str] = []
        self._chance = random.Random(5)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'wss' if context else 'ws'}://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE_S)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(sock, server_side=True) if self._context else sock as session:
                self._session(session)

    def _session(self, sock: socket.socket) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(sock.recv(65536))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        sock.sendall(b"".join(protocol.data_to_send()))
        address = urlsplit(request.path)
        asked = parse_qs(address.query)
        if address.path == "/runCase":
            self._play(sock, self.cases[int(asked["case"][0]) - 1])
            return
        if address.path == "/getCaseCount":
            sock.sendall(frame(str(len(self.cases))))
        else:
            assert address.path == "/updateReports"
            self.reports += asked["agent"]
        sock.sendall(closing(1000))
        read_all(sock)

    def _play(self, sock: socket.socket, case: Case) -> None:
        data = case.data if case.ends else case.data + closing(1000)
        expected = case.answers if case.ends else [*case.answers, (CLOSE, b"\x03\xe8")]
        cuts = sorted(self._chance.randrange(len(data) + 1) for _ in range(3))
        reader = threading.Thread(target=self._judge, args=(sock, case, expected))  # a client may block while it answers
        reader.start()
        try:
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                sock.sendall(data[begin:end])
        except OSError:
            pass  # it has closed already
        reader.join()
        self.played += 1

    def _judge(self, sock: socket.socket, case: Case, expected: Answers) -> None:
        protocol = Protocol(SERVER, state=State.OPEN, max_size=None)
        protocol.receive_data(read_all(sock))
        answers = [(int(f.opcode), bytes(f.data)) for f in protocol.events_received() if isinstance(f, Frame)]
        if answers != expected or protocol.parser_exc is not None:
            self.verdicts.append(f"{case.name}: {answers!r:.200} instead of {expected!r:.200}, {protocol.parser_exc}")


def read_all(sock: socket.socket) -> bytes:
    """Until the client ends its side."""
    data = b""
    while chunk := sock.recv(1 << 20):
        data += chunk
    return data
