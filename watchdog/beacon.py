"""The first host's side of ``pulex witness``: beats out, answers in, never waiting. Fed once a pass by the main loop.

A beat is sent every ``beat_ms`` and says whether anything of ours may be alive at the venue. The loop that judges the engine
sends it, so a hung watchdog sends nothing. What comes back is only taken when it is signed, of our session and newer than the
last one. ``killed`` in it means that the witness has ended trading: the watchdog latches too. Silence is an alarm, no more:
the witness kills when it hears nothing, and this host cannot know which of the two directions is cut.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable

from watchdog import telegram
from watchdog.telegram import ANSWER_MAGIC, ANSWER_STATES, BEAT_MAGIC, ENDED, KILLED, SharedSecret, Telegram

ANSWERS_PER_TICK = 8
SILENT = len(ANSWER_STATES) + 1  # on the stats page: 0 never heard, 1 + the answer's state, this
FAREWELL_TRIES, FAREWELL_WAIT_S = 5, 0.1


class Beacon:
    """Sends to one witness. ``state`` and ``epoch`` are asked before each beat."""

    def __init__(
        self,
        send_to: str,
        secret: SharedSecret,
        instance: int,
        beat_ns: int,
        state: Callable[[], tuple[int, int]],
        alarm: Callable[[str], None],
        killed: Callable[[], None],
        show: Callable[[int], None],
    ) -> None:
        self.address, self.secret, self.instance, self.beat_ns = telegram.address(send_to), secret, instance, beat_ns
        self.state, self.alarm, self.killed, self.show = state, alarm, killed, show
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.session = secrets.randbits(63)
        self.sequence = self.seen = 0
        self.nonce = self.stamp_ns = 0
        self.sent_ns = self.heard_ns = 0
        self.answer_state = -1
        self.silent = False
        self.silence_ns = 10 * beat_ns

    def tick(self, now_ns: int) -> None:
        """Take what came in, send when it is time."""
        self.receive(now_ns)
        self.heard_ns = self.heard_ns or now_ns
        if now_ns - self.sent_ns >= self.beat_ns:
            self.sent_ns = now_ns
            self.send(*self.state())
        silent = now_ns - self.heard_ns > self.silence_ns
        if silent and not self.silent:
            self.alarm("the witness does not answer: it is down, or the link is cut and it will kill")
        self.silent = silent
        self.show(SILENT if silent else self.answer_state + 1)

    def send(self, state: int, epoch: int) -> None:
        self.sequence += 1
        beat = Telegram(self.instance, self.session, self.sequence, self.nonce, self.stamp_ns, state, epoch)
        try:
            self.socket.sendto(telegram.pack(BEAT_MAGIC, beat, self.secret), self.address)
        except OSError:
            return  # a full buffer or no route: the witness hears nothing, and that is what it judges

    def receive(self, now_ns: int) -> None:
        for _ in range(ANSWERS_PER_TICK):
            try:
                data, _source = self.socket.recvfrom(telegram.BYTES + 1)
            except OSError:
                return
            answer = telegram.unpack(ANSWER_MAGIC, data, self.secret)
            if answer is None or (answer.instance, answer.session) != (self.instance, self.session):
                continue
            if answer.nonce == self.nonce and answer.sequence <= self.seen:
                continue
            self.seen, self.nonce, self.stamp_ns, self.heard_ns = answer.sequence, answer.nonce, answer.stamp_ns, now_ns
            if answer.state == KILLED:
                if self.answer_state != KILLED:
                    self.alarm("the witness has killed: its latch needs a resume of its own")
                self.killed()  # each time: a resume on this host alone does not outlast the witness's latch
            self.answer_state = answer.state

    def farewell(self) -> None:
        """Say that nothing is left open, a few times, until the witness has taken it. At the end, so it may wait."""
        self.socket.setblocking(True)
        self.socket.settimeout(FAREWELL_WAIT_S)
        for _ in range(FAREWELL_TRIES):
            self.send(ENDED, self.state()[1])
            self.answer_state = -1
            self.receive(self.heard_ns)
            if self.answer_state == telegram.WAITING:
                return
