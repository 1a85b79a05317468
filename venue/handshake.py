"""The WebSocket opening handshake, in plain Python on the control thread; after it the loop owns the channel.

``websockets``' sans-I/O protocol checks the answer. Bytes behind the answer are already frames: they are handed back
unread. The key goes into one header and nowhere else: the protocol's own logger is silenced.
"""

from __future__ import annotations

import logging
import socket
import time

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from venue import sockets
from venue.errors import VenueError
from venue.tls import TlsSocket

HEADER_MAX_BYTES = 16 * 1024
Channel = socket.socket | TlsSocket
_SILENT = logging.Logger("venue.handshake", logging.CRITICAL + 1)


def open_session(
    url: str, api_key: str, timeout_s: float = 5.0, for_orders: bool = False, ca_file: str | None = None
) -> tuple[Channel, bytes, ClientProtocol]:
    """Connect, shake hands if it is wss, upgrade; (non-blocking channel, bytes received behind the answer, protocol).

    Raises VenueError: unreachable, certificate does not hold, refused (401 = the key), not a WebSocket, or slower than
    ``timeout_s`` in all.
    """
    try:
        uri = parse_uri(url)
    except InvalidURI:
        raise VenueError(f"{url} is not a WebSocket address; it looks like ws://HOST:PORT/PATH") from None
    deadline = time.monotonic() + timeout_s
    tcp = sockets.connect(uri.host, uri.port, timeout_s, for_orders)
    sock: Channel = tcp
    try:
        if uri.secure:
            sock = TlsSocket(tcp, uri.host, deadline - time.monotonic(), ca_file)
        protocol = ClientProtocol(uri, max_size=None, logger=_SILENT)
        request = protocol.connect()
        if api_key:
            request.headers["X-API-Key"] = api_key
        protocol.send_request(request)
        sock.sendall(b"".join(protocol.data_to_send()))
        leftover = _read_answer(sock, protocol, f"{uri.host}:{uri.port}", deadline)
        sock.setblocking(False)
    except TimeoutError:
        sock.close()
        raise VenueError(f"{uri.host}:{uri.port} did not answer the handshake within {timeout_s:g} s") from None
    except OSError as error:
        sock.close()
        raise VenueError(f"{uri.host}:{uri.port} broke off the upgrade: {error.strerror or 'connection lost'}") from None
    except BaseException:
        sock.close()
        raise
    return sock, leftover, protocol


def _read_answer(sock: Channel, protocol: ClientProtocol, where: str, deadline: float) -> bytes:
    """Feed the protocol exactly the answer's header; return what came after it."""
    data = b""
    while (cut := data.find(b"\r\n\r\n")) < 0:
        if len(data) > HEADER_MAX_BYTES:
            raise VenueError(f"{where} answered the upgrade with no end of header; is that address a WebSocket?")
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        chunk = sock.recv(4096)
        if not chunk:
            raise VenueError(f"{where} closed the connection during the upgrade")
        data += chunk
    status = data.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
        raise VenueError(f"{where} does not speak HTTP; is that address a WebSocket?")
    if status[1] == b"401":
        raise VenueError(f"{where} refused the key (401); it is unknown, revoked or of another account")
    if status[1] != b"101":
        code = status[1][:3].decode("ascii", "replace")
        raise VenueError(f"{where} refused the upgrade with HTTP status {code}; check the venue's address and path")
    protocol.receive_data(data[: cut + 4])
    protocol.events_received()
    if protocol.handshake_exc is not None:
        raise VenueError(f"{where} broke the upgrade's rules: {type(protocol.handshake_exc).__name__}")
    return data[cut + 4 :]
