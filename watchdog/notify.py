"""The service manager's protocol ``sd_notify``: one datagram of ``NAME=value`` lines to the socket in NOTIFY_SOCKET.

The address is a path or, with ``@`` in front, an abstract name. Without NOTIFY_SOCKET nobody listens and nothing is sent.
A send never blocks and never raises: a manager that does not read is its own problem, and ``lost`` counts it.
WATCHDOG_USEC is the manager's patience; a sign of life is due at half of it. WATCHDOG_PID names the unit's main process, the
supervisor, not us: the unit says ``NotifyAccess=all`` so that the watchdog, which must not hang, gives the sign.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

STATUS_BYTES_MAX = 512


class Notifier:
    """Sends to one manager; ``period_ns`` is how often a sign of life is due, 0 = never."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        usec = environ.get("WATCHDOG_USEC", "")
        self.period_ns = int(usec) * 1000 // 2 if name and usec.isascii() and usec.isdigit() else 0
        self.address = "\0" + name[1:] if name.startswith("@") else name
        self.lost = 0
        self.socket = None
        if name.startswith(("@", "/")):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def ready(self, status: str) -> None:
        self.send(f"READY=1\nSTATUS={one_line(status)}")

    def status(self, text: str) -> None:
        self.send(f"STATUS={one_line(text)}")

    def alive(self) -> None:
        self.send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self.send(f"STOPPING=1\nSTATUS={one_line(status)}")

    def send(self, text: str) -> None:
        if self.socket is None:
            return
        try:
            self.socket.sendto(text.encode(), self.address)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def one_line(text: str) -> str:
    """A status is one line: a second one would be read as another assignment."""
    return " ".join(text.split())[:STATUS_BYTES_MAX]
