"""The venue and the way to it: the real exchange, its real session and REST handlers, without sockets.

``VenueHouse`` is the paper exchange (``sim.exchange``, ``sim.server``, ``sim.rest``) with its output caught: what it says to a
session travels through a ``Pipe`` with the delays and losses that ``Weather`` draws. A pipe keeps the order of each direction,
as TCP does, but for what the venue itself says twice, late, in another order, or not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

from sim.exchange import ACCOUNT, Exchange
from sim.http import Call
from sim.keys import Key, KeyStore
from sim.market import Instrument
from sim.rest import RestApi
from sim.server import Session, VenueServer
from tests.simulation.crowd import Crowd
from tests.simulation.weather import Weather
from tests.simulation.world import MS, Violation, World
from venue.errors import VenueError

MANAGEMENT_KEY = "sk_live_of_the_simulation"
REST_TIMEOUT = 2_000 * MS


class Pipe:
    """One order session: what is under way in both directions, and who has noticed that it is gone."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.arrived: deque[bytes] = deque()
        self.out_last = self.in_last = 0
        self.cut = False  # nothing gets through any more
        self.seen_cut = False  # and our side has been told
        self.wake: Callable[[], None] = lambda: None


class VenueHouse(VenueServer):
    """See the module. ``heard`` gets each order message that reaches the venue, before it acts on it."""

    def __init__(self, world: World, weather: Weather, instruments: list[dict[str, Any]], balance: int) -> None:
        rows = [Instrument.from_config(row) for row in instruments]
        self.crowd = Crowd(rows)
        keys = KeyStore(MANAGEMENT_KEY, world.venue_us)
        super().__init__(Exchange(rows, self.crowd, keys, Decimal(balance), lambda: world.venue_us))
        self.world, self.weather = world, weather
        self.rest = RestApi(self)
        self.pipes: dict[Session, Pipe] = {}
        self.held: dict[Session, bytes] = {}
        self.heard: Callable[[dict[str, Any]], None] = lambda fields: None
        self.said: list[bytes] = []  # to any session
        self.under_way: dict[int, tuple[dict[str, Any], int]] = {}  # places sent: fields and when they arrive
        self._frame = 0

    # Sessions

    def open(self, api_key: str, messages: list[bytes]) -> Pipe:
        key = self.exchange.keys.find(api_key)
        if key is None or key.revoked:
            raise VenueError("upgrade refused: HTTP 401")
        session = Session(None, key)  # type: ignore[arg-type]  # nothing is sent on it: ``_put`` catches all
        self._sessions.add(session)
        pipe = self.pipes[session] = Pipe(session)
        for message in messages:
            self._receive(session, message)
        return pipe

    def send(self, pipe: Pipe, frames: list[bytes], late: int = 0) -> None:
        """Our frames on their way; ``late``: we stood still between the last check and the call."""
        for frame in frames:
            pipe.out_last = max(pipe.out_last, self.world.now + late + self.weather.to_venue())
            self._frame += 1
            number = self._frame
            fields = orjson.loads(frame)
            if fields["action"] == "place_order":
                self.under_way[number] = (fields, pipe.out_last)
            self.world.at(pipe.out_last, "to venue", lambda n=number, f=frame: self._arrive(pipe, n, f))  # type: ignore[misc]

    def _arrive(self, pipe: Pipe, number: int, frame: bytes) -> None:
        self.under_way.pop(number, None)
        if pipe.cut and not self.weather.delivered_after_cut():
            return
        self.heard(orjson.loads(frame))
        self._receive(pipe.session, frame)

    def cut(self, pipe: Pipe, why: str) -> None:
        """The connection is gone; we notice later."""
        if pipe.cut:
            return
        pipe.cut = True
        self.world.note(f"session cut: {why}")
        self._sessions.discard(pipe.session)
        if self.faults.cancel_on_disconnect:
            self.world.later(
                self.weather.notices(), "venue notices", lambda: self.exchange.cancel_of_key(pipe.session.key.key_id)
            )

        def notice() -> None:
            pipe.seen_cut = True
            pipe.wake()

        self.world.later(self.weather.notices(), "we notice", notice)

    def _close(self, session: Session, code: int, reason: str) -> None:
        self.cut(self.pipes[session], reason)

    def _put(self, session: Session, payload: bytes) -> None:
        """Own-order messages, as unreliable as the weather is."""
        self.said.append(payload)
        weather, held = self.weather, self.held.pop(session, None)
        if held is None and weather.swapped():
            self.held[session] = payload
            self.world.later(50 * MS, "held", lambda: self._let_go(session))
            return
        for copy in range(weather.copies()):
            self.deliver(session, payload, weather.echo() if copy else 0)
        if held is not None:
            self.deliver(session, held, 0)

    def _let_go(self, session: Session) -> None:
        held = self.held.pop(session, None)
        if held is not None:
            self.deliver(session, held, 0)

    def deliver(self, session: Session, payload: bytes, late: int) -> None:
        pipe = self.pipes[session]
        when = self.world.now + late + self.weather.to_us()
        if not late:
            pipe.in_last = when = max(pipe.in_last, when)

        def arrive() -> None:
            if not pipe.cut:
                pipe.arrived.append(payload)
                pipe.wake()

        self.world.at(when, "to us", arrive)

    # REST

    def answer(self, method: str, path: str, api_key: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """What the real handler says, at this moment."""
        call = self.rest.handle(Call(method, path, api_key, orjson.dumps(body) if body else b""))
        try:
            call.send(None)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        raise Violation("the exchange's REST handler waits for something")

    def ask(
        self, method: str, path: str, api_key: str, body: dict[str, Any] | None, gone: Callable[[], bool]
    ) -> tuple[int, dict[str, Any]] | None:
        """A request that takes its time while the world goes on; None when it timed out or its asker is gone."""
        world, fate = self.world, self.weather.request()
        if fate.refused:
            world.run_until(world.now + fate.out, gone)
            return None
        world.run_until(world.now + fate.out, gone)
        if gone():
            return None
        said = None if fate.lost else self.answer(method, path, api_key, body)
        if said is None or fate.answer_lost:
            world.run_until(world.now + REST_TIMEOUT, gone)
            return None
        world.run_until(world.now + fate.back, gone)
        return None if gone() else said

    # What is so

    def trades(self) -> list[dict[str, Any]]:
        return self.exchange.fills[ACCOUNT]

    def new_key(self, scope: str) -> tuple[Key, str]:
        return self.exchange.keys.create(scope, "by hand", self.world.venue_us)
