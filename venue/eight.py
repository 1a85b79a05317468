# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""Eight bytes at a time: one little-endian word, and which of its bytes are of a kind. The ground under ``venue.scan``.

The tests on all bytes of a word at once are exact up to the first byte that is found; above it borrows may lie. So only
the lowest mark of a mask is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from fabric.jit import inlined


def _repeat(byte: int) -> int:
    """A byte in all eight places, as a signed word."""
    return int.from_bytes(bytes([byte] * 8), "little", signed=True)


_ONES, _HIGHS = _repeat(0x01), _repeat(0x80)
_QUOTES, _BACKSLASHES, _SPACES = _repeat(ord('"')), _repeat(ord("\\")), _repeat(ord(" "))
_ZEROS, _OVER_NINE = _repeat(ord("0")), _repeat(0x80 - 10)
POWERS = np.array([10**k for k in range(19)], np.int64)


@intrinsic
def _load(typingctx: Any, buf: Any, i: Any) -> Any:
    """The word at ``buf[i:i + 8]``; the caller has checked that it is there."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, args[0]).data
        word = ir.IntType(64)
        address = builder.add(builder.ptrtoint(data, word), args[1])
        return builder.load(builder.inttoptr(address, word.as_pointer()), align=1)

    return types.int64(buf, types.int64), codegen


@intrinsic
def _lowest(typingctx: Any, mask: Any) -> Any:
    """Number of the lowest bit that is set; 64 when none is."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@inlined
def eight(buf, i, end):
    """The bytes from ``i`` on, zero from ``end`` on."""
    if i + 8 <= end:
        return _load(buf, i)
    word = np.int64(0)
    for k in range(end - i):
        word |= np.int64(buf[i + k]) << (k << 3)
    return word


@inlined
def first_of(word, count):
    """The first ``count`` (0 to 8) bytes, the others zero."""
    return word if count >= 8 else word & ((np.int64(1) << (count << 3)) - 1)


@inlined
def zero_bytes(word):
    """How many bytes come before the first that is zero; 8 when none is."""
    return _lowest((word - _ONES) & ~word & _HIGHS) >> 3


@inlined
def plain_bytes(word):
    """How many bytes come before the first that needs a look in a string: quote, backslash, control, above ASCII."""
    quote = word ^ _QUOTES
    backslash = word ^ _BACKSLASHES
    found = ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash) | ((word - _SPACES) & ~word) | word
    return _lowest(found & _HIGHS) >> 3


@inlined
def skip_plain(buf, i, end):
    """Offset of the first byte that needs a look in a string, or ``end``."""
    while i < end:
        count = plain_bytes(eight(buf, i, end))
        if count < 8:
            return i + count
        i += 8
    return i


@inlined
def _digit_bytes(values):
    """How many bytes come before the first that is above 9."""
    return _lowest(((values + _OVER_NINE) | values) & _HIGHS) >> 3


@inlined
def _number(values, count):
    """The number that the first ``count`` (1 to 8) bytes, each 0 to 9, make."""
    pairs = values << ((8 - count) << 3)
    pairs = (pairs * 10 + (pairs >> 8)) & 0x00FF00FF00FF00FF
    fours = (pairs * 100 + (pairs >> 16)) & 0x0000FFFF0000FFFF
    return (fours * 10000 + (fours >> 32)) & 0xFFFFFFFF


@inlined
def skip_digits(buf, i, end):
    """Offset of the first byte that is no digit, or ``end``."""
    while i < end:
        count = _digit_bytes(eight(buf, i, end) ^ _ZEROS)
        if count < 8:
            return i + count
        i += 8
    return i


@inlined
def read_digits(buf, i, end, value, wanted):
    """Take digits: (``value`` with at most ``wanted`` more, how many lack, 1 when all beyond were 0, offset behind all).

    The caller sees to it that the result is below 10^18.
    """
    rest = 1
    while True:
        values = eight(buf, i, end) ^ _ZEROS
        count = _digit_bytes(values)
        taken = min(count, wanted)
        if taken > 0:
            value = value * POWERS[taken] + _number(values, taken)
            wanted -= taken
        if taken < count and first_of(values, count) != first_of(values, taken):
            rest = 0
        i += count
        if count < 8:
            return value, wanted, rest, i
