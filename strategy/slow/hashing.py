"""Hashes that fit a word of shared memory. Apart, so that the model's own process loads nothing else of ours."""

from __future__ import annotations

import hashlib


def hash63(text: str) -> int:
    """63 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
