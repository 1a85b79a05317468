"""What happens to a run: its market, its records from the slow path, and the single faults, all from the seed.

``Scenario`` plans its own next events; ``calm`` ends everything but an ordinary market, which ``freeze`` ends too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from fabric import layout
from tests.simulation.crowd import SIDES
from tests.simulation.net import MANAGEMENT_KEY
from tests.simulation.world import DAY, MS, S

if TYPE_CHECKING:
    from tests.simulation.episode import Episode

START_TICKS = 1_000_000
WORD = 1 << 63
STRANGERS = ("424242", str(layout.order_id(2, 3, 12)))


class Scenario:
    def __init__(self, episode: Episode) -> None:
        self.episode, self.world, self.house = episode, episode.world, episode.house
        self.weather = episode.weather
        self.symbols = [row["symbol"] for row in episode.config["instruments"]]
        self.middle = {symbol: START_TICKS for symbol in self.symbols}
        self._market, self._records = self.world.stream("market"), self.world.stream("records")
        self._fate = self.world.stream("scenario")
        self.pace = self._market.choice((8, 15, 30)) * MS
        self.step = self._market.choice((5, 20, 60))
        self.half = self._market.choice((3, 10, 40))
        self.signals_every = self._records.choice((40, 150, 600)) * MS
        self.next_signal = 1000
        self.is_calm = self.frozen = self.over = False
        self.newest: dict[str, Any] = {}
        for symbol in self.symbols:
            self._move(symbol)
        self._later(self.pace, "market", self._tick)
        self._later(self.signals_every, "record", self._record)
        self._plan()

    def _later(self, delay: int, name: str, call: Callable[[], None]) -> None:
        self.world.later(delay, name, call)

    def calm(self) -> None:
        self.is_calm = True
        self.house.faults.reject_all = self.house.faults.cancel_on_disconnect = False
        self.house.faults.revoke = "normal"
        self.world.wall_skew = 0

    def end(self) -> None:
        """No news any more: the crowd stands where it is, and shows itself anew when it was taken."""
        self.over = True
        self.frozen = False
        self._later(0, "market", self._tick)

    # Market

    def _tick(self) -> None:
        if self.frozen:
            return
        self._later(int(self._market.expovariate(1 / self.pace)) * (10 if self.over else 1) + 1, "market", self._tick)
        symbol = self._market.choice(self.symbols)
        if self.over:
            self._move(symbol)
            return
        self.middle[symbol] += round(self._market.gauss(0, self.step))
        if self._market.random() < 0.1:
            side = self._market.choice(SIDES)
            self.house.exchange.settle(self.house.crowd.take(symbol, side, self._market.randrange(1, 3000)))
        self._move(symbol)

    def _move(self, symbol: str) -> None:
        lots = self._market.randrange(200, 5000)
        self.house.exchange.settle(self.house.crowd.move(symbol, self.middle[symbol], self.half, lots))
        if not self.over:
            self._publish(symbol)

    def _publish(self, symbol: str) -> None:
        """What the feed makes of it."""
        book = self.house.crowd.books[symbol]
        bid, ask = book.touch()
        if bid is not None and ask is not None:
            sizes = book.lots_at("buy", bid), book.lots_at("sell", ask)
            self._slot(layout.MARKET_TICK, symbol, bid, sizes[0], ask, sizes[1])

    def _slot(self, kind: int, symbol: str, *touch: int, status: int = layout.BOOK_READY) -> None:
        slot = np.zeros(len(layout.MARKET_SLOT), np.int64)
        slot[layout.M_KIND], slot[layout.M_INSTRUMENT], slot[layout.M_STATUS] = kind, self.symbols.index(symbol), status
        slot[layout.M_BID_TICKS : layout.M_BID_TICKS + len(touch)] = touch
        slot[layout.M_RECV_NS] = self.world.mono
        if kind == layout.MARKET_TICK:
            self.newest[symbol] = slot
        lapped = self.weather.has("market_gap") and self._market.random() < 0.02
        if lapped:
            self._count("market_gap")
        delay = int(self._market.uniform(0.1, 2) * MS)

        def arrive() -> None:
            life = self.episode.life
            if life is not None:
                life.loop.market.append([one.copy() for one in self.newest.values()] if lapped else slot)
                life.market_cursor += 1
                life.wake()

        self._later(delay, "to loop", arrive)

    # Slow path

    def _record(self) -> None:
        if self.is_calm:
            return
        self._later(int(self._records.expovariate(1 / self.signals_every)) + 1, "record", self._record)
        r = self._records
        slot = np.zeros(len(layout.SIGNAL_SLOT), np.int64)
        if self.weather.has("garbage") and r.random() < 0.3:
            self._count("garbage")
            slot[:] = [r.choice((r.randrange(-3, 12), r.randrange(-WORD, WORD), -1, WORD - 1, -WORD)) for _ in slot]
            slot[layout.S_KIND] = r.choice((0, 1, 2, 3, 7, 200))
            slot[layout.S_SOURCE] = r.randrange(len(layout.SIGNAL_SOURCE))
        else:
            self._sound(slot)
        self.episode.say(slot)
        if r.random() < 0.05:
            self.episode.say(slot.copy())

    def _sound(self, slot: Any) -> None:
        r, index = self._records, self._records.randrange(len(self.symbols))
        self.next_signal += 1
        slot[layout.S_INSTRUMENT], slot[layout.S_SEQ] = index, self.next_signal
        slot[layout.S_ISSUED_NS], slot[layout.S_SOURCE] = self.world.mono, layout.SOURCE_LLM
        slot[layout.S_EXPIRES_NS] = self.world.mono + r.randrange(20, 2000) * MS
        slot[layout.S_MODEL_HASH], slot[layout.S_PROMPT_HASH] = 11, self.next_signal
        if r.random() < 0.25:
            slot[layout.S_KIND] = layout.SIGNAL_PARAMETER
            slot[layout.S_ID] = r.randrange(1, len(layout.PARAMETER))
            slot[layout.S_VALUE] = r.randrange(1, 400)
            return
        side, middle = r.randrange(2), self.middle[self.symbols[index]]
        away = r.randrange(-200, 400) * (1 if side == 0 else -1)
        stop = r.choice((50, 500, 5000)) * (-1 if side == 0 else 1)
        slot[layout.S_KIND], slot[layout.S_ID] = layout.SIGNAL_ONESHOT, self.next_signal
        slot[layout.S_SIDE], slot[layout.S_LOTS] = side, r.randrange(1, 1500)
        slot[layout.S_LIMIT_TICKS] = middle + away
        slot[layout.S_STOP_TICKS] = middle + away + stop
        slot[layout.S_URGENCY], slot[layout.S_HOLDING_NS] = r.randrange(1, 11), r.randrange(50, 1500) * MS

    # Single faults

    def _plan(self) -> None:
        """Each fault that this seed has strikes once to a few times within the safety phase."""
        acts = {
            "cut": self._cut, "crash": self._crash, "crash_mid_pass": self._crash_mid_pass, "power": self._power,
            "engine_stall": self._engine_stall, "watchdog_stall": self._watchdog_stall, "suspend": self._suspend,
            "wall_step": self._wall_step, "reject_all": self._reject_all, "contradict": self._contradict,
            "stranger": self._stranger, "market_dirty": self._market_dirty, "price_crash": self._price_crash,
            "stale": self._stale, "kill": self._kill, "revoke_fail": self._revoke_fail,
        }  # fmt: skip
        if self.weather.has("cancel_on_disconnect"):
            self.house.faults.cancel_on_disconnect = True
        for name, act in acts.items():
            if self.weather.has(name):
                for _ in range(self._fate.choice((1, 1, 2, 4))):
                    self._later(self._fate.randrange(self.episode.safety_ns), name, self._unless_calm(name, act))
        if self._fate.random() < 0.2:
            when = self._fate.randrange(self.episode.safety_ns)
            self._later(when, "checkpoint", self._unless_calm("checkpoint", self._checkpoint))

    def _unless_calm(self, name: str, act: Callable[[], None]) -> Callable[[], None]:
        def strike() -> None:
            if not self.is_calm:
                self._count(name)
                self.world.note(f"fault: {name}")
                act()

        return strike

    def _count(self, name: str) -> None:
        self.weather.count[name] = self.weather.count.get(name, 0) + 1

    def _cut(self) -> None:
        life = self.episode.life
        if life is not None and life.loop.pipe is not None:
            self.house.cut(life.loop.pipe, "network")

    def _crash(self) -> None:
        if self.episode.life is not None:
            self.episode.life.die("SIGKILL")

    def _crash_mid_pass(self) -> None:
        if self.episode.life is not None:
            self.episode.life.loop.die_at = self._fate.choice(("intent", "sent"))

    def _power(self) -> None:
        self.episode.power_cut(lost=self._fate.randrange(1, 40), torn=self._fate.randrange(0, 128))

    def _engine_stall(self) -> None:
        life = self.episode.life
        if life is not None:
            life.stalled_until = self.world.now + self._fate.choice((10, 60, 150, 300, 900, 1500)) * MS

    def _watchdog_stall(self) -> None:
        self.episode.guard.away_until = self.world.now + self._fate.choice((30, 100, 250, 1000)) * MS

    def _suspend(self) -> None:
        self.world.slept += self._fate.choice((1, 30, 5000)) * MS

    def _wall_step(self) -> None:
        """Behind at will; ahead only within half of the venue's window, or so far that it refuses at once."""
        steps = (-DAY, -5 * S, -150 * MS, -50 * MS, 50 * MS, 90 * MS, 3 * S, DAY)
        self.world.wall_skew = self._fate.choice(steps)
        self._later(self._fate.randrange(50, 800) * MS, "wall back", self._wall_back)

    def _wall_back(self) -> None:
        self.world.wall_skew = 0

    def _reject_all(self) -> None:
        self.house.faults.reject_all = True
        self._later(self._fate.randrange(20, 500) * MS, "accepts", self._accept)

    def _accept(self) -> None:
        self.house.faults.reject_all = False

    def _revoke_fail(self) -> None:
        self.house.faults.revoke = "fail"
        self._later(self._fate.randrange(100, 2000) * MS, "revokes", self._revoke_again)

    def _revoke_again(self) -> None:
        self.house.faults.revoke = "normal"

    def _contradict(self) -> None:
        """Something old again, something wrong about an open order, or something that cannot be read."""
        life, r = self.episode.life, self._fate
        if life is None or life.loop.pipe is None:
            return
        session, open_now = life.loop.pipe.session, self.house.exchange.open_orders()
        wrong: list[bytes] = [
            b'{"type":"fill","client_order_id":"7"',
            b'{"type":"novelty"}',
            b"[]",
            b'{"type":"fill","leaves":1}',
        ]
        if self.house.said:
            wrong += [r.choice(self.house.said)] * 8
        if open_now:
            number = r.choice(open_now).client_order_id
            for reason in ("not_found", "already_closed", "deadline_passed", "rate_limited"):
                wrong.append(orjson.dumps({"type": "cancel_reject", "client_order_id": number, "reason": reason}))
            wrong.append(orjson.dumps({"type": "reject", "client_order_id": number, "symbol": "", "reason": "duplicate_id"}))
        self.house.deliver(session, r.choice(wrong), 0)

    def _stranger(self) -> None:
        """Somebody else uses the account."""
        r, key = self._fate, self.house.exchange.keys.find(MANAGEMENT_KEY)
        assert key is not None
        symbol, side = r.choice(self.symbols), r.choice(("buy", "sell"))
        far = self.half * r.choice((-5, 1, 5)) * (1 if side == "buy" else -1)
        fields = {
            "action": "place_order", "client_order_id": r.choice(STRANGERS), "symbol": symbol, "side": side,
            "quantity": 0.0100, "price": round((self.middle[symbol] + far) / 100, 2), "type": "limit",
            "timestamp": self.world.venue_us // 1000,
        }  # fmt: skip
        self.episode.oracle.taint("a stranger trades")
        self.house.exchange.place(fields, key)

    def _market_dirty(self) -> None:
        symbol = self._fate.choice(self.symbols)
        self._slot(layout.MARKET_BOOK, symbol, status=layout.BOOK_DIRTY)
        self._later(self._fate.randrange(1, 400) * MS, "book clean", lambda: self._slot(layout.MARKET_BOOK, symbol))

    def _price_crash(self) -> None:
        symbol = self._fate.choice(self.symbols)
        self.middle[symbol] = int(self.middle[symbol] * self._fate.choice((0.7, 0.9, 0.97, 0.99, 1.01, 1.05)))
        self._move(symbol)

    def _stale(self) -> None:
        """The feed is silent for a while."""
        self.frozen = True
        self._later(self._fate.randrange(200, 3000) * MS, "market again", self.thaw)

    def thaw(self) -> None:
        if self.frozen and not self.over:
            self.frozen = False
            self._tick()

    def _kill(self) -> None:
        self.episode.guard.kill("operator", "drill")

    def _checkpoint(self) -> None:
        if self.episode.life is not None and not self.episode.life.dead:
            self.episode.life.save_checkpoint()
