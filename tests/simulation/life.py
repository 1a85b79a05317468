# mypy: disable-error-code="no-untyped-call"
"""One life of the execution process: the real control thread around the simulated loop, its journal, its end and restart.

``Control`` is ``engine.process.Execution`` with everything that it touches outside replaced: link, REST client, registration,
statistics, time. A call that blocks lets the world go on; a process that is killed meanwhile never returns from it. What it
starts with comes from ``engine.restart.begin`` on the files that the life before left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import zlib
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from engine import account_query, checkpoint, journal_file, process, restart, state
from engine import tables as et
from engine.checkpoint import Checkpoint
from engine.fold import Fold
from engine.restart import Clock
from fabric import layout, rings
from risk import tables as rt
from sim import keys
from strategy.loader import Strategy, load, parameter_row
from tests.simulation.guard import Guard
from tests.simulation.net import Pipe, VenueHouse
from tests.simulation.shell import Loop, Watcher
from tests.simulation.world import MS, Died, FakeTime, S, Violation, World
from venue import tables as vt
from venue.errors import VenueError
from venue.link import Backoff
from watchdog import kill, view

CONTROL = 5 * MS
DRAIN = 10 * MS
SYNC = 50 * MS
Records = npt.NDArray[np.int64]
STRATEGIES: dict[str, Strategy] = {}  # compiled once for all runs


class SimLink:
    """``venue.link.Link`` without a socket."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.given: Pipe | None = None

    @property
    def state(self) -> int:
        loop = self.life.loop
        if self.given is None:
            return int(layout.SESSION_DOWN)
        return int(layout.SESSION_LOOP if loop.pipe is self.given else layout.SESSION_CLOSING)

    def reap(self) -> str | None:
        if self.state != layout.SESSION_CLOSING:
            return None
        self.given = None
        return vt.CLOSE[self.life.loop.close_code]

    def open(self, url: str, api_key: str, messages: list[bytes]) -> None:
        world, house = self.life.world, self.life.house
        fate = house.weather.request()
        world.run_until(world.now + fate.out + fate.back, lambda: self.life.dead)
        self.life.live()
        if fate.refused or fate.lost or fate.answer_lost:
            raise VenueError("connect: timed out")
        self.given = house.open(api_key, messages)
        self.given.wake = self.life.wake
        self.life.loop.pipe = self.given


class SimRest:
    """``venue.rest.Rest`` without a connection."""

    def __init__(self, life: Life, api_key: str) -> None:
        self.life, self._key = life, api_key

    def call(self, method: str, path: str) -> tuple[int, Any]:
        said = self.life.house.ask(method, path, self._key, None, lambda: self.life.dead)
        self.life.live()
        if said is None:
            raise VenueError(f"{method} {path}: ReadTimeout; is the venue up?")
        if said[0] >= 400 and said[0] != 404:
            raise VenueError(f"{method} {path}: the venue answered {said[0]}")
        return said

    def get(self, path: str) -> Any:
        status, body = self.call("GET", path)
        if status == 404:
            raise VenueError(f"GET {path}: not found")
        return body

    def close(self) -> None:
        pass


class Control(process.Execution):
    """The control thread's work over a simulated loop."""

    def __init__(self, life: Life) -> None:
        world, loop = life.world, life.loop
        self.owner = life
        self.run_dir = life  # type: ignore[assignment]  # whom ``register`` is called for
        self.config = life.config | {"venue": life.config["venue"] | {"rest_url": life}}  # and ``Rest``
        self.life = life.begun
        self.stats = SimpleNamespace(  # type: ignore[assignment]
            status=lambda **_: None, add=lambda *_: None, error=lambda text: world.note(f"control: {text}")
        )
        self.stop = SimpleNamespace(requested=False)  # type: ignore[assignment]
        self.memory = SimpleNamespace(  # type: ignore[assignment]
            core=loop.core, link=SimLink(life), inbox=loop.inbox, arrays={"outbox": loop.outbox}, remap=self._remap
        )
        self.backoff = Backoff(first_s=0.25)
        self._segments, self._leases = {}, []
        self._grant = self._rest = self._query = None
        self._asked = self._steps = 0
        self._reconciled_at = self._register_at = 0.0
        self._first_round = not life.begun.continued

    def _remap(self, new_lease: int, new_epoch: int) -> None:
        self.owner.loop.new_lease = (new_lease, new_epoch)
        self.owner.epoch = new_epoch

    def _map_segments(self) -> None:
        pass

    def step(self) -> None:
        self._step()


class Life:
    """See the module. ``records`` is what the journal process has written, ``synced`` how many of them are durable."""

    def __init__(self, world: World, config: dict[str, Any], house: VenueHouse, guard: Guard, watcher: Watcher) -> None:
        self.world, self.config, self.house, self.guard = world, config, house, guard
        now, self.boot_id = Clock(world.mono, world.wall, world.boot_id), world.boot_id
        self.begun = restart.begin(config, now, say=world.note)
        core = state.build(config)
        self.begun.give(core)
        self.loop = Loop(world, config, core, house, watcher)
        self.strategies = []
        for number, entry in enumerate(config["strategies"]):
            strategy = STRATEGIES.get(entry["name"]) or load(entry["name"])
            STRATEGIES[entry["name"]] = strategy
            self.strategies.append(strategy)
            parameters = parameter_row(strategy, entry["parameters"])
            state.bind_strategy(core, number, strategy.address, list(range(len(config["instruments"]))), parameters)
        self.loop.die = lambda point: self.die(f"SIGKILL at {point}")
        self.core = core
        self.dead = self._woken = self.calm = False
        self.stalled_until = 0
        self.epoch = self.market_cursor = 0
        self.control = Control(self)
        self.records: list[Records] = []
        self.kept = 0  # of them after its end
        self.written = self.synced = 0
        self.saved: Checkpoint | None = None
        self._batch: Records = np.zeros((1024, len(layout.JOURNAL_RECORD)), np.int64)
        self.timer = config["simulation"]["timer_ns"]
        world.later(0, "control", self._control)
        world.later(0, "timer", self._timer)
        world.later(DRAIN, "journal", self._journal)
        world.later(SYNC, "sync", self._sync)

    # What others read of it

    @property
    def epoch_seen(self) -> int:
        return int(self.core.scalars[et.K_EPOCH])

    @property
    def reconciled(self) -> int:
        return int(self.core.account[rt.AC_RECONCILED])

    @property
    def open_orders(self) -> int:
        return int(self.core.account[rt.AC_OPEN_ORDERS])

    def marks(self) -> dict[str, Decimal]:
        found = {}
        for index, row in enumerate(self.config["instruments"]):
            mark = int(self.core.books[index, rt.BK_GOOD_MARK_X2_TICKS])
            if mark:
                found[row["symbol"]] = Decimal(mark) / 2 * Decimal(row["tick_size"])
        return found

    # Its threads

    def live(self) -> None:
        """To be called after everything that lets the world go on."""
        if self.dead:
            raise Died

    def _control(self) -> None:
        if self.dead:
            return
        with contextlib.suppress(Died):
            if self.world.now >= self.stalled_until:
                self.control.step()
            self.world.later(CONTROL, "control", self._control)

    def _timer(self) -> None:
        if not self.dead:
            self.world.later(max(self.timer, 20 * MS if self.calm else 0), "timer", self._timer)
            self.pass_now()

    def wake(self) -> None:
        """Something has arrived: the loop sees it in its next pass."""
        if not self._woken and not self.dead:
            self._woken = True
            self.world.later(20_000, "pass", self._pass)

    def _pass(self) -> None:
        self._woken = False
        self.pass_now()

    def pass_now(self) -> None:
        if not self.dead and self.world.now >= self.stalled_until:
            with contextlib.suppress(Died):
                self.loop.run()

    # Its journal: another process, which goes on when this one dies

    def drain(self) -> None:
        base, first = self.loop.segment.ctypes.data, self.written + 1
        while True:
            count = int(
                rings.lossless_drain(
                    base + layout.EXEC_JOURNAL_CURSOR_OFFSET,
                    base + layout.JOURNAL_RING_OFFSET,
                    layout.JOURNAL_SLOTS,
                    first,
                    self._batch,
                )
            )
            if count == 0:
                return
            if self._batch[:count, layout.J_SEQ].tolist() != list(range(first, first + count)):
                raise Violation(f"7 ring: records {first} to {first + count - 1} of the journal have other numbers")
            self.records.append(self._batch[:count].copy())
            first = first + count
            self.written = first - 1
            self.loop.progress[layout.JOURNAL_PROGRESS_OFFSET // 8 + layout.JP_CONSUMED] = self.written

    def _journal(self) -> None:
        if not self.dead:
            self.world.later(DRAIN, "journal", self._journal)
            if not self.house.weather.has("disk_slow") or self.world.now % (3 * S) > S // 2:
                self.drain()

    def _sync(self) -> None:
        if not self.dead:
            self.world.later(SYNC, "sync", self._sync)
            self.synced = self.written

    def batch(self) -> Records:
        """All records written."""
        return np.concatenate(self.records) if self.records else np.zeros((0, len(layout.JOURNAL_RECORD)), np.int64)

    def fold(self, records: Records) -> Fold:
        """What the files say of this life after these of its records."""
        image = self.saved  # else what ``begin`` made durable
        if image is None:
            image = Checkpoint(self.begun.card, 0, 0, 0, 0, (0, 0, 0, 0), {}, checkpoint.tables_of(self.begun.core))
        fold = Fold(restart.bare(self.config, image), image.position, image.last_ns, image.trades)
        try:
            fold.apply(records[image.position :])
        except (ValueError, IndexError) as error:
            raise Violation(f"8 replay: the journal cannot be read back: {error}") from None
        return fold

    def save_checkpoint(self) -> None:
        """As the journal process does it: the records first."""
        self.drain()
        self.synced = self.written
        self._write(self.written, b"")
        self.saved = self.saved or checkpoint.load(self.config["state_dir"])[0][0]
        fold = self.fold(self.batch())
        changed: dict[str, Any] = {"position": fold.position, "trades": fold.trades}
        changed |= {"last_ns": self.world.mono, "wall_ns": self.world.wall, "tables": checkpoint.tables_of(fold.core)}
        self.saved = dataclasses.replace(self.saved, **changed)
        checkpoint.save(self.config["state_dir"], self.saved)
        self.world.note(f"checkpoint at record {fold.position}")

    def _write(self, count: int, torn: bytes) -> None:
        path = journal_file.path(self.config["state_dir"], self.begun.card["life"])
        pathlib.Path(path).write_bytes(journal_file.seal(self.batch()[:count], 1) + torn)

    # Its end

    def die(self, why: str, lost: int = 0, torn: int = 0) -> None:
        """Killed. ``lost`` of the records that were not synced are gone with the power, ``torn`` bytes of the next one stay."""
        if self.dead:
            return
        self.dead = True
        self.drain()
        kept = max(self.written - lost, self.synced) if lost else self.written
        tail = journal_file.seal(self.batch()[kept : kept + 1], kept + 1)[:torn] if torn and kept < self.written else b""
        self.kept = kept
        self._write(kept, tail)
        self.world.note(f"execution dies: {why}; {kept} of {self.written} records kept, {len(tail)} bytes torn")
        if self.loop.pipe is not None:
            self.house.cut(self.loop.pipe, "the process is gone")


class Stored:
    """``zlib`` without its work: most of a short run would go into it."""

    crc32, decompress = zlib.crc32, zlib.decompress

    @staticmethod
    def compress(data: bytes, level: int) -> bytes:
        return zlib.compress(data, 0)


class SeededSecrets:
    """Stands in for ``secrets`` where the paper exchange makes keys: the same seed makes the same keys."""

    def __init__(self, world: World) -> None:
        self._random = world.stream("secrets")

    def token_hex(self, octets: int) -> str:
        return f"{self._random.getrandbits(8 * octets):0{2 * octets}x}"

    token_urlsafe = token_hex


def register(life: Life, *_: Any) -> Any:
    """``watchdog.client.register`` without its socket."""
    try:
        return life.guard.register(life)
    finally:
        life.live()


@contextlib.contextmanager
def seams(world: World) -> Iterator[None]:
    """The places where the real code reaches out of the simulation, replaced."""
    clock = FakeTime(world)
    names: dict[str, Any] = {"time": clock, "register": register, "Rest": SimRest, "print": lambda *_, **__: None}
    names["TELL_EVERY"] = 1 << 30  # what had to be compiled is nobody's business here
    with (
        mock.patch.multiple(process, create=True, **names),
        mock.patch.object(account_query, "time", clock),
        mock.patch.object(checkpoint, "zlib", Stored),
        mock.patch.object(view, "time", clock),
        mock.patch.object(kill, "random", world.stream("ladder")),
        mock.patch.object(keys, "secrets", SeededSecrets(world)),
    ):
        yield
