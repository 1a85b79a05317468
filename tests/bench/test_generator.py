"""The load generator: what it says is what the venue's dialect says, and what it measures is one order per tick."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from bench import generator as gen
from bench import tables as bt
from bench.floor import order_frame
from bench.venue import Memory, book_snapshot
from fabric import layout
from venue import frames
from venue import tables as vt
from venue.grids import grids_of, symbols_of
from venue.purpleflea import decode_market, decode_private

INSTRUMENTS = [{"symbol": "BTC-USDC", "tick_size": "0.01", "lot_size": "0.00001"}]
SYMBOLS, GRIDS = symbols_of(INSTRUMENTS), grids_of(INSTRUMENTS)
WALL_US = 1_772_600_000_000_123


def octets(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).copy()


def masked(payload: bytes, opcode: int = frames.OP_TEXT) -> bytes:
    out = np.zeros(len(payload) + 64, np.uint8)
    out[frames.ROOM : frames.ROOM + len(payload)] = octets(payload)
    end = frames.seal(out, 0, frames.ROOM + len(payload), opcode, 0xA1B2C3D4)
    return out[:end].tobytes()


def unframe(data: bytes) -> list[bytes]:
    """Payloads of all frames, by the client's own frame reader."""
    buffer, found, at = octets(data), [], 0
    frame = np.zeros(len(vt.FRAME_WORDS), np.int64)
    while at < len(data):
        assert frames.next_frame(buffer, at, len(data), 65536, frame) == vt.FRAME_COMPLETE
        found.append(data[frame[vt.FR_AT] : frame[vt.FR_NEXT]])
        at = int(frame[vt.FR_NEXT])
    return found


@pytest.mark.parametrize("length", [1, 125, 126, 300])
def test_a_masked_frame_is_read_back(length: int) -> None:
    payload = bytes(k % 251 for k in range(length))
    buffer, frame = octets(masked(payload)), np.zeros(len(vt.FRAME_WORDS), np.int64)
    assert gen.client_frame(buffer, 0, len(buffer), frame) == vt.FRAME_COMPLETE
    assert buffer[frame[vt.FR_AT] : frame[vt.FR_NEXT]].tobytes() == payload
    assert frame[vt.FR_NEXT] == len(buffer)


def test_a_part_of_a_frame_waits_and_an_unmasked_one_is_refused() -> None:
    whole, frame = octets(masked(b"x" * 200)), np.zeros(len(vt.FRAME_WORDS), np.int64)
    for end in (1, 5, 7, len(whole) - 1):
        assert gen.client_frame(whole.copy(), 0, end, frame) == vt.FRAME_NEED
    assert gen.client_frame(octets(b"\x81\x04text--"), 0, 8, frame) == vt.FRAME_VIOLATION


def test_every_tick_is_read_by_the_dialect_and_moves_the_touch() -> None:
    memory, asks = Memory(), []
    decoded = np.zeros(len(vt.DECODED), np.int64)
    for number in range(gen.STEPS + 1):
        end = gen.write_tick(memory.state, memory.send, WALL_US)
        (payload,) = unframe(memory.send[:end].tobytes())
        levels, slots = np.zeros((64, len(vt.LEVEL)), np.int64), np.zeros(vt.SLOTS, np.int64)
        assert decode_market(octets(payload), 0, len(payload), SYMBOLS, GRIDS, slots, decoded, levels) == vt.SCAN_OK
        assert decoded[vt.DC_KIND] == layout.MARKET_TICK
        assert decoded[vt.DC_SOURCE_INDEX] == number
        asks.append(int(decoded[vt.DC_ASK_TICKS]))
    assert all(a != b for a, b in pairwise(asks))


def test_the_book_holds_every_tick_of_the_bench() -> None:
    (payload,) = unframe(book_snapshot("BTC-USDC"))
    book = json.loads(payload)
    best_bid, best_ask = float(book["bids"][0][0]) * 100, float(book["asks"][0][0]) * 100
    assert best_bid < gen.PRICE_CENTS
    assert best_ask > gen.PRICE_CENTS + gen.STEPS


def test_an_order_is_answered_with_ack_and_end_under_its_own_id() -> None:
    memory = Memory()
    order = octets(b'{"action":"place_order","client_order_id":"9007203549708289","symbol":"BTC-USDC"}')
    assert gen.read_order(memory.state, order, 0, len(order)) == 1
    end = gen.write_answer(memory.state, order, memory.send, WALL_US)
    kinds = []
    for payload in unframe(memory.send[:end].tobytes()):
        event, slots = np.zeros(len(vt.EVENT), np.int64), np.zeros(vt.SLOTS, np.int64)
        assert decode_private(octets(payload), 0, len(payload), SYMBOLS, GRIDS, slots, event) == vt.SCAN_OK
        assert event[vt.EV_ORDER_ID] == 9007203549708289
        kinds.append(int(event[vt.EV_KIND]))
    assert kinds == [layout.EVENT_ACK, layout.EVENT_CANCELLED]


def test_an_order_without_an_id_is_answered_and_a_subscription_is_no_order() -> None:
    memory = Memory()
    order = octets(b'{"action":"place_order","symbol":"BTC-USDC"}')
    assert gen.read_order(memory.state, order, 0, len(order)) == 1
    end = gen.write_answer(memory.state, order, memory.send, WALL_US)
    assert [json.loads(p)["client_order_id"] for p in unframe(memory.send[:end].tobytes())] == ["", ""]
    other = octets(b'{"action":"subscribe","channels":["fills"]}')
    assert gen.read_order(memory.state, other, 0, len(other)) == 0


class Wires:
    """A generator between two socket pairs; ``market`` and ``orders`` are the client's ends."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.market, venue_market = socket.socketpair()
        self.orders, venue_orders = socket.socketpair()
        self.kept = (venue_market, venue_orders)
        for sock in self.kept:
            sock.setblocking(False)
        self.memory.state[bt.G_MARKET_FD], self.memory.state[bt.G_ORDER_FD] = (s.fileno() for s in self.kept)

    def close(self) -> None:
        for sock in (self.market, self.orders, *self.kept):
            sock.close()


@pytest.fixture
def wires() -> Iterator[Wires]:
    found = Wires()
    yield found
    found.close()


def test_each_tick_is_measured_by_its_one_order(wires: Wires) -> None:
    order = order_frame()

    def client() -> None:
        for number in range(5):
            wires.market.recv(65536)
            half = len(order) // 2 if number == 3 else 0  # a frame in two parts counts when it is whole
            wires.orders.sendall(order[:half])
            wires.orders.sendall(order[half:])

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    samples, gaps = np.zeros(5, np.int64), np.zeros(5, np.int64)
    assert wires.memory.drive(samples, gaps, 0) == 5
    thread.join(1.0)
    assert (samples > 0).all()
    assert (samples >= gaps).all()
    assert wires.memory.state[bt.G_ORDERS] == 5
    assert len(unframe(wires.orders.recv(65536))) == 10


def test_silence_is_not_left_out_but_marked_and_ends_the_burst(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.venue.TIMEOUT_NS", 1_000_000)
    samples, gaps = np.zeros(10, np.int64), np.zeros(10, np.int64)
    assert wires.memory.drive(samples, gaps, 0) == 0
    assert (samples == -1).all()
    assert wires.memory.state[bt.G_BROKEN] == gen.BROKEN_SILENCE
    assert len(unframe(wires.market.recv(65536))) == gen.GIVE_UP


def test_orders_that_nobody_asked_for_are_strays_and_no_samples(wires: Wires) -> None:
    wires.orders.sendall(order_frame() * 2)
    wires.memory.serve()
    assert wires.memory.state[bt.G_STRAYS] == 2
    assert len(unframe(wires.orders.recv(65536))) == 4


def test_pings_of_both_sessions_are_answered(wires: Wires) -> None:
    for sock in (wires.market, wires.orders):
        sock.sendall(masked(b"keep", frames.OP_PING))
    wires.memory.serve()
    for sock in (wires.market, wires.orders):
        assert sock.recv(64) == b"\x8a\x04keep"


def test_a_closed_session_is_told(wires: Wires) -> None:
    wires.orders.close()
    wires.memory.serve()
    assert wires.memory.state[bt.G_BROKEN] == gen.BROKEN_SOCKET
