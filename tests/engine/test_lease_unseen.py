"""The control thread leaves an epoch whose lease ended before the loop had seen it: nobody else would."""

from __future__ import annotations

import struct
import time
from types import SimpleNamespace
from typing import Any

import pytest

from engine import process
from engine.process import UNSEEN_S, Execution
from fabric import layout


def execution(monkeypatch: pytest.MonkeyPatch, state: int, deadline_ns: int, seconds: float) -> Any:
    """A control thread that has looked at such a page for so long; its grant afterwards."""
    page = bytearray(layout.LEASE_BYTES)
    struct.pack_into("q", page, layout.L_STATE * layout.WORD, state)
    struct.pack_into("q", page, layout.L_DEADLINE_NS * layout.WORD, deadline_ns)
    clock = SimpleNamespace(now=1000.0)
    fake = SimpleNamespace(monotonic=lambda: clock.now, monotonic_ns=lambda: int(clock.now * 1e9), sleep=time.sleep)
    monkeypatch.setattr(process, "time", fake)
    one = SimpleNamespace(_grant=SimpleNamespace(lease=page), _ended_at=clock.now)
    for _ in range(int(seconds * 100)):
        clock.now += 0.01
        Execution._leave_unseen(one)  # type: ignore[arg-type]
    return one._grant


FAR, PAST = 1 << 62, 1


@pytest.mark.parametrize("state", [layout.LEASE_LAPSED, layout.LEASE_WITHDRAWN, layout.LEASE_KILLED])
def test_an_ended_lease_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch, state: int) -> None:
    assert execution(monkeypatch, state, 0, UNSEEN_S * 0.9) is not None
    assert execution(monkeypatch, state, 0, UNSEEN_S * 1.1) is None


def test_a_granted_lease_of_a_dead_watchdog_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert execution(monkeypatch, layout.LEASE_GRANTED, PAST, UNSEEN_S * 1.1) is None


def test_a_lease_that_holds_or_has_not_come_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert execution(monkeypatch, layout.LEASE_GRANTED, FAR, UNSEEN_S * 10) is not None
    assert execution(monkeypatch, layout.LEASE_WITHHELD, 0, UNSEEN_S * 10) is not None
