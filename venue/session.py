# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""One socket session, handed between the control thread (Python) and the loop thread (compiled).

Ownership follows the state word and nothing else. The control thread fills a row while the state is DOWN or PYTHON and
stores LOOP last; from then on only the loop touches the socket, the buffer and the row, until it stores CLOSING. The
control thread then closes the descriptor and stores DOWN. So a reconnect never stops the loop's beat.

The buffer holds raw bytes ``[start, end)``, and before them the joined parts of a message that is not whole yet,
``[held_at, held_end)``; when less than a quarter is free, both move to the front. A buffer of twice the largest message
never fills.
"""

from __future__ import annotations

from fabric import layout
from fabric.atomics import load_acquire, octets, store_release
from fabric.jit import kernel
from venue import tables, transport


@kernel
def owned_by_loop(session):
    """1 while the loop owns the session row at this address."""
    # pairs with the control thread's store of LOOP, which comes after fd and buffer
    return 1 if load_acquire(session + tables.SE_STATE * 8) == layout.SESSION_LOOP else 0


@kernel
def give_back(session, row, code):
    """The loop is done with the socket; the control thread closes it."""
    row[tables.SE_CLOSE_CODE] = code
    store_release(session + tables.SE_STATE * 8, layout.SESSION_CLOSING)  # pairs with the control thread's poll of the state


@kernel
def _move(row, source, to, count):
    """Move bytes towards the front of the buffer."""
    buffer = octets(row[tables.SE_BUFFER], row[tables.SE_CAPACITY])
    for k in range(count):
        buffer[to + k] = buffer[source + k]


@kernel
def fill(row):
    """Receive once into the buffer: bytes read, 0 nothing there, -1 closed by the peer, -2 error, -3 buffer full."""
    start, end, capacity = row[tables.SE_START], row[tables.SE_END], row[tables.SE_CAPACITY]
    held = row[tables.SE_HELD_END] - row[tables.SE_HELD_AT]
    if start == end:
        start = end = row[tables.SE_HELD_END]  # 0 unless parts of a message wait
    if capacity - end < capacity // 4 and start > held:
        _move(row, row[tables.SE_HELD_AT], 0, held)
        row[tables.SE_HELD_AT], row[tables.SE_HELD_END] = 0, held
        _move(row, start, held, end - start)
        start, end = held, held + end - start
    row[tables.SE_START], row[tables.SE_END] = start, end
    if end >= capacity:
        return -3
    count = transport.receive(row, row[tables.SE_BUFFER] + end, capacity - end)
    if count > 0:
        row[tables.SE_END] = end + count
    return count
