"""The WebSocket side of the paper exchange: sessions, subscriptions, market data out, order messages in and out.

Everything sent goes through a session's bounded queue, so the order is the order of events, and a message is serialised
once for all sessions. A session whose queue is full is too slow: it is closed with 1013 and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from http import HTTPStatus
from time import monotonic
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from sim.dead_man import DeadMan
from sim.entry import Refused
from sim.exchange import ACCOUNT, Exchange
from sim.keys import Key
from sim.market import MarketMessage
from sim.pacer import Pacer

PATH = "/trading-api/ws"
CHANNELS = ("ticker", "orderbook", "fills")
QUEUE_MAX = 65_536
CLOSE_REVOKED = 4401
CLOSE_SLOW = 1013


class Session:
    """One connection: what it subscribed, and its queue of (due, payload)."""

    def __init__(self, connection: ServerConnection, key: Key) -> None:
        self.connection = connection
        self.key = key
        self.market: set[tuple[str, str]] = set()
        self.fills = False
        self.held: bytes | None = None  # a market message that the reorder switch keeps for after the next one
        self.queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_MAX)

    async def write(self) -> None:
        """Send the queue out in order, each payload not before it is due; ends with the connection."""
        with suppress(ConnectionClosed):
            while True:
                due, payload = await self.queue.get()
                if due:
                    await asyncio.sleep(max(due - monotonic(), 0))
                await self.connection.send(payload, text=True)


class VenueServer:
    """All sessions and the market's pacer."""

    def __init__(self, exchange: Exchange, *, speed: Decimal = Decimal(1), start: str = "on_subscribe") -> None:
        self.exchange = exchange
        self.faults = exchange.faults
        self.pacer = Pacer(exchange, self.broadcast, speed)
        self.dead_man = DeadMan(exchange)
        self.slow_sessions = 0
        self._start = start
        self._sessions: set[Session] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._silent_until = 0.0
        self._actions = {
            "subscribe": self._subscribe,
            "place_order": self._place,
            "cancel_order": self._cancel,
            "amend_order": self._amend,
            "cancel_all": self._cancel_all,
            "resync": self._resync,
            "ping": self._ping,
        }
        exchange.publish = self._publish

    async def listen(self, host: str, port: int) -> Server:
        """Serve until the answered server is closed; OSError when the port is taken. `pacer.run` is the caller's."""
        if self._start != "on_subscribe":
            self.pacer.start()
        return await serve(
            self._session, host, port, process_request=self._gate, compression=None, max_size=65_536, close_timeout=1
        )

    # Sessions ---------------------------------------------------------------------------------------------------------

    def _key_of(self, request: Request | None) -> Key | None:
        secrets = request.headers.get_all("X-API-Key") if request else []
        return self.exchange.keys.find(secrets[0]) if len(secrets) == 1 else None

    def _gate(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path.partition("?")[0] != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "no such path\n")
        key = self._key_of(request)
        if key is None or key.revoked:
            if key is not None:
                key.refuse(self.exchange.now_us(), "ws", "401 revoked")
            return connection.respond(HTTPStatus.UNAUTHORIZED, "missing, unknown or revoked key\n")
        return None

    async def _session(self, connection: ServerConnection) -> None:
        key = self._key_of(connection.request)
        if key is None or key.revoked:  # revoked between the upgrade and here
            await connection.close(CLOSE_REVOKED, "key revoked")
            return
        session = Session(connection, key)
        self._sessions.add(session)
        writer = asyncio.create_task(session.write())
        try:
            async for frame in connection:
                await self._wait_while_silent()
                self._receive(session, frame)
        except ConnectionClosed:
            pass
        finally:
            self._sessions.discard(session)
            writer.cancel()
            if self.faults.cancel_on_disconnect:
                self.exchange.cancel_of_key(key.key_id)

    async def _wait_while_silent(self) -> None:
        while (left := self._silent_until - monotonic()) > 0:
            await asyncio.sleep(left)

    def _close(self, session: Session, code: int, reason: str) -> None:
        self._sessions.discard(session)
        task = asyncio.create_task(session.connection.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # Switches that act here -------------------------------------------------------------------------------------------

    def revoke(self, key: Key) -> None:
        """The key is dead from now on; its sessions close, unless the switch says that they stay."""
        key.revoked_us = key.revoked_us or self.exchange.now_us()
        if not self.faults.revoked_sessions_stay:
            for session in [session for session in self._sessions if session.key is key]:
                self._close(session, CLOSE_REVOKED, "key revoked")

    def set_faults(self, body: Mapping[str, Any]) -> None:
        """Set switches; ValueError, with nothing done, when one is malformed. `raw` is sent now, as it is."""
        switches = dict(body)
        raw = switches.pop("raw", None)
        if raw is not None and not isinstance(raw, str):
            raise ValueError("fault switch raw: must be text")
        self.faults.update(switches)
        if "stop_reading_s" in switches:
            self._silent_until = monotonic() + self.faults.stop_reading_s
        if raw is not None:
            for session in list(self._sessions):
                if session.market:
                    self._put(session, raw.encode("utf-8", "replace"))

    # Out --------------------------------------------------------------------------------------------------------------

    def _put(self, session: Session, payload: bytes) -> None:
        due = monotonic() + self.faults.delay_ms / 1000 if self.faults.delay_ms else 0.0
        try:
            session.queue.put_nowait((due, payload))
        except asyncio.QueueFull:
            self.slow_sessions += 1
            self._close(session, CLOSE_SLOW, "too slow")

    def broadcast(self, message: MarketMessage) -> None:
        """A market message to all that subscribed its channel and symbol; `status` goes to either market channel."""
        payload = orjson.dumps(message.body)
        channels = ("ticker", "orderbook") if message.channel == "status" else (message.channel,)
        for session in list(self._sessions):
            if any((channel, message.symbol) in session.market for channel in channels):
                for _ in range(self.faults.copies()):
                    self._put_market(session, payload)

    def _put_market(self, session: Session, payload: bytes) -> None:
        held, session.held = session.held, None
        if held is None and self.faults.swaps():
            session.held = payload
            return
        self._put(session, payload)
        if held is not None:
            self._put(session, held)

    def _publish(self, account: str, message: Mapping[str, Any]) -> None:
        if account != ACCOUNT:
            return
        payload = orjson.dumps(message)
        for session in list(self._sessions):
            if session.fills:
                self._put(session, payload)

    def _answer(self, session: Session, **message: Any) -> None:
        self._put(session, orjson.dumps(message | {"exchange_ts": self.exchange.now_us()}))

    # In ---------------------------------------------------------------------------------------------------------------

    def _receive(self, session: Session, frame: str | bytes) -> None:
        try:
            fields = orjson.loads(frame)
        except orjson.JSONDecodeError:
            self._answer(session, type="error", reason="bad_json", detail="not JSON")
            return
        if not isinstance(fields, dict):
            self._answer(session, type="error", reason="bad_json", detail="not an object")
            return
        action = fields.get("action")
        handler = self._actions.get(action) if isinstance(action, str) else None
        if handler is None:
            self._answer(session, type="error", reason="unknown_action", detail=str(action)[:64])
            return
        try:
            handler(session, fields)
        except Refused as refusal:
            self._answer(session, type="error", reason=refusal.reason, detail=refusal.detail)

    def _symbols(self, fields: Mapping[str, Any]) -> list[str]:
        symbols = fields.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(item, str) for item in symbols):
            raise Refused("bad_field", "symbols must be a list of symbols")
        if not all(symbol in self.exchange.instruments for symbol in symbols):
            raise Refused("bad_field", "symbols names one that this venue has not")
        return symbols

    def _subscribe(self, session: Session, fields: Mapping[str, Any]) -> None:
        channels = fields.get("channels")
        if not isinstance(channels, list) or not channels or not all(channel in CHANNELS for channel in channels):
            raise Refused("bad_field", "channels must be a list of " + " ".join(CHANNELS))
        wants_market = "ticker" in channels or "orderbook" in channels
        symbols = self._symbols(fields) if wants_market or "symbols" in fields else []
        if wants_market and not symbols:
            raise Refused("bad_field", "symbols is empty")
        if "orderbook" in channels:
            self.pacer.step()
        self._answer(session, type="subscribed", channels=channels, symbols=symbols)
        session.fills = session.fills or "fills" in channels
        session.market |= {(channel, symbol) for channel in channels if channel != "fills" for symbol in symbols}
        if self.pacer.started:
            if "orderbook" in channels:
                for symbol in symbols:
                    self._snapshot(session, symbol)
        elif {"ticker", "orderbook"} <= {channel for channel, _ in session.market}:
            self.pacer.start()

    def _snapshot(self, session: Session, symbol: str) -> None:
        message = self.exchange.market.snapshot(symbol, self.exchange.now_us())
        self._put(session, orjson.dumps(message.body))

    def _resync(self, session: Session, fields: Mapping[str, Any]) -> None:
        (symbol,) = self._symbols({"symbols": [fields.get("symbol")]})
        self.pacer.step()
        self._snapshot(session, symbol)

    def _ping(self, session: Session, fields: Mapping[str, Any]) -> None:
        number = fields.get("id")
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | str)):
            raise Refused("bad_field", "id must be a number or text")
        self._answer(session, type="pong", id=number)

    def _place(self, session: Session, fields: Mapping[str, Any]) -> None:
        self.exchange.place(fields, session.key)

    def _cancel(self, session: Session, fields: Mapping[str, Any]) -> None:
        self.exchange.cancel(fields, session.key)

    def _amend(self, session: Session, fields: Mapping[str, Any]) -> None:
        self.exchange.amend(fields, session.key)

    def _cancel_all(self, session: Session, fields: Mapping[str, Any]) -> None:
        self.exchange.cancel_all(fields, session.key)
