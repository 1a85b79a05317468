"""A small REST client on ``http.client``. Every call has a deadline; a key never reaches an exception or a log.

One object is used by one thread. The connection is kept; a call that finds it closed by the venue opens a new one.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from watchdog.budget import Budget

ANSWER_BYTES_MAX = 4 << 20


class Secret:
    """A key in a box: only ``reveal`` shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not re.fullmatch(r"[\x21-\x7e]{8,512}", value):
            raise ValueError("a key must be 8 to 512 printable characters without blanks")
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")


class Unreachable(Exception):
    """No usable answer within the deadline."""


class Answer(NamedTuple):
    """An HTTP status and the JSON object that came with it ({} when there was none)."""

    status: int
    data: dict[str, Any]

    def summary(self) -> str:
        """The status and the venue's error code, for people; nothing else of the answer, it may hold a key."""
        code = self.data.get("error") or self.data.get("reason") or ""
        code = code if isinstance(code, str) and re.fullmatch(r"[a-z0-9_ -]{1,40}", code) else ""
        return f"{self.status} {code}".strip()


class Way(NamedTuple):
    """How calls leave this host: what packets are marked with (0: not), and the budget they count in."""

    mark: int = 0
    budget: Budget | None = None
    urgent: bool = False


UNMARKED = Way()


class Venue:
    """The account's REST side, with one key."""

    key_header = "X-API-Key"

    def __init__(self, url: str, key: Secret, deadline_s: float = 1.0, way: Way = UNMARKED) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a REST address must be http://HOST:PORT or https://HOST")
        self.way = way
        self.secure, self.host, self.port = parts.scheme == "https", parts.hostname, parts.port
        self.prefix, self.key, self.deadline_s = parts.path.rstrip("/"), key, deadline_s
        self.connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One request; raises Unreachable. Only GET and DELETE, which may safely run twice, get a second connection."""
        reused = self.connection is not None
        end = time.monotonic() + self.deadline_s
        budget = self.way.budget
        if budget is not None and not budget.take(self.way.urgent, end):
            raise Unreachable(f"{method} {path.partition('?')[0]}: our share of the venue's rate budget is used up")
        try:
            return self._call_once(method, path, body, end)
        except Unreachable:
            if not reused or method == "POST" or time.monotonic() >= end:
                raise
        return self._call_once(method, path, body, end)

    def _call_once(self, method: str, path: str, body: dict[str, Any] | None, end: float) -> Answer:
        headers = {self.key_header: self.key.reveal(), "Content-Type": "application/json"}
        try:
            connection = self._connect(end)
            payload = None if body is None else json.dumps(body)
            connection.request(method, self.prefix + path, payload, headers)
            response = connection.getresponse()
            chunks: list[bytes] = []
            size = 0
            while chunk := response.read1(65536):
                chunks.append(chunk)
                size += len(chunk)
                if size > ANSWER_BYTES_MAX or time.monotonic() >= end:
                    raise TimeoutError("answer too long")
            response.close()  # read1 does not notice the end of the body, and the connection stays busy
            data = json.loads(b"".join(chunks)) if chunks else {}
            if not isinstance(data, dict):
                data = {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unreachable(f"{method} {path.partition('?')[0]}: {type(error).__name__}") from None
        if response.will_close:
            self.close()
        return Answer(response.status, data)

    def _connect(self, end: float) -> http.client.HTTPConnection:
        left = max(end - time.monotonic(), 0.001)
        if self.connection is None:
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            self.connection = kind(self.host, self.port, timeout=left)
            if self.way.mark:
                self.connection.sock = self._dial(self.connection.port, left)
            else:
                self.connection.connect()
        if self.connection.sock is not None:
            self.connection.sock.settimeout(left)
        return self.connection

    def _dial(self, port: int, timeout_s: float) -> socket.socket:
        """A connection whose packets are marked from the first one on: a local cut lets them pass."""
        failure: OSError = ConnectionError("no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(timeout_s)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.way.mark)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                if self.secure:
                    return ssl.create_default_context().wrap_socket(sock, server_hostname=self.host)
                return sock
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def with_key(self, key: Secret) -> Venue:
        """The same venue over a new connection with another key."""
        scheme = "https" if self.secure else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return Venue(f"{scheme}://{host}{port}{self.prefix}", key, self.deadline_s, self.way)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # --- The calls -----------------------------------------------------------------------------------------------
    def create_key(self, scope: str, label: str) -> Answer:
        return self.call("POST", "/v1/keys", {"scope": scope, "label": label})

    def revoke_key(self, key_id: str) -> Answer:
        return self.call("DELETE", f"/v1/keys/{quote(key_id, safe='')}")

    def keys(self) -> Answer:
        return self.call("GET", "/v1/keys")

    def cancel_all(self) -> int:
        """How many the venue cancelled; anything but a 200 counts as unreachable."""
        answer = self.call("DELETE", "/v1/orders")
        if answer.status != 200:
            raise Unreachable(f"cancel all: {answer.summary()}")
        count = answer.data.get("count")
        return count if isinstance(count, int) else 0

    def cancel(self, client_order_id: str) -> Answer:
        return self.call("DELETE", f"/v1/orders/{quote(client_order_id, safe='')}")

    def open_orders(self) -> list[dict[str, Any]]:
        """The account's open orders; anything but a list in a 200 counts as unreachable, never as empty."""
        return self._rows("/v1/orders/open", "orders")

    def positions(self) -> list[dict[str, Any]]:
        return self._rows("/v1/positions", "positions")

    def fills(self, after: int) -> list[dict[str, Any]]:
        """The account's fills with a higher trade id."""
        return self._rows(f"/v1/fills?after={after}", "fills")

    def _rows(self, path: str, field: str) -> list[dict[str, Any]]:
        answer = self.call("GET", path)
        rows = answer.data.get(field)
        if answer.status != 200 or not isinstance(rows, list):
            raise Unreachable(f"GET {path}: {answer.summary()}")
        return rows

    def balances(self) -> Answer:
        return self.call("GET", "/v1/balances")

    def place(self, order: dict[str, Any]) -> Answer:
        return self.call("POST", "/v1/orders", order)
