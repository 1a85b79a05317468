# mypy: disable-error-code="no-untyped-call,attr-defined"
"""The UTF-8 check against Python's own decoder, at every cut."""

from __future__ import annotations

import codecs
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from venue import utf8

EDGES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF]
EDGES += [0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]


def whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


TAILS = [b"", *(bytes([second]) + b"\x80" * rest for second in (0x80, 0x90, 0xA0) for rest in range(3))]


def first_bad(data: bytes) -> int | None:
    """Offset of the byte behind which no text can follow any more; None when all may be the start of a text."""
    decoder = codecs.getincrementaldecoder("utf-8")()  # gives up one byte late on a surrogate
    for k in range(len(data)):
        try:
            decoder.decode(data[k : k + 1])
        except UnicodeDecodeError:
            return k if any(whole(data[:k] + tail) for tail in TAILS) else k - 1
    return None if any(whole(data + tail) for tail in TAILS) else len(data) - 1


def state_of(*pieces: bytes) -> int:
    state = 0
    for piece in pieces:
        buf = np.frombuffer(b"\xff" + piece + b"\xff", np.uint8)
        state = int(utf8.check(buf, 1, 1 + len(piece), state))
        if state == utf8.BAD:
            return state
    return state


def test_every_pair_of_first_bytes_with_every_edge_behind_them() -> None:
    for first in range(256):
        for second in EDGES:
            for rest in (b"", b"\x80", b"\x80A"):
                data = bytes([first, second]) + rest
                bad = first_bad(data)
                assert (state_of(data) == utf8.BAD) == (bad is not None), data
                assert (state_of(data) == 0) == whole(data), data
                if bad is not None:
                    assert state_of(data[:bad]) != utf8.BAD, data
                    assert state_of(data[: bad + 1]) == utf8.BAD, data


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=40).map(str.encode),
        st.binary(max_size=3),
        st.sampled_from(
            [b"x" * 15, b"y" * 32, b"z" * 64, b"w" * 131, "κόσμε".encode(), "\U0010ffff".encode(), b"\xed\xa0\x80"]
        ),
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=200)
@given(TEXTS, st.lists(st.integers(0, 400), max_size=5))
def test_texts_in_any_pieces_are_what_python_says(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    state = state_of(*(data[a:b] for a, b in itertools.pairwise(edges)))
    assert (state == utf8.BAD) == (first_bad(data) is not None)
    assert (state == 0) == whole(data)
