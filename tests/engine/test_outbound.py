# mypy: disable-error-code="no-untyped-call"
"""Which of a pass's new orders are encoded: one whose cancel was wanted later in the same pass does not leave."""

from __future__ import annotations

import numpy as np

from engine import orders, outbound
from engine import tables as et
from engine import wiring as wi
from fabric import layout
from tests.engine.corekit import Run, config
from venue import masks
from venue.grids import grids_of, symbols_of


def encode(run: Run) -> tuple[int, bytes]:
    """(orders encoded, what they say), as ``outbound.drain`` has it done."""
    w, n = np.zeros(wi.ROWS, np.int64), np.zeros(wi.ROWS, np.int64)
    send, instruments = np.zeros(4096, np.uint8), config()["instruments"]
    symbols, grids, mask = symbols_of(instruments), grids_of(instruments), masks.fresh()
    for word, array in ((wi.WI_SEND, send), (wi.WI_SYMBOLS, symbols), (wi.WI_GRIDS, grids), (wi.WI_MASK, mask)):
        w[word] = array.ctypes.data
    n[wi.WN_SEND_CAPACITY], n[wi.WN_INSTRUMENTS], n[wi.WN_RECV_WINDOW_MS] = len(send), len(instruments), 200
    count = int(run.c.scalars[et.K_COMMANDS])
    encoded = int(outbound.encode_places(w, n, run.c, count, 1_772_600_000_000, layout.REASON_NONE, run.now))
    return encoded, send[: n[wi.WN_SEND_END]].tobytes()


def test_an_order_that_is_not_wanted_any_more_does_not_leave_after_its_own_cancel() -> None:
    run = Run()
    run.tick(1_000_000, 1_000_010)
    kept, dropped = run.order(price=999_000, lots=10), run.order(price=998_000, lots=10)
    orders.want_cancel(run.c, dropped, layout.REASON_OWN_CROSS, run.now)
    encoded, said = encode(run)
    assert (encoded, len(said) > 0) == (1, True)
    assert (run.state_of(kept), run.state_of(dropped)) == ("pending_new", "rejected")
    assert run.get(dropped, "reason") == layout.REASON_OWN_CROSS
    assert (run.working(layout.SIDE_BUY), run.reason("own_cross")) == (10, 1)


def test_orders_that_nobody_has_cancelled_leave() -> None:
    run = Run()
    run.tick(1_000_000, 1_000_010)
    run.order(price=999_000, lots=10)
    run.order(price=998_000, lots=10)
    assert encode(run)[0] == 2
