"""The control thread's end of one session: open it, hand it to the loop, take it back, wait before the next try.

Holds no key: ``open`` gets it for the one upgrade. The row and buffer live as long as the link; the loop reads them by
address (``venue.session``).
"""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import numpy.typing as npt
from websockets.client import ClientProtocol

from fabric import layout
from venue import sockets, tables
from venue.errors import VenueError
from venue.handshake import Channel, open_session
from venue.tls import TlsSocket, reason

NS_PER_S = 1_000_000_000
PART_S = 0.2  # so long the venue may take to hear why we leave


@dataclasses.dataclass
class Backoff:
    """1 s doubling to 60 s; back to the first step after a healthy period, however the session ended."""

    first_s: float = 1.0
    most_s: float = 60.0
    healthy_ns: int = 10 * NS_PER_S
    _step_s: float = 0.0
    _opened_ns: int = 0
    _next_ns: int = 0

    def ready(self, now_ns: int) -> bool:
        return now_ns >= self._next_ns

    def opened(self, now_ns: int) -> None:
        self._opened_ns = now_ns

    def failed(self, now_ns: int) -> float:
        """The try or the session ended; returns the seconds to wait."""
        if self._opened_ns and now_ns - self._opened_ns >= self.healthy_ns:
            self._step_s = 0.0
        self._opened_ns = 0
        self._step_s = min(self.most_s, self._step_s * 2 if self._step_s else self.first_s)
        self._next_ns = now_ns + int(self._step_s * NS_PER_S)
        return self._step_s


class Link:
    """One session row with its buffer. ``row`` is read and written by the loop while its state is LOOP."""

    def __init__(self, capacity: int, for_orders: bool = False, ca_file: str | None = None) -> None:
        self.row: npt.NDArray[np.int64] = np.zeros(len(tables.SESSION), np.int64)
        self.buffer: npt.NDArray[np.uint8] = np.full(capacity, 0, np.uint8)  # written once: the loop meets no missing page
        self._for_orders = for_orders
        self._ca_file = ca_file
        self.busy_poll_us = 0  # of the next connection
        self._socket: Channel | None = None
        self._protocol: ClientProtocol | None = None
        self.row[tables.SE_BUFFER] = self.buffer.ctypes.data
        self.row[tables.SE_CAPACITY] = capacity
        self.row[tables.SE_STATE] = layout.SESSION_DOWN

    @property
    def address(self) -> int:
        return int(self.row.ctypes.data)

    @property
    def state(self) -> int:
        return int(self.row[tables.SE_STATE])

    def open(self, url: str, api_key: str, messages: list[bytes], timeout_s: float = 5.0) -> None:
        """Connect, upgrade, send the first messages, hand over. Raises VenueError or OSError; the state stays DOWN."""
        sock, leftover, protocol = open_session(url, api_key, timeout_s, self._for_orders, self._ca_file)
        try:
            if self.busy_poll_us and not sockets.busy_poll(sock.fileno(), self.busy_poll_us):
                raise VenueError(f"venue.busy_poll_us = {self.busy_poll_us}: refused; it needs CAP_NET_ADMIN, or set it to 0")
            for message in messages:
                protocol.send_text(message)
            sock.setblocking(True)
            sock.settimeout(timeout_s)
            sock.sendall(b"".join(protocol.data_to_send()))
            sock.setblocking(False)
        except (OSError, VenueError):
            sock.close()
            raise
        self._socket, self._protocol = sock, protocol
        row = self.row
        row[tables.SE_TLS_ERROR] = row[tables.SE_TLS_CLOSED] = 0
        row[tables.SE_SSL] = sock.address if isinstance(sock, TlsSocket) else 0
        row[tables.SE_FUNCTIONS] = sock.functions if isinstance(sock, TlsSocket) else 0
        self.buffer[: len(leftover)] = np.frombuffer(leftover, np.uint8)
        row[tables.SE_FD] = sock.fileno()
        row[tables.SE_START], row[tables.SE_END] = 0, len(leftover)
        row[tables.SE_CLOSE_CODE] = row[tables.SE_RECEIVED_NS] = row[tables.SE_OPENED] = 0
        row[tables.SE_STATE] = layout.SESSION_LOOP  # last: pairs with owned_by_loop

    def hold(self, data: bytes) -> None:
        """Put bytes at the start of the buffer of a session that is never opened (a rehearsal reads them)."""
        self.buffer[: len(data)] = np.frombuffer(data, np.uint8)

    def reap(self) -> str | None:
        """Close what the loop gave back; the reason, or None while there is nothing to do."""
        if self.state != layout.SESSION_CLOSING:
            return None
        code = tables.CLOSE[int(self.row[tables.SE_CLOSE_CODE])]
        if self.row[tables.SE_TLS_ERROR]:
            code += f": TLS: {reason(int(self.row[tables.SE_TLS_ERROR]))}"
        self.close()
        return code

    def close(self) -> None:
        """Only when the loop does not own it (given back, or the loop has ended: then the venue is told)."""
        if self._socket is not None:
            if self._for_orders:
                self._socket.close()  # at once: nothing of ours may still arrive
            else:
                self._part(self._socket)
            self._socket = self._protocol = None
        self.row[tables.SE_SSL] = 0
        self.row[tables.SE_STATE] = layout.SESSION_DOWN

    def _part(self, sock: Channel) -> None:
        if self.state == layout.SESSION_LOOP and self._protocol is not None:
            self._protocol.send_close(1000)
            with contextlib.suppress(OSError, VenueError):
                sock.settimeout(PART_S)
                sock.sendall(b"".join(self._protocol.data_to_send()))
        sockets.part(sock.farewell() if isinstance(sock, TlsSocket) else sock, PART_S)
