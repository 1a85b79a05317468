# mypy: disable-error-code="no-untyped-call"
"""What a loop does between two passes, with a clock that the test holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from fabric import duty, layout

US, MS = 1_000, 1_000_000


class Loop:
    """A duty row, a stats page, and the number of times that the cpu was given away (voluntary switches excepted)."""

    def __init__(self, idle: str, turn_ns: int = 0, hands_over: int = 0) -> None:
        self.row = duty.duty_row(idle, turn_ns, hands_over)
        self.stats = np.zeros(layout.STATS_BYTES // 8, np.int64)
        self.scratch = np.zeros(2, np.int64)

    def turn(self, now_ns: int, work: int = 0) -> tuple[int, bool]:
        """One pass: the gap before it, and whether the turn was given away after it."""
        gap = duty.begin(self.row, self.stats.ctypes.data, now_ns)
        duty.end(self.row, work, now_ns, self.scratch.ctypes.data)
        return gap, bool(self.row[duty.DU_TURN_BEGAN_NS] == 0)

    def status(self, word: int) -> Any:
        return self.stats[layout.STATUS_OFFSET // 8 + word]


def test_an_idle_loop_keeps_its_turn_and_then_gives_it_away() -> None:
    loop = Loop("yield", turn_ns=10 * US)
    assert [loop.turn(now)[1] for now in (1, 5 * US, 10 * US, 10 * US + 1)] == [False, False, False, True]


def test_a_loop_without_a_turn_yields_after_every_idle_pass() -> None:
    loop = Loop("yield")
    assert loop.turn(1)[1]
    assert loop.turn(2)[1]


def test_work_that_others_wait_for_is_handed_over_at_once_and_again() -> None:
    loop = Loop("yield", turn_ns=10 * US, hands_over=2)
    assert loop.turn(1, work=1)[1]
    assert loop.turn(2)[1]
    assert not loop.turn(3)[1]


def test_a_loop_that_hands_nothing_over_goes_on_while_there_is_work() -> None:
    loop = Loop("yield")
    assert not loop.turn(1, work=1)[1]
    assert loop.turn(2)[1]


def test_the_gap_is_the_time_since_the_pass_before() -> None:
    loop = Loop("spin")
    assert loop.turn(5 * MS)[0] == 0
    assert loop.turn(5 * MS + 700)[0] == 700


def test_a_gap_above_the_limit_is_a_stall_and_the_longest_is_kept() -> None:
    loop = Loop("spin")
    for now in (MS, MS + duty.STALL_NS, 3 * MS, 4 * MS):
        loop.turn(now)
    assert loop.status(layout.P_STALLS) == 2
    assert loop.status(layout.P_STALL_MAX_NS) == 2 * MS - duty.STALL_NS


@pytest.mark.parametrize(("idle", "least_ns"), [("sleep", duty.SLEEP_NS), ("backoff", duty.SLEEP_NS)])
def test_sleeping_strategies_leave_the_cpu(idle: str, least_ns: int) -> None:
    loop = Loop(idle)
    loop.row[duty.DU_IDLE_PASSES] = duty.SPINS + duty.YIELDS
    started = time.monotonic_ns()
    loop.turn(1)
    assert time.monotonic_ns() - started >= least_ns


def test_work_ends_a_back_off() -> None:
    loop = Loop("backoff")
    loop.row[duty.DU_IDLE_PASSES] = 1000
    loop.turn(1, work=1)
    assert loop.row[duty.DU_IDLE_PASSES] == 0


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tuple\.index"):
        duty.duty_row("pray")
