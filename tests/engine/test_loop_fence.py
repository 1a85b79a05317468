# mypy: disable-error-code="no-untyped-call"
"""The loop fences itself: after a time gap longer than a lease the pass has no permission, whatever the page says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from engine import loop
from engine import tables as et
from engine import wiring as wi
from fabric import duty

MS = 1_000_000
TTL_NS = 200 * MS


class Loop:
    """``check_permission`` as plain Python over a page that is always valid; ``told`` is what the core was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.w, self.n = np.zeros(wi.ROWS, np.int64), np.zeros(wi.ROWS, np.int64)
        self.n[wi.WN_LEASE_TTL_NS] = TTL_NS
        self.c = SimpleNamespace(scalars=np.zeros(len(et.CORE_SCALARS), np.int64))
        self.d = np.zeros(duty.WORDS, np.int64)
        self.told: list[int] = []
        self.valid = 1
        monkeypatch.setattr(loop, "inbound", SimpleNamespace(lease_valid=lambda *_: self.valid))
        monkeypatch.setattr(loop, "core", SimpleNamespace(on_lease=lambda _c, ok, _now: self.told.append(ok)))
        monkeypatch.setattr(duty, "status_set", lambda *_: None)
        self.now = 10_000 * MS

    def after(self, gap_ns: int) -> int:
        """One pass that long after the last; whether it has permission."""
        self.now += gap_ns
        self.n[wi.WN_GAP_NS] = duty.begin.py_func(self.d, 0, self.now)
        loop.check_permission.py_func(self.w, self.n, self.c, self.now)
        return int(self.n[wi.WN_LEASE_OK])


@pytest.mark.parametrize(("gap_ns", "allowed"), [(1, 1), (TTL_NS, 1), (TTL_NS + 1, 0), (3600 * 1000 * MS, 0)])
def test_a_gap_longer_than_the_lease_takes_permission_away_in_that_pass(
    monkeypatch: pytest.MonkeyPatch, gap_ns: int, allowed: int
) -> None:
    house = Loop(monkeypatch)
    assert house.after(MS) == 1
    assert house.after(gap_ns) == allowed
    assert house.told == ([1] if allowed else [1, 0])


def test_the_first_pass_has_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Loop(monkeypatch).after(0) == 1


def test_a_gap_cannot_give_permission_that_the_page_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    house = Loop(monkeypatch)
    house.valid = 0
    assert [house.after(MS), house.after(TTL_NS + 1), house.after(MS)] == [0, 0, 0]
