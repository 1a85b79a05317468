"""A small HTTP/1.1 server on h11: one handler of whole requests to JSON answers, keep-alive, bounded bodies, no crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11
import orjson

MAX_BODY = 65_536
IDLE_S = 75.0
_READ = 65_536


@dataclass(frozen=True, slots=True)
class Call:
    """A request read whole. `api_key` None when absent or sent twice."""

    method: str
    target: str
    api_key: str | None
    body: bytes


Answer = tuple[int, dict[str, Any]]
Handler = Callable[[Call], Awaitable[Answer]]


def error(status: int, code: str, text: str) -> Answer:
    return status, {"error": code, "message": text}


class HttpServer:
    """Serves `handler` on each connection until it closes. A handler that raises is answered 500 and reported to asyncio."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._connected, host, port)

    async def stop(self) -> None:
        """End the open connections; the listening socket is the caller's."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16_384)
        while True:
            try:
                call = await _read_call(connection, reader)
            except h11.RemoteProtocolError as problem:
                await _send(connection, writer, error(problem.error_status_hint, "bad_request", "not HTTP/1.1"))
                return
            if call is None:
                return
            answer = error(400, "too_large", "the body is too large")
            if len(call.body) <= MAX_BODY:
                answer = await self._answer(call)
            await _send(connection, writer, answer)
            if connection.our_state is h11.MUST_CLOSE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(self, call: Call) -> Answer:
        try:
            return await self._handler(call)
        except Exception as problem:
            context = {"message": "REST handler failed", "exception": problem}
            asyncio.get_running_loop().call_exception_handler(context)
            return error(500, "internal", "the exchange failed; see its log")


async def _read_call(connection: h11.Connection, reader: asyncio.StreamReader) -> Call | None:
    """The next request, None at the end. A body beyond MAX_BODY is cut one byte past it and left unread."""
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(IDLE_S):
                connection.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body = (body + bytes(event.data))[: MAX_BODY + 1]
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None
        if request is not None and (isinstance(event, h11.EndOfMessage) or len(body) > MAX_BODY):
            return _call(request, body)


def _call(request: h11.Request, body: bytes) -> Call:
    keys = [value for name, value in request.headers if name == b"x-api-key"]
    api_key = keys[0].decode("utf-8", "surrogateescape") if len(keys) == 1 else None
    return Call(request.method.decode("ascii"), request.target.decode("ascii", "replace"), api_key, body)


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    status, body = answer
    payload = orjson.dumps(body)
    headers = [("content-type", "application/json"), ("content-length", str(len(payload)))]
    if connection.their_state is h11.SEND_BODY or connection.their_state is h11.ERROR:
        headers.append(("connection", "close"))
    data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    data += connection.send(h11.Data(data=payload)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    writer.write(data)
    await writer.drain()
