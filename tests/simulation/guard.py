"""The watchdog on the fake clock: its real rule, pages, keys, ladder and view of the account; its loop rewritten.

``watchdog.lease.decide`` judges what it sees, ``LeasePage`` carries the answer, ``KeyRing`` mints and revokes through the real
REST handler, ``Ladder`` runs a kill, ``AccountJudge`` compares the account. Not here: processes, sockets, threads.
"""

from __future__ import annotations

import pathlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fabric import layout
from tests.simulation.net import MANAGEMENT_KEY, VenueHouse
from tests.simulation.world import MS, S, World
from watchdog import lease, view
from watchdog.beat import Account, Beat
from watchdog.client import WatchdogError
from watchdog.credentials import CredentialError, KeyRing
from watchdog.kill import Ladder, Tools, new_record
from watchdog.latch import Durable
from watchdog.process import LAPSES_MAX, LAPSES_NS
from watchdog.pulse import Seen
from watchdog.venue import Answer, Secret, Unreachable, Venue

if TYPE_CHECKING:
    from tests.simulation.life import Life

POLL = 20 * MS
VIEW = S


class Calls(Venue):
    """The watchdog's REST client without its sockets."""

    def __init__(self, house: VenueHouse, key: Secret) -> None:
        super().__init__("http://venue", key)
        self.house = house

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        said = self.house.ask(method, path, self.key.reveal(), body, lambda: False)
        if said is None:
            raise Unreachable(f"{method} {path}: TimeoutError")
        return Answer(*said)

    def with_key(self, key: Secret) -> Calls:
        return Calls(self.house, key)


class Rungs(Ladder):
    """The ladder; its sender is the simulated process."""

    kill_sender: Callable[[], None]

    def _sender(self) -> tuple[bool, str]:
        self.kill_sender()
        return True, "SIGKILL"


class Guard:
    """See the module. ``said`` is the permission as it was given: [epoch, granted, deadline], for the oracle."""

    def __init__(self, world: World, config: dict[str, Any], house: VenueHouse) -> None:
        self.world, self.config, self.house = world, config, house
        self.rules = lease.rules_of(config)
        self.random = world.stream("guard")
        self.durable = Durable(pathlib.Path(config["state_dir"]))
        self.calls = Calls(house, Secret(MANAGEMENT_KEY))
        self.ring = KeyRing(pathlib.Path(config["state_dir"]), self.durable, config["instance"])
        self.judge = view.AccountJudge(config["instruments"], config["limits"])
        self.page: lease.LeasePage | None = None
        self.watch: lease.Watch | None = None
        self.life: Life | None = None
        self.latch: dict[str, Any] | None = None
        self.lapses: deque[int] = deque()
        self.armed = self.dead = self.proven = False
        self.away_until = 0
        self.view_fault = ("", "")
        self._after = 0
        self.until: dict[int, int] = {}  # epoch -> the moment at which its permission ended, or will
        world.later(POLL, "watchdog", self._poll)
        world.later(VIEW, "view", self._view)

    # The beat

    def _clocks(self) -> lease.Clocks:
        return lease.Clocks(self.world.mono, self.world.boot)

    def _see(self) -> Seen:
        fault, why = self.view_fault
        life = self.life
        if life is None or life.dead:
            return Seen(None, 0, -1, fault, why)
        loop = life.loop
        beat = Beat(life.epoch_seen, loop.passes, loop.market_seq, 0, loop.last_ns, loop.orders_sent, 0, 0)
        rows = tuple(loop.position(i) for i in range(len(self.config["instruments"])))
        account = Account(life.reconciled, life.open_orders, rows)
        self.judge.say(self.world.mono, account)
        return Seen(beat, loop.last_ns, life.market_cursor, fault, why)

    def _poll(self) -> None:
        if self.dead:
            return
        self.world.later(POLL, "watchdog", self._poll)
        if self.world.now < self.away_until or self.watch is None or self.page is None:
            return
        before = self.watch
        self.watch, decision = lease.decide(before, self._see(), self._clocks(), self.rules, self.armed and self.latch is None)
        if decision.what == "grant":
            self.page.grant(self.watch.granted_ns, self.watch.deadline_ns, self.watch.renewals)
            self.until[self.watch.epoch] = self.world.now + self.rules.ttl_ns
        elif decision.what == "lapse":
            self._lapse(decision.fault, decision.why)
        elif decision.what == "kill":
            self.kill(decision.fault, decision.why)

    def _ends(self) -> None:
        if self.watch is not None:
            self.until[self.watch.epoch] = min(self.until.get(self.watch.epoch, 0), self.world.now)

    def _lapse(self, fault: str, why: str) -> None:
        assert self.page is not None
        self.page.end(layout.LEASE_LAPSED)
        self._ends()
        self.world.note(f"watchdog: lapsed: {fault}: {why}")
        now = self.world.mono
        self.lapses.append(now)
        while self.lapses[0] < now - LAPSES_NS:
            self.lapses.popleft()
        if len(self.lapses) > LAPSES_MAX:
            self.kill("lapsing", f"{len(self.lapses)} lapses")

    # Keys

    def register(self, life: Life) -> SimpleNamespace:
        """A new epoch with its key and page. Raises WatchdogError."""
        if self.dead or self.latch is not None or self.life is not life:
            raise WatchdogError("latched" if self.latch else "not expected")
        if self.page is not None:
            self.page.end(layout.LEASE_WITHDRAWN)
        self._ends()
        self.watch = None
        try:
            minted = self.ring.mint(self.calls, "execution", 1, 1)
        except (CredentialError, Unreachable) as error:
            raise WatchdogError(str(error)) from None
        if self.latch is not None or self.dead or self.life is not life:
            raise WatchdogError("latched meanwhile")
        self.page = lease.LeasePage(minted.epoch)
        self.watch = lease.new_watch(minted.epoch, self._clocks())
        self.judge.forget()
        return SimpleNamespace(
            epoch=minted.epoch, key_id=minted.key_id, api_key=minted.secret.reveal(), lease=self.page.map, page=self.page
        )

    # The end

    def kill(self, cause: str, reason: str) -> None:
        """Latch, and climb the ladder as an event of its own."""
        if self.latch is not None or self.dead:
            return
        self.world.note(f"watchdog: KILL {cause}: {reason}")
        self._ends()
        self.armed = self.proven = False
        if self.page is not None:
            self.page.end(layout.LEASE_KILLED, layout.REASON_KILLED)
        epoch = 0
        if self.watch is not None:
            epoch = self.watch.epoch
            self.watch = replace(self.watch, state=layout.LEASE_KILLED, deadline_ns=0)
        self.latch = new_record("kill", cause, reason, epoch, None, self.ring.ids("trade"), self.world.wall)
        self.world.later(0, "ladder", self._climb)

    def _climb(self) -> None:
        world, life = self.world, self.life
        if self.latch is None:
            return

        def sleep(seconds: float) -> None:
            world.run_until(world.now + int(seconds * S))

        def ignore(*_: Any) -> None:
            pass

        tools = Tools(lambda: world.mono, sleep, ignore, ignore, world.note, ignore, self._probe_order)
        ladder = Rungs(self.latch, self.calls, self.ring, tools, self.rules.ttl_ns)
        ladder.kill_sender = lambda: life.die("SIGKILL by the watchdog") if life is not None else None
        self.proven = ladder.run(lambda: self.dead)
        world.note(f"watchdog: kill proven: {self.proven}")

    def _probe_order(self, epoch: int) -> dict[str, Any]:
        one = self.config["instruments"][0]
        number = layout.ID_WATCHDOG_COUNTER + self.random.randrange(1 << 28)
        return {
            "action": "place_order",
            "client_order_id": str(layout.order_id(self.config["instance"], max(epoch, 1), number)),
            "symbol": one["symbol"],
            "side": "buy",
            "quantity": float(one["min_quantity"]),
            "price": float(one["tick_size"]),
            "type": "ioc",
            "reduce_only": False,
            "timestamp": self.world.wall // MS,
            "recv_window": self.rules.ttl_ns // MS,
        }

    def resume(self) -> None:
        """An operator lifts the latch."""
        self.world.note("operator: resumes")
        self.latch, self.life = None, None
        self.durable.clear_latch()

    def start_after_power(self) -> None:
        """A new watchdog on the disk of the old one: the keys of before are revoked, what they let out is cancelled."""
        self.world.run_until(self.world.now)
        while True:
            try:
                self.ring.retire(self.calls, self.ring.left_over())
                self.calls.cancel_all()
                return
            except (CredentialError, Unreachable):
                self.world.run_until(self.world.now + S // 10)

    # The view of the account

    def _view(self) -> None:
        if self.dead:
            return
        try:
            reading = view.read(self.calls, self.ring, self._after)
        except Unreachable:
            reading = None
        self.world.later(VIEW, "view", self._view)
        if reading is None or self.dead or self.latch is not None:
            return
        self._after = max([self._after, *(number for number, _ in reading.fills)])
        granted = self.watch is not None and self.watch.state == layout.LEASE_GRANTED
        life = self.life
        counts = granted and life is not None and bool(life.reconciled)
        marks: dict[str, Decimal] = life.marks() if life is not None else {}
        self.view_fault = self.judge.judge(reading, self.world.mono, self.world.wall, marks, counts)

    def close(self) -> None:
        self.dead = True
