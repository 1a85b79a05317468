# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""Write ASCII into a uint8 view, eight bytes at a time: texts and exact decimals. Each returns the offset behind what it wrote.

No bounds are checked here: the caller asked for room for its longest message and eight more first, because the last word of
a text or number is stored whole, and what it leaves behind the end is overwritten by what comes next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable
from numba.np.arrayobj import make_array

from fabric.jit import inlined, kernel
from venue.eight import POWERS, eight, zero_bytes

_ASCII_ZEROS = 0x3030303030303030
_EIGHT_DIGITS = 100_000_000


def store(out: Any, at: int, word: int) -> None:
    """``out[at:at + 8] = word``, lowest byte first."""
    out[at : at + 8] = np.frombuffer((int(word) & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"), np.uint8)


@type_callable(store)
def _type_of_store(context: Any) -> Any:
    return lambda out, at, word: types.none


@lower_builtin(store, types.Array, types.Integer, types.Integer)
def _lower_store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = make_array(signature.args[0])(context, builder, args[0]).data
    word = ir.IntType(64)
    at, value = (context.cast(builder, args[k], signature.args[k], types.int64) for k in (1, 2))
    address = builder.add(builder.ptrtoint(data, word), at)
    builder.store(value, builder.inttoptr(address, word.as_pointer()), align=1)
    return context.get_dummy_value()


def load(data: Any, at: int) -> int:
    """The word at ``data[at:at + 8]``, lowest byte first."""
    return int.from_bytes(bytes(data[at : at + 8]), "little", signed=True)


@type_callable(load)
def _type_of_load(context: Any) -> Any:
    return lambda data, at: types.int64


@lower_builtin(load, types.Array, types.Integer)
def _lower_load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = make_array(signature.args[0])(context, builder, args[0]).data
    word = ir.IntType(64)
    address = builder.add(builder.ptrtoint(data, word), context.cast(builder, args[1], signature.args[1], types.int64))
    return builder.load(builder.inttoptr(address, word.as_pointer()), align=1)


def ascii_words(text: str) -> npt.NDArray[np.int64]:
    """A constant for ``put``: its length, then its bytes in words, zero filled."""
    data = text.encode("ascii")
    return np.frombuffer(len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8), np.int64)


@inlined
def put(out, at, words):
    """A whole constant text."""
    for k in range(1, len(words)):
        store(out, at + (k - 1) * 8, words[k])
    return at + words[0]


@inlined
def put_row(out, at, text):
    """A zero-padded text, up to its padding."""
    for k in range(0, len(text), 8):
        word = eight(text, k, len(text))
        store(out, at, word)
        count = zero_bytes(word)
        at += count
        if count < 8:
            break
    return at


@inlined
def digits(value):
    """The eight digits of a number below 10^8, one byte each, the first one lowest."""
    fours = value // 10_000
    fours |= (value - fours * 10_000) << 32
    hundreds = ((fours * 10_486) >> 20) & 0x0000007F0000007F
    pairs = hundreds | ((fours - 100 * hundreds) << 16)
    tens = ((pairs * 103) >> 10) & 0x000F000F000F000F
    return tens | ((pairs - 10 * tens) << 8)


@inlined
def put_eight(out, at, value):
    """A number below 10^8 with all eight digits."""
    store(out, at, digits(value) | _ASCII_ZEROS)
    return at + 8


@inlined
def put_short(out, at, value):
    """A number below 10^8 without leading zeros."""
    width = 1
    while width < 8 and value >= POWERS[width]:
        width += 1
    store(out, at, (digits(value) | _ASCII_ZEROS) >> ((8 - width) << 3))
    return at + width


@inlined
def put_integer(out, at, value):
    """A non-negative number without leading zeros."""
    if value < _EIGHT_DIGITS:
        return put_short(out, at, value)
    upper = value // _EIGHT_DIGITS
    lower = value - upper * _EIGHT_DIGITS
    if upper < _EIGHT_DIGITS:
        return put_eight(out, put_short(out, at, upper), lower)
    top = upper // _EIGHT_DIGITS
    return put_eight(out, put_eight(out, put_short(out, at, top), upper - top * _EIGHT_DIGITS), lower)


@inlined
def put_padded(out, at, value, width):
    """``width`` digits, 1 to 18, of a number that has no more, zero filled."""
    for rest in (16, 8):
        if width > rest:
            upper = value // POWERS[rest]
            value -= upper * POWERS[rest]
            store(out, at, (digits(upper) | _ASCII_ZEROS) >> ((8 + rest - width) << 3))
            at, width = at + width - rest, rest
    store(out, at, (digits(value) | _ASCII_ZEROS) >> ((8 - width) << 3))
    return at + width


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
