# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Mask keys for our frames: ChaCha with 8 rounds, keyed from ``os.urandom``, so that no key tells anything about the next.

RFC 6455 (5.3, 10.3) asks for keys from a strong source that a server cannot predict. A system call per frame would do and
costs 300 ns; one ChaCha block makes sixteen keys at a few nanoseconds each. Eight rounds: what random number generators
of standard libraries use; nothing is kept secret by it. Twenty would be the cipher of RFC 8439, and a test compares
that with another implementation.

A state is int64[WORDS], private to one thread: the sixteen words of ChaCha's input, its output, and how many are used up.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from fabric.jit import inlined, kernel

WORDS = 40
ROUNDS = 8
_OUT, _USED = 16, 32
_COUNTER = 12  # two words of counter; the two of the nonce stay 0
_M32 = 0xFFFFFFFF
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"


def fresh() -> npt.NDArray[np.int64]:
    """A state with a key of its own."""
    state = np.zeros(WORDS, np.int64)
    state[:4] = _CONSTANTS
    state[4:12] = np.frombuffer(os.urandom(32), "<u4")
    state[_USED] = 16
    return state


@inlined
def _turn(x, a, b, c, d):
    x[a] = (x[a] + x[b]) & _M32
    v = x[d] ^ x[a]
    x[d] = (v << 16 | v >> 16) & _M32
    x[c] = (x[c] + x[d]) & _M32
    v = x[b] ^ x[c]
    x[b] = (v << 12 | v >> 20) & _M32
    x[a] = (x[a] + x[b]) & _M32
    v = x[d] ^ x[a]
    x[d] = (v << 8 | v >> 24) & _M32
    x[c] = (x[c] + x[d]) & _M32
    v = x[b] ^ x[c]
    x[b] = (v << 7 | v >> 25) & _M32


@kernel
def block(state, rounds):
    """Sixteen new words at ``state[16:32]``; the counter goes on."""
    x = state[_OUT:_USED]
    for k in range(16):
        x[k] = state[k]
    for _ in range(rounds >> 1):
        _turn(x, 0, 4, 8, 12)
        _turn(x, 1, 5, 9, 13)
        _turn(x, 2, 6, 10, 14)
        _turn(x, 3, 7, 11, 15)
        _turn(x, 0, 5, 10, 15)
        _turn(x, 1, 6, 11, 12)
        _turn(x, 2, 7, 8, 13)
        _turn(x, 3, 4, 9, 14)
    for k in range(16):
        x[k] = (x[k] + state[k]) & _M32
    state[_COUNTER] = (state[_COUNTER] + 1) & _M32
    if state[_COUNTER] == 0:
        state[_COUNTER + 1] = (state[_COUNTER + 1] + 1) & _M32


@kernel
def next_mask(state):
    """The next 32-bit mask key."""
    used = state[_USED]
    if used >= 16:
        block(state, ROUNDS)
        used = 0
    state[_USED] = used + 1
    return state[_OUT + used]
