"""The steps that the faults are made of: both processes on a stage, what they report, and the change of a generation."""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import time

from crash import actors, checks
from crash import kernels as k
from crash.shared import Words
from crash.stage import Actor, Stage, require
from fabric.segment import Segment

POINT_S = 0.006  # a fault comes at most so long after both were seen at work
START_S = 0.003  # a start is over by then


@dataclasses.dataclass
class Report:
    """What a sweep did and met; ``broken`` has one line for each check that did not hold."""

    seed: int
    flaw: str
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    met: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    broken: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Play:
    """A stage with both on it; ``source`` is the newest writer's segment, ``books`` the account of its lossless records."""

    def __init__(self, seed: int, flaw: int, patience_s: float) -> None:
        self.random = random.Random(seed)
        self.flaw, self.patience_s = flaw, patience_s
        self.report = Report(seed, k.FLAWS[flaw])

    def open(self) -> None:
        """Both on an empty stage, at work."""
        self.stage = Stage(self.flaw, self.patience_s)
        self.shared = self.stage.shared
        self.writer, self.reader = self.start_writer(), self.start_reader()
        self.source = self.followed_after(0)
        self.books = checks.Books(self.shared, self.source)
        self.at_work()

    def close(self) -> None:
        self.stage.close()

    def start_writer(self) -> Actor:
        return self.stage.start(actors.write)

    def start_reader(self) -> Actor:
        return self.stage.start(actors.read)

    @property
    def saw(self) -> Words:
        """The reader's report on the newest generation."""
        return self.shared.saw(self.source.generation)

    @property
    def wrote(self) -> Words:
        """The report of the newest writer."""
        return self.shared.wrote(self.source.generation)

    def point(self) -> None:
        """A random point."""
        time.sleep(self.random.random() * POINT_S)

    def start_point(self) -> None:
        """A random point of a start."""
        time.sleep(self.random.random() * START_S)

    def full_ledger(self) -> bool:
        """The writer offers no more lossless records."""
        return self.source.word(k.LOSSLESS_CURSOR) >= k.LEDGER_RECORDS - 1

    def at_work(self) -> None:
        """Each of the three structures brings the reader something new."""
        saw = self.saw
        before = saw.copy()

        def moved() -> bool:
            more = all(saw[word] > before[word] for word in (k.SA_SEEN, k.SA_ROWS, k.SA_PASSES))
            return more and (saw[k.SA_NEXT] > before[k.SA_NEXT] or self.full_ledger())

        self.stage.wait(moved, "both at work")

    def is_read(self, source: Segment) -> bool:
        saw = self.shared.saw(source.generation)
        return bool(saw[k.SA_GENERATION] == source.generation and saw[k.SA_PASSES] > 0)

    def followed_after(self, generation: int) -> Segment:
        """Wait until the reader is with a writer newer than that one."""

        def followed() -> bool:
            found = self.stage.writers.look()
            return found is not None and found.generation > generation and self.is_read(found)

        self.stage.wait(followed, f"the reader to follow a generation after {generation}")
        newest = self.stage.writers.segment
        assert newest is not None
        return newest

    def move_on(self, newest: Segment, least: int, dead: bool) -> None:
        """The reader has left ``source``, of which it must have handed out ``least`` records, for ``newest``."""
        if dead:
            checks.market_adds_up(self.shared, self.source)
        self.books.left(least, self.source.word(k.LOSSLESS_CURSOR))
        self.forget(self.source)
        self.source, self.books = newest, checks.Books(self.shared, newest)

    def passed_through(self, between: Segment | None, newest: Segment, least: int | None = None) -> None:
        """A generation that the reader followed for a moment, or not at all; ``least``: None for all that was published."""
        if between is not None and between.generation not in (self.source.generation, newest.generation):
            offered = between.word(k.LOSSLESS_CURSOR)
            checks.Books(self.shared, between).left(offered if least is None else least, offered)
            self.forget(between)

    def forget(self, source: Segment) -> None:
        """A generation is over: its figures into the report, its place in the ledger free."""
        saw, wrote, met = self.shared.saw(source.generation), self.shared.wrote(source.generation), self.report.met
        met["market records seen"] += int(saw[k.SA_SEEN])
        met["market records lost, all counted"] += int(saw[k.SA_LOST])
        met["laps"] += int(saw[k.SA_LAPS])
        met["rows read"] += int(saw[k.SA_ROWS])
        met["lossless records"] += source.word(k.LOSSLESS_CURSOR)
        if wrote[k.WR_GENERATION] == source.generation:
            met["lossless ring full"] += int(wrote[k.WR_FULL])
        saw[:] = 0
        self.shared.ledger(source.generation)[:] = 0
        os.close(source.fd)

    def say_where(self) -> None:
        """Count where the writer was when it was killed or stopped."""
        self.report.met[f"writer in {checks.place_of_death(self.source)}"] += 1

    def reader_died(self) -> int:
        """Check what it left; returns the count that the next one goes on after."""
        page = Segment.attach(self.stage.directory, "journal")
        again = self.books.reader_died(page)
        os.close(page.fd)
        self.report.met["lossless records taken, not done, taken again"] += again
        self.saw[k.SA_GENERATION] = 0  # so that the wait is for the next one's report
        return self.books.resume

    def reader_goes_on(self, done: int) -> None:
        """The next reader has come and goes on after ``done``."""
        self.stage.wait(lambda: self.is_read(self.source), "the next reader")
        require(int(self.saw[k.SA_RESUMED]) == done, f"the reader went on after {self.saw[k.SA_RESUMED]}, not {done}")
