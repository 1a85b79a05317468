# mypy: disable-error-code="no-untyped-call"
"""Whom the execution loop takes for the reader of its journal ring."""

from __future__ import annotations

import numpy as np

from engine import journaling
from engine import wiring as wi
from fabric import layout


def consumer(ours: int, followed: int, failed: int = 0) -> bool:
    """Whether a journal process that follows generation ``followed`` is taken as the reader of generation ``ours``."""
    execution, journal = np.zeros(layout.EXEC_BYTES // 8, np.int64), np.zeros(layout.JOURNAL_BYTES // 8, np.int64)
    execution[layout.H_GENERATION] = ours
    first = layout.JOURNAL_PROGRESS_OFFSET // 8
    journal[first + layout.JP_EXEC_GENERATION], journal[first + layout.JP_FAILED] = followed, failed
    wiring = np.zeros(wi.ROWS, np.int64)
    wiring[wi.WI_EXEC], wiring[wi.WI_JOURNAL] = execution.ctypes.data, journal.ctypes.data
    return bool(journaling._consumer(wiring) != 0)


def test_the_reader_of_our_generation_is_our_consumer() -> None:
    assert consumer(ours=3, followed=3)


def test_the_count_of_another_generation_is_no_room_in_ours() -> None:
    assert not consumer(ours=4, followed=3)


def test_a_journal_that_could_not_write_is_no_consumer() -> None:
    assert not consumer(ours=3, followed=3, failed=1)
