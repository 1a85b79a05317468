# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The duty cycle of a loop: what it does between two passes, and how long it was away. One int64 row, private to its thread.

``idle`` names the strategy; ``auto`` in a configuration is resolved by the placement before a loop starts. *spin* never
leaves its cpu. *yield* shares it: a loop without work keeps its turn for ``turn_ns``, and one with ``hands_over`` gives its
turn away that many times when it has done something, because the next in line waits for exactly that (more than once:
the scheduler may give it back at once). So the loop that waits for the market has a long turn, looks at its socket all
the time and hands over; the one that it feeds has no turn and goes on until nothing is left.
*backoff* spins, then yields, then sleeps longer and longer; *sleep* always sleeps.

The stall meter: a pass that begins more than ``STALL_NS`` after the one before it is counted, and the longest is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from fabric import layout
from fabric.atomics import cpu_pause, load_relaxed, store_relaxed
from fabric.jit import kernel
from fabric.meters import status_set

# Words of the row.
DU_IDLE, DU_TURN_NS, DU_HANDS_OVER, DU_TURN_BEGAN_NS, DU_OVER_LEFT, DU_IDLE_PASSES, DU_LAST_NS, DU_STALLS = range(8)
DU_STALL_MAX_NS = 8
WORDS = 16
STALL_NS = 100_000
SPINS, YIELDS = 64, 64  # idle passes of a backing-off loop before it yields, and then before it sleeps
LINE = 64
SLEEP_NS, SLEEP_MAX_NS = 50_000, 1_000_000

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
_nanosleep = types.ExternalFunction("nanosleep", types.int32(types.int64, types.int64))


@kernel
def begin(duty, stats, now_ns):
    """A pass begins at ``now_ns``; returns the time since the one before it (0 for the first)."""
    if duty[DU_TURN_BEGAN_NS] == 0:
        duty[DU_TURN_BEGAN_NS] = now_ns
    if duty[DU_LAST_NS] == 0:
        duty[DU_LAST_NS] = now_ns
        return now_ns * 0
    gap = now_ns - duty[DU_LAST_NS]
    duty[DU_LAST_NS] = now_ns
    if gap > STALL_NS:
        duty[DU_STALLS] += 1
        status_set(stats, layout.P_STALLS, duty[DU_STALLS])
    if gap > duty[DU_STALL_MAX_NS]:
        duty[DU_STALL_MAX_NS] = gap
        status_set(stats, layout.P_STALL_MAX_NS, gap)
    return gap


@kernel
def sleep(scratch, nanoseconds):
    """Give the cpu away for a time below a second; ``scratch`` is the address of 16 private bytes."""
    store_relaxed(scratch, 0)
    store_relaxed(scratch + 8, nanoseconds)
    _nanosleep(scratch, 0)


@kernel
def touch_lines(address, count):
    """Read a word of each cache line of ``count`` bytes, to have them near; the sum, so that the reads are not left out."""
    seen = 0
    for at in range(0, count, LINE):
        seen += load_relaxed(address + at)
    return seen


@kernel
def back_off(duty, scratch):
    """Idle pass number ``DU_IDLE_PASSES`` in a row: a pause, then a yield, then a sleep that doubles."""
    idle = duty[DU_IDLE_PASSES]
    if idle < SPINS:
        cpu_pause()
    elif idle < SPINS + YIELDS:
        _sched_yield()
    else:
        sleep(scratch, min(SLEEP_NS << min(idle - SPINS - YIELDS, 5), SLEEP_MAX_NS))


@kernel
def end(duty, work, now_ns, scratch):
    """A pass that began at ``now_ns`` ends, with or without ``work`` done: wait as the strategy says."""
    strategy = duty[DU_IDLE]
    if strategy == layout.IDLE_YIELD:
        if work != 0:
            duty[DU_OVER_LEFT] = duty[DU_HANDS_OVER]
        if duty[DU_OVER_LEFT] > 0 or (work == 0 and now_ns - duty[DU_TURN_BEGAN_NS] >= duty[DU_TURN_NS]):
            duty[DU_OVER_LEFT] = max(duty[DU_OVER_LEFT] - 1, 0)
            _sched_yield()
            duty[DU_TURN_BEGAN_NS] = 0  # the next pass begins the next turn
        return
    if work != 0:
        duty[DU_IDLE_PASSES] = 0
        return
    if strategy == layout.IDLE_SPIN:
        cpu_pause()
    elif strategy == layout.IDLE_SLEEP:
        sleep(scratch, SLEEP_NS)
    else:
        back_off(duty, scratch)
        duty[DU_IDLE_PASSES] += 1


def duty_row(idle: str, turn_ns: int = 0, hands_over: int = 0) -> npt.NDArray[np.int64]:
    """The row of a loop that waits by the strategy ``idle``; raises ValueError when there is no such strategy."""
    row: npt.NDArray[np.int64] = np.zeros(WORDS, np.int64)
    row[DU_IDLE], row[DU_TURN_NS], row[DU_HANDS_OVER] = layout.IDLE.index(idle), turn_ns, hands_over
    return row
