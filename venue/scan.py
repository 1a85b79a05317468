# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""A JSON scanner for flat objects: key order and white space are free, unknown values are checked and skipped.

Everything works on a uint8 view and offsets, returns ``(SCAN status, ...)`` and never reads at or beyond ``end``.
``declined`` means well formed as far as seen, but rare (escapes, bytes above ASCII, exponents, deep nesting): the
dialect's cold twin decides. What is answered ``ok`` or refused here, the twin answers the same.
"""

from __future__ import annotations

import numpy as np

from fabric.jit import kernel
from venue import tables as t

DEPTH_MAX = 32
VALUE_LIMIT = 10**17  # a number below it can take one more digit
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _DOT = 34, 92, 44, 58, 45, 46
_OBJECT, _OBJECT_END, _ARRAY, _ARRAY_END = 123, 125, 91, 93

# 1 = a byte that needs a look inside a string: quote, backslash, control, above ASCII.
_SPECIAL = np.array([c < 32 or c > 127 or c in b'"\\' for c in range(256)], np.uint8)
_ESCAPES = np.array([c in b'"\\/bfnrt' for c in range(256)], np.uint8)
_LITERALS = tuple(int.from_bytes(word, "little") for word in (b"true", b"fals", b"null"))


@kernel
def skip_space(buf, i, end):
    """Offset of the next byte that is no white space."""
    while i < end and (buf[i] == 32 or 9 <= buf[i] <= 10 or buf[i] == 13):
        i += 1
    return i


@kernel
def skip_string(buf, i, end):
    """(status, offset behind the closing quote); ``buf[i]`` is the opening one."""
    i += 1
    while i < end:
        if _SPECIAL[buf[i]]:
            c = buf[i]
            if c == _QUOTE:
                return t.SCAN_OK, i + 1
            if c != _BACKSLASH:
                return (t.SCAN_BAD if c < 32 else t.SCAN_DECLINED), i
            i += 1
            if i >= end:
                return t.SCAN_BAD, i
            if not _ESCAPES[buf[i]]:
                return (t.SCAN_DECLINED if buf[i] == 117 else t.SCAN_BAD), i  # \uXXXX: the twin reads it
        i += 1
    return t.SCAN_BAD, i


@kernel
def _digits(buf, i, end):
    while i < end and 48 <= buf[i] <= 57:
        i += 1
    return i


@kernel
def skip_number(buf, i, end):
    """(status, offset behind it) of a bare number after the JSON grammar."""
    if buf[i] == _MINUS:
        i += 1
    after = _digits(buf, i, end)
    if after == i or (buf[i] == 48 and after > i + 1):
        return t.SCAN_BAD, i
    i = after
    if i < end and buf[i] == _DOT:
        after = _digits(buf, i + 1, end)
        if after == i + 1:
            return t.SCAN_BAD, i
        i = after
    if i < end and (buf[i] | 32) == 101:
        i += 1
        if i < end and (buf[i] == 43 or buf[i] == _MINUS):
            i += 1
        after = _digits(buf, i, end)
        if after == i:
            return t.SCAN_BAD, i
        i = after
    return t.SCAN_OK, i


@kernel
def _skip_literal(buf, i, end):
    if i + 4 > end:
        return t.SCAN_BAD, i
    four = np.int64(buf[i]) | np.int64(buf[i + 1]) << 8 | np.int64(buf[i + 2]) << 16 | np.int64(buf[i + 3]) << 24
    if four == _LITERALS[0] or four == _LITERALS[2]:
        return t.SCAN_OK, i + 4
    if four == _LITERALS[1] and i + 4 < end and buf[i + 4] == 101:
        return t.SCAN_OK, i + 5
    return t.SCAN_BAD, i


@kernel
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


@kernel
def skip_value(buf, i, end):
    """(status, offset behind it) of any value that starts at ``i < end``; its grammar is checked throughout."""
    if buf[i] == _OBJECT or buf[i] == _ARRAY:
        return _skip_nested(buf, i, end)
    return _skip_scalar(buf, i, end)


@kernel
def read_key(buf, i, end):
    """(status, offset of its value, first 8 bytes, next 8, length) of the key at ``i``; escapes are declined."""
    if i >= end or buf[i] != _QUOTE:
        return t.SCAN_BAD, i, 0, 0, 0
    i += 1
    at = i
    first = np.int64(0)
    second = np.int64(0)
    while i < end and not _SPECIAL[buf[i]]:
        k = i - at
        if k < 8:
            first |= np.int64(buf[i]) << (k << 3)
        elif k < 16:
            second |= np.int64(buf[i]) << ((k - 8) << 3)
        i += 1
    if i >= end or buf[i] < 32:
        return t.SCAN_BAD, i, 0, 0, 0
    if buf[i] != _QUOTE:
        return t.SCAN_DECLINED, i, 0, 0, 0
    length = i - at
    i = skip_space(buf, i + 1, end)
    if i >= end or buf[i] != _COLON:
        return t.SCAN_BAD, i, 0, 0, 0
    i = skip_space(buf, i + 1, end)
    if i >= end:
        return t.SCAN_BAD, i, 0, 0, 0
    return t.SCAN_OK, i, first, second, length


@kernel
def pack(buf, at, length):
    """The first 24 bytes of a text as three little-endian words, zero filled; compare with ``purpleflea_words.word``."""
    first = np.int64(0)
    second = np.int64(0)
    third = np.int64(0)
    for k in range(min(length, 8)):
        first |= np.int64(buf[at + k]) << (k << 3)
    for k in range(8, min(length, 16)):
        second |= np.int64(buf[at + k]) << ((k - 8) << 3)
    for k in range(16, min(length, 24)):
        third |= np.int64(buf[at + k]) << ((k - 16) << 3)
    return first, second, third


@kernel
def read_text(buf, i, end):
    """(status, offset, length) of the text inside the string at ``i``; bad = not a string, escapes are declined."""
    if i >= end or buf[i] != _QUOTE:
        return t.SCAN_BAD, i, 0
    at = i + 1
    i = at
    while i < end and not _SPECIAL[buf[i]]:
        i += 1
    if i >= end or buf[i] < 32:
        return t.SCAN_BAD, at, 0
    if buf[i] != _QUOTE:
        return t.SCAN_DECLINED, at, 0
    return t.SCAN_OK, at, i - at


@kernel
def parse_decimal(buf, i, end, decimals):
    """(status, value) of the number at ``i``, quoted or bare, exact in units of 10^-decimals.

    off_grid: digits beyond ``decimals`` that are not 0. declined: an exponent, an escape, or 10^18 and more.
    """
    if i >= end:
        return t.SCAN_BAD_NUMBER, 0
    quoted = buf[i] == _QUOTE
    if quoted:
        i += 1
    negative = i < end and buf[i] == _MINUS
    if negative:
        i += 1
    value = np.int64(0)
    begin = i
    while i < end and 48 <= buf[i] <= 57:
        if value >= VALUE_LIMIT:
            return t.SCAN_DECLINED, 0
        value = value * 10 + (np.int64(buf[i]) - 48)
        i += 1
    if i == begin:
        declined = quoted and i < end and buf[i] == _BACKSLASH
        return (t.SCAN_DECLINED if declined else t.SCAN_BAD_NUMBER), 0
    exact = True
    places = decimals
    if i < end and buf[i] == _DOT:
        i += 1
        begin = i
        while i < end and 48 <= buf[i] <= 57:
            digit = np.int64(buf[i]) - 48
            if places > 0:
                if value >= VALUE_LIMIT:
                    return t.SCAN_DECLINED, 0
                value = value * 10 + digit
                places -= 1
            elif digit != 0:
                exact = False
            i += 1
        if i == begin:
            declined = quoted and i < end and buf[i] == _BACKSLASH
            return (t.SCAN_DECLINED if declined else t.SCAN_BAD_NUMBER), 0
    if i < end and ((buf[i] | 32) == 101 or (quoted and buf[i] == _BACKSLASH)):
        return t.SCAN_DECLINED, 0
    if quoted and (i >= end or buf[i] != _QUOTE):
        return t.SCAN_BAD_NUMBER, 0
    while places > 0:
        if value >= VALUE_LIMIT:
            return t.SCAN_DECLINED, 0
        value *= 10
        places -= 1
    return (t.SCAN_OK if exact else t.SCAN_OFF_GRID), (-value if negative else value)


@kernel
def parse_steps(buf, i, end, decimals, multiple):
    """(status, count) of the number at ``i`` in steps of ``multiple`` x 10^-decimals: ticks of a price, lots of a size.

    off_grid: not a whole number of steps. Negative numbers are bad numbers.
    """
    status, value = parse_decimal(buf, i, end, decimals)
    if status != t.SCAN_OK and status != t.SCAN_OFF_GRID:
        return status, 0
    if value < 0:
        return t.SCAN_BAD_NUMBER, 0
    if status == t.SCAN_OFF_GRID or multiple == 1:
        return status, value
    if value % multiple != 0:
        return t.SCAN_OFF_GRID, value // multiple
    return t.SCAN_OK, value // multiple
