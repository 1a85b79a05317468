"""The watchdog's share of the messages that the venue lets the account send; the engine's limits end below it.

Of a venue budget the engine may use 70 %, cancels included: a configuration that allows it more is refused before anything
starts. The watchdog counts its own calls over a sliding window, exactly, in all its threads: together at most 30 %, and half
of those are for the kill alone, so that neither the view of the account nor a registration can have used them up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

SHARE_PERCENT, RESERVE_PERCENT = 30, 50


class Budget:
    """``take`` waits for room; ``urgent`` calls (the kill's) may use the whole share."""

    def __init__(
        self,
        messages: int,
        window_s: float,
        now_s: Callable[[], float] = time.monotonic,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.share = max(messages * SHARE_PERCENT // 100, 1)
        self.others = max(self.share * (100 - RESERVE_PERCENT) // 100, 1)
        self.window_s, self.now_s, self.sleep_s = window_s, now_s, sleep_s
        self.lock = threading.Lock()
        self.sent: deque[float] = deque()
        self.on_wait: Callable[[], None] = lambda: None

    def spacing_s(self, calls: int) -> float:
        """How far apart rounds of so many calls must lie, so that they use half of what is not the kill's."""
        return 2 * calls * self.window_s / self.others

    def take(self, urgent: bool, end_s: float) -> bool:
        """Take room for one call, waiting for it until ``end_s`` at most; False when there is none by then."""
        most = self.share if urgent else self.others
        while True:
            with self.lock:
                now = self.now_s()
                while self.sent and now - self.sent[0] >= self.window_s:
                    self.sent.popleft()
                if len(self.sent) < most:
                    self.sent.append(now)
                    return True
                free_s = self.sent[len(self.sent) - most] + self.window_s
            self.on_wait()
            if free_s >= end_s:
                return False
            self.sleep_s(max(free_s - now, 0.001))
