# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Small compiled loops of the bench: the floor without a C compiler, the cost of the clock, the gaps of a busy cpu."""

from __future__ import annotations

from fabric.clock import monotonic_ns
from fabric.jit import kernel
from venue import sockets


@kernel
def floor_loop(market_fd, order_fd, order, size, buffer, capacity):
    """What ``native/floor.c`` does; returns when a session ends."""
    idle = 0
    while True:
        count = sockets.receive(market_fd, buffer, capacity)
        if count > 0:
            if sockets.transmit(order_fd, order, size) != size:
                return 1
            idle = 0
        elif count < 0:
            return 0
        else:
            idle += 1
            if idle & 15 == 0 and sockets.receive(order_fd, buffer, capacity) < 0:
                return 0


@kernel
def read_clock(times, scratch):
    """Read the clock so many times; ns for all of them."""
    started = monotonic_ns(scratch)
    for _ in range(times):
        monotonic_ns(scratch)
    return monotonic_ns(scratch) - started


@kernel
def watch_gaps(duration_ns, threshold_ns, gaps, scratch):
    """Read the clock without pause and keep every gap above the threshold; returns how many (all counted, some kept)."""
    last = monotonic_ns(scratch)
    until = last + duration_ns
    found = 0
    while last < until:
        now = monotonic_ns(scratch)
        if now - last > threshold_ns:
            gaps[found % len(gaps)] = now - last
            found += 1
        last = now
    return found
