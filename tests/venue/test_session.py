# mypy: disable-error-code="no-untyped-call"
"""The receive buffer of a session: parts of a message and what is not read yet survive every move to the front."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import numpy as np
import pytest
from wire_cases import CONTINUATION, PING, TEXT, frame, parts

from venue import masks, session, websocket
from venue import tables as t

MESSAGE_MAX = 1500
CAPACITY = 2 * MESSAGE_MAX + 300


class Reader:
    """A session row with a small buffer at the end of a socket pair."""

    def __init__(self, capacity: int) -> None:
        self.venue, self._client = socket.socketpair()
        self._client.setblocking(False)
        self.buffer = np.zeros(capacity, np.uint8)
        self.row = np.zeros(len(t.SESSION), np.int64)
        self.row[t.SE_FD], self.row[t.SE_BUFFER] = self._client.fileno(), self.buffer.ctypes.data
        self.row[t.SE_CAPACITY] = capacity
        self._send, self._masks = np.zeros(200, np.uint8), masks.fresh()
        self._out = np.zeros(len(t.FRAME_WORDS), np.int64)

    def take(self) -> Iterator[tuple[int, bytes]]:
        """(status, message) until there is nothing more to read."""
        while True:
            args = (self.row, self.buffer, MESSAGE_MAX, self._send, 0, self._masks, self._out)
            status = int(websocket.next_message(*args))
            if status == t.MESSAGE_NEED:
                if session.fill(self.row) <= 0:
                    return
                continue
            at, length = int(self._out[t.FR_AT]), int(self._out[t.FR_LENGTH])
            yield status, self.buffer[at : at + length].tobytes()

    def close(self) -> None:
        self.venue.close()
        self._client.close()


@pytest.fixture
def reader() -> Iterator[Reader]:
    one = Reader(CAPACITY)
    yield one
    one.close()


def test_messages_of_every_size_in_any_parts_and_pieces_come_whole(reader: Reader) -> None:
    chance = random.Random(3)
    for _ in range(60):
        said = [bytes(chance.choices(b"abcdefgh", k=chance.choice((0, 3, 130, 700, 1490, MESSAGE_MAX)))) for _ in range(4)]
        data = b"".join(
            parts(text, chance.choice((1, 7, 400, 2000)), TEXT, chance.choice((b"", frame("x" * 120, PING)))) for text in said
        )
        heard = []
        while data:
            size = chance.choice((1, 50, 900, 4000))
            reader.venue.sendall(data[:size])
            data = data[size:]
            heard += [message for status, message in reader.take() if status == t.MESSAGE_TEXT]
        assert heard == said


def test_endless_small_parts_and_pings_never_fill_the_buffer(reader: Reader) -> None:
    reader.venue.sendall(frame("begin", fin=False))
    for _ in range(400):
        reader.venue.sendall(frame("p" * 100, PING) * 3 + frame("", CONTINUATION, fin=False) * 5 + frame("pq", PING)[:3])
        assert {status for status, _ in reader.take()} <= {t.MESSAGE_PING, t.MESSAGE_PART}
        reader.venue.sendall(frame("pq", PING)[3:])
    reader.venue.sendall(frame("end", CONTINUATION))
    assert list(reader.take())[-1] == (t.MESSAGE_TEXT, b"beginend")


def test_what_is_not_read_is_never_overwritten_and_a_full_buffer_says_so(reader: Reader) -> None:
    reader.venue.sendall(b"\x81\x7e\x0f\xff" + b"z" * 4000)  # more than it holds, and nobody takes it
    while (count := int(session.fill(reader.row))) > 0:
        pass
    assert count == -3
    assert reader.buffer.tobytes() == b"\x81\x7e\x0f\xff" + b"z" * (CAPACITY - 4)


def test_a_new_connection_knows_nothing_of_the_last(reader: Reader) -> None:
    reader.venue.sendall(frame("héllo".encode()[:2], fin=False))
    assert [status for status, _ in reader.take()] == [t.MESSAGE_PART]
    websocket.begin(reader.row)
    reader.venue.sendall(frame("new"))
    assert list(reader.take()) == [(t.MESSAGE_TEXT, b"new")]
