"""All configured revokers at work, each in a thread of its own. Orders come from the main loop, which never waits here.

A hand does what is wanted (``arm``, ``revoke`` with ``prove``, ``release``) until it is done, and refreshes while it is armed
and a lease is granted. What is wanted may change at any moment; a verb in flight ends first (each has a deadline), and its
result no longer counts.

A row of ``rows()``, also in the latch record: ``{"revoker", "wanted", "ok", "tries", "ms", "detail"}``; ms from the order to
the last result.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from watchdog.revokers import Revoker, RevokerError
from watchdog.venue import Unreachable

DOUBLINGS_MAX = 3
PAUSE_FIRST_S, PAUSE_MAX_S = 0.02, 2.0
REFRESH_RETRY_S = 0.2


class Reports(NamedTuple):
    """Where a hand's news go; both are called from its thread."""

    alarm: Callable[[str], None]
    tally: Callable[[str, int], None]


class Hand:
    """One revoker and what is wanted of it. ``condition`` guards everything but the revoker, which this thread alone uses."""

    def __init__(self, revoker: Revoker, reports: Reports) -> None:
        self.revoker, self.reports = revoker, reports
        self.condition = threading.Condition()
        self.wanted, self.order, self.ok, self.permitted = "", 0, True, False
        self.tries, self.ms, self.detail, self.began = 0, 0.0, "", 0.0
        self.refresh_due = 0.0
        self.last_alarm = ""

    def want(self, what: str) -> None:
        """Begin it, unless it is what is wanted already."""
        with self.condition:
            if self.wanted == what:
                return
            self.wanted, self.ok, self.tries, self.detail = what, False, 0, ""
            self.order += 1
            self.ms, self.began = 0.0, time.monotonic()
            self.condition.notify_all()

    def permit(self, granted: bool) -> None:
        """A lease is granted, or no longer: the first refresh comes at once."""
        if granted != self.permitted:
            with self.condition:
                self.permitted, self.refresh_due = granted, 0.0
                self.condition.notify_all()

    def row(self) -> dict[str, Any]:
        with self.condition:
            fields = {"wanted": self.wanted, "ok": self.ok, "tries": self.tries, "ms": self.ms, "detail": self.detail}
            return {"revoker": self.revoker.name, **fields}

    def run(self) -> None:
        """The thread: one verb after the other for ever."""
        while True:
            with self.condition:
                order, wanted, tries, ok = self.order, self.wanted, self.tries, self.ok
                if ok:
                    wait_s = self._until_refresh()
                    if wait_s is None or wait_s > 0:
                        self.condition.wait(wait_s)
                        continue
            if ok:
                self._refresh()
                continue
            self._attempt(order, wanted, min(tries, DOUBLINGS_MAX))
            with self.condition:
                if not self.ok and order == self.order:
                    pause_s = min(PAUSE_FIRST_S * 2 ** min(self.tries, 10), PAUSE_MAX_S)
                    self.condition.wait(pause_s * random.uniform(0.5, 1.0))

    def _until_refresh(self) -> float | None:
        if self.wanted != "arm" or not self.permitted or self.revoker.refresh_s <= 0:
            return None
        return self.refresh_due - time.monotonic()

    def _attempt(self, order: int, wanted: str, doublings: int) -> None:
        deadline_s = self.revoker.deadline_s * 2**doublings
        verbs = {"arm": ("arm",), "revoke": ("revoke", "prove"), "release": ("release",)}[wanted]
        said, verb = [], ""
        try:
            for verb in verbs:
                said.append(getattr(self.revoker, verb)(deadline_s))
            ok, detail = True, "; ".join(said)
        except (RevokerError, Unreachable, OSError) as error:
            ok, detail = False, f"{verb}: {error}"
        except Exception as error:  # a revoker with a bug must not end its thread
            ok, detail = False, f"{verb}: unexpected {type(error).__name__}"
        with self.condition:
            if order == self.order:
                self.ok, self.detail, self.tries = ok, detail, self.tries + 1
                self.ms = round((time.monotonic() - self.began) * 1e3, 3)
                self.condition.notify_all()
        self._report(ok, detail)
        if ok and wanted == "revoke":
            self.reports.tally("revokers_proven", 1)

    def _refresh(self) -> None:
        try:
            self.revoker.refresh(self.revoker.deadline_s)
            ok, detail = True, ""
            self.reports.tally("revoker_refreshes", 1)
        except Exception as error:
            known = isinstance(error, RevokerError | Unreachable | OSError)
            ok, detail = False, f"refresh: {error}" if known else f"refresh: unexpected {type(error).__name__}"
        wait_s = self.revoker.refresh_s if ok else min(REFRESH_RETRY_S, self.revoker.refresh_s)
        with self.condition:
            self.refresh_due = time.monotonic() + wait_s
        self._report(ok, detail)

    def _report(self, ok: bool, detail: str) -> None:
        if not ok:
            self.reports.tally("revoker_failures", 1)
            if detail != self.last_alarm:
                self.reports.alarm(f"revoker {self.revoker.name}: {detail}")
        self.last_alarm = "" if ok else detail


class Crew:
    """The hands of all revokers; empty when none is configured."""

    def __init__(self, revokers: list[Revoker], reports: Reports) -> None:
        self.hands = [Hand(revoker, reports) for revoker in revokers]
        for hand in self.hands:
            threading.Thread(target=hand.run, name=f"revoker-{hand.revoker.name}", daemon=True).start()

    def arm(self) -> None:
        self._want("arm")

    def revoke(self) -> None:
        self._want("revoke")

    def release(self, limit_s: float) -> bool:
        """The orderly end; waits for it, and says whether all were done in time."""
        self._want("release")
        end = time.monotonic() + limit_s
        for hand in self.hands:
            with hand.condition:
                hand.condition.wait_for(lambda hand=hand: hand.ok, max(end - time.monotonic(), 0.0))  # type: ignore[misc]
        return all(row["ok"] for row in self.rows())

    def _want(self, what: str) -> None:
        for hand in self.hands:
            hand.want(what)

    def permit(self, granted: bool) -> None:
        """Said on every pass of the main loop: whether a lease is granted."""
        for hand in self.hands:
            hand.permit(granted)

    def rows(self) -> list[dict[str, Any]]:
        return [hand.row() for hand in self.hands]

    def not_armed(self) -> str:
        """Why trading may not begin yet; empty when it may."""
        for row in self.rows():
            if row["wanted"] != "arm" or not row["ok"]:
                return f"revoker {row['revoker']} is not armed: {row['detail'] or 'not tried yet'}"
        return ""
