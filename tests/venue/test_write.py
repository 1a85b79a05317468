# mypy: disable-error-code="no-untyped-call,attr-defined"
"""Texts and numbers written eight bytes at a time, against Python's own formatting, compiled and interpreted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.jit import kernel
from venue import write
from venue.eight import POWERS

EDGES = [0, 9, *(int(power) + step for power in POWERS[1:] for step in (-1, 0, 1)), 2**63 - 1]


@kernel
def put_number(out, at, value):  # type: ignore[no-untyped-def]
    return write.put_integer(out, at, value)


@kernel
def put_digits(out, at, value, width):  # type: ignore[no-untyped-def]
    return write.put_padded(out, at, value, width)


@kernel
def copy_text(out, at, text):  # type: ignore[no-untyped-def]
    return write.put_row(out, at, text)


def written(function, *values):  # type: ignore[no-untyped-def]
    out = np.full(64, 7, np.uint8)
    end = function(out, 3, *values)
    assert (out[:3] == 7).all()
    assert (out[end + 8 :] == 7).all(), "never more than a word behind the end"
    return bytes(out[3:end]).decode()


@pytest.mark.parametrize("value", EDGES)
def test_integer_at_every_change_of_width(value: int) -> None:
    assert written(put_number, value) == written(put_number.py_func, value) == str(value)


@settings(max_examples=200)
@given(st.integers(0, 2**63 - 1), st.integers(1, 63))
def test_any_integer(value: int, bits: int) -> None:
    assert written(put_number, value >> bits) == str(value >> bits)


@settings(max_examples=200)
@given(st.integers(1, 18), st.data())
def test_padded_digits_of_any_width(width: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, 10**width - 1))
    assert written(put_digits, value, width) == f"{value:0{width}}"
    assert written(put_digits.py_func, value, width) == f"{value:0{width}}"


def test_every_four_digits_are_right() -> None:
    for value in range(10_000):
        assert written(put_digits.py_func, value * 10_001 % 100_000_000, 8) == f"{value * 10_001 % 100_000_000:08}"


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/", max_size=32))
def test_padded_text_ends_at_its_padding(text: str) -> None:
    row = np.zeros(32, np.uint8)
    row[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    assert written(copy_text, row) == text


@given(st.binary(min_size=8, max_size=8))
def test_a_word_is_stored_and_loaded_alike(data: bytes) -> None:
    out = np.zeros(16, np.uint8)
    write.store(out, 5, write.load(np.frombuffer(data, np.uint8), 0))
    assert bytes(out) == bytes(5) + data + bytes(3)
