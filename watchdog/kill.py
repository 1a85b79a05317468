"""The kill ladder, a state machine that a new watchdog can take up where the old one died.

Steps: withdraw the lease -> SIGKILL the sender -> revoke the trading keys -> cancel all until two empty reads one order
deadline apart -> flatten by policy -> prove by a refused probe. A step that fails is escalated (alarm, counted) and
the ladder goes on; the next round repeats what is not done, cancel-all first, with longer deadlines.

The record (``state/latch.json`` for kind "kill")::

    {"kind": "kill"|"close"|"halt", "cause", "reason", "epoch", "pid", "start", "boot_id", "key_ids", "began_wall_ns",
     "rounds", "steps": [{"step", "ok", "tries", "ms", "at_ms", "detail"}], "revokers": [rows of watchdog.revokers.crew],
     "positions", "proven", "ms"}

``ms`` counts from the decision. A record whose proof is missing says ``proven: false``: UNPROVEN, never "done".
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from watchdog.credentials import CredentialError, KeyRing, probe
from watchdog.processes import Process, ProcessError, boot_id
from watchdog.venue import Unreachable, Venue

STEPS = ("withdraw", "sender", "revoke", "cancel", "flatten", "prove")
STEPS_ONE_KEY = ("withdraw", "sender", "cancel", "flatten", "revoke", "prove")  # revoking takes the right to cancel away
ONE_KEY_PATIENCE = 3  # rounds without an empty book, after which the key is revoked all the same: its sender may never rest
FIRST_DEADLINE_S, LAST_DEADLINE_S = 0.25, 4.0
CANCEL_STEP_S = 3.0
TRIES = 2


class Tools(NamedTuple):
    """What the ladder touches besides the venue; a test replaces all of it."""

    now_ns: Callable[[], int]
    sleep_s: Callable[[float], None]
    withdraw: Callable[[], None]
    save: Callable[[dict[str, Any]], None]
    alarm: Callable[[str], None]
    tally: Callable[[str, int], None]
    probe_order: Callable[[int], dict[str, Any]]
    revokers: Callable[[], list[dict[str, Any]]] = list


def new_record(
    kind: str, cause: str, reason: str, epoch: int, process: Process | None, key_ids: list[str], wall_ns: int
) -> dict[str, Any]:
    """A record with every step still to do."""
    return {
        "kind": kind,
        "cause": cause,
        "reason": reason,
        "epoch": epoch,
        "pid": process.pid if process else 0,
        "start": process.start if process else 0,
        "boot_id": boot_id(),
        "key_ids": key_ids,
        "began_wall_ns": wall_ns,
        "rounds": 0,
        "steps": [],
        "revokers": [],
        "positions": None,
        "proven": False,
        "ms": 0.0,
    }


class Ladder:
    """One kill (or one orderly close), run by one thread with its own Venue."""

    def __init__(self, record: dict[str, Any], venue: Venue, ring: KeyRing, tools: Tools, order_deadline_ns: int) -> None:
        self.record, self.venue, self.ring, self.tools = record, venue, ring, tools
        self.order_deadline_ns = order_deadline_ns
        self.began_ns = tools.now_ns()
        for field, value in (("steps", []), ("key_ids", []), ("rounds", 0), ("epoch", 0), ("proven", False)):
            record.setdefault(field, value)
        known = {step["step"]: step for step in record["steps"]}
        empty = {"ok": False, "tries": 0, "ms": 0.0, "at_ms": 0.0, "detail": ""}
        record["steps"] = [known.get(name) or {"step": name, **empty} for name in STEPS]
        self.steps = {step["step"]: step for step in record["steps"]}
        self.steps["withdraw"]["ok"] = False  # costs nothing, and a new watchdog has a new page

    def run(self, stopped: Callable[[], bool], limit_s: float | None = None) -> bool:
        """Rounds until proven, told to stop, or out of time; True when proven."""
        end_ns = None if limit_s is None else self.began_ns + int(limit_s * 1e9)
        self._save()
        doublings = 0  # of this ladder: what made a dead watchdog wait need not make its successor wait
        while not self.round() and not stopped():
            if end_ns is not None and self.tools.now_ns() >= end_ns:
                break
            doublings = min(doublings + 1, 5)
            pause = min(0.1 * 2**doublings, 2.0)
            self.tools.sleep_s(pause * random.uniform(0.5, 1.5))
        return bool(self.record["proven"])

    def round(self) -> bool:
        """One pass over the steps that are not done; True when the kill is proven."""
        again = self.record["rounds"] > 0
        self.record["rounds"] += 1
        doublings = min(self.record["rounds"] - 1, 4)
        self.venue.deadline_s = min(FIRST_DEADLINE_S * 2**doublings, LAST_DEADLINE_S)
        if again and not self.steps["cancel"]["ok"]:
            self._cancel_first()
        one_key = bool(self.record.get("one_key"))
        for name in STEPS_ONE_KEY if one_key else STEPS:
            if one_key and name == "revoke" and not self.steps["cancel"]["ok"] and self.record["rounds"] <= ONE_KEY_PATIENCE:
                break
            if not self.steps[name]["ok"]:
                self._attempt(name)
        rows = self.record["revokers"] = self.tools.revokers() if self.record["kind"] == "kill" else []
        self.record["proven"] = all(step["ok"] for step in [*self.record["steps"], *rows])
        if self.record["proven"] or not again:
            self.record["ms"] = self._ms()
        self._save()
        return bool(self.record["proven"])

    def _cancel_first(self) -> None:
        try:
            self.venue.cancel_all()
            self.tools.tally("cancel_alls", 1)
        except Unreachable:
            pass  # the cancel step itself reports it

    def _ms(self) -> float:
        return round((self.tools.now_ns() - self.began_ns) / 1e6, 3)

    def _attempt(self, name: str) -> None:
        """Try one step up to TRIES times, record the outcome, make it durable."""
        step, began = self.steps[name], self.tools.now_ns()
        for attempt in range(TRIES):
            if attempt:
                self.tools.sleep_s(random.uniform(0.005, 0.02))
            step["tries"] += 1
            try:
                step["ok"], step["detail"] = getattr(self, f"_{name}")()
            except (Unreachable, CredentialError, ProcessError, OSError) as error:
                step["ok"], step["detail"] = False, f"{type(error).__name__}: {error}"
            except Exception as error:  # an answer of a shape nobody foresaw must not end the ladder
                step["ok"], step["detail"] = False, f"unexpected {type(error).__name__}"
            if step["ok"]:
                break
        step["ms"] = round((self.tools.now_ns() - began) / 1e6, 3)
        step["at_ms"] = self._ms()
        if not step["ok"]:
            self.tools.tally("kill_steps_failed", 1)
            self.tools.alarm(f"kill step {name} failed: {step['detail']}")
        self._save()

    def _save(self) -> None:
        if self.record["kind"] != "kill":
            return
        try:
            self.tools.save(self.record)
        except OSError as error:  # a full or dead disk must not keep orders alive
            self.tools.alarm(f"the latch is not durable: {error.strerror}")

    # --- The steps: each is idempotent and returns (done, what happened) ---------------------------------------------
    def _withdraw(self) -> tuple[bool, str]:
        self.tools.withdraw()
        return True, "lease withdrawn"

    def _sender(self) -> tuple[bool, str]:
        record = self.record
        if not record.get("pid"):
            return True, "no sender was registered"
        if record["kind"] == "close":
            return True, "orderly end: the supervisor ends its children"
        if record.get("boot_id") != boot_id():
            return True, "the sender belonged to an earlier boot"
        try:
            process = Process(int(record["pid"]), int(record["start"]))
        except ProcessError:
            return True, "the sender is gone"
        try:
            if process.dead():
                return True, "the sender had ended"
            process.kill()
            certain = process.finished(wait_ms=200)
            return bool(certain), f"SIGKILL by pidfd: {certain or 'it has not ended'}"
        finally:
            process.close()

    def _revoke(self) -> tuple[bool, str]:
        if self.record.get("one_key"):  # our own: a refusal of it means that it is dead, and no list can be read after it
            answers = [self.venue.revoke_key(key_id) for key_id in self.record["key_ids"]]
            return all(one.status in (200, 204, 401, 404) for one in answers), ", ".join(one.summary() for one in answers)
        ids = dict.fromkeys(self.record["key_ids"] + self.ring.ids("trade"))
        for key_id in ids:
            self.ring.revoke(self.venue, key_id)
            self.tools.tally("keys_revoked", 1)
        strays = self.ring.strays(self.venue)
        for key_id in strays:
            self.ring.revoke(self.venue, key_id)
            self.tools.tally("keys_revoked", 1)
        self.record["key_ids"] = list(dict.fromkeys([*ids, *strays]))
        return True, f"{len(ids) + len(strays)} keys revoked"

    def _cancel(self) -> tuple[bool, str]:
        """Cancel all until two reads, one order deadline apart, find nothing: later orders died by their deadline."""
        end = self.tools.now_ns() + int(CANCEL_STEP_S * 1e9)
        cancelled, empty_ns, open_now = 0, None, -1
        while self.tools.now_ns() < end:
            if empty_ns is None:
                cancelled += self.venue.cancel_all()
                self.tools.tally("cancel_alls", 1)
            open_now = len(self.venue.open_orders())
            now = self.tools.now_ns()
            if open_now:
                empty_ns = None
                self.tools.sleep_s(0.01)
            elif empty_ns is None:
                empty_ns = now
                self.tools.sleep_s(self.order_deadline_ns / 1e9 + 0.001)
            elif now - empty_ns >= self.order_deadline_ns:
                return True, f"{cancelled} cancelled, two empty reads {(now - empty_ns) // 1_000_000} ms apart"
        return False, f"{open_now} orders still open after {cancelled} cancelled"

    def _flatten(self) -> tuple[bool, str]:
        """Policy ``never``: report the positions that stay."""
        self.record["positions"] = self.venue.positions()
        return True, "policy never: positions are kept and reported"

    def _prove(self) -> tuple[bool, str]:
        """Only a refusal for authentication proves; a lost secret leaves the venue's own key list as evidence."""
        ids, refusals = self.record["key_ids"], []
        if not ids:
            return True, "no trading key existed"
        for key_id in ids:
            key = self.ring.secret(key_id)
            if key is None:
                if not self.ring.listed_as_revoked(self.venue, key_id):
                    return False, f"{key_id}: its secret is gone and the venue does not list it as revoked"
                refusals.append("listed as revoked")
                continue
            order = self.tools.probe_order(self.record["epoch"])
            answer = probe(self.venue, key, order)
            if answer.status != 401:
                return False, self._accepted(key_id, order, answer.status, answer.summary())
            self.tools.tally("probes_refused", 1)
            refusals.append(answer.summary())
        return True, ", ".join(refusals)

    def _accepted(self, key_id: str, order: dict[str, Any], status: int, summary: str) -> str:
        """The key still works: cancel the probe, and do revoke and cancel again in the next round."""
        self.steps["revoke"]["ok"] = self.steps["cancel"]["ok"] = False
        if 200 <= status < 300:
            self.tools.tally("probes_accepted", 1)
            self.tools.alarm(f"probe accepted: {key_id} is alive")
            self.venue.cancel(order["client_order_id"])
        return f"{key_id} was not refused for authentication: {summary}"
