# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""RFC 6455 frames, the client's side: find the next frame in received bytes, seal and mask our own. No compression.

Mask keys come from xorshift64, seeded with getrandom once per connection: one nanosecond a frame against 300 for a
system call. The RFC wants unpredictable keys because a browser's script chooses the payload and could write a second
request into a proxy; here the payload is ours alone.

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
_MASK64 = 0xFFFFFFFF


@kernel
def next_frame(buffer, start, end, max_payload, out):
    """Look at ``buffer[start:end]``; fill ``out`` (FRAME_WORDS) and return FRAME_COMPLETE.

    FRAME_NEED: read more. FRAME_VIOLATION, FRAME_OVERSIZE: close the connection. A part of a fragmented message comes
    with fin 0 or OP_CONTINUATION; joining the parts is the caller's (cold) business.
    """
    have = end - start
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
    if length > max_payload:
        return t.FRAME_OVERSIZE
    out[t.FR_OPCODE] = opcode
    out[t.FR_FIN] = first >> 7
    out[t.FR_AT] = at
    out[t.FR_LENGTH] = length
    out[t.FR_NEXT] = at + length
    return t.FRAME_COMPLETE if end - at >= length else t.FRAME_NEED


@kernel
def next_mask(state):
    """The next 32-bit mask key; ``state`` int64[1] holds the generator, seeded with a word that is not 0."""
    x = state[0]
    x ^= x << 13
    x ^= (x >> 7) & 0x1FFFFFFFFFFFFFF
    x ^= x << 17
    state[0] = x
    return (x >> 32) & _MASK64


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
def encode_pong(out, at, buffer, payload, length, mask_key):
    """Answer a ping whose payload is ``buffer[payload:payload + length]``; returns the frame's end, or -1."""
    if length > 125 or at + ROOM + length > len(out):
        return -1
    for k in range(length):
        out[at + ROOM + k] = buffer[payload + k]
    return seal(out, at, at + ROOM + length, OP_PONG, mask_key)


@kernel
def encode_ping(out, at, mask_key):
    """An empty ping; returns the frame's end, or -1."""
    return seal(out, at, at + ROOM, OP_PING, mask_key)


@kernel
def encode_close(out, at, code, mask_key):
    """A close frame with its status code (1000 = normal); returns the frame's end, or -1."""
    if at + ROOM + 2 > len(out):
        return -1
    out[at + ROOM] = (code >> 8) & 255
    out[at + ROOM + 1] = code & 255
    return seal(out, at, at + ROOM + 2, OP_CLOSE, mask_key)
