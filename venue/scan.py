# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""A JSON scanner for flat objects: key order and white space are free, unknown values are checked and skipped.

Everything works on a uint8 view and offsets, returns ``(SCAN status, ...)`` and never reads at or beyond ``end``.
``declined`` means well formed as far as seen, but rare (escapes, bytes above ASCII, exponents, deep nesting): the
dialect's cold twin decides. What is answered ``ok`` or refused here, the twin answers the same.
"""

from __future__ import annotations

import numpy as np

from fabric.jit import inlined, kernel
from venue import tables as t
from venue.eight import POWERS, eight, first_of, plain_bytes, read_digits, skip_digits, skip_plain

DEPTH_MAX = 32
DIGITS_MAX = 18  # a number of so many digits fits a word
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _DOT = 34, 92, 44, 58, 45, 46
_OBJECT, _OBJECT_END, _ARRAY, _ARRAY_END = 123, 125, 91, 93

_ESCAPES = np.array([c in b'"\\/bfnrt' for c in range(256)], np.uint8)
_LITERALS = tuple(int.from_bytes(word, "little") for word in (b"true", b"fals", b"null"))


@inlined
def skip_space(buf, i, end):
    """Offset of the next byte that is no white space."""
    while i < end and (buf[i] == 32 or 9 <= buf[i] <= 10 or buf[i] == 13):
        i += 1
    return i


@inlined
def skip_string(buf, i, end):
    """(status, offset behind the closing quote); ``buf[i]`` is the opening one."""
    i = skip_plain(buf, i + 1, end)
    while i < end and buf[i] != _QUOTE:
        if buf[i] != _BACKSLASH:
            return (t.SCAN_BAD if buf[i] < 32 else t.SCAN_DECLINED), i
        i += 1
        if i >= end:
            return t.SCAN_BAD, i
        if not _ESCAPES[buf[i]]:
            return (t.SCAN_DECLINED if buf[i] == 117 else t.SCAN_BAD), i  # \uXXXX: the twin reads it
        i = skip_plain(buf, i + 1, end)
    return (t.SCAN_OK if i < end else t.SCAN_BAD), i + 1


@inlined
def skip_number(buf, i, end):
    """(status, offset behind it) of a bare number after the JSON grammar."""
    if buf[i] == _MINUS:
        i += 1
    after = skip_digits(buf, i, end)
    if after == i or (buf[i] == 48 and after > i + 1):
        return t.SCAN_BAD, i
    i = after
    if i < end and buf[i] == _DOT:
        after = skip_digits(buf, i + 1, end)
        if after == i + 1:
            return t.SCAN_BAD, i
        i = after
    if i < end and (buf[i] | 32) == 101:
        i += 1
        if i < end and (buf[i] == 43 or buf[i] == _MINUS):
            i += 1
        after = skip_digits(buf, i, end)
        if after == i:
            return t.SCAN_BAD, i
        i = after
    return t.SCAN_OK, i


@inlined
def _skip_literal(buf, i, end):
    word = eight(buf, i, end)
    four = first_of(word, 4)
    if four == _LITERALS[0] or four == _LITERALS[2]:
        return t.SCAN_OK, i + 4
    if four == _LITERALS[1] and (word >> 32) & 255 == 101:
        return t.SCAN_OK, i + 5
    return t.SCAN_BAD, i


@inlined
def _skip_scalar(buf, i, end):
    c = buf[i]
    if c == _QUOTE:
        return skip_string(buf, i, end)
    if c == _MINUS or 48 <= c <= 57:
        return skip_number(buf, i, end)
    return _skip_literal(buf, i, end)


@kernel
def _skip_key(buf, i, end):
    """(status, offset behind the colon) of a key somewhere inside a skipped object."""
    i = skip_space(buf, i, end)
    if i >= end or buf[i] != _QUOTE:
        return t.SCAN_BAD, i
    status, i = skip_string(buf, i, end)
    if status != t.SCAN_OK:
        return status, i
    i = skip_space(buf, i, end)
    if i >= end or buf[i] != _COLON:
        return t.SCAN_BAD, i
    return t.SCAN_OK, i + 1


@kernel
def _skip_nested(buf, i, end):
    """(status, offset behind it) of an object or array; the stack of open ones is the bits of one word, object = 1."""
    depth = 0
    stack = 0
    while True:
        i = skip_space(buf, i, end)
        if i >= end:
            return t.SCAN_BAD, i
        opened = False
        if buf[i] == _OBJECT or buf[i] == _ARRAY:
            if depth == DEPTH_MAX:
                return t.SCAN_DECLINED, i
            depth += 1
            stack = stack << 1 | (1 if buf[i] == _OBJECT else 0)
            i = skip_space(buf, i + 1, end)
            opened = not (i < end and buf[i] == (_OBJECT_END if stack & 1 else _ARRAY_END))
        else:
            status, i = _skip_scalar(buf, i, end)
            if status != t.SCAN_OK:
                return status, i
        while not opened:  # behind a value: close, or a comma
            i = skip_space(buf, i, end)
            if i >= end:
                return t.SCAN_BAD, i
            if buf[i] == (_OBJECT_END if stack & 1 else _ARRAY_END):
                i += 1
                depth -= 1
                stack >>= 1
                if depth == 0:
                    return t.SCAN_OK, i
            elif buf[i] == _COMMA:
                i += 1
                opened = True
            else:
                return t.SCAN_BAD, i
        if stack & 1:
            status, i = _skip_key(buf, i, end)
            if status != t.SCAN_OK:
                return status, i


@inlined
def skip_value(buf, i, end):
    """(status, offset behind it) of any value that starts at ``i < end``; its grammar is checked throughout."""
    if buf[i] == _OBJECT or buf[i] == _ARRAY:
        return _skip_nested(buf, i, end)
    return _skip_scalar(buf, i, end)


@inlined
def read_key(buf, i, end):
    """(status, offset of its value, first 8 bytes, next 8, length) of the key at ``i``; escapes are declined."""
    if i >= end or buf[i] != _QUOTE:
        return t.SCAN_BAD, i, 0, 0, 0
    i += 1
    first = eight(buf, i, end)
    second = np.int64(0)
    length = plain_bytes(first)
    if length < 8:
        first = first_of(first, length)
    else:
        second = eight(buf, i + 8, end)
        length = plain_bytes(second)
        second = first_of(second, length)
        length = length + 8 if length < 8 else skip_plain(buf, i + 16, end) - i
    i += length
    if i >= end or buf[i] < 32:
        return t.SCAN_BAD, i, 0, 0, 0
    if buf[i] != _QUOTE:
        return t.SCAN_DECLINED, i, 0, 0, 0
    i = skip_space(buf, i + 1, end)
    if i >= end or buf[i] != _COLON:
        return t.SCAN_BAD, i, 0, 0, 0
    i = skip_space(buf, i + 1, end)
    if i >= end:
        return t.SCAN_BAD, i, 0, 0, 0
    return t.SCAN_OK, i, first, second, length


@inlined
def pack(buf, at, length, end):
    """The first 24 bytes of a text as three little-endian words, zero filled; compare with ``purpleflea_words.word``."""
    first = first_of(eight(buf, at, end), length)
    second = first_of(eight(buf, at + 8, end), length - 8) if length > 8 else 0
    third = first_of(eight(buf, at + 16, end), length - 16) if length > 16 else 0
    return first, second, third


@inlined
def read_text(buf, i, end):
    """(status, offset, length) of the text inside the string at ``i``; bad = not a string, escapes are declined."""
    if i >= end or buf[i] != _QUOTE:
        return t.SCAN_BAD, i, 0
    at = i + 1
    i = skip_plain(buf, at, end)
    if i >= end or buf[i] < 32:
        return t.SCAN_BAD, at, 0
    if buf[i] != _QUOTE:
        return t.SCAN_DECLINED, at, 0
    return t.SCAN_OK, at, i - at


@kernel
def _no_digit(buf, i, end, quoted):
    """Why there is no digit where one must be: an escape is declined."""
    return t.SCAN_DECLINED if quoted and i < end and buf[i] == _BACKSLASH else t.SCAN_BAD_NUMBER


@inlined
def parse_decimal(buf, i, end, decimals):
    """(status, value, offset behind it) of the number at ``i``, quoted or bare, exact in units of 10^-decimals.

    off_grid: digits beyond ``decimals`` that are not 0. declined: an exponent, an escape, or too many digits.
    """
    if i >= end:
        return t.SCAN_BAD_NUMBER, 0, i
    quoted = buf[i] == _QUOTE
    if quoted:
        i += 1
    negative = i < end and buf[i] == _MINUS
    if negative:
        i += 1
    begin = i
    value, left, exact, i = read_digits(buf, i, end, 0, DIGITS_MAX - decimals)
    if i == begin:
        return _no_digit(buf, i, end, quoted), 0, i
    if i - begin > DIGITS_MAX - decimals:
        return t.SCAN_DECLINED, 0, i
    left = decimals
    if i < end and buf[i] == _DOT:
        begin = i + 1
        value, left, exact, i = read_digits(buf, begin, end, value, decimals)
        if i == begin:
            return _no_digit(buf, i, end, quoted), 0, i
    if i < end and ((buf[i] | 32) == 101 or (quoted and buf[i] == _BACKSLASH)):
        return t.SCAN_DECLINED, 0, i
    if quoted:
        if i >= end or buf[i] != _QUOTE:
            return t.SCAN_BAD_NUMBER, 0, i
        i += 1
    value *= POWERS[left]
    return (t.SCAN_OK if exact else t.SCAN_OFF_GRID), (-value if negative else value), i


@kernel
def parse_steps(buf, i, end, decimals, multiple):
    """(status, count, offset behind it) of the number at ``i`` in steps of ``multiple`` x 10^-decimals: ticks or lots.

    off_grid: not a whole number of steps. Negative numbers are bad numbers.
    """
    status, value, i = parse_decimal(buf, i, end, decimals)
    if status != t.SCAN_OK and status != t.SCAN_OFF_GRID:
        return status, 0, i
    if value < 0:
        return t.SCAN_BAD_NUMBER, 0, i
    if status == t.SCAN_OFF_GRID or multiple == 1:
        return status, value, i
    if value % multiple != 0:
        return t.SCAN_OFF_GRID, value // multiple, i
    return t.SCAN_OK, value // multiple, i
