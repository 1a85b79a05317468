# mypy: disable-error-code="no-untyped-call"
"""Eight bytes at a time, against one byte at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venue import eight

_NEAR = st.sampled_from(b'"\\ !#[]09/:\x00\x1f\x20\x7f\x80\xff\xa2\xdc\xb0\xb9\xba')  # on and beside every border
_BYTES = st.lists(_NEAR | st.integers(0, 255), max_size=40).map(bytes)


def view(data: bytes) -> npt.NDArray[np.uint8]:
    """The bytes as an array of exactly their size."""
    return np.frombuffer(data, np.uint8).copy()


def test_word_is_zero_beyond_the_end() -> None:
    buf = view(b"abcdefghij")
    assert int(eight.eight(buf, 1, 10)).to_bytes(8, "little") == b"bcdefghi"
    assert int(eight.eight(buf, 1, 9)).to_bytes(8, "little") == b"bcdefghi"
    assert int(eight.eight(buf, 1, 4)).to_bytes(8, "little") == b"bcd\0\0\0\0\0"
    assert eight.eight(buf, 10, 10) == 0
    assert eight.eight(buf, 12, 10) == 0


@pytest.mark.parametrize("count", range(9))
def test_first_bytes_of_a_word(count: int) -> None:
    word = int.from_bytes(b"\xff" * 8, "little", signed=True)
    assert int(eight.first_of(word, count)) & (2**64 - 1) == 256**count - 1


@settings(max_examples=300, deadline=None)
@given(_BYTES, st.integers(0, 8))
def test_plain_bytes_end_at_the_first_that_needs_a_look(data: bytes, start: int) -> None:
    expected = start
    while expected < len(data) and 32 <= data[expected] < 128 and data[expected] not in b'"\\':
        expected += 1
    if start <= len(data):
        assert eight.skip_plain(view(data), start, len(data)) == expected


@settings(max_examples=300, deadline=None)
@given(_BYTES)
def test_digits_end_at_the_first_that_is_none(data: bytes) -> None:
    expected = 0
    while expected < len(data) and data[expected] in b"0123456789":
        expected += 1
    assert eight.skip_digits(view(data), 0, len(data)) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.text("0123456789", max_size=22) | st.text("01", max_size=22), st.sampled_from(["", ".", '"', "x9"]),
    st.integers(0, 12), st.integers(0, 10**6),
)  # fmt: skip
def test_digits_read_are_their_number(digits: str, tail: str, wanted: int, before: int) -> None:
    data = (digits + tail).encode()
    value, left, rest, end = eight.read_digits(view(data), 0, len(data), before, wanted)
    taken = digits[:wanted]
    assert (value, left, end) == (int(str(before) + taken), wanted - len(taken), len(digits))
    assert rest == (not digits[wanted:].strip("0"))
