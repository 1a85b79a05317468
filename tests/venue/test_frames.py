# mypy: disable-error-code="no-untyped-call,attr-defined"
"""The frame codec against the RFC's rules and against ``websockets`` as the other side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from venue import frames
from venue import tables as t


def look(data: bytes, maximum: int = 1 << 20) -> tuple[int, dict[str, int]]:
    out = np.zeros(len(t.FRAME_WORDS), np.int64)
    buf = np.frombuffer(b"\xff\xff" + data + b"\xff", np.uint8).copy()
    status = int(frames.next_frame(buf, 2, 2 + len(data), maximum, out))
    return status, dict(zip(t.FRAME_WORDS, out.tolist(), strict=True))


def server_frame(opcode: Opcode, payload: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=False)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_all_three_length_forms_are_read(length: int) -> None:
    data = server_frame(Opcode.TEXT, b"x" * length)
    status, found = look(data)
    assert status == t.FRAME_COMPLETE
    assert found == {
        "opcode": 1, "fin": 1, "at": 2 + len(data) - length, "length": length, "next": 2 + len(data), "send_end": 0, "code": 0,
    }  # fmt: skip


@pytest.mark.parametrize("length", [3, 300, 66000])
def test_every_cut_of_a_frame_asks_for_more(length: int) -> None:
    data = server_frame(Opcode.TEXT, b"x" * length)
    for cut in [*range(12), len(data) - 1]:
        if cut < len(data):
            assert look(data[:cut])[0] == t.FRAME_NEED


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\x81\x00\x00\x00\x00x",  # masked by a server
        b"\xc1\x01x", b"\xa1\x01x", b"\x91\x01x",  # reserved bits
        b"\x83\x00", b"\x8b\x00",  # reserved opcodes
        b"\x09\x00",  # a ping in parts
        b"\x89\x7e\x00\x7e" + b"x" * 126,  # a ping too long
        b"\x81\x7e\x00\x05hello",  # not the shortest length form
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00",  # a negative length
    ],
)  # fmt: skip
def test_frames_against_the_rfc_are_violations(data: bytes) -> None:
    assert look(data)[0] == t.FRAME_VIOLATION


def test_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    assert look(server_frame(Opcode.TEXT, b"x" * 300)[:4], maximum=299)[0] == t.FRAME_OVERSIZE


def test_part_of_a_message_says_so() -> None:
    status, found = look(server_frame(Opcode.TEXT, b"half", fin=False))
    assert (status, found["fin"], found["opcode"]) == (t.FRAME_COMPLETE, 0, frames.OP_TEXT)


def read_back(data: bytes) -> list[Frame]:
    server = Protocol(SERVER, state=State.OPEN, max_size=None)
    server.receive_data(data)
    assert server.parser_exc is None
    return [event for event in server.events_received() if isinstance(event, Frame)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=140), st.just(b"y" * 65535)), max_size=4), st.integers(0, 2**32 - 1))
def test_sealed_frames_in_one_buffer_are_read_by_websockets(payloads: list[bytes], key: int) -> None:
    out = np.zeros(300_000, np.uint8)
    end = 0
    for payload in payloads:
        begin = end + frames.ROOM
        out[begin : begin + len(payload)] = np.frombuffer(payload, np.uint8)
        end = int(frames.seal(out, end, begin + len(payload), frames.OP_BINARY, key))
    assert [frame.data for frame in read_back(out[:end].tobytes())] == payloads


def test_sealing_refuses_what_does_not_fit_and_writes_nothing() -> None:
    out = np.zeros(70_000, np.uint8)
    assert frames.seal(out, 0, frames.ROOM + 65536, frames.OP_TEXT, 1) == -1
    assert frames.seal(out, 69_995, 70_001, frames.OP_TEXT, 1) == -1
    assert frames.seal(out, 10, 12, frames.OP_TEXT, 1) == -1
    assert not out.any()


def test_pong_carries_the_pings_payload_and_close_its_code() -> None:
    out, ping = np.zeros(300, np.uint8), np.frombuffer(b"..beat", np.uint8).copy()
    end = frames.encode_pong(out, 0, ping, 2, 4, 0xA1B2C3D4)
    end = frames.encode_ping(out, end, 5)
    end = frames.encode_close(out, end, 1000, 7)
    assert [(f.opcode, f.data) for f in read_back(out[:end].tobytes())] == [
        (Opcode.PONG, b"beat"),
        (Opcode.PING, b""),
        (Opcode.CLOSE, b"\x03\xe8"),
    ]
    assert frames.encode_pong(out, 0, ping, 0, 126, 1) == -1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0, 1, 7, 125, 126, 65535, 65536, 70001]), st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_copied_frames_of_any_length_are_read_by_websockets(length: int, key: int, at: int) -> None:
    data = np.frombuffer(bytes(range(251)) * 300, np.uint8)
    out = np.zeros(70_100, np.uint8)
    end = int(frames.encode(out, at, frames.OP_BINARY, data, 3, length, key))
    assert [frame.data for frame in read_back(out[at:end].tobytes())] == [data[3 : 3 + length].tobytes()]
    out[:] = 0
    assert frames.encode(out[: end - 1], at, frames.OP_BINARY, data, 3, length, key) == -1
    assert not out.any()
