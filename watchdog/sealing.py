"""A trading key's secret at rest, readable only with the management key: what a restarted watchdog needs for its proof.

A kill is proven by the refusal of the revoked key itself, and the watchdog that minted it may be dead by then. So its secret
is written beside its id, sealed under the management key, which the next watchdog reads anyway and which can do more than
any trading key. Encrypt, then authenticate: SHAKE-256 of (key, nonce) as a stream used once, HMAC-SHA-256 over nonce and
text. Keys are made by the venue from randomness, so a file without the management key cannot be guessed open.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from watchdog.venue import Secret

NONCE_BYTES, TAG_BYTES = 16, 32


class Sealer:
    """Seals and opens under one management key."""

    def __init__(self, key: Secret) -> None:
        def derive(use: bytes) -> bytes:
            return hmac.digest(key.reveal().encode(), b"pulex sealed key: " + use, "sha256")

        self._stream, self._tag = derive(b"stream"), derive(b"tag")

    def seal(self, secret: Secret) -> str:
        """Text in hexadecimal digits; a new nonce each time."""
        nonce = os.urandom(NONCE_BYTES)
        body = nonce + self._mix(nonce, secret.reveal().encode())
        return (body + hmac.digest(self._tag, body, "sha256")).hex()

    def open(self, text: object) -> Secret | None:
        """The secret, or None when the text is damaged or was sealed under another management key."""
        try:
            data = bytes.fromhex(str(text))
            body, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
            if not hmac.compare_digest(tag, hmac.digest(self._tag, body, "sha256")):
                return None
            return Secret(self._mix(body[:NONCE_BYTES], body[NONCE_BYTES:]).decode("ascii"))
        except ValueError:
            return None

    def _mix(self, nonce: bytes, data: bytes) -> bytes:
        stream = hashlib.shake_256(self._stream + nonce).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, stream, strict=True))
