"""What the exchange shows of itself: order, position and balance views, and the whole ledger. Reads, never writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.exchange import ACCOUNT, Exchange, Refusal
from sim.keys import Key
from sim.ledger import balance_text
from sim.market import Instrument, Order, fixed

_NEVER_US = 1 << 62


def instrument_view(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "base": instrument.base,
        "quote": instrument.quote,
        "kind": instrument.kind,
        "tick_size": fixed(instrument.tick_size),
        "lot_size": fixed(instrument.lot_size),
        "min_quantity": fixed(instrument.min_quantity),
        "max_quantity": fixed(instrument.max_quantity),
        "min_notional": fixed(instrument.min_notional),
        "maker_fee_ppm": instrument.maker_fee_ppm,
        "taker_fee_ppm": instrument.taker_fee_ppm,
    }


def order_view(order: Order | Refusal, instruments: Mapping[str, Instrument]) -> dict[str, Any]:
    """The order as `GET /v1/orders` shows it. A rejected one shows its fields as they were sent, nothing filled."""
    if isinstance(order, Refusal):
        sent = {name: order.fields.get(name) for name in ("symbol", "side", "type", "price", "quantity")}
        rest = {"order_id": 0, "filled": "0", "leaves": "0", "created_ts": order.received_us, "status": "rejected"}
        return {"client_order_id": order.client_order_id, **sent, **rest, "reason": order.reason}
    instrument = instruments[order.symbol]
    return {
        "client_order_id": order.client_order_id,
        "order_id": order.order_id,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "price": None if order.price_ticks is None else instrument.price_text(order.price_ticks),
        "quantity": instrument.size_text(order.lots),
        "filled": instrument.size_text(order.settled_lots),
        "leaves": instrument.size_text(order.lots - order.settled_lots if order.status == "open" else 0),
        "created_ts": order.received_us,
        "status": order.status,
        "reason": order.reason,
    }


def positions(exchange: Exchange) -> list[dict[str, str]]:
    return [
        {
            "symbol": instrument.symbol,
            "position": fixed(exchange.position(instrument)),
            "baseline": fixed(instrument.baseline),
        }
        for instrument in exchange.instruments.values()
    ]


def balances(exchange: Exchange) -> list[dict[str, str]]:
    ledger = exchange.ledger
    return [
        {
            "currency": currency,
            "total": balance_text(ledger.total(ACCOUNT, currency)),
            "available": balance_text(ledger.available(ACCOUNT, currency)),
        }
        for currency in ledger.currencies(ACCOUNT)
    ]


def key_view(key: Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "scope": key.scope,
        "label": key.label,
        "revoked": key.revoked,
        "created_ts": key.created_us,
    }


def full_ledger(exchange: Exchange, market: Mapping[str, Any], since_us: int = 0) -> dict[str, Any]:
    """`GET /sim/ledger`: orders and fills of the account that has keys, balances of every party unrounded.

    With ``since_us`` without orders that ended and fills that happened before it, so that looking costs little.
    """
    own = (order for order in exchange.history if order.account == ACCOUNT and _ended_us(order) >= since_us)
    return {
        "orders": [_history_row(order, exchange) for order in own],
        "keys": [_key_row(key) for key in exchange.keys.all()],
        "fills": [fill for fill in exchange.fills[ACCOUNT] if fill["exchange_ts"] >= since_us],
        "balances": exchange.ledger.all_totals(),
        "market": dict(market),
        "rate": {"refused": exchange.rate.refused, "bans": exchange.rate.bans},
        "budget": {"refused": exchange.budget.refused, "bans": exchange.budget.bans} if exchange.budget else None,
        "disagreements": exchange.disagreements,
    }


def _ended_us(order: Order | Refusal) -> int:
    """When it left the book; later than any time while it is open."""
    if isinstance(order, Refusal):
        return order.received_us
    return _NEVER_US if order.status == "open" else order.ended_us


def _history_row(order: Order | Refusal, exchange: Exchange) -> dict[str, Any]:
    view = order_view(order, exchange.instruments)
    names = ("client_order_id", "order_id", "symbol", "status", "side", "type", "price", "quantity", "filled")
    row = {name: view[name] for name in names}
    rejected = isinstance(order, Refusal)
    ended = order.received_us if isinstance(order, Refusal) else order.ended_us
    return row | {
        "key_id": order.key_id,
        "reject_reason": order.reason if rejected else "",
        "end_reason": "" if rejected else order.reason,
        "received_ts": order.received_us,
        "ended_ts": ended,
    }


def _key_row(key: Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "scope": key.scope,
        "label": key.label,
        "created_ts": key.created_us,
        "revoked_ts": key.revoked_us or None,
        "refused": key.refused,
    }
