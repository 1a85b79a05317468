# mypy: disable-error-code="no-untyped-call"
"""The compiled clocks read the same clocks as Python."""

from __future__ import annotations

import time

import numpy as np

from fabric import clock


def test_the_compiled_clocks_lie_between_two_readings_of_pythons() -> None:
    scratch = np.zeros(2, np.int64)
    clock.monotonic_ns(scratch.ctypes.data)
    for compiled, python in ((clock.monotonic_ns, time.monotonic_ns), (clock.wall_ns, time.time_ns)):
        before = python()
        now = compiled(scratch.ctypes.data)
        assert before <= now <= python()
