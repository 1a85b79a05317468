"""The beat that leaves the host, and the witness's answer: 96 bytes each, authenticated, in network byte order.

::

    0   8  magic          "PULEXBT1" beat, "PULEXWA1" answer
    8   8  instance
    16  8  session        random, one per start of the sender's process
    24  8  sequence       from 1, grows by one per telegram of its session
    32  8  nonce          of the witness, random, one per start of the witness (a beat echoes it, 0 = not known yet)
    40  8  stamp_ns       of the witness, its CLOCK_MONOTONIC when it answered (a beat echoes it, 0 = not known yet)
    48  8  state          a beat: BEAT_STATES; an answer: ANSWER_STATES
    56  8  epoch
    64 32  HMAC-SHA256 of bytes 0 to 63 with the shared secret

A beat is as young as the answer that it echoes, by the witness's own clock: nobody compares two hosts' clocks, and a recorded
beat is old. The secret comes from a 0600 file, is never sent, and appears in no text of this module.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import struct
from pathlib import Path
from typing import Any, NamedTuple

BEAT_MAGIC, ANSWER_MAGIC = b"PULEXBT1", b"PULEXWA1"
BEAT_STATES = ("idle", "exposed", "ended")  # exposed: a trading key or an order of ours may be alive
ANSWER_STATES = ("waiting", "watching", "killed")
IDLE, EXPOSED, ENDED = range(3)
WAITING, WATCHING, KILLED = range(3)
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 16, 4096
_BODY = struct.Struct("!8s7Q")
_MAC_BYTES = 32
BYTES = _BODY.size + _MAC_BYTES


class SecretError(ValueError):
    """The shared secret cannot be used; one line with what to do."""


class Telegram(NamedTuple):
    """The fields between magic and HMAC."""

    instance: int
    session: int
    sequence: int
    nonce: int
    stamp_ns: int
    state: int
    epoch: int


class SharedSecret:
    """The key of the HMAC in a box that does not print it."""

    __slots__ = ("_bytes",)

    def __init__(self, value: bytes) -> None:
        if len(value) < SECRET_BYTES_MIN:
            raise SecretError(f"the shared secret has fewer than {SECRET_BYTES_MIN} bytes: head -c 32 /dev/urandom | base64")
        self._bytes = value

    def sign(self, body: bytes) -> bytes:
        return hmac.digest(self._bytes, body, hashlib.sha256)

    def __repr__(self) -> str:
        return "SharedSecret(***)"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")


def read_secret(path: Path) -> SharedSecret:
    """The secret of a 0600 file that belongs to us, blanks at its ends dropped; raises SecretError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as file:
            info = os.fstat(file.fileno())
            if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
                raise SecretError(f"{path} must be yours with mode 0600: chmod 600 it")
            return SharedSecret(file.read(SECRET_BYTES_MAX).strip())
    except OSError as error:
        raise SecretError(f"shared secret file {path}: {error.strerror}") from None


def pack(magic: bytes, telegram: Telegram, secret: SharedSecret) -> bytes:
    body = _BODY.pack(magic, *telegram)
    return body + secret.sign(body)


def unpack(magic: bytes, data: bytes, secret: SharedSecret) -> Telegram | None:
    """The telegram, or None when it is of another kind or size, or not signed with our secret."""
    if len(data) != BYTES or not data.startswith(magic):
        return None
    body = data[: _BODY.size]
    if not hmac.compare_digest(secret.sign(body), data[_BODY.size :]):
        return None
    return Telegram._make(_BODY.unpack(body)[1:])


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` with a numeric address ([v6]:PORT too): names are not resolved where a loop must not wait."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ValueError(f"{text!r} must be ADDRESS:PORT")
    return host.strip("[]"), int(port)
