"""The venue's dead-man timer: the venue itself cancels all orders unless this process sets the timer again in time.

It is set when a lease is granted and again every fifth of its length (never later than a quarter, with room for a slow call),
only while the lease stands: an engine that is stuck, a halt, a dead watchdog or a lost host let it run out. A kill shortens it
to the least that the venue takes and waits for the venue to say that it fired. After firing it is set again by the next grant.

The disarm race: a refresh that is still on its way when the timer is disarmed or shortened would arm it again. Refreshes and
the disarm run one after the other in one thread, and every message carries a deadline (``recv_window``) that the venue
enforces; after a refresh without an answer the next change waits until that refresh is dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from watchdog.revokers import RevokerError
from watchdog.venue import Answer, Unreachable, Venue

PATH = "/v1/orders/cancel-after"
PARTS = 5  # of the length, one refresh each
WINDOW_S = 0.5
POLL_S = 0.02


class Timer:
    """One account's timer; times in seconds unless named otherwise."""

    name = "timer"
    deadline_s = 0.5

    def __init__(
        self,
        venue: Venue,
        length_ms: int,
        least_ms: int,
        now_s: Callable[[], float] = time.monotonic,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < least_ms <= length_ms:
            raise RevokerError("timer: 0 < least_ms <= length_ms is required")
        self.venue, self.length_ms, self.least_ms = venue, length_ms, least_ms
        self.now_s, self.sleep_s = now_s, sleep_s
        self.refresh_s = length_ms / 1e3 / PARTS
        self.fired = 0  # as the venue counts
        self.fires_by = 0.0  # latest time at which what was last accepted runs out
        self.in_flight_until = 0.0  # a message without an answer may still be accepted until then

    def arm(self, deadline_s: float) -> str:
        """The venue has a timer that takes our messages: disarming changes nothing. The first refresh sets it."""
        self.fired = self._set(0, deadline_s)
        return f"the venue has a timer; {self.length_ms} ms while a lease is granted"

    def refresh(self, deadline_s: float) -> str:
        fired = self._set(self.length_ms, deadline_s, refresh=True)
        if fired > self.fired:
            self.fired = fired
            raise RevokerError("the venue's timer had fired: its refresh came too late; it is set again")
        return f"set to {self.length_ms} ms"

    def revoke(self, deadline_s: float) -> str:
        """Make it fire as soon as the venue lets it."""
        armed, self.fired = self._view(deadline_s)
        if armed and 0 < self.fires_by - self.now_s() <= self.least_ms / 1e3:
            return "it fires soon by itself"  # also what a second try finds: it must not be put off for ever
        self.fired = self._set(self.least_ms, deadline_s)
        return f"shortened to {self.least_ms} ms"

    def prove(self, deadline_s: float) -> str:
        """Wait until the venue says that it has fired."""
        end = self.now_s() + self.least_ms / 1e3 + deadline_s
        while self.now_s() < end:
            armed, fired = self._view(deadline_s)
            if not armed and fired > self.fired:
                self.fired, self.fires_by = fired, 0.0
                return "the venue says that it fired"
            self.sleep_s(POLL_S)
        raise RevokerError("the venue does not say that its timer fired")

    def release(self, deadline_s: float) -> str:
        """Disarm, and see it disarmed."""
        self._set(0, deadline_s)
        if self._view(deadline_s)[0]:
            raise RevokerError("the venue's timer is still armed")
        return "disarmed"

    def _set(self, timeout_ms: int, deadline_s: float, refresh: bool = False) -> int:
        """Set the timer; how often it has fired so far."""
        while not refresh and (left := self.in_flight_until - self.now_s()) > 0:
            self.sleep_s(left)
        window_s = min(deadline_s, WINDOW_S)
        body = {"timeout_ms": timeout_ms, "timestamp": time.time_ns() // 1_000_000, "recv_window": round(window_s * 1e3)}
        self.venue.deadline_s = deadline_s
        self.in_flight_until = self.now_s() + window_s
        try:
            answer = self.venue.call("POST", PATH, body)
        except Unreachable as error:
            self.fires_by = max(self.fires_by, self.in_flight_until + timeout_ms / 1e3)  # it may be accepted still
            raise Unreachable(f"{error}; {self._left()}") from None
        self.in_flight_until = 0.0
        fired = self._fired(answer)[1]
        self.fires_by = self.now_s() + timeout_ms / 1e3 if timeout_ms else 0.0
        return fired

    def _view(self, deadline_s: float) -> tuple[bool, int]:
        self.venue.deadline_s = deadline_s
        try:
            return self._fired(self.venue.call("GET", PATH))
        except Unreachable as error:
            raise Unreachable(f"{error}; {self._left()}") from None

    def _fired(self, answer: Answer) -> tuple[bool, int]:
        armed, fired = answer.data.get("armed"), answer.data.get("fired")
        if answer.status == 404:
            raise RevokerError('the venue has no dead-man timer: take kind = "timer" out of kill.revokers')
        if answer.status != 200 or not isinstance(armed, bool) or not isinstance(fired, int):
            raise RevokerError(f"{PATH}: {answer.summary()}; {self._left()}")
        return armed, fired

    def _left(self) -> str:
        left_ms = round((self.fires_by - self.now_s()) * 1e3)
        return f"the armed timer fires by itself within {left_ms} ms" if left_ms > 0 else "no timer runs"
