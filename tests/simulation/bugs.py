# mypy: disable-error-code="no-untyped-call"
"""Planted bugs: the simulation must find each within a stated number of seeds, or it would prove nothing.

Each is a replaced function of the Python around the kernels, or a changed answer of the venue; no kernel is touched. They
are the complaints that users of trading engines have most: see the names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any
from unittest import mock

import numpy as np
import orjson

from engine import journaling, restart
from engine import tables as et
from engine.account_query import AccountQuery
from fabric import layout
from risk import tables as rt
from tests.simulation.net import VenueHouse
from tests.simulation.shell import Loop
from tests.simulation.world import MS

Plant = Callable[[], AbstractContextManager[Any]]


def around(owner: Any, name: str, change: Callable[..., Any]) -> AbstractContextManager[Any]:
    """``owner.name`` becomes ``change(original, *args)``."""
    original = getattr(owner, name)
    return mock.patch.object(owner, name, lambda *args: change(original, *args))


def fill_booked_twice() -> AbstractContextManager[Any]:
    """A trade that comes back by reconciliation has lost its id, so that it is not recognised."""

    def change(original: Any, query: Any, fill: Any) -> Any:
        event = original(query, fill)
        event[et.EV_TRADE_ID] = -1
        return event

    return around(AccountQuery, "_fill", change)


def unknown_timed_out_to_rejected() -> AbstractContextManager[Any]:
    """An order without an answer for a tenth of a second is called rejected instead of being asked about."""

    def change(original: Any, loop: Loop, now: int) -> Any:
        orders, row = loop.core.orders, int(loop.core.scalars[et.K_LIVE_HEAD])
        while row >= 0:
            o, row = orders[row], int(orders[row, et.OR_NEXT_LIVE])
            waiting = o[et.OR_STATE] in (layout.STATE_PENDING_NEW, layout.STATE_UNKNOWN)
            if waiting and now - o[et.OR_SENT_NS] > 100 * MS:
                event = np.full(len(et.EVENT), -1, np.int64)
                event[et.EV_KIND], event[et.EV_ORDER_ID] = layout.EVENT_REJECT, o[et.OR_ID]
                event[et.EV_REASON] = layout.REASON_VENUE_REJECT
                loop._apply(event, now)
        return original(loop, now)

    return around(Loop, "_read_session", change)


def lease_not_checked() -> AbstractContextManager[Any]:
    """The loop takes every lease for valid."""
    return mock.patch.object(Loop, "lease_holds", return_value=True)


def exit_blocked_by_a_breaker() -> AbstractContextManager[Any]:
    """While its owner is paused, an exit is not sent."""

    def change(original: Any, loop: Loop, commands: Any, wall_ms: int, refusal: int, *rest: Any) -> Any:
        paused = loop.core.owners[rt.OWNER_SIGNALS, rt.OW_PAUSED_UNTIL_NS] > loop.world.mono
        exits = [m for m in commands if m[et.CM_KIND] == et.COMMAND_PLACE and loop.core.orders[m[et.CM_ROW], et.OR_IS_EXIT]]
        if paused and exits and not refusal:
            refusal = layout.REASON_OWNER_PAUSED
        return original(loop, commands, wall_ms, refusal, *rest)

    return around(Loop, "_encode_places", change)


def loss_streak_reset_by_restart() -> AbstractContextManager[Any]:
    """A new life forgets how many losses an owner had in a row."""

    def change(original: Any, *args: Any) -> Any:
        absent = original(*args)
        args[2].owners[:, rt.OW_LOSS_STREAK] = 0
        return absent

    return around(restart, "take_over", change)


def fills_not_journaled() -> AbstractContextManager[Any]:
    """What the venue says is applied; its trades are missing from the record."""

    def change(original: Any, w: Any, n: Any, c: Any, event: Any, now: int) -> Any:
        return 0 if event[et.EV_KIND] == layout.EVENT_FILL else original(w, n, c, event, now)

    return around(journaling, "event", change)


def fill_of_the_wrong_size() -> AbstractContextManager[Any]:
    """The venue's message says twice what was traded."""

    def change(original: Any, house: VenueHouse, session: Any, payload: bytes, late: int) -> Any:
        if payload.startswith(b'{"type":"fill"') and b'"quantity"' in payload:
            said = orjson.loads(payload)
            payload = orjson.dumps(said | {"quantity": str(2 * Decimal(said["quantity"]))})
        return original(house, session, payload, late)

    return around(VenueHouse, "deliver", change)


def fill_lost() -> AbstractContextManager[Any]:
    """Trades reach us on no way: not as messages, and not when we ask for them."""

    def deliver(original: Any, house: VenueHouse, session: Any, payload: bytes, late: int) -> Any:
        return None if payload.startswith(b'{"type":"fill"') else original(house, session, payload, late)

    def answer(original: Any, house: VenueHouse, method: str, path: str, *rest: Any) -> Any:
        status, body = original(house, method, path, *rest)
        return status, {"fills": []} if path.startswith("/v1/fills") else body

    stack = contextlib.ExitStack()
    stack.enter_context(around(VenueHouse, "deliver", deliver))
    stack.enter_context(around(VenueHouse, "answer", answer))
    return stack


def sent_again_blindly() -> AbstractContextManager[Any]:
    """Orders in doubt are sent again over the next session."""

    def close(original: Any, loop: Loop, code: int, now: int) -> Any:
        state = loop.core.orders[:, et.OR_STATE]
        rows = np.flatnonzero((state == layout.STATE_PENDING_NEW) | (state == layout.STATE_UNKNOWN))
        loop.__dict__.setdefault("again", []).extend(int(row) for row in rows)
        return original(loop, code, now)

    def drain(original: Any, loop: Loop, now: int) -> Any:
        again = loop.__dict__.get("again", [])
        if again and loop.pipe is not None and loop.lease_holds(now):
            rows, loop.__dict__["again"] = again, []
            commands = np.zeros((len(rows), len(et.COMMAND)), np.int64)
            for m, row in zip(commands, rows, strict=True):
                o = loop.core.orders[row]
                m[et.CM_KIND], m[et.CM_ROW] = et.COMMAND_PLACE, row
                m[et.CM_ORDER_ID], m[et.CM_INSTRUMENT] = o[et.OR_ID], o[et.OR_INSTRUMENT]
                m[[et.CM_SIDE, et.CM_TYPE]], m[et.CM_PRICE_TICKS] = o[[et.OR_SIDE, et.OR_TYPE]], o[et.OR_PRICE_TICKS]
                m[et.CM_LOTS] = o[et.OR_LOTS]
            frames: list[bytes] = []
            places = loop._encode_places(commands, loop.world.wall // 1_000_000, 0, frames, now)
            for row, frame in zip(places, frames, strict=True):
                loop.watcher.sending(frame, row)
        return original(loop, now)

    stack = contextlib.ExitStack()
    stack.enter_context(around(Loop, "_close", close))
    stack.enter_context(around(Loop, "_drain", drain))
    return stack


# The bug, the rule that it breaks, and the seeds of 1.5 s among which that is found: the first, how many.
PLANTED: dict[str, tuple[Plant, str, int, int]] = {
    "fill_booked_twice": (fill_booked_twice, "6 ", 1, 20),
    "unknown_timed_out_to_rejected": (unknown_timed_out_to_rejected, "2 ", 26, 25),
    "lease_not_checked": (lease_not_checked, "1 ", 1, 40),
    "exit_blocked_by_a_breaker": (exit_blocked_by_a_breaker, "7 ", 60, 40),
    "loss_streak_reset_by_restart": (loss_streak_reset_by_restart, "8 ", 1, 60),
    "fills_not_journaled": (fills_not_journaled, "8 ", 1, 20),
    "fill_of_the_wrong_size": (fill_of_the_wrong_size, "6 ", 1, 20),
    "fill_lost": (fill_lost, "6 ", 1, 20),
    "sent_again_blindly": (sent_again_blindly, "1 ", 1, 60),
}
