"""Execution processes with a defect, or with a hand inside: the real class, and what a chaos run plants in it.

``plain`` is the product's. ``handed`` obeys one word in RUN_DIR/planted (written by the run, acted on once by the control
thread): ``calm_down`` forgets earlier reconnects, ``cut`` ends the order session's connection, ``misbook`` moves the booked
position, ``old_key`` uses the first epoch's key, ``eat`` takes memory until the kernel ends it. ``unleased`` is ``handed`` with
its lease check without effect: the loop reads a page of its own that always permits, and no time gap fences it.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import time
from typing import Any

import httpx
import numpy as np

from engine import wiring as wi
from engine.process import Execution
from fabric import layout
from risk import tables as rt
from venue import tables as vt
from venue.link import Backoff

FOR_EVER_NS = 1 << 61


class Handed(Execution):
    """With a hand of the run's inside."""

    def __init__(self, run_dir: str) -> None:
        super().__init__(run_dir)
        self.keys: list[str] = []
        self.word_file = pathlib.Path(run_dir) / "planted"

    def _step(self) -> None:
        super()._step()
        if self._grant is not None and self._grant.api_key not in self.keys:
            self.keys.append(self._grant.api_key)
        with contextlib.suppress(FileNotFoundError):
            word = self.word_file.read_text()
            self.word_file.unlink()
            getattr(self, f"do_{word}")()

    def do_calm_down(self) -> None:
        """As after a healthy while: the next reconnect waits no longer than the first one."""
        self.backoff = Backoff(first_s=self.backoff.first_s)

    def do_cut(self) -> None:
        """The network's work: the connection is gone, and nobody has said goodbye."""
        fd = int(self.memory.link.row[vt.SE_FD])
        with socket.socket(fileno=fd) as order_session:
            order_session.shutdown(socket.SHUT_RDWR)
            order_session.detach()

    def do_misbook(self) -> None:
        """As after a fill that was booked with the wrong sign."""
        self.memory.core.positions[0, rt.PO_LOTS] += 5_000

    def do_old_key(self) -> None:
        """A zombie of the first epoch: an order with its key."""
        order = {
            "action": "place_order",
            "client_order_id": str(layout.order_id(int(self.config["instance"]), 1, 1 << 20)),
            "symbol": self.config["instruments"][0]["symbol"],
            "side": "buy",
            "quantity": 0.001,
            "price": 20_000.0,
            "type": "limit",
            "reduce_only": False,
            "timestamp": time.time_ns() // 1_000_000,
            "recv_window": 200,
        }
        url = self.config["venue"]["rest_url"] + "/v1/orders"
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(url, json=order, headers={"X-API-Key": self.keys[0]}, trust_env=False)

    def do_eat(self) -> None:
        """Until the kernel picks this process."""
        eaten: list[Any] = []
        while True:
            eaten.append(np.ones(1 << 20))


class Unleased(Handed):
    """Whose lease check has no effect."""

    def __init__(self, run_dir: str) -> None:
        super().__init__(run_dir)
        self.page = np.zeros(layout.LEASE_BYTES // layout.WORD, np.int64)
        self.page[layout.L_STATE] = layout.LEASE_GRANTED
        self.page[layout.L_GRANTED_NS] = time.monotonic_ns()
        self.page[layout.L_DEADLINE_NS] = FOR_EVER_NS
        self.memory.table[1, wi.WN_LEASE_TTL_NS] = FOR_EVER_NS
        real = self.memory.remap

        def remap(**addresses: int) -> None:
            if "new_lease" in addresses:
                self.page[layout.L_EPOCH] = addresses["new_epoch"]
                addresses["new_lease"] = self.page.ctypes.data
            real(**addresses)

        self.memory.remap = remap  # type: ignore[method-assign]


KINDS = {"plain": Execution, "handed": Handed, "unleased": Unleased}
