"""The REST side of the paper exchange: the routes of docs/wire-protocol.md, the /sim side channel included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from sim.dead_man import LEAST_MS, MOST_MS
from sim.entry import Refused, check_deadline
from sim.exchange import ACCOUNT
from sim.http import Answer, Call, error
from sim.keys import MANAGEMENT_KEY_ID, SCOPES, Key
from sim.report import balances, full_ledger, instrument_view, key_view, order_view, positions
from sim.server import VenueServer

_NO_ROUTE = error(404, "not_found", "no such route")
_ANY = ("read", "trade", "manage")
_TRADE = ("trade", "manage")
_MANAGE = ("manage",)
_STATUS = {"not_allowed": 403, "rate_limited": 429}


class RestApi:
    """`handle` answers one call. Routes with a key are (scopes, handler(key, path rest, query, body))."""

    def __init__(self, server: VenueServer) -> None:
        self._server = server
        self._exchange = server.exchange
        self._later: set[asyncio.Task[None]] = set()
        Route = Callable[[Key, str, dict[str, str], dict[str, Any]], Answer]
        self._routes: dict[tuple[str, str], tuple[tuple[str, ...], Route]] = {
            ("POST", "/v1/keys"): (_MANAGE, self._create_key),
            ("GET", "/v1/keys"): (_MANAGE, self._list_keys),
            ("DELETE", "/v1/keys/"): (_MANAGE, self._revoke_key),
            ("POST", "/v1/orders"): (_TRADE, self._place),
            ("DELETE", "/v1/orders"): (_TRADE, self._cancel_all),
            ("DELETE", "/v1/orders/"): (_TRADE, self._cancel),
            ("POST", "/v1/orders/cancel-after"): (_TRADE, self._set_timer),
            ("GET", "/v1/orders/cancel-after"): (_ANY, self._timer),
            ("GET", "/v1/orders/open"): (_ANY, self._open_orders),
            ("GET", "/v1/orders/"): (_ANY, self._order),
            ("GET", "/v1/fills"): (_ANY, self._fills),
            ("GET", "/v1/positions"): (_ANY, self._positions),
            ("GET", "/v1/balances"): (_ANY, self._balances),
            ("POST", "/v1/faucet/claim"): (_TRADE, self._faucet),
            ("GET", "/sim/ledger"): (_MANAGE, self._ledger),
            ("POST", "/sim/faults"): (_MANAGE, self._faults),
            ("POST", "/sim/order"): (_MANAGE, self._anonymous_order),
        }

        self._spend_themselves = (self._place, self._cancel, self._cancel_all)  # as over the WebSocket

    async def handle(self, call: Call) -> Answer:
        try:
            parts = urlsplit(call.target)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        except ValueError:
            return error(400, "bad_field", "the request target is malformed")
        if call.method == "GET" and parts.path == "/v1/time":
            return 200, {"exchange_ts": self._exchange.now_us()}
        if call.method == "GET" and parts.path == "/v1/instruments":
            return 200, {"instruments": [instrument_view(item) for item in self._exchange.instruments.values()]}
        rest = ""
        route = self._routes.get((call.method, parts.path))
        if route is None:
            stem, slash, rest = parts.path.rpartition("/")
            route = self._routes.get((call.method, stem + slash)) if rest else None
        key = self._exchange.keys.find(call.api_key)
        what = f"{call.method} {parts.path}"
        if key is None or key.revoked:
            if key is not None:
                key.refuse(self._exchange.now_us(), "rest", f"401 {what}")
            return error(401, "unauthorized", "missing, unknown or revoked key")
        if route is None:
            return _NO_ROUTE
        scopes, handler = route
        if key.scope not in scopes:
            key.refuse(self._exchange.now_us(), "rest", f"403 {what}")
            return error(403, "not_allowed", f"a key of scope {key.scope} may not do this")
        try:
            body = orjson.loads(call.body) if call.body else {}
        except orjson.JSONDecodeError:
            return error(400, "bad_json", "the body is not JSON")
        if not isinstance(body, dict):
            return error(400, "bad_json", "the body is not an object")
        try:
            if parts.path.startswith("/v1/") and handler not in self._spend_themselves:
                self._exchange.spend()
            return handler(key, unquote(rest), query, body)
        except Refused as refusal:
            return error(_STATUS.get(refusal.reason, 400), refusal.reason, refusal.detail)

    # Keys -------------------------------------------------------------------------------------------------------------

    def _create_key(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        scope, label = body.get("scope"), body.get("label", "")
        if scope not in SCOPES or not isinstance(label, str) or len(label) > 200:
            return error(400, "bad_field", "scope must be read, trade or manage, and label a text of at most 200")
        made, secret = self._exchange.keys.create(scope, label, self._exchange.now_us())
        return 201, {"key_id": made.key_id, "api_key": secret, "scope": made.scope, "created_ts": made.created_us}

    def _list_keys(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        return 200, {"keys": [key_view(item) for item in self._exchange.keys.all()]}

    def _revoke_key(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        faults = self._exchange.faults
        if faults.revoke == "absent":
            return _NO_ROUTE
        if faults.revoke == "fail":
            return error(503, "unavailable", "revocation failed")
        target = self._exchange.keys.get(rest)
        if target is None:
            return error(404, "not_found", "no such key")
        if target.key_id == MANAGEMENT_KEY_ID:
            return error(409, "not_allowed", "the management key of the paper exchange cannot be revoked")
        if faults.revoke == "slow":
            task = asyncio.create_task(self._revoke_later(target, faults.revoke_delay_s))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        else:
            self._server.revoke(target)
        return 200, {"key_id": target.key_id, "revoked": True}

    async def _revoke_later(self, target: Key, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._server.revoke(target)

    # Orders -----------------------------------------------------------------------------------------------------------

    def _place(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        return _placed(self._exchange.place(body, key))

    def _cancel(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        message = self._exchange.cancel({"client_order_id": rest}, key)
        return (200 if message["type"] == "cancelled" else 404), message

    def _cancel_all(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        ids = self._exchange.cancel_all(query, key)
        return 200, {"cancelled": ids, "count": len(ids)}

    def _open_orders(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        views = [order_view(order, self._exchange.instruments) for order in self._exchange.open_orders()]
        return 200, {"orders": views, "exchange_ts": self._exchange.now_us()}

    def _order(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        order = self._exchange.find(rest)
        if order is None:
            return error(404, "not_found", "no such order")
        return 200, order_view(order, self._exchange.instruments)

    def _fills(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        after = query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) < 20):
            return error(400, "bad_field", "after must be a trade id")
        fills = self._exchange.fills[ACCOUNT]
        return 200, {"fills": [fill for fill in fills if fill["trade_id"] > int(after)]}

    def _set_timer(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        if self._exchange.faults.timer_absent:
            return _NO_ROUTE
        check_deadline(body, self._exchange.now_us(), required=True)
        timeout_ms = body.get("timeout_ms")
        if type(timeout_ms) is not int or not (timeout_ms == 0 or LEAST_MS <= timeout_ms <= MOST_MS):
            raise Refused("bad_field", f"timeout_ms must be 0 or {LEAST_MS} to {MOST_MS}")
        return 200, self._server.dead_man.set(timeout_ms)

    def _timer(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        return _NO_ROUTE if self._exchange.faults.timer_absent else (200, self._server.dead_man.view())

    # Account and side channel -----------------------------------------------------------------------------------------

    def _positions(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        return 200, {"positions": positions(self._exchange)}

    def _balances(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        return 200, {"balances": balances(self._exchange)}

    def _faucet(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        gift = self._exchange.claim_faucet()
        return (201, gift) if gift else error(409, "already_claimed", "the faucet gives once per account")

    def _ledger(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        since = query.get("since", "0")
        if not (since.isascii() and since.isdigit() and len(since) < 20):
            return error(400, "bad_field", "since must be a time in us")
        market = self._server.pacer.summary() | {"slow_sessions": self._server.slow_sessions}
        return 200, full_ledger(self._exchange, market, int(since)) | {"timer": self._server.dead_man.events}

    def _faults(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        try:
            self._server.set_faults(body)
        except ValueError as problem:
            return error(400, "bad_field", str(problem))
        return 200, self._exchange.faults.as_dict()

    def _anonymous_order(self, key: Key, rest: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        return _placed(self._exchange.place_anonymous(body))


def _placed(message: dict[str, Any]) -> Answer:
    """The ack or the reject; a reject also carries `error`, as each REST error does."""
    if message["type"] == "ack":
        return 201, message
    return (429 if message["reason"] == "rate_limited" else 400), message | {"error": message["reason"], "message": ""}
