# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Receive and transmit of a session from the compiled loops, over plain TCP or TLS, with the same answers for both.

TLS: ``SSL_read`` and ``SSL_write`` of the connection that ``venue.tls`` has opened, called at their addresses, which the
control thread puts into the session row (``functions``: one address per word of TLS). They read and write the descriptor
themselves, with libc's ``read`` and ``write``. The connection belongs to the loop as the descriptor does.
"""

from __future__ import annotations

import numpy as np

from fabric.atomics import call_address, load_relaxed
from fabric.jit import kernel
from venue import sockets
from venue import tables as t

RECORD_BYTES = 16384  # of plain text, the most that one TLS record holds
_WANT_READ, _WANT_WRITE, _ZERO_RETURN = 2, 3, 6


@kernel
def _call(s, function, a, b):
    """A function of the table with the connection as its first argument; its C int."""
    address = load_relaxed(s[t.SE_FUNCTIONS] + function * 8)
    return np.int64(np.int32(call_address(address, s[t.SE_SSL], a, b, 0)))


@kernel
def _would_block(s, result):
    """1 when a call that gave ``result`` may be repeated later, 0 when the connection is over (0 < tls_error says why)."""
    kind = _call(s, t.TLS_SSL_GET_ERROR, result, 0)
    if kind in (_WANT_READ, _WANT_WRITE):
        return 1
    if kind != _ZERO_RETURN:
        address = load_relaxed(s[t.SE_FUNCTIONS] + t.TLS_ERR_GET_ERROR * 8)
        s[t.SE_TLS_ERROR] = call_address(address, 0, 0, 0, 0)
    s[t.SE_TLS_CLOSED] = kind == _ZERO_RETURN
    return 0


@kernel
def receive(s, address, capacity):
    """Bytes read to ``address`` (> 0), 0 nothing there now, -1 closed by the venue, -2 error. Over TLS one record at most."""
    if s[t.SE_SSL] == 0:
        return sockets.receive(s[t.SE_FD], address, capacity)
    _call(s, t.TLS_ERR_CLEAR_ERROR, 0, 0)  # what an earlier call left would be taken for this one's
    count = _call(s, t.TLS_SSL_READ, address, capacity)
    if count > 0:
        return count
    if _would_block(s, count):
        return sockets.RECV_WOULD_BLOCK
    return sockets.RECV_CLOSED if s[t.SE_TLS_CLOSED] else sockets.RECV_ERROR


@kernel
def transmit(s, address, count):
    """Bytes taken (> 0, may be fewer than ``count``), 0 nothing can be taken now, -2 error (connection dead).

    Over TLS what was not taken must be offered again unchanged, or the session ends: part of it may be on its way.
    """
    if s[t.SE_SSL] == 0:
        return sockets.transmit(s[t.SE_FD], address, count)
    _call(s, t.TLS_ERR_CLEAR_ERROR, 0, 0)
    done = 0
    for _ in range(count // RECORD_BYTES + 1):  # a call writes one record
        sent = _call(s, t.TLS_SSL_WRITE, address + done, count - done)
        if sent <= 0:
            return done if _would_block(s, sent) else sockets.SEND_ERROR
        done += sent
        if done == count:
            break
    return done
