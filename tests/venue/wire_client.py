# mypy: disable-error-code="no-untyped-call"
"""An echo client around ``venue.websocket`` on bytes alone, and the same made of ``websockets``' own protocol object."""

from __future__ import annotations

import codecs

import numpy as np
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State
from websockets.uri import parse_uri
from wire_cases import BINARY, CLOSE, MESSAGE_MAX, PONG, TEXT, Answers

from venue import frames, masks, websocket
from venue import tables as t

MASKS = masks.fresh()
SEND = np.zeros(MESSAGE_MAX * 2, np.uint8)


class Client:
    """``take`` bytes as they come; ``answers`` are the frames sent, unmasked by the server that they are for."""

    def __init__(self, message_max: int = MESSAGE_MAX) -> None:
        self._row = np.zeros(len(t.SESSION), np.int64)
        self._out = np.zeros(len(t.FRAME_WORDS), np.int64)
        self._max = message_max
        self._server = Protocol(SERVER, state=State.OPEN, max_size=None)
        self.ended = 0  # MESSAGE_CLOSE or MESSAGE_FAILED
        self.code = 0

    def read(self, buffer: np.ndarray, end: int) -> None:
        """All that lies in ``buffer[:end]``, of which the earlier bytes were there before."""
        row, out = self._row, self._out
        row[t.SE_END] = end
        while not self.ended:
            status = int(websocket.next_message(row, buffer, self._max, SEND, 0, MASKS, out))
            sent = int(out[t.FR_SEND_END])
            if status == t.MESSAGE_NEED:
                assert sent == 0
                return
            if status in (t.MESSAGE_TEXT, t.MESSAGE_BINARY):
                opcode = TEXT if status == t.MESSAGE_TEXT else BINARY
                sent = int(frames.encode(SEND, 0, opcode, buffer, out[t.FR_AT], out[t.FR_LENGTH], masks.next_mask(MASKS)))
            elif status in (t.MESSAGE_CLOSE, t.MESSAGE_FAILED):
                self.ended, self.code = status, int(out[t.FR_CODE])
            self._server.receive_data(SEND[:sent].tobytes())

    @property
    def answers(self) -> Answers:
        assert self._server.parser_exc is None, self._server.parser_exc
        return [(int(f.opcode), bytes(f.data)) for f in self._server.events_received() if isinstance(f, Frame)]


def play(data: bytes, cuts: list[int], message_max: int = MESSAGE_MAX) -> tuple[Answers, int, int]:
    """(answers, how it ended, code) of a client that gets ``data`` in the pieces that ``cuts`` make."""
    client = Client(message_max)
    buffer = np.zeros(len(data) + 64, np.uint8)
    begin = 0
    for end in [*cuts, len(data)]:
        buffer[begin:end] = np.frombuffer(data[begin:end], np.uint8)
        client.read(buffer, end)
        begin = end
    return client.answers, client.ended, client.code


def oracle(data: bytes, message_max: int) -> Answers:
    """What an echo client made of ``websockets`` answers; text is decoded as it comes, a wrong one closes with 1007."""
    protocol = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=message_max)
    protocol.receive_data(data)
    answers: Answers = []
    decoder, kind, body = codecs.getincrementaldecoder("utf-8")(), 0, b""
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        opcode = event.opcode
        if opcode == Opcode.PING:
            answers.append((PONG, bytes(event.data)))
        elif opcode == Opcode.CLOSE:
            return [*answers, (CLOSE, bytes(event.data)[:2])]
        elif opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if opcode != Opcode.CONT:
                kind, body = int(opcode), b""
                decoder.reset()
            body += event.data
            try:
                if kind == TEXT:
                    decoder.decode(event.data, event.fin)
                    if decoder.getstate()[0][:2] >= b"\xed\xa0" and decoder.getstate()[0][:1] == b"\xed":
                        b"\xed\xa0\x80".decode()  # half a surrogate is wrong already; the decoder waits for the rest
            except UnicodeDecodeError:
                return [*answers, (CLOSE, (1007).to_bytes(2))]
            if event.fin:
                answers.append((kind, body))
    if str(protocol.parser_exc) == "incomplete fragmented message":  # a close between parts; RFC 5.4 allows it there
        assert protocol.close_rcvd is not None
        return [*answers, (CLOSE, b"" if protocol.close_rcvd.code == 1005 else protocol.close_rcvd.code.to_bytes(2))]
    if protocol.parser_exc is not None:
        assert protocol.close_sent is not None
        code = 1009 if isinstance(protocol.parser_exc, PayloadTooBig) else protocol.close_sent.code
        return [*answers, (CLOSE, code.to_bytes(2))]
    return answers
