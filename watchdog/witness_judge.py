"""When the witness kills: pure, times and telegrams are given.

The host is provably alive at the stamp that its newest beat echoes. Trading is ended when that moment lies more than
``stop_ns`` back while the host had said that something of it may be alive at the venue. The witness judges itself first: after
a gap of its own, or a jump of its clocks, the host gets the whole period again. Beats that came in meanwhile are read before.

Refused and counted: forged (size, kind or signature), foreign (another instance), replayed (a sequence number that is not
newer), stale (authentic, but it echoes an answer older than ``stop_ns``, or of an earlier witness: answered, so that a new
sender finds in, and no sign of life).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from watchdog import telegram
from watchdog.telegram import ANSWER_MAGIC, BEAT_MAGIC, EXPOSED, SharedSecret, Telegram

CLOCK_SLIP_NS = 20_000_000  # suspend shows as CLOCK_BOOTTIME running ahead of CLOCK_MONOTONIC
SESSIONS_MAX = 16
COUNTS = ("beats", "forged", "foreign", "replayed", "stale", "own_gaps")


@dataclass
class Judge:
    """What one witness knows of one instance. ``nonce`` is random and never 0; times are of this host."""

    secret: SharedSecret
    instance: int
    stop_ns: int
    nonce: int
    now_ns: int
    slip_ns: int
    exposed: bool = False
    alive_ns: int = 0
    session: int = 0
    epoch: int = 0
    rivals: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    sequences: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def hear(self, data: bytes, now_ns: int, state: int) -> bytes | None:
        """Take one datagram; the answer to send back, None when it deserves none."""
        beat = telegram.unpack(BEAT_MAGIC, data, self.secret)
        if beat is None:
            kind = "forged"
        elif beat.instance != self.instance:
            kind = "foreign"
        elif beat.sequence <= self.sequences.get(beat.session, 0):
            kind = "replayed"
        else:
            fresh = beat.nonce == self.nonce and 0 <= now_ns - beat.stamp_ns <= self.stop_ns
            kind = "beats" if fresh else "stale"
        self.counts[kind] += 1
        if beat is None or kind not in ("beats", "stale"):
            return None
        if kind == "beats":
            self._believe(beat)
        answer = Telegram(self.instance, beat.session, beat.sequence, self.nonce, now_ns, state, beat.epoch)
        return telegram.pack(ANSWER_MAGIC, answer, self.secret)

    def _believe(self, beat: Telegram) -> None:
        """A fresh beat. A session that comes back after another one took over is a second host: both are believed alive."""
        if beat.session != self.session:
            self.rivals += beat.session in self.sequences
            self.session = beat.session
        self.sequences[beat.session] = beat.sequence
        self.sequences.move_to_end(beat.session)
        while len(self.sequences) > SESSIONS_MAX:
            self.sequences.popitem(last=False)
        self.alive_ns = max(self.alive_ns, beat.stamp_ns)
        self.exposed, self.epoch = beat.state == EXPOSED, beat.epoch

    def look(self, mono_ns: int, boot_ns: int) -> bool:
        """Once a pass, after everything received was heard: True when trading has to be ended."""
        gap_ns, slip_ns = mono_ns - self.now_ns, boot_ns - mono_ns
        if not 0 <= gap_ns <= self.stop_ns // 4 or abs(slip_ns - self.slip_ns) > CLOCK_SLIP_NS:
            self.counts["own_gaps"] += 1
            self.slip_ns, self.alive_ns = slip_ns, mono_ns
        self.now_ns = mono_ns
        return self.exposed and mono_ns - self.alive_ns > self.stop_ns

    def forgive(self, now_ns: int) -> None:
        """An operator has lifted the latch: the host must be heard anew before it is watched again."""
        self.exposed, self.alive_ns = False, now_ns
