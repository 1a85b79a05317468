# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Write ASCII into a uint8 view: texts and exact decimals. Each returns the offset behind what it wrote.

No bounds are checked here: the caller asked for room for its longest message first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fabric.jit import inlined, kernel
from venue.eight import POWERS


def ascii_bytes(text: str) -> npt.NDArray[np.uint8]:
    """A constant for ``put``."""
    return np.frombuffer(text.encode("ascii"), np.uint8)


@inlined
def put(out, at, text):
    """A whole constant text."""
    for k in range(len(text)):
        out[at + k] = text[k]
    return at + len(text)


@kernel
def put_row(out, at, text):
    """A zero-padded text, up to its padding."""
    k = 0
    while k < len(text) and text[k] != 0:
        out[at + k] = text[k]
        k += 1
    return at + k


@kernel
def put_padded(out, at, value, width):
    """``width`` digits of a non-negative number, zero filled."""
    left = np.uint64(value)  # unsigned: a division by ten is then a multiplication without sign repair
    i = at + width
    while i > at:
        i -= 1
        rest = left // np.uint64(10)
        out[i] = np.uint8(np.uint64(48) + left - rest * np.uint64(10))
        left = rest
    return at + width


@kernel
def put_integer(out, at, value):
    """A non-negative number without leading zeros."""
    width = 1
    while width < 19 and value >= POWERS[width]:
        width += 1
    return put_padded(out, at, value, width)


@kernel
def put_decimal(out, at, units, decimals):
    """``units`` x 10^-decimals as exact decimal text with all its decimals: 6400012 with 2 is 64000.12."""
    scale = POWERS[decimals]
    whole = units // scale
    at = put_integer(out, at, whole)
    if decimals > 0:
        out[at] = 46
        at = put_padded(out, at + 1, units - whole * scale, decimals)
    return at
