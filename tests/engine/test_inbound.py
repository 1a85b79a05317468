# mypy: disable-error-code="no-untyped-call"
"""When the lease of the page holds, as the loop sees it."""

from __future__ import annotations

import numpy as np
import pytest

from engine import inbound
from engine import wiring as wi
from fabric import layout

MS = 1_000_000
EPOCH, GRANTED_NS, TTL_NS = 7, 5_000 * MS, 200 * MS


def holds(now_ns: int, state: int = layout.LEASE_GRANTED, epoch: int = EPOCH, page: bool = True) -> bool:
    lease, wiring = np.zeros(layout.LEASE_BYTES // 8, np.int64), np.zeros(wi.ROWS, np.int64)
    lease[layout.L_EPOCH], lease[layout.L_STATE] = epoch, state
    lease[layout.L_GRANTED_NS], lease[layout.L_DEADLINE_NS] = GRANTED_NS, GRANTED_NS + TTL_NS
    wiring[wi.WI_LEASE] = lease.ctypes.data if page else 0
    return bool(inbound.lease_valid(wiring, EPOCH, now_ns))


def test_a_lease_holds_until_its_deadline_and_not_at_it() -> None:
    assert holds(GRANTED_NS)
    assert holds(GRANTED_NS + TTL_NS - 1)
    assert not holds(GRANTED_NS + TTL_NS)


def test_a_lease_that_was_renewed_after_the_pass_read_its_clock_holds() -> None:
    assert holds(GRANTED_NS - 78_000)


def test_a_lease_granted_in_the_future_is_a_clock_that_jumped() -> None:
    assert not holds(GRANTED_NS - TTL_NS - 1)


def test_no_page_no_lease() -> None:
    assert not holds(GRANTED_NS, page=False)


def test_the_lease_of_another_epoch_is_not_ours() -> None:
    assert not holds(GRANTED_NS, epoch=EPOCH + 1)


@pytest.mark.parametrize("state", [s for s in range(len(layout.LEASE_STATE)) if s != layout.LEASE_GRANTED])
def test_only_a_granted_lease_holds(state: int) -> None:
    assert not holds(GRANTED_NS, state=state)
