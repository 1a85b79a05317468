"""The faults. Each begins with both processes at work and ends when both are at work again and every check has held."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

from crash import actors, checks
from crash import kernels as k
from crash.play import Play, Report
from crash.stage import SUPERSEDED, Actor, Failed, require
from fabric import layout
from fabric.segment import Segment, SegmentError

PATIENCE_S = 20.0  # far above any delay of a busy machine: only a real flaw takes so long
STALL_SHARE = 0.25  # of the pauses of a writer: so long that the reader must say "stalled"
SCRIBBLES = 4 * k.PASSES  # passes that a zombie makes before it is judged harmless


class Sweep(Play):
    """``run`` is all that others call."""

    def __init__(self, seed: int, flaw: int = k.FLAW_NONE, patience_s: float = PATIENCE_S) -> None:
        super().__init__(seed, flaw, patience_s)
        self.kind = "start"
        self.kinds: dict[str, Callable[[], None]] = {
            "kill writer": self.kill_writer,
            "kill reader": self.kill_reader,
            "kill both": self.kill_both,
            "kill starting writer": self.kill_starting_writer,
            "kill starting reader": self.kill_starting_reader,
            "stop and continue writer": self.pause_writer,
            "stop and continue reader": self.pause_reader,
            "zombie writer": self.zombie_writer,
            "zombie, stopped while starting": self.starting_zombie,
        }

    def run(self, count: int, broken_max: int) -> Report:
        """``count`` faults, or until so many checks have failed; after each of those on a new stage."""
        began, cpu = time.monotonic(), _cpu_seconds()
        while self.report.faults.total() < count and len(self.report.broken) < broken_max:
            try:
                self.open()
                while self.report.faults.total() < count:
                    self.fault()
            except (Failed, SegmentError) as error:
                where = f"seed {self.report.seed}, fault {self.report.faults.total()}, {self.kind}"
                self.report.broken.append(f"{where}: {error}; {checks.wrong(self.shared) or 'no record wrong'}")
            finally:
                self.close()
        self.report.seconds, self.report.cpu_seconds = time.monotonic() - began, _cpu_seconds() - cpu
        return self.report

    def fault(self) -> None:
        """One fault, and back to work."""
        self.kind = self.choose()
        self.report.faults[self.kind] += 1
        self.kinds[self.kind]()
        self.at_work()
        checks.nothing_is_wrong(self.shared, self.source)

    def choose(self) -> str:
        """Any kind, but a writer whose ledger is half full must go."""
        kind = self.random.choice(list(self.kinds))
        return "kill writer" if self.source.word(k.LOSSLESS_CURSOR) > k.LEDGER_RECORDS // 2 else kind

    # --- Killed --------------------------------------------------------------------------------------------------
    def kill_writer(self) -> None:
        self.writer_dies()
        if self.random.random() < 0.5:
            self.stage.wait(lambda: self.saw[k.SA_VERDICT] == actors.DEAD, "the reader to say that the writer is dead")
        self.writer = self.start_writer()
        self.move_on(self.followed_after(self.source.generation), self.source.word(k.LOSSLESS_CURSOR), dead=True)

    def writer_dies(self) -> None:
        """At a random point; the lock tells at once."""
        self.point()
        self.writer.kill()
        self.say_where()
        require(not self.source.owner_alive(), "the writer is dead and its lock is held")

    def kill_reader(self) -> None:
        self.point()
        self.reader.kill()
        done = self.reader_died()
        self.reader = self.start_reader()
        self.reader_goes_on(done)

    def kill_both(self) -> None:
        """In either order; the reader comes back first, to a dead writer's segment."""
        self.point()
        victims = [self.writer, self.reader]
        self.random.shuffle(victims)
        for victim in victims:
            victim.kill()
        self.say_where()
        done = self.reader_died()
        self.reader = self.start_reader()
        self.reader_goes_on(done)
        self.stage.wait(lambda: self.saw[k.SA_VERDICT] == actors.DEAD, "the reader to say that the writer is dead")
        self.writer = self.start_writer()
        self.move_on(self.followed_after(self.source.generation), self.source.word(k.LOSSLESS_CURSOR), dead=True)

    def kill_starting_writer(self) -> None:
        self.writer_dies()
        second = self.start_writer()
        self.start_point()
        second.kill()
        between = self.stage.writers.look()
        self.report.met["start killed before it was ready"] += between is self.source
        self.writer = self.start_writer()
        assert between is not None
        newest = self.followed_after(between.generation)
        self.passed_through(between, newest)
        self.move_on(newest, self.source.word(k.LOSSLESS_CURSOR), dead=True)

    def kill_starting_reader(self) -> None:
        self.point()
        self.reader.kill()
        self.reader_died()
        second = self.start_reader()
        self.start_point()
        second.kill()
        done = self.reader_died()
        self.reader = self.start_reader()
        self.reader_goes_on(done)

    # --- Stopped and continued -----------------------------------------------------------------------------------
    def pause_writer(self) -> None:
        """The same generation goes on; a long pause is "stalled", none is "dead"."""
        self.point()
        self.writer.stop()
        self.say_where()
        if self.random.random() < STALL_SHARE:
            self.stage.wait(lambda: self.saw[k.SA_VERDICT] == actors.STALLED, "the reader to say that the writer is stalled")
            self.report.met["stall seen"] += 1
        else:
            self.point()
        require(self.source.owner_alive(), "the writer is stopped and its lock is free")
        self.writer.go_on()
        self.stage.wait(lambda: self.saw[k.SA_VERDICT] == actors.HEALTHY, "the reader to say that the writer is healthy")
        require(self.stage.writers.look() is self.source, "a writer that was only stopped has another generation")

    def pause_reader(self) -> None:
        """The writer laps it on the market ring, and waits for it on the lossless one, which says full."""
        self.point()
        self.reader.stop()
        laps, full, cursor = self.saw[k.SA_LAPS], self.wrote[k.WR_FULL], self.source.word(k.MARKET_CURSOR)

        def lapped() -> bool:
            full_now = self.wrote[k.WR_FULL] > full or self.full_ledger()
            return bool(full_now and self.source.word(k.MARKET_CURSOR) > cursor + 2 * k.SLOTS)

        self.stage.wait(lapped, "the writer to lap the stopped reader")
        self.reader.go_on()
        self.stage.wait(lambda: self.saw[k.SA_LAPS] > laps, "the reader to notice the lap")

    # --- Superseded ----------------------------------------------------------------------------------------------
    def zombie_writer(self) -> None:
        """Stopped, superseded, continued before or after the reader has left: it writes on, on its own file, for nobody."""
        self.point()
        zombie, old = self.writer, self.source
        zombie.stop()
        self.say_where()
        least, wrote = old.word(k.LOSSLESS_CURSOR), self.shared.wrote(old.generation)
        early = self.random.random() < 0.5
        self.writer = self.start_writer()
        if early:
            self.start_point()
            zombie.go_on()
        newest = self.followed_after(old.generation)
        if not early:
            require(old.word(k.LOSSLESS_CURSOR) == least, "a stopped writer has written")
            zombie.go_on()
        passes, full = int(wrote[k.WR_PASSES]), old.word(k.LOSSLESS_CURSOR) >= k.LEDGER_RECORDS - 1
        self.stage.wait(lambda: wrote[k.WR_PASSES] > passes + SCRIBBLES, "the zombie to scribble")
        require(full or wrote[k.WR_NOBODY] > 0, "the zombie was not told that nobody reads it")
        self.newest_is(newest)
        zombie.kill()
        require(self.shared.saw(old.generation)[k.SA_DEAD] == 0, "a stopped writer was called dead")
        self.move_on(newest, least, dead=False)

    def newest_is(self, newest: Segment) -> None:
        """Whoever attaches now gets that one."""
        found = Segment.attach(self.stage.directory, "market")
        text = f"the name leads to generation {found.generation}, the newest is {newest.generation}"
        require(found.generation == newest.generation, text)
        require(found.words[layout.H_OWNER_PID] == newest.words[layout.H_OWNER_PID], "the newest generation has another owner")
        os.close(found.fd)

    def starting_zombie(self) -> None:
        """A writer stopped while it starts, and superseded. Continued, it gives up, or writes for nobody; if it had not taken
        its generation yet, it becomes the newest writer itself, and the other one the zombie."""
        self.writer_dies()
        first = self.start_writer()
        self.start_point()
        first.stop()
        between = self.stage.writers.look()
        assert between is not None
        second = self.start_writer()
        newest = self.followed_after(between.generation)
        first.go_on()
        self.stage.wait(lambda: first.ended() == SUPERSEDED or self.scribbled(first) > 0, "the stopped start to go on")
        generation = self.scribbled(first)
        least: int | None = None
        if generation > newest.generation:
            between, newest, least = newest, self.followed_after(newest.generation), 0
            first, second = second, first
            self.report.met["stopped start: took the next generation"] += 1
        elif generation:
            self.report.met["stopped start: wrote for nobody"] += 1
        else:
            self.report.met["stopped start: gave up"] += 1
        self.newest_is(newest)
        first.kill()
        self.writer = second
        self.passed_through(between, newest, least)
        self.move_on(newest, self.source.word(k.LOSSLESS_CURSOR), dead=True)

    def scribbled(self, writer: Actor) -> int:
        """Its generation, when it has written for a while."""
        for report in (self.shared.wrote(0), self.shared.wrote(1)):
            if report[k.WR_PID] == writer.pid and report[k.WR_PASSES] > SCRIBBLES:
                return int(report[k.WR_GENERATION])
        return 0


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
