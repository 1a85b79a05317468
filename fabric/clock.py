"""Clocks inside compiled code. CLOCK_MONOTONIC for every duration; the wall only for venue timestamps and the trading day."""

from __future__ import annotations

from numba import types

from fabric.atomics import load_relaxed
from fabric.jit import kernel

_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.int64))
_MONOTONIC, _REALTIME = 1, 0


@kernel
def monotonic_ns(scratch):  # type: ignore[no-untyped-def]
    """Nanoseconds of CLOCK_MONOTONIC; ``scratch`` is the address of 16 private bytes."""
    _clock_gettime(types.int32(_MONOTONIC), scratch)
    return load_relaxed(scratch) * 1_000_000_000 + load_relaxed(scratch + 8)


@kernel
def wall_ns(scratch):  # type: ignore[no-untyped-def]
    """Nanoseconds since the epoch, CLOCK_REALTIME; ``scratch`` as above."""
    _clock_gettime(types.int32(_REALTIME), scratch)
    return load_relaxed(scratch) * 1_000_000_000 + load_relaxed(scratch + 8)
