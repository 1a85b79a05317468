# mypy: disable-error-code="no-untyped-call"
"""One run of one seed: the house is built, lives through its faults, is left alone, and must come back to order.

``run`` answers a ``Result``; with a ``Violation`` it holds the rule, the step and the log. The safety phase has the seed's
faults; the liveness phase has none, and within ``LIVENESS`` everything must be reconciled, and trade again or say why not.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine import restart
from engine import tables as et
from engine.restart import Clock
from fabric import layout
from risk import limits as profiles
from risk import tables as rt
from tests.engine.journalkit import RESTING, durable
from tests.simulation.guard import Guard
from tests.simulation.life import Life, seams
from tests.simulation.net import VenueHouse
from tests.simulation.oracle import Oracle
from tests.simulation.scenario import Scenario
from tests.simulation.weather import Weather
from tests.simulation.world import MS, S, Violation, World

BALANCE = 100_000
LIVENESS = 25 * S
SETTLE = 15 * S
SUPERVISE = 50 * MS
KEPT = ("account", "halted", "positions", "owners", "subbooks", "open", "fired", "trades", "unowned", "marks")
Plant = Callable[[], contextlib.AbstractContextManager[Any]]
NOTHING: Plant = contextlib.nullcontext


@dataclass
class Result:
    seed: int
    violation: str = ""
    step: int = 0
    steps: int = 0
    checks: int = 0
    simulated_ns: int = 0
    orders: int = 0
    trades: int = 0
    lives: int = 0
    digest: str = ""
    end: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def settings(state_dir: str, world: World) -> dict[str, Any]:
    """A configuration from the seed: a profile whose limits are drawn a little tighter or looser."""
    r = world.stream("settings")
    limits = profiles.profile(r.choice(profiles.PROFILES))
    limits["losses_in_row"] = r.choice((2, 3, limits["losses_in_row"]))
    limits["pause_ns"] = r.choice((500 * MS, 3 * S, 300 * S))
    limits["day_loss_ppm"] = r.choice((200, limits["day_loss_ppm"], limits["day_loss_ppm"]))
    limits["drawdown_ppm"] = r.choice((150, limits["drawdown_ppm"], limits["drawdown_ppm"]))
    limits["stale_book_ns"] = r.choice((500, 1000, 2000)) * MS
    one = {
        "symbol": "BTC-USDC", "base": "BTC", "quote": "USDC", "kind": "spot", "tick_size": "0.01", "lot_size": "0.0001",
        "min_quantity": "0.0001", "max_quantity": "1", "min_notional": "1", "maker_fee_ppm": r.choice((-20, 0, 200)),
        "taker_fee_ppm": r.choice((0, 500)), "baseline": "5",
    }  # fmt: skip
    parameters = {
        "half_spread_bps_x100": r.choice((10, 100)),
        "min_half_spread_bps_x100": 1,
        "requote_bps_x100": r.choice((5, 50)),
    }
    parameters |= {"allow_short": r.choice((0, 1)), "requote_bps_x100": r.choice((5, 50))}
    return {
        "mode": "live", "instance": 1, "config_hash": 1, "code_hash": 2, "state_dir": state_dir,
        "venue": {"rest_url": "http://venue", "ws_url": "ws://venue"},
        "instruments": [one, one | {"symbol": "ETH-USDC", "base": "ETH"}],
        "limits": limits,
        "lease": {
            "ttl_ns": 200 * MS, "renew_ns": 40 * MS, "poll_ns": 5 * MS, "suspect_ns": 80 * MS, "kill_ns": S,
            "orders_per_beat_max": 100, "passes_per_s_min": 5,
        },
        "signal": {"default_stop_bps": None, "default_holding_ms": None},
        "kill": {"on_halt": r.choice(("hold", "exit"))},
        "strategies": [{"name": "market_making", "parameters": parameters}],
        "simulation": {"timer_ns": r.choice((5, 10, 20)) * MS, "balance": BALANCE},
    }  # fmt: skip


class Episode:
    def __init__(self, world: World, state_dir: str, safety_ns: int) -> None:
        self.world = world
        self.safety_ns = safety_ns
        self.weather = Weather(self.world)
        self.config = settings(state_dir, world)
        self.house = VenueHouse(self.world, self.weather, self.config["instruments"], BALANCE)
        self.random = self.world.stream("operator")
        self._resume_at: int | None = None
        self._busy = self.calm = False
        self.life: Life | None = None
        self.lives = 0
        self.oracle = Oracle(self)
        self.house.heard = self.oracle.heard
        self.guard = Guard(self.world, self.config, self.house)
        self.scenario = Scenario(self)
        self.begin_life()
        self.world.after_step = self.oracle.check
        self.world.later(SUPERVISE, "supervisor", self._supervise)

    # The supervisor and the operator

    def begin_life(self) -> None:
        before = self.life
        self.life = Life(self.world, self.config, self.house, self.guard, self.oracle)
        self.guard.life, self.life.calm = self.life, self.calm
        self.lives += 1
        self.world.note(f"life {self.life.begun.card['life']} begins")
        if before is not None:
            self.oracle.restarted(self.life)
            if before.kept == before.written and self.life.begun.continued:
                self._kept(before)

    def _supervise(self) -> None:
        self.world.later(SUPERVISE, "supervisor", self._supervise)
        life, guard = self.life, self.guard
        if life is None or self._busy:
            return
        if life.dead and guard.latch is None:
            guard.kill("dead", "the execution process died")
        elif guard.latch is not None:
            if guard.proven:
                self._resume(life)
        elif not guard.armed and life.reconciled:
            self.world.note("supervisor: armed")
            guard.armed = life.loop.armed = True

    def _resume(self, life: Life) -> None:
        if self._resume_at is None:
            self._resume_at = (
                self.world.now + self.random.randrange(1000, 2500) * MS
            )  # longer than the window of the order rate
        if self.world.now >= self._resume_at:
            self._resume_at = None
            self.guard.resume()
            if life.dead:
                self._between_lives()
                self.begin_life()
            else:  # it began while trading was latched, and gets its key now
                self.guard.life = life

    def _between_lives(self) -> None:
        """8: the files say what the dead one knew, and starting twice is starting once."""
        life = self.life
        assert life is not None
        if not self.oracle.tainted and life.core.journal_count[0] == 0:  # else it died before it could say what it knew
            knew, found = durable(life.core), durable(life.fold(life.batch()).core)
            self._same(knew, found, "the journal of a killed life")
        if self.random.random() < 0.3:
            now = Clock(self.world.mono, self.world.wall, self.world.boot_id)
            once = durable(restart.begin(self.config, now, say=self.world.note).core)
            twice = durable(restart.begin(self.config, now, say=self.world.note).core)
            self._same(once, twice, "a second start")

    def _kept(self, before: Life) -> None:
        """8: what a restart must take over it has taken over, limits and streaks first of all."""
        assert self.life is not None
        knew, has = durable(before.fold(before.batch()).core), durable(self.life.begun.core)
        peak, reconciled = RESTING.index(rt.AC_HWM_E8), RESTING.index(rt.AC_RECONCILED)
        if has["account"][peak] >= knew["account"][peak]:  # a value above the old peak is a peak
            has["account"][peak] = knew["account"][peak]
        has["account"][reconciled] = knew["account"][reconciled]
        used = rt.OWNER_FIRST_STRATEGY + len(self.config["strategies"])
        knew["owners"], has["owners"] = knew["owners"][:used], has["owners"][:used]
        if self.world.boot_id == before.boot_id:
            self._same({name: knew[name] for name in KEPT}, has, "a restart")

    @staticmethod
    def _same(one: dict[str, Any], other: dict[str, Any], what: str) -> None:
        for name, value in one.items():
            if value != other[name]:
                was, now = value, other[name]
                if isinstance(value, list) and len(value) == len(other[name]):
                    at = next(k for k, pair in enumerate(zip(value, other[name], strict=True)) if pair[0] != pair[1])
                    was, now, name = value[at], other[name][at], f"{name}[{at}]"
                raise Violation(f"8 replay: {what} gives other {name}: {was} before, {now} after")

    def power_cut(self, lost: int, torn: int) -> None:
        """The host goes down: the last records and all clocks; everything starts anew."""
        life = self.life
        if life is None or self._busy:
            return
        life.die("power cut", lost=lost, torn=torn)
        if life.kept < life.written:
            self.oracle.taint("records were lost with the power")
        self.guard.close()
        self.life, self._busy, self._resume_at = None, True, None
        self.last_life = life
        self.world.later(self.random.randrange(1000, 2500) * MS, "power returns", self._power_returns)

    def _power_returns(self) -> None:
        world = self.world
        world.boot_id += 1
        world.mono_shift = self.random.randrange(20, 100) * S - world.now
        world.slept = 0
        self.guard = Guard(world, self.config, self.house)
        self.oracle.sends.clear()
        self.guard.start_after_power()
        self.life = self.last_life
        self.begin_life()
        self._busy = False

    def say(self, slot: Any) -> None:
        """A record of the slow path, into the ring that the loop reads."""
        if self.life is not None and not self.life.dead:
            self.life.loop.signals.append(slot)
            self.life.wake()

    # The phases

    def run(self) -> str:
        """How it ended, in a few words; raises Violation."""
        world = self.world
        world.run_until(self.safety_ns)
        world.note("faults end")
        self.weather.calm()
        self.scenario.calm()
        self.scenario.thaw()
        self.calm = True
        if self.life is not None:
            self.life.calm, self.life.loop.die_at = True, ""
        end = self._wait(world.now, LIVENESS, self._trading, "7 liveness")
        self.scenario.end()
        self._wait(world.now, SETTLE, self._settled, "7 liveness")
        self._final()
        return end

    def _wait(self, began: int, limit: int, reached: Callable[[], str], rule: str) -> str:
        """Until ``reached`` answers something that does not begin with "not"."""
        world, said = self.world, "not"
        while world.now - began < limit:
            world.run_until(world.now + S // 4)
            said = reached()
            if not said.startswith("not"):
                return said
        raise Violation(f"{rule}: after {limit // S} s without faults: {said}")

    def _trading(self) -> str:
        life = self.life
        if life is None or life.dead or self._busy:
            return "not alive"
        c, k = life.core, life.core.scalars
        if (c.account[rt.AC_STATE] >= layout.RISK_HALTED or self.guard.view_fault[0] == "over_limit") and not life.open_orders:
            return "halted"
        if not life.reconciled or k[et.K_RECONCILE_DUE] or not k[et.K_SESSION_UP] or not k[et.K_LEASE_OK]:
            return f"not permitted: reconciled {life.reconciled}, session {k[et.K_SESSION_UP]}, lease {k[et.K_LEASE_OK]}"
        if c.account[rt.AC_UNKNOWN_ORDERS]:
            return "not known: an order"
        stated = self._stated(life)
        if stated:
            return stated
        mine = [o for o in self.house.exchange.open_orders() if self.oracle.ours(int(o.client_order_id))]
        return "trading" if mine else "not trading, and nothing says why"

    def _stated(self, life: Life) -> str:
        """What forbids quoting and says so."""
        c, owner = life.core, life.core.owners[rt.OWNER_FIRST_STRATEGY]
        if owner[rt.OW_LATCHED]:
            return "latched"
        if owner[rt.OW_PAUSED_UNTIL_NS] > self.world.mono:
            return "paused"
        if c.scalars[et.K_UNOWNED_MASK]:
            return "unowned"
        return "reduced" if c.account[rt.AC_DRAWDOWN_STEP] else ""

    def _settled(self) -> str:
        life = self.life
        if life is None or life.dead:
            return "not alive"
        c, exchange = life.core, self.house.exchange
        there = {o.client_order_id for o in exchange.open_orders() if self.oracle.ours(int(o.client_order_id))}
        here = c.account[rt.AC_OPEN_ORDERS]
        if there or here:
            return f"not empty: {len(there)} orders at the venue, {here} here"
        lots = [self.oracle.truth.lots(i) for i in range(len(c.positions))]
        if lots != c.positions[:, rt.PO_LOTS].tolist():
            return f"not agreed: the venue holds {lots}, the engine {c.positions[:, rt.PO_LOTS].tolist()}"
        stuck = self._held_too_long(life)
        if stuck:
            return f"not left: {stuck}"
        if c.scalars[et.K_RECONCILE_WANTED] or c.account[rt.AC_UNKNOWN_ORDERS]:
            return "not reconciled"
        return "settled"

    def _held_too_long(self, life: Life) -> str:
        """A one-shot that holds what it should have left, although nothing keeps its exit from leaving."""
        c = life.core
        held = c.account[rt.AC_STATE] >= layout.RISK_HALTED and c.scalars[et.K_ON_HALT] == 0
        if held or self.guard.view_fault[0] == "over_limit":
            return ""
        for s in c.signals[: int(c.scalars[et.K_SIGNAL_TOP])].tolist():
            held = s[et.SG_FILLED] - s[et.SG_EXITED]
            lots = int(c.positions[s[et.SG_INSTRUMENT], rt.PO_LOTS])
            exits = min(held, lots if s[et.SG_SIDE] == layout.SIDE_BUY else -lots)  # what would reduce, and is no dust
            can = exits * int(c.books[s[et.SG_INSTRUMENT], rt.BK_GOOD_MARK_X2_TICKS]) * 49 >= 10**8
            late = self.world.mono - s[et.SG_ENTERED_NS] > s[et.SG_HOLDING_NS] + 3 * S
            if s[et.SG_STATE] == layout.SIG_WORKING and held > 0 and can and late:
                return f"one-shot {s[et.SG_ID]} holds {held} lots"
        return ""

    def close(self) -> None:
        self.guard.close()

    def _final(self) -> None:
        """At rest the engine's cash is the venue's, and its journal says all that it knows."""
        life = self.life
        assert life is not None
        quote = self.config["instruments"][0]["quote"]
        cash = int(self.house.exchange.ledger.total("paper", quote) * 10**8)
        ours = int(life.core.account[rt.AC_CASH_E8])
        if not self.oracle.tainted and cash != ours:
            raise Violation(f"6 each trade once: the venue's cash is {cash}, the engine's {ours}")
        life.pass_now()
        life.drain()
        self._same(durable(life.core), durable(life.fold(life.batch()).core), "the journal at the end")
        kinds = (life.batch()[:, layout.J_KIND] & 255).tolist()
        said, sent, unsent = (
            kinds.count(kind) for kind in (layout.JOURNAL_INTENT, layout.JOURNAL_SENT, layout.JOURNAL_NOT_SENT)
        )
        if said != sent + unsent or sent != life.core.counters[layout.EC_ORDERS_SENT]:
            raise Violation(f"3 all accounted for: {said} intents, {sent} sent, {unsent} not sent")
        if self.house.exchange.disagreements:
            raise Violation("the exchange and its market disagree")


Look = Callable[[Episode], None]


def run(seed: int, safety_ns: int = 3 * S, planted: Plant = NOTHING, look: Look = lambda episode: None) -> Result:
    """One seed. ``planted`` changes the code while it runs (``tests.simulation.bugs``); ``look`` gets the built episode."""
    base, result = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None, Result(seed)
    world = World(seed)
    with tempfile.TemporaryDirectory(dir=base) as folder, seams(world), planted():
        episode = Episode(world, folder, safety_ns)
        look(episode)
        try:
            result.end = episode.run()
        except Violation as broken:
            result.violation, result.step = str(broken), world.steps
            world.note(f"VIOLATION {broken}")
        oracle, house = episode.oracle, episode.house
        result.steps, result.checks, result.lives = world.steps, oracle.checks, episode.lives
        result.simulated_ns, result.orders, result.trades = world.now, len(oracle.orders), len(house.trades())
        result.faults, result.lines, result.digest = episode.weather.count, world.lines, world.digest()
        episode.close()
    return result
