# mypy: disable-error-code="no-untyped-call"
"""``python bench/ws_echo.py URL [--agent NAME] [--cases N]``: an echo client on our codec, for a conformance server to drive.

It follows the convention of the fuzzing servers: ``URL/getCaseCount`` says how many cases there are,
``URL/runCase?case=K&agent=A`` plays one, ``URL/updateReports?agent=A`` writes the verdicts. Every message is sent back as it
came; all else, answers to pings, the close handshake, refusals, is what ``venue.websocket`` does in the feed loop, on the
same session row and sockets.
"""

from __future__ import annotations

import argparse
import pathlib
import select
import sys
from collections.abc import Iterator

import numpy as np

if not __package__:  # started by its path
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from venue import frames, masks, session, transport, websocket
from venue import tables as t
from venue.errors import VenueError
from venue.link import Link

MESSAGE_MAX = 16 * 1024 * 1024  # the largest that conformance suites send
PATIENCE_S = 30.0


class EchoClient:
    """One connection after the other through one session row."""

    def __init__(self, message_max: int = MESSAGE_MAX, ca_file: str | None = None) -> None:
        self._link = Link(2 * message_max, ca_file=ca_file)
        self._send = np.zeros(message_max + 64, np.uint8)
        self._masks = masks.fresh()
        self._out = np.zeros(len(t.FRAME_WORDS), np.int64)
        self._max = message_max
        self.code = 0  # the close code of the last session, ours or theirs; 0 = it broke off

    def run(self, url: str) -> list[bytes]:
        """Echo until the session ends; the messages that came. Raises VenueError or TimeoutError."""
        self._link.open(url, "", [], PATIENCE_S)
        websocket.begin(self._link.row)
        try:
            return list(self._messages())
        finally:
            self._link.close()

    def _messages(self) -> Iterator[bytes]:
        row, out, buffer = self._link.row, self._out, self._link.buffer
        self.code = 0
        while True:
            status = websocket.next_message(row, buffer, self._max, self._send, 0, self._masks, out)
            end = int(out[t.FR_SEND_END])
            if status == t.MESSAGE_NEED:
                if not self._receive():
                    return
                continue
            if status in (t.MESSAGE_TEXT, t.MESSAGE_BINARY):
                at, length = int(out[t.FR_AT]), int(out[t.FR_LENGTH])
                opcode = frames.OP_TEXT if status == t.MESSAGE_TEXT else frames.OP_BINARY
                end = int(frames.encode(self._send, 0, opcode, buffer, at, length, masks.next_mask(self._masks)))
                yield buffer[at : at + length].tobytes()
            if not self._transmit(end):
                return
            if status in (t.MESSAGE_CLOSE, t.MESSAGE_FAILED):
                self.code = int(out[t.FR_CODE])
                return

    def _receive(self) -> bool:
        """Wait for bytes; False when there will be none."""
        while (count := int(session.fill(self._link.row))) == 0:
            if not select.select([int(self._link.row[t.SE_FD])], [], [], PATIENCE_S)[0]:
                raise TimeoutError(f"nothing came for {PATIENCE_S:g} s")
        return count > 0

    def _transmit(self, end: int) -> bool:
        """Send what is ready; False when the other side is gone."""
        fd, at = int(self._link.row[t.SE_FD]), 0
        while at < end:
            sent = int(transport.transmit(self._link.row, self._send.ctypes.data + at, end - at))
            if sent < 0:
                return False
            at += sent
            if sent == 0 and not select.select([], [fd], [], PATIENCE_S)[1]:
                raise TimeoutError(f"nothing was taken for {PATIENCE_S:g} s")
        return True


def main(arguments: list[str], message_max: int = MESSAGE_MAX) -> int:
    """0 when every case was played; the verdicts are the server's."""
    parser = argparse.ArgumentParser(prog="ws_echo.py", description="Echo client for a WebSocket conformance server")
    parser.add_argument("url", help="ws://HOST:PORT of the server")
    parser.add_argument("--agent", default="pulex", help="the name that the report is to show")
    parser.add_argument("--cases", type=int, help="play the first N only")
    given = parser.parse_args(arguments)
    base, client = given.url.rstrip("/"), EchoClient(message_max)
    try:
        (count,) = client.run(f"{base}/getCaseCount")
        cases = min(int(count), given.cases or int(count))
        for case in range(1, cases + 1):
            try:
                client.run(f"{base}/runCase?case={case}&agent={given.agent}")
            except TimeoutError as error:
                print(f"case {case}: {error}", flush=True)
        client.run(f"{base}/updateReports?agent={given.agent}")
    except (VenueError, TimeoutError, ValueError) as error:
        print(f"{base}: {error}", file=sys.stderr)
        return 1
    print(f"{cases} of {int(count)} cases played as {given.agent}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
