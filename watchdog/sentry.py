"""The detectors beside the beat: what ``/proc``, the feed's pages, the hashes and the independent view say now.

Every poll of the main loop makes one ``Seen`` of them; the dear questions are asked every 20 ms, and the control group only
while the passes stand. A fault that is seen here stands until it is no longer seen, and no lease is granted while it stands.
Read from execution's own memory: beat and account, nothing else. Never blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog import faults, hashes, processes
from watchdog.beat import Segment, SegmentError
from watchdog.lease import Rules
from watchdog.processes import Process
from watchdog.pulse import UNKNOWN, Seen
from watchdog.venue import Unreachable
from watchdog.view import LOST_NS, AccountJudge, Reading

LOOK_NS = 20_000_000
HASH_NS = 1_000_000_000
Found = tuple[str, str]
NOTHING: Found = ("", "")


class Mapped:
    """One segment of another process, mapped when it appears and mapped anew when it belongs to another."""

    def __init__(self, shm_dir: Path, name: str, kind: int, size: int | None = None) -> None:
        self.shm_dir, self.name, self.kind, self.size = shm_dir, name, kind, size
        self.owner: Process | None = None
        self.segment: Segment | None = None
        self.error = "not registered"

    def of(self, owner: Process | None) -> Segment | None:
        """The owner's segment, None with ``error`` set when there is none or its header is not what it was."""
        if owner is not self.owner or (self.segment is not None and self.segment.wrong()):
            self.close()
            self.owner = owner
        if self.segment is None and owner is not None:
            try:
                self.segment = Segment(self.shm_dir, self.name, self.kind, owner, self.size)
            except (SegmentError, OSError, ValueError) as error:
                self.error = str(error)
        return self.segment

    def close(self) -> None:
        if self.segment is not None:
            self.segment.close()
        self.segment, self.owner, self.error = None, None, "not registered"


class Sentry:
    """One per watchdog, used by its main thread alone. ``tally`` counts view reads and errors by counter number."""

    def __init__(self, config: dict[str, Any], rules: Rules, tally: Callable[[int, int], None]) -> None:
        self.config, self.rules, self.tally = config, rules, tally
        self.shm_dir = Path(config["shm_dir"])
        self.exec = Mapped(self.shm_dir, "exec", layout.SEGMENT_EXEC)
        self.heart = Mapped(self.shm_dir, "stats-feed", layout.SEGMENT_STATS)
        self.market = Mapped(self.shm_dir, "market", layout.SEGMENT_MARKET, layout.MARKET_BYTES)
        self.judge = AccountJudge(config["instruments"], config.get("limits") or {})
        self.process_fault = self.feed_fault = self.hash_fault = self.view_fault = NOTHING
        self.looked_ns = self.hashed_ns = self.feed_ns = self.read_ns = 0
        self.state, self.state_ns = "", 0

    def see(self, now_ns: int, execution: Process | None, feed: Process | None, moving: bool) -> Seen:
        """Everything there is to see now. ``moving``: the passes have gone on within ``suspect_ns``."""
        segment = self.exec.of(execution)
        beat = segment.beat() if segment else None
        heart_ns = segment.heart_ns() if segment else 0
        market = self.market.of(feed)
        cursor = market.word(layout.MARKET_CURSOR_OFFSET) if market else UNKNOWN
        if now_ns - self.looked_ns >= LOOK_NS:
            self.looked_ns = now_ns
            if segment and (account := segment.account(len(self.judge.instruments))):
                self.judge.say(now_ns, account)
            self.process_fault = self._process(now_ns, execution, moving)
            self.feed_fault = self._feed(now_ns, feed)
        if now_ns - self.hashed_ns >= HASH_NS:
            self.hashed_ns = now_ns
            differ = hashes.pages_differ(self.shm_dir, self.config)
            self.hash_fault = ("version_mismatch", differ) if differ else NOTHING
        return Seen(beat, heart_ns, cursor, *self._worst(now_ns))

    def _worst(self, now_ns: int) -> Found:
        lost = self.read_ns and now_ns - self.read_ns > LOST_NS
        view = ("view_lost", f"no reading of the account for {(now_ns - self.read_ns) // 1_000_000} ms") if lost else NOTHING
        found = [self.process_fault, self.view_fault, view, self.feed_fault, self.hash_fault]
        killing = [one for one in found if one[0] and self.rules.tiers[one[0]] == faults.KILL]
        return next(iter(killing + [one for one in found if one[0]]), NOTHING)

    # --- The process ---------------------------------------------------------------------------------------------------
    def _process(self, now_ns: int, execution: Process | None, moving: bool) -> Found:
        """A state counts once it has lasted ``suspect_ns``: a stop of 10 ms is nothing."""
        seen = processes.look(execution.pid) if execution is not None and not execution.dead() else None
        name = self._name(seen, execution, moving) if seen is not None and execution is not None else ""
        if name != self.state:
            self.state, self.state_ns = name, now_ns
        if not name or now_ns - self.state_ns < self.rules.suspect_ns:
            return NOTHING
        return name, f"{faults.FAULTS[name].meaning} ({(now_ns - self.state_ns) // 1_000_000} ms)"

    def _name(self, seen: processes.Look, execution: Process, moving: bool) -> str:
        if seen.state == "Z":
            return "zombie"
        if seen.traced:
            return "traced"
        if seen.state == "T":
            return "stopped"
        return "frozen" if not moving and processes.frozen(execution.pid) else ""

    # --- The feed ------------------------------------------------------------------------------------------------------
    def _feed(self, now_ns: int, feed: Process | None) -> Found:
        if feed is None:
            return NOTHING  # arming asks for one
        segment = self.heart.of(feed)
        self.feed_ns = max(self.feed_ns, segment.heart_ns() if segment else 0)
        age = now_ns - self.feed_ns
        if age <= self.rules.feed_ns:
            return NOTHING
        return "feed_silent", f"the feed's loop has not beaten for {age // 1_000_000} ms" if self.feed_ns else "it never beat"

    def marks(self) -> dict[str, Decimal]:
        """Mid prices by symbol from the feed's state table; an instrument without a whole, two-sided book is left out."""
        found: dict[str, Decimal] = {}
        segment = self.market.segment
        for index, row in enumerate(self.config["instruments"] if segment is not None else []):
            assert segment is not None
            base = (layout.STATE_OFFSET + index * layout.STATE_ROW_WORDS * layout.WORD) // layout.WORD
            before = segment.words[base + layout.ST_LOCK]
            bid, ask = segment.words[base + layout.ST_BID_TICKS], segment.words[base + layout.ST_ASK_TICKS]
            whole = before % 2 == 0 and segment.words[base + layout.ST_LOCK] == before
            if whole and 0 < bid < ask:
                found[str(row["symbol"])] = (bid + ask) * Decimal(row["tick_size"]) / 2
        return found

    # --- The account ---------------------------------------------------------------------------------------------------
    def viewed(self, result: Reading | Unreachable, now_ns: int, wall_ns: int, leased: bool) -> Found:
        """Take in one reading of the venue; what stands from it now."""
        self.read_ns = self.read_ns or now_ns
        if isinstance(result, Unreachable):
            self.tally(layout.WC_VIEW_ERRORS, 1)
            return self.view_fault
        self.read_ns = now_ns
        self.tally(layout.WC_VIEW_READS, 1)
        said = self.judge.said[-1][1] if self.judge.said else None
        counts = leased and said is not None and said.reconciled != 0
        if not counts:
            self.judge.differs_ns = 0
        self.view_fault = self.judge.judge(result, now_ns, wall_ns, self.marks(), counts)
        return self.view_fault
