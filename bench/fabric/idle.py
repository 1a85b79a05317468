# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What one pass of the execution loop costs when there is nothing to do: ``engine.loop.exec_pass`` over all its views.

In the figure: the check for restarted segments, the lease, arming and stop words, one poll each of the market ring, the
signal ring, the control thread's inbox and the session's owner word, the check for something to send, and the beat (nine
stores). The loop is armed, reconciled, holds a lease, has a ready book and no order. Time goes on 100 ns each pass, so its
share of the timer (every 200 us) and of the account page and counters (every 2 ms) is in it as well.

Not in it: the clock read that begins a pass, the duty cycle, and the empty ``recv`` of the order session, a system
call. Both are measured apart; ``idle_loop_pass_ns`` is a pass of the whole ``exec_loop`` with clock, duty cycle and
``pause``, still without a socket.
"""

from __future__ import annotations

import pathlib
import socket
from typing import Any

import numpy as np

from bench.fabric.meters import Idle
from engine import tables as et
from engine import wiring as wi
from engine.core_type import core_at
from engine.loop import exec_pass
from engine.memory import ExecutionMemory
from fabric import layout
from fabric.atomics import row
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from ops import config as configuration
from ops import instance
from ops.placement import Placement
from risk import tables as rt
from venue.sockets import receive

STEP_NS = 100
LEASE_NS = 3600 * 10**9
FUNDS_E8 = 100_000 * 100_000_000


@kernel
def pass_loop(wiring_address, times, now_ns, done, scratch):
    """So many passes, each STEP_NS later; ns for all of them, what they found to do in ``done``."""
    w, n = row(wiring_address, wi.ROWS), row(wiring_address + wi.ROWS * 8, wi.ROWS)
    c = core_at(w[wi.WI_CORE])
    started = monotonic_ns(scratch)
    for _ in range(times):
        done[0] += exec_pass(w, n, c, now_ns)
        now_ns += STEP_NS
    return monotonic_ns(scratch) - started


@kernel
def empty_recv_loop(fd, buffer, times, scratch):
    """So many reads of a socket with nothing in it; ns for all of them."""
    started = monotonic_ns(scratch)
    for _ in range(times):
        receive(fd, buffer, 4096)
    return monotonic_ns(scratch) - started


class IdleHouse:
    """An execution loop that could trade, and private pages of everything that it looks at."""

    def __init__(self, config: dict[str, Any]) -> None:
        sizes = {"exec": layout.EXEC_BYTES, "stats": layout.STATS_BYTES, "market": layout.MARKET_BYTES}
        sizes |= {"signal": layout.SIGNAL_BYTES, "journal": layout.JOURNAL_BYTES, "control": layout.CONTROL_BYTES}
        sizes |= {"lease": layout.LEASE_BYTES}
        self.pages = {name: np.full(size // 8, 0, np.int64) for name, size in sizes.items()}
        at = {name: page.ctypes.data for name, page in self.pages.items()}
        config["placement"]["idle"]["execution"] = "spin"
        self.memory = ExecutionMemory(config, at["exec"], at["stats"])
        w, n = self.memory.table
        w[wi.WI_MARKET] = w[wi.WI_NEW_MARKET] = at["market"]
        w[wi.WI_SIGNAL] = w[wi.WI_NEW_SIGNAL] = at["signal"]
        w[wi.WI_JOURNAL] = w[wi.WI_NEW_JOURNAL] = at["journal"] + layout.JOURNAL_PROGRESS_OFFSET
        w[wi.WI_LEASE] = w[wi.WI_NEW_LEASE] = at["lease"]
        w[wi.WI_CONTROL] = at["control"] + layout.CONTROL_OFFSET
        w[wi.WI_NEW_EPOCH] = 1
        self.pages["control"][layout.CONTROL_OFFSET // 8 + layout.C_ARMED] = 1
        self.scratch = np.zeros(2, np.int64)
        self._trade(n)

    def _trade(self, n: Any) -> None:
        """Armed, funded, reconciled, leased, with a book."""
        lease, core = self.pages["lease"], self.memory.core
        now_ns = int(monotonic_ns(self.scratch.ctypes.data))
        lease[layout.L_EPOCH], lease[layout.L_STATE] = 1, layout.LEASE_GRANTED
        lease[layout.L_GRANTED_NS], lease[layout.L_DEADLINE_NS] = now_ns, now_ns + LEASE_NS
        k, a = core.scalars, core.account
        k[et.K_EPOCH] = k[et.K_ARMED] = k[et.K_LEASE_OK] = k[et.K_SESSION_UP] = 1
        n[wi.WN_LEASE_OK] = n[wi.WN_LEASE_SEEN] = n[wi.WN_ARMED] = 1
        a[rt.AC_STATE], a[rt.AC_RECONCILED] = layout.RISK_ACTIVE, 1
        for column in (rt.AC_NAV_E8, rt.AC_DAY_START_NAV_E8, rt.AC_HWM_E8, rt.AC_CASH_E8):
            a[column] = FUNDS_E8
        core.books[:, rt.BK_STATUS] = core.books[:, rt.BK_BOOK_STATUS] = layout.BOOK_READY

    @property
    def beats(self) -> int:
        """Passes, as the watchdog reads them."""
        return int(self.pages["exec"][layout.BEAT_OFFSET // 8 + layout.B_PASSES])

    def _checked(self, passes: int, work: int, before: int) -> None:
        if work or self.beats - before != passes or self.memory.table[1, wi.WN_LEASE_OK] != 1:
            raise Idle(f"{self.beats - before} of {passes} passes, {work} of them not idle")

    def passes(self, times: int) -> float:
        """ns per pass."""
        before, done = self.beats, np.zeros(1, np.int64)
        scratch = self.scratch.ctypes.data
        spent = int(pass_loop(self.memory.table.ctypes.data, times, int(monotonic_ns(scratch)), done, scratch))
        self._checked(times, int(done[0]), before)
        return spent / times

    def whole(self, times: int) -> float:
        """ns per pass of the whole loop."""
        before, scratch = self.beats, self.scratch.ctypes.data
        started = int(monotonic_ns(scratch))
        made = self.memory.run(times)
        spent = int(monotonic_ns(scratch)) - started
        self._checked(made, 0, before)
        return spent / times


def empty_recv(times: int) -> float:
    """ns per read of a loopback TCP socket that has nothing."""
    buffer, scratch = np.zeros(4096, np.uint8), np.zeros(2, np.int64)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        two, _ = server.accept()
        with two:
            return float(empty_recv_loop(one.fileno(), buffer.ctypes.data, times, scratch.ctypes.data)) / times


def house(placement: Placement) -> IdleHouse:
    """The default configuration with this placement."""
    nowhere = pathlib.Path("nowhere")
    where = instance.Paths(nowhere, nowhere, nowhere)
    return IdleHouse(instance.compose(configuration.Config(name="bench"), where, placement))


def measure(placement: Placement, times: int, rounds: int) -> dict[str, Any]:
    """ns per pass, medians of interleaved rounds; raises Idle. The caller is on the cpu to be measured."""
    idle = house(placement)
    loops = {"idle_pass_ns": idle.passes, "idle_loop_pass_ns": idle.whole, "empty_recv_ns": empty_recv}
    for loop in loops.values():
        loop(1000)
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            found[name].append(loop(times if name != "empty_recv_ns" else max(times // 10, 1)))
    return {name: round(float(np.median(values)), 1) for name, values in found.items()}
