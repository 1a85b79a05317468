"""The venue's view of the account, asked over REST by the control thread and handed to the core as events.

Python never writes a table of the core: every answer becomes one EVENT row in the inbox, in the order that
``engine.events`` describes. A question that fails changes nothing; the next round asks again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import tables as et
from engine import wiring as wi
from fabric import layout
from venue.rest import Rest

Event = npt.NDArray[np.int64]
E8 = Decimal(10) ** 8


class InboxFullError(RuntimeError):
    """The loop did not take our events; the round is abandoned and asked again."""


class Inbox:
    """Control thread to loop: a count word, the loop's count word, then rows. One writer, one reader."""

    def __init__(self) -> None:
        self.words: npt.NDArray[np.int64] = np.zeros(layout.LINE // 8 + wi.INBOX * len(et.EVENT), np.int64)
        self._rows = self.words[layout.LINE // 8 :].reshape(wi.INBOX, len(et.EVENT))
        self._count = 0

    def put(self, event: Event, timeout_s: float = 2.0) -> None:
        deadline = time.monotonic() + timeout_s
        while self._count - int(self.words[1]) >= wi.INBOX - 1:
            if time.monotonic() > deadline:
                raise InboxFullError("the loop takes no reconciliation events")
            time.sleep(0.001)
        self._rows[self._count & (wi.INBOX - 1)] = event
        self._count += 1
        self.words[0] = self._count  # after the row: pairs with read_inbox's load_acquire


class AccountQuery:
    """Turns REST answers into events for the given instruments."""

    def __init__(self, rest: Rest, instruments: list[dict[str, Any]]) -> None:
        self.rest = rest
        self._index = {i["symbol"]: k for k, i in enumerate(instruments)}
        self._instruments = instruments
        self.last_trade_id = 0

    def _event(self, kind: int, **values: int) -> Event:
        event: Event = np.full(len(et.EVENT), -1, np.int64)
        event[et.EV_KIND] = kind
        for name, value in values.items():
            event[et.EVENT.index(name)] = value
        return event

    def _lots(self, index: int, size: str) -> int:
        return int(Decimal(size) / Decimal(self._instruments[index]["lot_size"]))

    def _ticks(self, index: int, price: str | None) -> int:
        return int(Decimal(price) / Decimal(self._instruments[index]["tick_size"])) if price is not None else -1

    def _order(self, kind: int, order: dict[str, Any]) -> Event:
        index = self._index.get(order["symbol"], -1)
        text = str(order["client_order_id"])
        return self._event(
            kind,
            order_id=int(text) if text.isdecimal() and int(text) < 1 << 63 else -1,
            venue_id=int(order["order_id"]),
            instrument=index,
            side=layout.SIDE.index(order["side"]),
            price_ticks=self._ticks(index, order.get("price")) if index >= 0 else -1,
            lots=self._lots(index, order["quantity"]) if index >= 0 else -1,
            cumulative=self._lots(index, order["filled"]) if index >= 0 else -1,
            leaves=self._lots(index, order["leaves"]) if index >= 0 else -1,
        )

    def _fill(self, fill: dict[str, Any]) -> Event:
        index = self._index.get(fill["symbol"], -1)
        text = str(fill["client_order_id"])
        return self._event(
            layout.EVENT_FILL,
            order_id=int(text) if text.isdecimal() else -1,
            venue_id=int(fill["order_id"]),
            trade_id=int(fill["trade_id"]),
            instrument=index,
            side=layout.SIDE.index(fill["side"]),
            price_ticks=self._ticks(index, fill["price"]),
            lots=self._lots(index, fill["quantity"]),
            cumulative=self._lots(index, fill["cumulative"]),
            leaves=self._lots(index, fill["leaves"]),
            fee_e8=int(Decimal(fill["fee"]) * E8),
            liquidity=layout.LIQUIDITY.index(fill["liquidity"]),
            venue_ns=int(fill["exchange_ts"]) * 1000,
        )

    def round(self, first: bool) -> Iterator[Event]:
        """One reconciliation. ``first``: fills of the past belong to the balance that is taken now, and are skipped."""
        yield self._event(layout.EVENT_RECONCILE_BEGIN)
        open_orders = self.rest.get("/v1/orders/open")["orders"]
        fills = self.rest.get(f"/v1/fills?after={self.last_trade_id}")["fills"]
        positions = self.rest.get("/v1/positions")["positions"]
        balances = self.rest.get("/v1/balances")["balances"]
        for fill in fills:
            if not first and fill["symbol"] in self._index:
                yield self._fill(fill)
            self.last_trade_id = max(self.last_trade_id, int(fill["trade_id"]))
        for order in open_orders:
            yield self._order(layout.EVENT_FOUND_OPEN, order)
        for position in positions:
            index = self._index.get(position["symbol"])
            if index is not None:
                total = Decimal(position["position"]) + Decimal(position.get("baseline", "0"))
                baseline = self._lots(index, self._instruments[index]["baseline"])
                lots = self._lots(index, str(total))
                yield self._event(layout.EVENT_POSITION, instrument=index, lots=lots, extra=baseline)
        quote = self._instruments[0]["quote"]
        for balance in balances:
            if balance["currency"] == quote:
                yield self._event(layout.EVENT_BALANCE, extra=int(Decimal(balance["total"]) * E8))
        yield self._event(layout.EVENT_RECONCILE_END)

    def order(self, order_id: int) -> Event:
        """What became of one order of ours."""
        status, body = self.rest.call("GET", f"/v1/orders/{order_id}")
        if status == 404:
            return self._event(layout.EVENT_FOUND_MISSING, order_id=order_id)
        kind = layout.EVENT_FOUND_OPEN if body["status"] == "open" else layout.EVENT_FOUND_CLOSED
        event = self._order(kind, body)
        ends = {"filled": layout.STATE_FILLED, "cancelled": layout.STATE_CANCELLED, "rejected": layout.STATE_REJECTED}
        event[et.EV_EXTRA] = ends.get(body["status"], layout.STATE_EXPIRED)
        return event
