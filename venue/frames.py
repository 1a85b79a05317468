# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""RFC 6455 frames, the client's side: find the next frame in received bytes, seal and mask our own. No compression.

A frame of ours is written payload first: at ``at + ROOM``, then ``seal`` puts the header in front and masks in place.
"""

from __future__ import annotations

import numpy as np

from fabric.jit import kernel
from venue import tables as t
from venue.write import load, store

OP_CONTINUATION, OP_TEXT, OP_BINARY, OP_CLOSE, OP_PING, OP_PONG = 0, 1, 2, 8, 9, 10
ROOM = 8  # bytes to leave before a payload: 2 + 2 of length + 4 of mask
PAYLOAD_MAX = 65535  # of a frame of ours


@kernel
def next_frame(buffer, start, end, max_payload, out):
    """Look at ``buffer[start:end]``; fill ``out`` (FRAME_WORDS) and return FRAME_COMPLETE.

    FRAME_NEED: read more; ``out`` next is 0 until the header is there, and all of ``out`` filled from then on.
    FRAME_VIOLATION, FRAME_OVERSIZE: close the connection. ``max_payload`` is for data; a part
    of a fragmented message comes with fin 0 or OP_CONTINUATION, and joining the parts is ``websocket``'s business.
    """
    have = end - start
    out[t.FR_NEXT] = 0
    if have < 2:
        return t.FRAME_NEED
    first = np.int64(buffer[start])
    second = np.int64(buffer[start + 1])
    opcode = first & 15
    if first & 0x70 or second & 0x80:  # reserved bits need an extension; a server never masks
        return t.FRAME_VIOLATION
    if opcode > 10 or 2 < opcode < 8:
        return t.FRAME_VIOLATION
    length = second
    at = start + 2
    if opcode >= 8 and (length > 125 or first & 0x80 == 0):
        return t.FRAME_VIOLATION
    if length == 126:
        if have < 4:
            return t.FRAME_NEED
        length = np.int64(buffer[at]) << 8 | np.int64(buffer[at + 1])
        at += 2
        if length < 126:
            return t.FRAME_VIOLATION
    elif length == 127:
        if have < 10:
            return t.FRAME_NEED
        if buffer[at] & 0x80:
            return t.FRAME_VIOLATION
        length = np.int64(0)
        for k in range(8):
            length = length << 8 | np.int64(buffer[at + k])
        at += 8
        if length < 65536:
            return t.FRAME_VIOLATION
    if length > max_payload and opcode < 8:
        return t.FRAME_OVERSIZE
    out[t.FR_OPCODE] = opcode
    out[t.FR_FIN] = first >> 7
    out[t.FR_AT] = at
    out[t.FR_LENGTH] = length
    out[t.FR_NEXT] = at + length
    return t.FRAME_COMPLETE if end - at >= length else t.FRAME_NEED


@kernel
def seal(out, at, end, opcode, mask_key):
    """Make the payload at ``out[at + ROOM:end]`` one final masked frame that starts at ``at``; returns its end, or -1.

    -1: no room, or longer than PAYLOAD_MAX; nothing was written. Payloads under 126 bytes move two bytes down,
    as the RFC demands the shortest length form.
    """
    payload = at + ROOM
    length = end - payload
    if length < 0 or length > PAYLOAD_MAX or at < 0 or end > len(out):
        return -1
    to = payload
    out[at] = 0x80 | opcode
    if length < 126:
        to -= 2
        out[at + 1] = 0x80 | length
    else:
        out[at + 1] = 0x80 | 126
        out[at + 2] = length >> 8
        out[at + 3] = length & 255
    for k in range(4):
        out[to - 4 + k] = (mask_key >> (k << 3)) & 255
    words = length >> 3
    twice = mask_key | mask_key << 32
    for q in range(words):  # downwards copy or in place: forward order is right for both
        store(out, to + (q << 3), load(out, payload + (q << 3)) ^ twice)
    for k in range(words << 3, length):
        out[to + k] = out[payload + k] ^ out[to - 4 + (k & 3)]
    return to + length


@kernel
def encode(out, at, opcode, data, start, length, mask_key):
    """One final masked frame around a copy of ``data[start:start + length]``, of any length; returns its end, or -1."""
    header = 2 if length < 126 else 4 if length <= PAYLOAD_MAX else 10
    to = at + header + 4
    if at < 0 or to + length > len(out):
        return -1
    out[at] = 0x80 | opcode
    out[at + 1] = 0x80 | (length if header == 2 else 126 if header == 4 else 127)
    for k in range(header - 2):
        out[at + header - 1 - k] = (length >> (k << 3)) & 255
    for k in range(4):
        out[to - 4 + k] = (mask_key >> (k << 3)) & 255
    for k in range(length):
        out[to + k] = data[start + k] ^ ((mask_key >> ((k & 3) << 3)) & 255)
    return to + length


@kernel
def encode_pong(out, at, buffer, payload, length, mask_key):
    """Answer a ping whose payload is ``buffer[payload:payload + length]``; returns the frame's end, or -1."""
    return encode(out, at, OP_PONG, buffer, payload, length, mask_key) if length <= 125 else -1


@kernel
def encode_ping(out, at, mask_key):
    """An empty ping; returns the frame's end, or -1."""
    return seal(out, at, at + ROOM, OP_PING, mask_key)


@kernel
def encode_close(out, at, code, mask_key):
    """A close frame with its status code (1000 = normal, 0 = none); returns the frame's end, or -1."""
    if code == 0:
        return seal(out, at, at + ROOM, OP_CLOSE, mask_key)
    if at + ROOM + 2 > len(out):
        return -1
    out[at + ROOM] = (code >> 8) & 255
    out[at + ROOM + 1] = code & 255
    return seal(out, at, at + ROOM + 2, OP_CLOSE, mask_key)
