"""``pulex record`` and ``pulex play``: raw frames of a venue to a tape, and a tape back as a venue.

Both are off the hot path (asyncio, ``websockets``) and know no dialect: what is said to the venue after connecting is the
caller's (``--send``), what comes is kept byte for byte but for line breaks. The key of a session comes from a named
environment variable and goes into the header alone. The recorder reconnects for ever, 1 s to 60 s apart, and says in the tape
when it lost the venue: what was missed cannot be seen otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.uri import parse_uri

from feed.tape import BLOCK_S, Tape, is_note, read

BACKOFF_S, BACKOFF_MAX_S, HEALTHY_S = 1.0, 60.0, 30.0
FRAME_MAX_BYTES = 1 << 24
ENDING_S = 10.0
HOST = "127.0.0.1"
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Source:
    """A venue's session: texts to send once connected; ``key`` goes into the header named ``key_header``."""

    url: str
    sends: Sequence[str] = ()
    key_header: str = "X-API-Key"
    key: str | None = dataclasses.field(default=None, repr=False)


async def record(source: Source, tape: Tape, stop: asyncio.Event, say: Say) -> None:
    """Write every text frame until ``stop``; binary ones are counted in the notes. Raises TapeError when the disk refuses."""
    backoff_s = BACKOFF_S
    flushing = asyncio.create_task(_flush(tape))
    try:
        while not stop.is_set():
            began_s = time.monotonic()
            try:
                reason = await _session(source, tape, stop)
            except (OSError, InvalidHandshake, TimeoutError, ConnectionClosed) as error:
                reason = f"{type(error).__name__}: {error}"[:200]
            tape.note(time.time_ns(), event="disconnected", reason=reason)
            if stop.is_set():
                break
            backoff_s = BACKOFF_S if time.monotonic() - began_s > HEALTHY_S else backoff_s
            say(f"{reason}; again in {backoff_s:.0f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
    finally:
        flushing.cancel()
        tape.close()


async def _flush(tape: Tape) -> None:
    while True:
        await asyncio.sleep(BLOCK_S / 2)
        tape.flush_old()


async def _session(source: Source, tape: Tape, stop: asyncio.Event) -> str:
    """One connection, to its end; why it ended."""
    headers = {source.key_header: source.key} if source.key else {}
    async with connect(source.url, additional_headers=headers, compression=None, max_size=FRAME_MAX_BYTES) as session:
        tape.note(time.time_ns(), event="connected", url=source.url)
        for text in source.sends:
            await session.send(text)
        stopped = asyncio.create_task(stop.wait())
        binary = 0
        try:
            while True:
                coming = asyncio.ensure_future(session.recv())
                await asyncio.wait({coming, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    return f"asked to stop{f'; {binary} binary frames left out' if binary else ''}"
                now_ns, frame = time.time_ns(), coming.result()
                if isinstance(frame, str):
                    tape.append(now_ns, frame.encode())
                else:
                    binary += 1
        finally:
            stopped.cancel()


async def play(file: pathlib.Path, port: int, speed: float, stop: asyncio.Event, say: Say) -> None:
    """Serve the tape on the loopback to every session from its beginning, at the recorded pace times ``speed``, until ``stop``.

    What a client says is heard and not answered. A session ends with code 1000 after the last frame, 1011 where the tape is
    torn.
    """

    async def session(connection: ServerConnection) -> None:
        listening = asyncio.create_task(_listen(connection))
        try:
            code, said = await _play_to(connection, file, speed)
            await connection.close(code, said)
        except ConnectionClosed:
            pass
        finally:
            listening.cancel()

    async with serve(session, HOST, port, compression=None) as server:
        address = next(iter(server.sockets)).getsockname()
        say(f"ws://{address[0]}:{address[1]}")
        await stop.wait()


async def _listen(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass


async def _play_to(connection: ServerConnection, file: pathlib.Path, speed: float) -> tuple[int, str]:
    first_ns, began_s = -1, time.monotonic()
    try:
        for local_ns, frame in read(file):
            if is_note(frame):
                continue
            first_ns = local_ns if first_ns < 0 else first_ns
            wait_s = (local_ns - first_ns) / 1e9 / speed - (time.monotonic() - began_s)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await connection.send(frame.decode("utf-8", "replace"), text=True)
    except ValueError as error:
        return 1011, str(error)[:100]
    return 1000, "end of the tape"


def command(
    url: str,
    out: str,
    sends: Sequence[str],
    name: str,
    form: str,
    rotate_mb: int,
    duration_s: float | None,
    key_env: str | None,
    key_header: str,
) -> str:
    """``pulex record``, until Ctrl-C; what was recorded, in one line. Raises ValueError, OSError."""
    try:
        parse_uri(url)
    except InvalidURI as error:
        raise ValueError(f"{error}; give ws://HOST[:PORT]/PATH or wss://...") from None
    if key_env is not None and not os.environ.get(key_env):
        raise ValueError(f"{key_env} is not set; put the key there")
    source = Source(url, sends, key_header, os.environ[key_env] if key_env else None)
    tape = Tape(pathlib.Path(out), name, form, rotate_mb << 20)
    asyncio.run(_until_stopped(lambda stop: record(source, tape, stop, print), duration_s))
    return f"{tape.frames:,} frames, {tape.bytes_written:,} bytes in {tape.files} files under {out}"


def serve_tape(file: str, port: int, speed: float) -> None:
    """``pulex play``, until Ctrl-C. Raises ValueError (no tape), OSError (no file, port taken)."""
    next(read(file), None)
    asyncio.run(_until_stopped(lambda stop: play(pathlib.Path(file), port, speed, stop, print), None))


async def _until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]], duration_s: float | None) -> None:
    """Run until it ends by itself, is stopped (Ctrl-C, SIGTERM), or the time is over; then it has ENDING_S to end well."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    task, ended = asyncio.create_task(work(stop)), asyncio.create_task(stop.wait())
    await asyncio.wait({task, ended}, timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    ended.cancel()
    async with asyncio.timeout(ENDING_S):
        await task
