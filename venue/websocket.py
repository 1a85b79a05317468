# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""RFC 6455 messages, the client's side: whole messages out of a session's buffer, and our answers into a send buffer.

``next_message`` takes one frame at a time. A text that comes in one frame is handed on where it lies. The parts of a
fragmented one are pushed together in the buffer, in front of what is not read yet: ``[held_at, held_end)`` of the
session row (``session.fill`` keeps both). Control frames between the parts, and the close handshake, are dealt with here;
text is checked as it comes, also in a frame of which more is to follow, so that a wrong byte ends the session at once.

The same bytes give the same messages, answers and end however they are cut. After MESSAGE_CLOSE or MESSAGE_FAILED the
caller sends what is in the send buffer and gives the session up; nothing more may be read.
"""

from __future__ import annotations

import numpy as np

from fabric.jit import kernel
from venue import frames, masks, utf8
from venue import tables as t

ANSWER_BYTES_MAX = frames.ROOM + 125  # room in the send buffer that the largest answer needs
NORMAL, PROTOCOL_ERROR, UNSUPPORTED, NO_STATUS, BAD_DATA, TOO_BIG = 1000, 1002, 1003, 1005, 1007, 1009


@kernel
def begin(s):
    """Forget what an earlier connection left half read; once per connection, before the first message."""
    s[t.SE_HELD_AT] = s[t.SE_HELD_END] = s[t.SE_HELD_OPCODE] = s[t.SE_UTF8] = s[t.SE_SEEN] = 0
    s[t.SE_MORE] = 0


@kernel
def fail(send, send_at, mask, out, code):
    """Close with ``code``; MESSAGE_FAILED."""
    out[t.FR_CODE] = code
    end = frames.encode_close(send, send_at, code, masks.next_mask(mask))
    if end < 0:
        return t.MESSAGE_FULL
    out[t.FR_SEND_END] = end
    return t.MESSAGE_FAILED


@kernel
def close_code(buffer, at, length):
    """The status that a close frame carries, NO_STATUS for an empty one, minus the status to fail with for a wrong one."""
    if length == 0:
        return NO_STATUS
    if length == 1:
        return -PROTOCOL_ERROR
    if utf8.check(buffer, at + 2, at + length, 0) != 0:
        return -BAD_DATA
    code = np.int64(buffer[at]) << 8 | np.int64(buffer[at + 1])
    registered = 1000 <= code <= 1014 and not 1004 <= code <= 1006
    if not registered and not 3000 <= code <= 4999:
        return -PROTOCOL_ERROR
    return code


@kernel
def _control(s, buffer, send, send_at, mask, out):
    """A whole ping, pong or close frame."""
    opcode, at, length = out[t.FR_OPCODE], out[t.FR_AT], out[t.FR_LENGTH]
    if opcode == frames.OP_PING:
        end = frames.encode_pong(send, send_at, buffer, at, length, masks.next_mask(mask))
        if end < 0:
            return t.MESSAGE_FULL
        out[t.FR_SEND_END] = end
        s[t.SE_START] = out[t.FR_NEXT]
        return t.MESSAGE_PING
    if opcode == frames.OP_PONG:
        s[t.SE_START] = out[t.FR_NEXT]
        return t.MESSAGE_PONG
    code = close_code(buffer, at, length)
    if code < 0:
        return fail(send, send_at, mask, out, -code)
    end = frames.encode_close(send, send_at, 0 if code == NO_STATUS else code, masks.next_mask(mask))
    if end < 0:
        return t.MESSAGE_FULL
    out[t.FR_SEND_END] = end
    out[t.FR_CODE] = code
    s[t.SE_START] = out[t.FR_NEXT]
    return t.MESSAGE_CLOSE


@kernel
def _hold(s, buffer, out):
    """A part of a fragmented message: push it up to the parts before it; MESSAGE_PART, or the message with its last part."""
    at, length, opcode = out[t.FR_AT], out[t.FR_LENGTH], out[t.FR_OPCODE]
    if opcode != frames.OP_CONTINUATION:
        s[t.SE_HELD_AT], s[t.SE_HELD_END] = at, at + length
        s[t.SE_HELD_OPCODE] = opcode
        return t.MESSAGE_PART
    to = s[t.SE_HELD_END]
    for k in range(length):
        buffer[to + k] = buffer[at + k]
    s[t.SE_HELD_END] = to + length
    if out[t.FR_FIN] == 0:
        return t.MESSAGE_PART
    out[t.FR_AT], out[t.FR_LENGTH] = s[t.SE_HELD_AT], to + length - s[t.SE_HELD_AT]
    text = s[t.SE_HELD_OPCODE] == frames.OP_TEXT
    s[t.SE_HELD_AT] = s[t.SE_HELD_END] = s[t.SE_HELD_OPCODE] = 0
    return t.MESSAGE_TEXT if text else t.MESSAGE_BINARY


@kernel
def next_message(s, buffer, message_max, send, send_at, mask, out):
    """Take the next frame of session row ``s``; a MESSAGE_* status, and ``out`` (FRAME_WORDS) filled.

    NEED: read more. TEXT, BINARY: a whole message at ``out`` at, length, good until the next ``session.fill``. PART, PING,
    PONG: dealt with, call again. CLOSE: the venue ends the session (``out`` code; 1005 = it said none). FAILED: it
    broke the rules (code 1002, 1007, 1009). FULL: send what is in ``send`` and call again. Answers are appended to ``send`` at
    ``send_at`` and end at ``out`` send_end.
    """
    out[t.FR_SEND_END] = send_at
    held = s[t.SE_HELD_OPCODE]
    status = frames.next_frame(buffer, s[t.SE_START], s[t.SE_END], message_max - (s[t.SE_HELD_END] - s[t.SE_HELD_AT]), out)
    if status == t.FRAME_VIOLATION or status == t.FRAME_OVERSIZE:
        return fail(send, send_at, mask, out, PROTOCOL_ERROR if status == t.FRAME_VIOLATION else TOO_BIG)
    if status == t.FRAME_NEED and out[t.FR_NEXT] == 0:
        return t.MESSAGE_NEED
    opcode = out[t.FR_OPCODE]
    if opcode >= frames.OP_CLOSE:
        return t.MESSAGE_NEED if status == t.FRAME_NEED else _control(s, buffer, send, send_at, mask, out)
    if (opcode == frames.OP_CONTINUATION) != (held != 0):
        return fail(send, send_at, mask, out, PROTOCOL_ERROR)
    at, fin = out[t.FR_AT], out[t.FR_FIN]
    if opcode == frames.OP_TEXT or held == frames.OP_TEXT:
        upto = s[t.SE_END] if status == t.FRAME_NEED else at + out[t.FR_LENGTH]
        state = utf8.check(buffer, at + s[t.SE_SEEN], upto, s[t.SE_UTF8])
        if state == utf8.BAD or (state != 0 and fin and status == t.FRAME_COMPLETE):
            return fail(send, send_at, mask, out, BAD_DATA)
        s[t.SE_UTF8] = state
        s[t.SE_SEEN] = upto - at
    if status == t.FRAME_NEED:
        return t.MESSAGE_NEED
    s[t.SE_SEEN] = 0
    s[t.SE_START] = out[t.FR_NEXT]
    if fin and held == 0:
        return t.MESSAGE_TEXT if opcode == frames.OP_TEXT else t.MESSAGE_BINARY
    return _hold(s, buffer, out)
