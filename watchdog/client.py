"""How a hot process asks the watchdog for its key and its lease (standard library only).

One connection, one JSON line each way; the lease memfd comes as SCM_RIGHTS with the answer. The key is returned to the
caller and goes nowhere else: ``Grant`` does not print it.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import pathlib
import socket
import time
from typing import Any


class WatchdogError(RuntimeError):
    """The watchdog refused or does not answer; the text is its reason."""


class Grant:
    """Epoch, key and (for execution) the read-only mapping of the lease page."""

    def __init__(self, answer: dict[str, Any], lease: mmap.mmap | None) -> None:
        self.epoch = int(answer["epoch"])
        self.key_id = str(answer["key_id"])
        self.api_key = str(answer["api_key"])
        self.lease = lease

    def __repr__(self) -> str:
        return f"Grant(epoch={self.epoch}, key_id={self.key_id!r})"


def request(run_dir: str | pathlib.Path, message: dict[str, Any], timeout_s: float = 5.0) -> tuple[dict[str, Any], list[int]]:
    """Send one request; returns the answer and the descriptors that came with it. Raises WatchdogError."""
    path = str(pathlib.Path(run_dir) / "watchdog.sock")
    deadline = time.monotonic() + timeout_s
    descriptors = array.array("i")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(message).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
                for level, kind, content in ancillary:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
                if not data:
                    break
                received += data
        except OSError as error:
            raise WatchdogError(f"the watchdog does not answer ({error.strerror or error}); is it running?") from None
    try:
        answer: dict[str, Any] = json.loads(received)
    except ValueError:
        raise WatchdogError("the watchdog closed the connection without an answer") from None
    return answer, list(descriptors)


def register(run_dir: str | pathlib.Path, role: str, code_hash: int, config_hash: int, timeout_s: float = 10.0) -> Grant:
    """Register this process and get its key; for execution also the lease page. Raises WatchdogError."""
    message = {"op": "register", "role": role, "code_hash": code_hash, "config_hash": config_hash}
    answer, descriptors = request(run_dir, message, timeout_s)
    if not answer.get("ok"):
        raise WatchdogError(str(answer.get("reason", "refused")))
    lease = None
    if descriptors:
        lease = mmap.mmap(descriptors[0], mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        for descriptor in descriptors:
            os.close(descriptor)
    return Grant(answer, lease)
