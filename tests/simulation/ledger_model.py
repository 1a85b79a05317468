"""The slow model: what the account must be, in plain exact Python, from what the loop was told.

It knows trades by their ids alone and takes what they were from the exchange's own ledger, so it shares no decoding and no
arithmetic with the engine. ``Truth`` is the venue's side: positions, open orders and what is still under way.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from tests.simulation.net import VenueHouse

E8 = Decimal(10) ** 8


class Trade(NamedTuple):
    order: str
    instrument: int
    signed_lots: int
    money_e8: int  # what it did to the cash, fee included


class Trades:
    """The exchange's trades of our account by id, in units of the engine."""

    def __init__(self, house: VenueHouse, instruments: list[dict[str, Any]]) -> None:
        self._fills = house.trades()
        self._index = {row["symbol"]: k for k, row in enumerate(instruments)}
        self._lots = [Decimal(row["lot_size"]) for row in instruments]
        self._seen = 0
        self.known: dict[int, Trade] = {}

    def get(self, trade_id: int) -> Trade | None:
        self.refresh()
        return self.known.get(trade_id)

    def refresh(self) -> None:
        while self._seen < len(self._fills):
            fill = self._fills[self._seen]
            self._seen += 1
            index, size = self._index[fill["symbol"]], Decimal(fill["quantity"])
            sign = 1 if fill["side"] == "buy" else -1
            money = -sign * size * Decimal(fill["price"]) - Decimal(fill["fee"])
            trade = Trade(fill["client_order_id"], index, sign * int(size / self._lots[index]), int(money * E8))
            self.known[int(fill["trade_id"])] = trade


class SlowAccount:
    """Position and cash after the trades applied so far, each once."""

    def __init__(self, trades: Trades, instruments: int) -> None:
        self.trades = trades
        self.applied: set[int] = set()
        self.lots = [0] * instruments
        self.cash_e8 = 0
        self.filled: dict[int, int] = {}

    def apply(self, trade_id: int) -> str:
        """ "" or what is wrong with being told of this trade."""
        trade = self.trades.get(trade_id)
        if trade is None:
            return f"trade {trade_id} is none of the exchange's ledger"
        if trade_id not in self.applied:
            self.applied.add(trade_id)
            self.lots[trade.instrument] += trade.signed_lots
            self.cash_e8 += trade.money_e8
            number = int(trade.order)
            self.filled[number] = self.filled.get(number, 0) + abs(trade.signed_lots)
        return ""


class Truth:
    """What the venue holds, and what it may come to hold by what is under way."""

    def __init__(self, house: VenueHouse, instruments: list[dict[str, Any]]) -> None:
        self.house = house
        self.rows = [house.exchange.instruments[row["symbol"]] for row in instruments]
        self._index = {row["symbol"]: k for k, row in enumerate(instruments)}

    def lots(self, instrument: int) -> int:
        row = self.rows[instrument]
        return row.lots(self.house.exchange.position(row))

    def working(self, ours: Any) -> list[list[int]]:
        """[instrument][side] lots of our open orders and of those under way that the venue would still take."""
        sums = [[0, 0] for _ in self.rows]
        for order in self.house.exchange.open_orders():
            if ours(int(order.client_order_id)):
                sums[self._index[order.symbol]][order.side == "sell"] += order.lots - order.settled_lots
        for fields, arrives in self.house.under_way.values():
            sent_ms, window = fields["timestamp"], fields["recv_window"]
            venue_ms = (arrives // 1000 + self.house.world.venue_us - self.house.world.now // 1000) // 1000
            if venue_ms <= sent_ms + window and sent_ms <= venue_ms + 1000:
                k = self._index[fields["symbol"]]
                sums[k][fields["side"] == "sell"] += int(Decimal(repr(fields["quantity"])) / self.rows[k].lot_size)
        return sums
