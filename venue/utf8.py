# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""UTF-8 checked piece by piece: the first wrong byte is found when it comes, also inside a character that is cut in two.

A state is one integer: 0 between characters, else how many bytes are missing and the range the next one must be in
(RFC 3629: no overlong form, no surrogate, nothing over U+10FFFF, is all in the range of the second byte).
"""

from __future__ import annotations

import numpy as np

from fabric.jit import inlined, kernel
from venue.eight import eight

BAD = -1
_STEP = 64  # bytes looked at one by one before ASCII is skipped again
_HIGHS = -0x7F7F7F7F7F7F7F80  # the highest bit of each of eight bytes
_CONTINUATION = 0x80 << 8 | 0xBF << 16


@kernel
def _lead(b):
    """State after the first byte of a character of more than one byte, or BAD."""
    if b < 0xC2 or b > 0xF4:
        return BAD
    if b < 0xE0:
        return 1 | _CONTINUATION
    if b < 0xF0:
        low = 0xA0 if b == 0xE0 else 0x80
        high = 0x9F if b == 0xED else 0xBF
        return 2 | low << 8 | high << 16
    low = 0x90 if b == 0xF0 else 0x80
    high = 0x8F if b == 0xF4 else 0xBF
    return 3 | low << 8 | high << 16


@inlined
def _skip_ascii(buffer, start, end):
    """Offset of a byte at or before the first one above ASCII, at most 31 before it; ``end`` when there is none."""
    at = start
    while at + 32 <= end:
        first = eight(buffer, at, end) | eight(buffer, at + 8, end)
        if (first | eight(buffer, at + 16, end) | eight(buffer, at + 24, end)) & _HIGHS:
            return at
        at += 32
    if end - start >= 32:  # the last 32 bytes, some of them for a second time
        at = end - 32
    first = eight(buffer, at, end) | eight(buffer, at + 8, end)
    if (first | eight(buffer, at + 16, end) | eight(buffer, at + 24, end)) & _HIGHS:
        return at
    return end


@kernel
def check(buffer, start, end, state):
    """The state after ``buffer[start:end]``, or BAD. A text may end only where the state is 0."""
    at = start
    while at < end:
        if state == 0:
            at = _skip_ascii(buffer, at, end)
        for k in range(at, min(at + _STEP, end)):
            b = np.int64(buffer[k])
            if state == 0:
                if b >= 128:
                    state = _lead(b)
                    if state == BAD:
                        return BAD
            else:
                if b < (state >> 8 & 255) or b > state >> 16:
                    return BAD
                missing = (state & 255) - 1
                state = missing | _CONTINUATION if missing else 0
        at += _STEP
    return state
