"""The UNIX socket: one JSON line each way per request, the peer known by SO_PEERCRED and its start time.

Nothing here blocks: sockets are non-blocking, requests and clients are bounded, answers are short.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog.processes import ProcessError, start_time

LINE_BYTES_MAX = 65536
CLIENTS_MAX = 64


class Peer:
    """One client: who it is, and the one request that is being answered."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.busy = False
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid, self.uid, _ = struct.unpack("3i", raw)
        self.start = start_time(self.pid)

    def reply(self, answer: dict[str, Any], fd: int | None = None) -> None:
        """Send one line, with a descriptor when given; a peer that does not read loses its answer."""
        self.busy = False
        data = (json.dumps(answer) + "\n").encode()
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]
        try:
            if self.sock.sendmsg([data], rights) != len(data):
                self.sock.close()
        except OSError:
            self.sock.close()

    def refuse(self, reason: str) -> None:
        self.reply({"ok": False, "reason": reason})


Handler = Callable[[Peer, dict[str, Any]], None]


class Server:
    """Listens at ``path`` (0600); ``serve(fd)`` handles one ready descriptor."""

    def __init__(self, path: Path, poller: select.epoll, handler: Handler) -> None:
        path.unlink(missing_ok=True)
        self.poller, self.handler = poller, handler
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        mask = os.umask(0o177)
        try:
            self.listener.bind(str(path))
        finally:
            os.umask(mask)
        self.listener.listen(CLIENTS_MAX)
        self.peers: dict[int, Peer] = {}
        poller.register(self.listener.fileno(), select.EPOLLIN)

    def serve(self, fd: int) -> None:
        if fd == self.listener.fileno():
            self._accept()
        elif fd in self.peers:
            self._read(fd, self.peers[fd])

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        try:
            peer = Peer(sock)
        except (OSError, ProcessError):
            sock.close()
            return
        if peer.uid != os.getuid() or len(self.peers) >= CLIENTS_MAX:
            peer.refuse("another user's process" if peer.uid != os.getuid() else "too many clients: close one")
            sock.close()
            return
        self.peers[sock.fileno()] = peer
        self.poller.register(sock.fileno(), select.EPOLLIN)

    def _read(self, fd: int, peer: Peer) -> None:
        try:
            data = peer.sock.recv(LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        peer.buffer += data
        while b"\n" in peer.buffer and peer.sock.fileno() >= 0:
            line, _, peer.buffer = peer.buffer.partition(b"\n")
            self._request(peer, line)
        if not data or len(peer.buffer) > LINE_BYTES_MAX or peer.sock.fileno() < 0:
            self._drop(fd, peer)

    def _request(self, peer: Peer, line: bytes) -> None:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            peer.refuse('a request is one JSON object per line with an "op"')
        elif peer.busy:
            peer.refuse("one request at a time: wait for the answer")
        else:
            peer.busy = True
            self.handler(peer, request)

    def _drop(self, fd: int, peer: Peer) -> None:
        del self.peers[fd]
        with contextlib.suppress(OSError):  # closing it took it out already
            self.poller.unregister(fd)
        peer.sock.close()
