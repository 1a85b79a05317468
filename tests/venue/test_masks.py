# mypy: disable-error-code="no-untyped-call,attr-defined"
"""Mask keys: the cipher against another implementation, and that no two states or frames share a key."""

from __future__ import annotations

import struct

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from venue import masks


def test_twenty_rounds_are_the_cipher_that_cryptography_knows() -> None:
    state = masks.fresh()
    key = struct.pack("<8I", *state[4:12])
    nonce = struct.pack("<4I", *state[12:16])
    theirs = Cipher(algorithms.ChaCha20(key, nonce), None).encryptor().update(bytes(128))
    ours = b""
    for _ in range(2):
        masks.block(state, 20)
        ours += struct.pack("<16I", *state[16:32])
    assert ours == theirs
    assert state[12:14].tolist() == [2, 0]


def test_the_counter_goes_on_into_its_second_word() -> None:
    state = masks.fresh()
    state[12] = 0xFFFFFFFF
    masks.block(state, 2)
    assert state[12:14].tolist() == [0, 1]


def test_keys_of_a_session_differ_and_are_the_same_compiled_and_interpreted() -> None:
    compiled = masks.fresh()
    plain = compiled.copy()
    keys = [int(masks.next_mask(compiled)) for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert all(0 <= key < 1 << 32 for key in keys)
    assert max(keys) >> 31 == 1
    assert keys[:40] == [int(masks.next_mask.py_func(plain)) for _ in range(40)]


def test_keys_of_two_sessions_have_nothing_in_common() -> None:
    one, other = masks.fresh(), masks.fresh()
    assert not {int(masks.next_mask(one)) for _ in range(100)} & {int(masks.next_mask(other)) for _ in range(100)}
    assert not np.array_equal(one[4:12], other[4:12])
