"""Accounts, orders and the market behind one counter: what the paper exchange does with an order message.

It alone writes the ledger and the orders' states. One event loop calls it, so each call is whole before the next begins.
Own-order messages go out through `publish(account, message)` in the order they happen; the first one is also the answer.
Cancels are never refused for the rate of a key: a venue that kept its users from pulling orders would be the wrong judge.
A `budget`, when there is one, counts every message and call of the account, cancels too, and refuses what is beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from sim.entry import Refused, Request, check_deadline, check_fields, client_id, late
from sim.faults import Faults
from sim.keys import Key, KeyStore
from sim.ledger import InsufficientFunds, Ledger, fee_text
from sim.limits import RateLimit
from sim.market import Closed, Execution, Instrument, Market, Order, Outcome, exact

ACCOUNT = "paper"
ANONYMOUS = "anonymous"
_ANONYMOUS_FUNDS = Decimal(10) ** 12
_COLLAR_PERCENT = 5
_FAUCET = Decimal(1)

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An order that was rejected: it uses up its client id, and stands in the history as it was sent."""

    client_order_id: str
    account: str
    key_id: str
    reason: str
    received_us: int
    fields: Mapping[str, Any]


class Exchange:
    """See the module's docstring. `now_us` is the venue's wall clock."""

    def __init__(
        self,
        instruments: Iterable[Instrument],
        market: Market,
        keys: KeyStore,
        balance: Decimal,
        now_us: Callable[[], int],
        faults: Faults | None = None,
        rate: RateLimit | None = None,
        budget: RateLimit | None = None,
    ) -> None:
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.market = market
        self.keys = keys
        self.now_us = now_us
        self.faults = faults or Faults()
        self.rate = rate or RateLimit()
        self.budget = budget
        self.ledger = Ledger()
        self.publish: Callable[[str, Message], None] = lambda account, message: None
        self.market_moved: Callable[[], None] = lambda: None
        self.history: list[Order | Refusal] = []
        self.fills: dict[str, list[Message]] = {ACCOUNT: [], ANONYMOUS: []}
        self.disagreements = 0
        self._by_id: dict[tuple[str, str], Order | Refusal] = {}
        self._open: dict[int, Order] = {}
        self._order_ids = count(1)
        self._anonymous_ids = count(1)
        self._anonymous_key = Key("sim", "trade", "anonymous", now_us())
        self._faucet_claimed: set[str] = set()
        self._fund(balance)

    def _fund(self, balance: Decimal) -> None:
        for quote in {instrument.quote for instrument in self.instruments.values()}:
            self.ledger.fund(ACCOUNT, quote, balance)
            self.ledger.fund(ANONYMOUS, quote, _ANONYMOUS_FUNDS)
        for instrument in self.instruments.values():
            self.ledger.fund(ACCOUNT, instrument.base, instrument.baseline)
            self.ledger.fund(ANONYMOUS, instrument.base, _ANONYMOUS_FUNDS)

    # Orders -----------------------------------------------------------------------------------------------------------

    def place(self, fields: Mapping[str, Any], key: Key, account: str = ACCOUNT) -> Message:
        """Act on a place_order and answer its ack or reject; Refused bad_field when there is no usable client id."""
        number = client_id(fields)
        now_us = self.now_us()
        try:
            self._admit(number, fields, key, account, now_us)
            request = check_fields(fields, self.instruments)
            order = self._prepare(number, request, key, account, now_us)
        except Refused as refusal:
            return self._reject(Refusal(number, account, key.key_id, refusal.reason, now_us, dict(fields)))
        self.history.append(order)
        self._by_id[account, number] = order
        self._open[order.order_id] = order
        ack = self._own("ack", order, now_us, symbol=order.symbol, status="open")
        self.publish(account, ack)
        self.settle(self.market.place(order, now_us))
        self.market_moved()
        return ack

    def place_anonymous(self, fields: Mapping[str, Any]) -> Message:
        """An order of the second account, which has no key, no deadline and no rate."""
        own = {"client_order_id": str(next(self._anonymous_ids)), "timestamp": self.now_us() // 1_000}
        return self.place({**fields, **own}, self._anonymous_key, ANONYMOUS)

    def _admit(self, number: str, fields: Mapping[str, Any], key: Key, account: str, now_us: int) -> None:
        """Everything that does not depend on what the order says."""
        if (account, number) in self._by_id:
            raise Refused("duplicate_id")
        if not key.may_trade():
            key.refuse(now_us, "order", "revoked" if key.revoked else "scope")
            raise Refused("not_allowed")
        if account != ANONYMOUS:
            self.spend()
        if account != ANONYMOUS and not self.rate.admit(key.key_id, now_us):
            raise Refused("rate_limited")
        if account != ANONYMOUS and self.faults.reject_all:
            raise Refused("halted")
        check_deadline(fields, now_us, required=True)

    def _prepare(self, number: str, request: Request, key: Key, account: str, now_us: int) -> Order:
        """The order with its funds reserved, or Refused."""
        instrument = request.instrument
        order = Order(
            client_order_id=number,
            order_id=next(self._order_ids),
            account=account,
            key_id=key.key_id,
            symbol=instrument.symbol,
            side=request.side,
            type=request.type,
            price_ticks=self._collar(request) if request.price_ticks is None else request.price_ticks,
            lots=request.lots,
            received_us=now_us,
            reduce_only=request.reduce_only,
        )
        if order.price_ticks is not None:
            if instrument.price(order.price_ticks) * instrument.size(order.lots) < instrument.min_notional:
                raise Refused("too_small")
        if order.reduce_only:
            position = self.position(instrument, account) * (1 if order.side == "sell" else -1)
            if instrument.size(order.lots) > position:
                raise Refused("reduce_only")
        if order.type == "post_only" and self.market.would_cross(order):
            raise Refused("post_only_would_cross")
        try:
            self.ledger.reserve(order, instrument)
        except InsufficientFunds:
            raise Refused("insufficient_funds") from None
        return order

    def _collar(self, request: Request) -> int | None:
        """The worst price of a market order that names none: 5 % past the touch; None when there is no touch."""
        bid, ask = self.market.touch(request.instrument.symbol)
        if request.side == "buy":
            return None if ask is None else ask * (100 + _COLLAR_PERCENT) // 100
        return None if bid is None else max(-(-bid * (100 - _COLLAR_PERCENT) // 100), 1)

    def _reject(self, refusal: Refusal) -> Message:
        self.history.append(refusal)
        self._by_id.setdefault((refusal.account, refusal.client_order_id), refusal)
        symbol = refusal.fields.get("symbol")
        message: Message = {
            "type": "reject",
            "client_order_id": refusal.client_order_id,
            "symbol": symbol if isinstance(symbol, str) else "",
            "reason": refusal.reason,
            "exchange_ts": refusal.received_us,
        }
        self.publish(refusal.account, message)
        return message

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Book and report what the market did to orders."""
        for outcome in outcomes:
            if isinstance(outcome, Execution):
                self._fill(outcome)
            elif isinstance(outcome, Closed):
                reason = outcome.reason if outcome.reason != "post_only_would_cross" else "unfilled"
                self._end(outcome.order, reason)

    def _fill(self, execution: Execution) -> None:
        order = execution.order
        instrument = self.instruments[order.symbol]
        paid = self.ledger.settle(execution, instrument)
        message = self._own("fill", order, self.now_us(), trade_id=execution.trade_id, symbol=order.symbol)
        message |= {
            "side": order.side,
            "price": instrument.price_text(execution.price_ticks),
            "quantity": instrument.size_text(execution.lots),
            "cumulative": instrument.size_text(order.settled_lots),
            "leaves": instrument.size_text(order.lots - order.settled_lots),
            "fee": fee_text(paid),
            "fee_currency": instrument.quote,
            "liquidity": "maker" if execution.maker else "taker",
        }
        self.fills[order.account].append(message)
        if order.settled_lots == order.lots:
            order.status = "filled"
            self._leave(order)
        self.publish(order.account, message)

    def _end(self, order: Order, reason: str) -> Message:
        """End an order that has leaves, and tell."""
        order.status = "expired" if reason == "expired" else "cancelled"
        order.reason = reason
        self._leave(order)
        self.ledger.release(order)
        cumulative = self.instruments[order.symbol].size_text(order.settled_lots)
        message = self._own("cancelled", order, order.ended_us, symbol=order.symbol, cumulative=cumulative, reason=reason)
        self.publish(order.account, message)
        return message

    def _leave(self, order: Order) -> None:
        order.ended_us = self.now_us()
        self._open.pop(order.order_id, None)

    @staticmethod
    def _own(kind: str, order: Order, now_us: int, **rest: Any) -> Message:
        """A message about one of the account's orders; `exchange_ts` last is not needed, key order has no meaning."""
        own = {"type": kind, "client_order_id": order.client_order_id, "order_id": order.order_id, "exchange_ts": now_us}
        return own | rest

    # Cancels and amends -----------------------------------------------------------------------------------------------

    def cancel(self, fields: Mapping[str, Any], key: Key) -> Message:
        """Act on a cancel_order and answer `cancelled` or `cancel_reject`; Refused bad_field or not_allowed otherwise."""
        number = client_id(fields)
        self.require_trade(key)
        self.spend()
        order = self._by_id.get((ACCOUNT, number))
        reason = late(fields, self.now_us()) or self._not_open(order)
        if not reason and isinstance(order, Order):
            message = self._pull(order, "requested")
            if message is not None:
                return message
            reason = "not_found"
        answer = {"type": "cancel_reject", "client_order_id": number, "reason": reason, "exchange_ts": self.now_us()}
        self.publish(ACCOUNT, answer)
        return answer

    def amend(self, fields: Mapping[str, Any], key: Key) -> Message:
        """Make a resting order smaller at its place in the queue: `amended` or `amend_reject`; Refused as for a cancel."""
        number = client_id(fields)
        self.require_trade(key)
        self.spend()
        try:
            quantity = exact(fields.get("quantity"))
        except ValueError as error:
            raise Refused("bad_field", f"quantity: {error}") from None
        order = self._by_id.get((ACCOUNT, number))
        reason = late(fields, self.now_us()) or self._not_open(order)
        if not reason and isinstance(order, Order):
            reason = self._shrink(order, quantity)
            if not reason:
                instrument = self.instruments[order.symbol]
                answer = self._own("amended", order, self.now_us(), symbol=order.symbol)
                answer |= {
                    "quantity": instrument.size_text(order.lots),
                    "cumulative": instrument.size_text(order.settled_lots),
                    "leaves": instrument.size_text(order.lots - order.settled_lots),
                }
                self.publish(ACCOUNT, answer)
                self.market_moved()
                return answer
        answer = {"type": "amend_reject", "client_order_id": number, "reason": reason, "exchange_ts": self.now_us()}
        self.publish(ACCOUNT, answer)
        return answer

    def _shrink(self, order: Order, quantity: Decimal) -> str:
        """Why an open order may not become `quantity` in all; "" when it has."""
        instrument = self.instruments[order.symbol]
        try:
            lots = instrument.lots(quantity)
        except ValueError:
            return "off_grid"
        if lots >= order.lots:
            return "not_smaller"
        left = instrument.size(lots - order.settled_lots)
        if left < instrument.min_quantity or instrument.price(order.price_ticks or 0) * left < instrument.min_notional:
            return "too_small"
        if not self.market.shrink(order, lots, self.now_us()):
            self.disagreements += 1
            return "not_found"
        self.ledger.release(order)
        order.lots = lots
        self.ledger.reserve(order, instrument)  # less than it held
        return ""

    @staticmethod
    def _not_open(order: Order | Refusal | None) -> str:
        if order is None:
            return "not_found"
        return "" if isinstance(order, Order) and order.status == "open" else "already_closed"

    def cancel_all(self, fields: Mapping[str, Any], key: Key) -> list[str]:
        """Cancel the account's open orders, of one symbol or all, and answer their client ids; Refused otherwise."""
        self.require_trade(key)
        self.spend()
        symbol = fields.get("symbol")
        if symbol is not None and (not isinstance(symbol, str) or symbol not in self.instruments):
            raise Refused("bad_field", "symbol is not one of this venue")
        ids = [
            order.client_order_id
            for order in self.open_orders()
            if symbol in (None, order.symbol) and self._pull(order, "requested") is not None
        ]
        self.publish(ACCOUNT, {"type": "cancel_all_ack", "count": len(ids), "exchange_ts": self.now_us()})
        return ids

    def cancel_of_key(self, key_id: str) -> None:
        """The session of a key has ended and cancel_on_disconnect is on."""
        for order in self.open_orders():
            if order.key_id == key_id:
                self._pull(order, "killed")

    def kill_orders(self) -> int:
        """The account's dead-man timer has fired: how many open orders it took."""
        return sum(self._pull(order, "killed") is not None for order in self.open_orders())

    def _pull(self, order: Order, reason: str) -> Message | None:
        """Take a resting order out; None, counted, when the market does not know an order that is open here."""
        if not self.market.cancel(order, self.now_us()):
            self.disagreements += 1
            return None
        message = self._end(order, reason)
        self.market_moved()
        return message

    def spend(self) -> None:
        """Count one message or call of the account; Refused when it is beyond the budget."""
        if self.budget is not None and not self.budget.admit(ACCOUNT, self.now_us()):
            raise Refused("rate_limited", "the account's budget is used up")

    def require_trade(self, key: Key) -> None:
        if not key.may_trade():
            key.refuse(self.now_us(), "order", "revoked" if key.revoked else "scope")
            raise Refused("not_allowed", "this key may not trade")

    # What is so -------------------------------------------------------------------------------------------------------

    def open_orders(self, account: str = ACCOUNT) -> list[Order]:
        return [order for order in self._open.values() if order.account == account]

    def find(self, number: str) -> Order | Refusal | None:
        return self._by_id.get((ACCOUNT, number))

    def position(self, instrument: Instrument, account: str = ACCOUNT) -> Decimal:
        """Base held beyond what the account started with."""
        start = instrument.baseline if account == ACCOUNT else _ANONYMOUS_FUNDS
        return self.ledger.total(account, instrument.base) - start

    def claim_faucet(self) -> Message | None:
        """One unit of the first quote currency, once; None when claimed before."""
        if ACCOUNT in self._faucet_claimed:
            return None
        self._faucet_claimed.add(ACCOUNT)
        currency = next(iter(self.instruments.values())).quote
        self.ledger.fund(ACCOUNT, currency, _FAUCET)
        return {"currency": currency, "amount": "1.00"}
