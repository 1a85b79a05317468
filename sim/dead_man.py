"""The account's dead-man timer: when it is not set again in time, all open orders of the account are cancelled, once.

One timer an account, one-shot: after it has fired it is disarmed until it is set again. Setting it replaces the old time;
0 disarms it. Orders it takes end as `killed`. `events` is its history for the ledger: {ts, what, timeout_ms, cancelled},
what = armed, disarmed or fired; times in microseconds of the venue's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from sim.exchange import Exchange

LEAST_MS, MOST_MS = 100, 86_400_000


class Handle(Protocol):
    def cancel(self) -> None: ...


Schedule = Callable[[float, Callable[[], None]], Handle]


def _loop(delay_s: float, call: Callable[[], None]) -> Handle:
    return asyncio.get_running_loop().call_later(delay_s, call)


class DeadMan:
    """See the module's docstring; `schedule(delay_s, call)` is the event loop's unless a test has a clock of its own."""

    def __init__(self, exchange: Exchange, schedule: Schedule = _loop) -> None:
        self._exchange, self._schedule = exchange, schedule
        self._pending: Handle | None = None
        self._trigger_us = 0
        self.fired = 0
        self.events: list[dict[str, Any]] = []

    def set(self, timeout_ms: int) -> dict[str, Any]:
        """Arm for that long from now, or disarm with 0; answers the view."""
        if self._pending is not None:
            self._pending.cancel()
        self._pending, self._trigger_us = None, 0
        if timeout_ms:
            self._trigger_us = self._exchange.now_us() + timeout_ms * 1_000
            self._pending = self._schedule(timeout_ms / 1_000, self._fire)
        self._note("armed" if timeout_ms else "disarmed", timeout_ms, 0)
        return self.view()

    def view(self) -> dict[str, Any]:
        return {"armed": self._pending is not None, "trigger_ts": self._trigger_us, "fired": self.fired}

    def _fire(self) -> None:
        if self._exchange.faults.timer_dead:
            return
        self._pending, self._trigger_us = None, 0
        self.fired += 1
        self._note("fired", 0, self._exchange.kill_orders())

    def _note(self, what: str, timeout_ms: int, cancelled: int) -> None:
        now_us = self._exchange.now_us()
        self.events.append({"ts": now_us, "what": what, "timeout_ms": timeout_ms, "cancelled": cancelled})
