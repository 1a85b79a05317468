# mypy: disable-error-code="no-untyped-call"
"""The invariants, checked after every step; three witnesses: assertions, the slow model, the exchange's own ledger.

Numbers are those of ``docs/simulation.md``. A rule that does not hold raises ``Violation`` at the step that broke it.
``taint`` says that the engine cannot know everything any more (somebody else trades, records were lost with the power):
from then on positions are compared at the end, when all must be reconciled, and not at each step.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from engine import tables as et
from fabric import layout
from risk import tables as rt
from tests.simulation.gate_probe import GateProbe
from tests.simulation.ledger_model import SlowAccount, Trades, Truth
from tests.simulation.shell import Slot, Watcher
from tests.simulation.world import MS, S, Violation

if TYPE_CHECKING:
    from tests.simulation.episode import Episode
    from tests.simulation.life import Life

OPEN = {*range(layout.STATE_PENDING_NEW, layout.STATE_PENDING_REPLACE + 1), layout.STATE_UNKNOWN}
PPM = 1_000_000
CANCELS_PER_S = 8
PROBE_EVERY = 25


class Oracle(Watcher):
    def __init__(self, episode: Episode) -> None:
        self.episode, self.world, self.house = episode, episode.world, episode.house
        self.config = episode.config
        self.instance = int(self.config["instance"])
        rows = self.config["instruments"]
        self.trades, self.truth = Trades(self.house, rows), Truth(self.house, rows)
        self.account = SlowAccount(self.trades, len(rows))
        self.account.cash_e8 = self.config["simulation"]["balance"] * 10**8
        self.tainted = ""
        self.orders: dict[int, dict[str, Any]] = {}
        self.ended: set[int] = set()
        self.last_id = 0
        self.sends: deque[int] = deque()
        self.cancels: dict[str, deque[int]] = {}
        self.gate = GateProbe(self.world, self.config)
        self.halted = self.cleared = False
        self.peak_e8 = 0
        self.checks = self.accepted = 0
        self._seen, self._owned = (-1, -1), -1

    def taint(self, why: str) -> None:
        self.tainted = self.tainted or why

    def require(self, holds: bool, rule: str, what: str) -> None:
        if not holds:
            raise Violation(f"{rule}: {what}")

    def ours(self, number: int) -> bool:
        """An order of this engine, not a stranger's."""
        return number >> 53 == self.instance

    # What the loop is told (``Watcher``)

    def message(self, payload: bytes) -> None:
        said = orjson.loads(payload)
        if said["type"] == "fill":
            self._told(int(said["trade_id"]))

    def row(self, event: Slot) -> None:
        if event[et.EV_KIND] == layout.EVENT_FILL:
            self._told(int(event[et.EV_TRADE_ID]))

    def _told(self, trade_id: int) -> None:
        wrong = self.account.apply(trade_id)
        self.require(not wrong, "6 each trade once", wrong)

    # 1 and 3: at the gateway

    def sending(self, frame: bytes, row: int) -> None:
        """A new order leaves: permission, identity, size and rate, judged by what the guard gave and the ledger has."""
        fields, life, now = orjson.loads(frame), self.episode.life, self.world.now
        assert life is not None
        c, number = life.core, int(fields["client_order_id"])
        _, epoch, _ = layout.split_order_id(number)
        is_exit = bool(c.orders[row, et.OR_IS_EXIT])
        self.require(number > self.last_id, "1 gateway", f"order {number} after {self.last_id}")
        self.last_id = number
        until = self.episode.guard.until.get(epoch, 0)
        watch = self.episode.guard.watch
        current = watch.epoch if watch is not None else 0
        self.require(now < until, "1 gateway", f"order {number} without permission: it ended {(now - until) / MS} ms ago")
        self.require(epoch == current, "1 gateway", f"order {number} of epoch {epoch}, the guard is at {current}")
        self.require(is_exit or not self.halted, "1 gateway", f"order {number} leaves although halted")
        lots, instrument = int(c.orders[row, et.OR_LOTS]), int(c.orders[row, et.OR_INSTRUMENT])
        side = fields["side"]
        self.orders[number] = {"lots": lots, "side": side, "instrument": instrument, "life": life.begun.card["life"]}
        self._size(life, row, side, is_exit)
        self._rate(number, is_exit)

    def _size(self, life: Life, row: int, side: str, is_exit: bool) -> None:
        c, limits, o = life.core, self.config["limits"], life.core.orders[row].tolist()
        number, instrument, lots, price = o[et.OR_ID], o[et.OR_INSTRUMENT], o[et.OR_LOTS], o[et.OR_PRICE_TICKS]
        unit, b = int(c.instruments[instrument, rt.IN_MULT]), c.books[instrument]
        self.require(lots <= int(c.instruments[instrument, rt.IN_MAX_LOTS]), "1 gateway", f"order {number}: {lots} lots")
        good_x2 = int(b[rt.BK_GOOD_MARK_X2_TICKS])
        moved = abs(good_x2 - int(c.orders[row, et.OR_DECISION_X2_TICKS]))  # by news later in the same pass
        reach = good_x2 * limits["collar_ppm"] // PPM + 2 + min(moved, good_x2 // 1000)
        beyond = 2 * price - good_x2 if side == "buy" else good_x2 - 2 * price
        self.require(beyond <= reach, "1 gateway", f"order {number}: price {price} beyond the collar of {good_x2 / 2}")
        if is_exit:
            held = self.truth.lots(instrument) if not self.tainted else None
            if held is not None and self.account.lots[instrument] == held:
                reduces = held >= lots if side == "sell" else -held >= lots
                self.require(reduces, "2 worst case", f"exit {number} of {lots} lots with {held} held")
            return
        worth = lots * price * unit
        self.require(worth <= limits["max_order_notional_e8"], "1 gateway", f"order {number} is worth {worth / 1e8}")
        self._cap(life, number, instrument, side)

    def _cap(self, life: Life, number: int, instrument: int, side: str) -> None:
        """2: the position if every order on this side trades stays within the cap, by the ledger's own numbers."""
        c, a = life.core, life.core.account
        if self.tainted:
            return
        sums = self.truth.working(self.ours)[instrument]
        lots = int(c.orders[(number & 0xFFFFFFFF) % et.ORDERS, et.OR_LOTS])
        position = self.truth.lots(instrument)
        worst = position + sums[0] + lots if side == "buy" else sums[1] + lots - position
        nav = max(min(int(a[rt.AC_NAV_E8]), int(a[rt.AC_DAY_START_NAV_E8])), 0)
        cap = nav * self.config["limits"]["position_ppm"] // PPM >> min(int(a[rt.AC_DRAWDOWN_STEP]), 2)
        mark_x2 = int(c.books[instrument, rt.BK_BID_TICKS] + c.books[instrument, rt.BK_ASK_TICKS])
        value = worst * mark_x2 * int(c.instruments[instrument, rt.IN_MULT]) // 2
        reducing = (position < 0) if side == "buy" else (position > 0)
        if worst > 0 and not (reducing and worst <= 0):
            self.require(value <= cap, "2 worst case", f"order {number}: {value / 1e8} of a cap of {cap / 1e8}")

    def _rate(self, number: int, is_exit: bool) -> None:
        now, most = self.world.mono, self.config["limits"]["order_rate_per_s"]
        while self.sends and now - self.sends[0] >= S:
            self.sends.popleft()
        self.sends.append(now)
        self.require(is_exit or len(self.sends) <= most, "3 rate", f"order {number} is the {len(self.sends)}th of a second")

    def cancelling(self, frame: bytes) -> None:
        """No spin: an order's cancel is not said as fast as the venue answers."""
        number = orjson.loads(frame).get("client_order_id", "")
        times = self.cancels.setdefault(number, deque())
        while times and self.world.now - times[0] >= S:
            times.popleft()
        times.append(self.world.now)
        self.require(not number or len(times) <= CANCELS_PER_S, "3 rate", f"{len(times)} cancels of {number} within a second")

    def unsent(self, row: int) -> None:
        life = self.episode.life
        assert life is not None
        number = int(life.core.orders[row, et.OR_ID])
        self.require(number not in self.orders, "1 gateway", f"order {number} was sent, and is said not to be")

    def heard(self, fields: dict[str, Any]) -> None:
        """At the venue, just before it acts."""
        if fields["action"] != "place_order":
            return
        number = int(fields["client_order_id"])
        self.require(number in self.orders, "1 gateway", f"order {number} was never sent")
        _, epoch, _ = layout.split_order_id(number)
        lived = self.episode.guard.until.get(epoch, 0) // MS
        slack = fields["recv_window"] + 100  # half of the venue's window is what our clock may be wrong by
        now_ms = self.world.now // MS
        sent_ms, venue_ms = fields["timestamp"], self.world.venue_us // 1000
        if sent_ms + fields["recv_window"] >= venue_ms >= sent_ms - 1000:
            self.require(now_ms <= lived + slack, "1 gateway", f"order {number} arrives {now_ms - lived} ms after permission")

    # After every step

    def check(self) -> None:
        life = self.episode.life
        if life is None or life.dead:
            return
        seen = (life.loop.passes, len(self.house.exchange.history) + len(self.house.trades()))
        if seen == self._seen:
            return
        self._seen = seen
        self.checks += 1
        self._states(life)
        self._orders(life)
        if not self.tainted:
            self._account(life)
            self._worst(life)
        if self.checks % PROBE_EVERY == 0:
            self.gate.check(life.core, life.loop.last_ns)

    def _states(self, life: Life) -> None:
        """4: a halt stays, the high-water mark never falls."""
        a = life.core.account
        state, peak = int(a[rt.AC_STATE]), int(a[rt.AC_HWM_E8])
        halted = state >= layout.RISK_HALTED
        self.require(halted or not self.halted or self.cleared, "4 halt stays", f"{layout.RISK_STATE[state]} after a halt")
        if halted and not self.halted:
            self.world.note(f"engine: {layout.RISK_STATE[state]}: {layout.REASON[int(a[rt.AC_REASON])]}")
        self.halted, self.cleared = halted, self.cleared and not halted
        self.require(peak >= self.peak_e8 or bool(self.tainted), "4 high-water mark", f"{peak} after {self.peak_e8}")
        self.peak_e8 = peak

    def _orders(self, life: Life) -> None:
        """6: filled + leaves = lots, sums are sums, what has ended stays so; nothing filled that the ledger has not."""
        c = life.core
        row, count, unknown, sums = int(c.scalars[et.K_LIVE_HEAD]), 0, 0, [[0, 0] for _ in c.positions]
        while row >= 0:
            o = c.orders[row].tolist()
            count += 1
            wrong = self._order(o) if count <= et.ORDERS else "the list of open orders is a ring"
            if wrong:
                raise Violation(f"6 orders: order {o[et.OR_ID]}: {wrong}")
            sums[o[et.OR_INSTRUMENT]][o[et.OR_SIDE]] += o[et.OR_LEAVES]
            unknown += o[et.OR_STATE] == layout.STATE_UNKNOWN
            row = o[et.OR_NEXT_LIVE]
        a = c.account
        self.require(count == a[rt.AC_OPEN_ORDERS] == c.scalars[et.K_LIVE_COUNT], "6 orders", f"{count} open, not counted so")
        self.require(unknown == a[rt.AC_UNKNOWN_ORDERS], "6 orders", f"{unknown} unknown, not counted so")
        working = c.positions[:, rt.PO_WORKING_BUY_LOTS : rt.PO_WORKING_SELL_LOTS + 1].tolist()
        self.require(working == sums, "6 orders", f"working {working}, the orders say {sums}")

    def _order(self, o: list[int]) -> str:
        """What is wrong with an open order, or ""."""
        number = o[et.OR_ID]
        if o[et.OR_STATE] not in OPEN:
            return f"listed as open, and {layout.ORDER_STATE[o[et.OR_STATE]]}"
        if number in self.ended:
            return "had ended before the restart, and is open again"
        if o[et.OR_FILLED] + o[et.OR_LEAVES] != o[et.OR_LOTS]:
            return f"{o[et.OR_FILLED]} filled + {o[et.OR_LEAVES]} leaves are not {o[et.OR_LOTS]}"
        told = self.account.filled.get(number, 0)
        return f"{o[et.OR_FILLED]} filled, told of {told}" if o[et.OR_FILLED] != told and not self.tainted else ""

    def _account(self, life: Life) -> None:
        """6: position and cash are those of the trades told, each once; owners' books add up; nothing is unexplained."""
        c, model = life.core, self.account
        lots = c.positions[:, rt.PO_LOTS].tolist()
        self.require(lots == model.lots, "6 each trade once", f"position {lots}, the trades told make {model.lots}")
        if life.reconciled:
            cash = int(c.account[rt.AC_CASH_E8])
            self.require(cash == model.cash_e8, "6 each trade once", f"cash {cash}, the trades told make {model.cash_e8}")
        if len(model.applied) != self._owned:  # owners' books change with trades alone
            self._owned = len(model.applied)
            owned = c.subbooks[:, rt.SB_LOTS].reshape(-1, len(lots)).sum(axis=0).tolist()
            self.require(owned == lots, "6 owners", f"owners hold {owned} of {lots}")
        self.require(c.scalars[et.K_UNOWNED_MASK] == 0, "6 owners", "a position is called unexplained")

    def _worst(self, life: Life) -> None:
        """2: the engine's worst case covers what the venue holds, has open, or is about to be given."""
        held, working = life.core.positions, self.truth.working(self.ours)
        for k, (buys, sells) in enumerate(working):
            position = self.truth.lots(k)
            p = held[k].tolist()
            long, short = p[rt.PO_LOTS] + p[rt.PO_WORKING_BUY_LOTS], p[rt.PO_WORKING_SELL_LOTS] - p[rt.PO_LOTS]
            if position + buys > long or sells - position > short:
                may, counted = (position + buys, sells - position), (long, short)
                raise Violation(f"2 worst case: long and short of {may} possible, the engine counts {counted}")

    # Between two lives

    def restarted(self, life: Life) -> None:
        """A new life has begun: the trades in its tables are those that are applied from here on."""
        c, seen = life.core, life.core.seen_trades
        self.trades.refresh()
        found = {t for t, trade in self.trades.known.items() if self._remembers(seen, t, trade.signed_lots < 0)}
        if not self.tainted:
            missing = self.account.applied ^ found
            self.require(not missing, "8 restart", f"trades {sorted(missing)[:5]} are lost or invented by the restart")
        self._seen = (-1, -1)
        self.ended |= {int(n) for n in c.orders[:, et.OR_ID][~np.isin(c.orders[:, et.OR_STATE], list(OPEN))] if n}

    @staticmethod
    def _remembers(seen: Any, trade_id: int, sell: bool) -> bool:
        key = trade_id * 2 + sell
        return bool(seen[key % et.TRADES_SEEN] == key)
