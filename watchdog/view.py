"""The independent view: the account as the venue shows it to the watchdog's own key, against limits and against the engine.

``read`` runs in a thread of its own and asks the venue; ``AccountJudge`` is pure and runs in the main loop. Hard limits are
1.2 times the engine's and count after two readings in a row (orders and positions are not read at one moment). The engine
disagrees when for more than 3 s no reading fits anything its account page has said around that time: a sign error, a fill
booked twice, a fill lost, or an order that it does not know of. Quantities are exact decimals.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from watchdog.beat import Account
from watchdog.credentials import KeyRing
from watchdog.venue import Unreachable, Venue

PERIOD_S = 1.0
CALLS = 5  # of one reading
AROUND_NS = 1_000_000_000  # how far the venue's moment and the engine's may lie apart
DISAGREE_NS = 3_000_000_000
LOST_NS = 10_000_000_000
MARGIN = Decimal("1.2")
PPM = Decimal(1_000_000)
DAY_NS = 86_400_000_000_000


class Order(NamedTuple):
    """An open order of the account; ``leaves`` in base units."""

    symbol: str
    side: str
    leaves: Decimal


class Reading(NamedTuple):
    """The account between two moments of CLOCK_MONOTONIC.

    ``positions`` are all that is held, in base units; ``fills`` are (trade id, money received less fee) of those that the
    reading before did not have.
    """

    began_ns: int
    ended_ns: int
    orders: list[Order]
    positions: dict[str, Decimal]
    fills: list[tuple[int, Decimal]]
    cash: dict[str, Decimal]
    revoked_key: str


def exact(text: Any) -> Decimal:
    """A finite decimal; raises ValueError or ArithmeticError."""
    value = Decimal(str(text))
    if not value.is_finite():
        raise ValueError("not a finite number")
    return value


def flow_of(fill: dict[str, Any]) -> tuple[int, Decimal]:
    value = exact(fill["price"]) * exact(fill["quantity"])
    return int(fill["trade_id"]), (-value if fill["side"] == "buy" else value) - exact(fill.get("fee", "0"))


def read(venue: Venue, ring: KeyRing, after: int) -> Reading:
    """One reading; raises Unreachable, also when the answer is not what was agreed."""
    began = time.monotonic_ns()
    try:
        orders = [Order(str(r.get("symbol")), str(r.get("side")), exact(r.get("leaves", "0"))) for r in venue.open_orders()]
        rows = venue.positions()
        positions = {str(row["symbol"]): exact(row["position"]) + exact(row.get("baseline", "0")) for row in rows}
        fills = sorted(flow_of(fill) for fill in venue.fills(after))
        cash = {str(row["currency"]): exact(row["total"]) for row in venue.balances().data.get("balances") or []}
        return Reading(began, time.monotonic_ns(), orders, positions, fills, cash, ring.revoked_elsewhere(venue))
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise Unreachable(f"the account cannot be read: {type(error).__name__}") from None


def watch_account(venue: Venue, ring: KeyRing, tell: Callable[[Reading | Unreachable], None]) -> None:
    """Read each second, or as often as the venue's rate budget leaves room for, for ever; every outcome is told."""
    after, budget = 0, venue.way.budget
    period_s = max(PERIOD_S, budget.spacing_s(CALLS)) if budget is not None else PERIOD_S
    while True:
        began = time.monotonic()
        try:
            reading = read(venue, ring, after)
            after = max([after, *(number for number, _ in reading.fills)])
            tell(reading)
        except Unreachable as error:
            tell(error)
        time.sleep(max(0.05, period_s - (time.monotonic() - began)))


class Start(NamedTuple):
    """What the day began with: its number, the value of the account, and the value of what is held."""

    day: int
    nav: Decimal
    held: Decimal


class AccountJudge:
    """``say`` takes in what the engine believes, ``judge`` a reading; one thread."""

    def __init__(self, instruments: list[dict[str, Any]], limits: Mapping[str, Any]) -> None:
        self.instruments = [row for row in instruments if "lot_size" in row]
        self.baselines = {str(row["symbol"]): Decimal(row.get("baseline") or "0") for row in self.instruments}
        self.limits = {name: int(value) for name, value in limits.items() if type(value) is int}
        self.said: deque[tuple[int, Account]] = deque()
        self.differs_ns = 0
        self.beyond = ""
        self.start: Start | None = None
        self.flow = Decimal(0)
        self.last_trade = 0

    def say(self, now_ns: int, account: Account) -> None:
        """The engine's page as it is now; only changes are kept."""
        if not self.said or self.said[-1][1] != account:
            self.said.append((now_ns, account))
        while len(self.said) > 1 and self.said[1][0] < now_ns - DISAGREE_NS:
            self.said.popleft()

    def forget(self) -> None:
        """Another execution, or no lease: what was said does not count, and a difference begins anew."""
        self.said.clear()
        self.differs_ns = 0

    def judge(
        self, reading: Reading, now_ns: int, wall_ns: int, marks: Mapping[str, Decimal], engine_counts: bool
    ) -> tuple[str, str]:
        """(fault class, why), ("", "") when all is well. ``engine_counts``: it holds a lease and has reconciled."""
        if reading.revoked_key:
            return "key_revoked_elsewhere", f"the venue lists {reading.revoked_key} as revoked, and we did not do it"
        before, self.beyond = self.beyond, self._beyond(reading, wall_ns, marks)
        if before and self.beyond:
            return "over_limit", self.beyond
        why = self._difference(reading) if engine_counts else ""
        if not why:
            self.differs_ns = 0
            return "", ""
        self.differs_ns = self.differs_ns or reading.began_ns
        lasted = now_ns - self.differs_ns
        return ("disagreement", f"{why}, for {lasted // 1_000_000} ms") if lasted > DISAGREE_NS else ("", "")

    def _held(self, reading: Reading, symbol: str) -> Decimal:
        """Beyond the configured baseline, as the engine counts it."""
        baseline = self.baselines[symbol]
        return reading.positions.get(symbol, baseline) - baseline

    def held_count(self, reading: Reading) -> int:
        """Instruments with a position."""
        return sum(self._held(reading, symbol) != 0 for symbol in self.baselines)

    # --- The engine's word -----------------------------------------------------------------------------------------
    def _difference(self, reading: Reading) -> str:
        around = self._around(reading)
        if not around:
            return ""
        for index, row in enumerate(self.instruments):
            symbol = str(row["symbol"])
            lots = self._held(reading, symbol) / Decimal(row["lot_size"])
            said = {account.positions[index] for account in around}
            if lots not in said:
                return f"{symbol}: the venue has {lots} lots, the engine {sorted(said)[-1]}"
        most = max(account.open_orders for account in around)
        if len(reading.orders) > most:
            return f"the venue has {len(reading.orders)} open orders, the engine knows {most}"
        return ""

    def _around(self, reading: Reading) -> list[Account]:
        """What the engine said from AROUND_NS before the reading on, with what stood at that moment."""
        first_ns = reading.began_ns - AROUND_NS
        earlier = [account for at, account in self.said if at < first_ns]
        return earlier[-1:] + [account for at, account in self.said if at >= first_ns]

    # --- The hard limits ----------------------------------------------------------------------------------------------
    def _limit(self, name: str) -> Decimal | None:
        value = self.limits.get(name, -1)
        return None if value < 0 else value * MARGIN

    def _beyond(self, reading: Reading, wall_ns: int, marks: Mapping[str, Decimal]) -> str:
        for number, money in reading.fills:  # deposits and withdrawals are not among them, so they are never a loss
            if number > self.last_trade:
                self.last_trade, self.flow = number, self.flow + money
        count = self._limit("max_open_orders")
        if count is not None and len(reading.orders) > count:
            return f"{len(reading.orders)} open orders, {count} at most"
        symbols = [str(row["symbol"]) for row in self.instruments]
        if not symbols or any(symbol not in marks for symbol in symbols):
            return ""  # nothing is valued before every instrument has a price
        quote = str(self.instruments[0].get("quote", ""))
        values = {symbol: self._held(reading, symbol) * marks[symbol] for symbol in symbols}
        held = sum(values.values(), Decimal(0))
        nav, day = reading.cash.get(quote, Decimal(0)) + held, wall_ns // DAY_NS
        if self.start is None or day > self.start.day:
            self.start, self.flow = Start(day, nav, held), Decimal(0)
        return self._day_loss(held) or self._exposure(reading, values, marks, min(nav, self.start.nav))

    def _day_loss(self, held: Decimal) -> str:
        assert self.start is not None
        limit, loss = self._limit("day_loss_ppm"), self.start.held - held - self.flow
        if limit is not None and loss > max(self.start.nav, Decimal(0)) * limit / PPM:
            return f"the day's loss is {loss:.2f} of {self.start.nav:.2f}"
        return ""

    def _exposure(self, reading: Reading, values: Mapping[str, Decimal], marks: Mapping[str, Decimal], nav: Decimal) -> str:
        cap, gross_cap = self._limit("position_ppm"), self._limit("gross_exposure_ppm")
        for symbol, value in values.items():
            working = {"buy": Decimal(0), "sell": Decimal(0)}
            for order in reading.orders:
                if order.symbol == symbol and order.side in working:
                    working[order.side] += order.leaves * marks[symbol]
            worst = max(value + working["buy"], working["sell"] - value)
            if cap is not None and worst > nav * cap / PPM:
                return f"{symbol}: exposure {worst:.2f} at a value of {nav:.2f}"
        gross = sum((abs(value) for value in values.values()), Decimal(0))
        if gross_cap is not None and gross > nav * gross_cap / PPM:
            return f"gross exposure {gross:.2f} at a value of {nav:.2f}"
        return ""
