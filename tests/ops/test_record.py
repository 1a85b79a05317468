"""Recorder and player against each other and against a real server: killed, disconnected, refused, played back."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from fabric.jit import ROOT
from feed.tape import Tape, is_note, read
from ops import record as recording
from ops.record import Source

COMMAND = [sys.executable, "-m", "ops", "record"]


def frames_of(folder: pathlib.Path) -> list[bytes]:
    return [frame for file in sorted(folder.iterdir()) for _, frame in read(file) if not is_note(frame)]


def notes_of(folder: pathlib.Path) -> list[bytes]:
    return [frame for file in sorted(folder.iterdir()) for _, frame in read(file) if is_note(frame)]


async def until(what: object, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_killed_recorder_leaves_a_readable_tape_that_ends_within_its_last_block(tmp_path: pathlib.Path) -> None:
    sent, heard = 0, []

    async def main() -> None:
        async def session(connection: ServerConnection) -> None:
            nonlocal sent
            heard.append(connection.request.headers.get("X-API-Key") if connection.request else None)
            heard.append(await connection.recv())
            while True:
                await connection.send(f'{{"n":{sent}}}')
                sent += 1
                await asyncio.sleep(0.001)

        async with serve(session, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            options = ["--out", str(tmp_path), "--send", "subscribe", "--key-env", "RECORD_KEY"]
            environment = os.environ | {"RECORD_KEY": "sk_ro_planted"}
            child = subprocess.Popen([*COMMAND, f"ws://127.0.0.1:{port}/", *options], cwd=ROOT, env=environment)
            try:
                await until(lambda: len([f for f in tmp_path.iterdir() if f.stat().st_size > 0]) > 0 and sent > 2500, 60.0)
                child.send_signal(signal.SIGKILL)
            finally:
                child.kill()
                child.wait()

    before_s = time.monotonic()
    asyncio.run(main())
    frames = frames_of(tmp_path)
    assert frames == [b'{"n":%d}' % n for n in range(len(frames))]
    rate = sent / (time.monotonic() - before_s)
    assert 0 < sent - len(frames) <= max(3 * rate, 100) + 100, "more than the block that was being filled"
    assert heard[:2] == ["sk_ro_planted", "subscribe"]
    assert all(b"planted" not in file.read_bytes() for file in tmp_path.iterdir())


def test_lost_venue_is_said_in_the_tape_and_found_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "BACKOFF_S", 0.01)
    said: list[str] = []

    async def main() -> None:
        stop, sessions = asyncio.Event(), 0

        async def session(connection: ServerConnection) -> None:
            nonlocal sessions
            sessions += 1
            await connection.send(f"session {sessions}")
            await connection.send(b"binary")
            if sessions == 3:
                await until(stop.is_set)

        tape = Tape(tmp_path, "t")
        async with serve(session, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            source = Source(f"ws://127.0.0.1:{port}")
            work = asyncio.create_task(recording.record(source, tape, stop, said.append))
            await until(lambda: tape.frames == 3)
            stop.set()
            await asyncio.wait_for(work, 5.0)

    asyncio.run(main())
    assert frames_of(tmp_path) == [b"session 1", b"session 2", b"session 3"]
    kinds = [b"disconnected" in note for note in notes_of(tmp_path)]
    assert kinds == [False, True, False, True, False, True]
    assert len(said) == 2


def test_what_was_recorded_is_played_back_at_its_pace_and_recorded_again_the_same(tmp_path: pathlib.Path) -> None:
    first = Tape(tmp_path / "a", "t", "zstd")
    first.note(0, event="connected")
    for n in range(50):
        first.append(10**18 + n * 10_000_000, b'{"n":%d}' % n)
    first.close()
    assert first.file
    addresses: list[str] = []

    async def main() -> float:
        stop = asyncio.Event()
        player = asyncio.create_task(recording.play(first.file, 0, 2.0, stop, addresses.append))  # type: ignore[arg-type]
        await until(lambda: addresses)
        again, began_s = Tape(tmp_path / "b", "t"), time.monotonic()
        async with connect(addresses[0]) as session:
            await session.send("whatever a client says")
            async for frame in session:
                again.append(time.time_ns(), str(frame).encode())
            assert session.close_code == 1000
        took_s = time.monotonic() - began_s
        again.close()
        stop.set()
        await asyncio.wait_for(player, 5.0)
        return took_s

    took_s = asyncio.run(main())
    assert frames_of(tmp_path / "b") == frames_of(tmp_path / "a")
    assert 0.24 < took_s < 5.0, "49 gaps of 10 ms at twice the pace"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["http://venue"], "give ws://HOST[:PORT]/PATH or wss://..."),
        (["ws://venue", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set; put the key there"),
        (["ws://venue", "--form", "lz4"], "form 'lz4' is none of gz, zstd"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(arguments: list[str], line: str, tmp_path: pathlib.Path) -> None:
    done = subprocess.run([*COMMAND, *arguments, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


def test_file_that_is_no_tape_is_not_played(tmp_path: pathlib.Path) -> None:
    (tmp_path / "f").write_text("no tape\n")
    done = subprocess.run(
        [sys.executable, "-m", "ops", "play", str(tmp_path / "f")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
