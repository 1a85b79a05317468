"""The REST side over real sockets."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sim_house import MANAGE, SYMBOL, open_house
from test_server import on_open_house


@on_open_house
async def test_time_and_instruments_need_no_key(house):
    headers = {"X-API-Key": ""}
    assert (await house.rest.get("/v1/time", headers=headers)).json() == {"exchange_ts": house.clock()}
    (row,) = (await house.rest.get("/v1/instruments", headers=headers)).json()["instruments"]
    assert (row["symbol"], row["tick_size"], row["lot_size"], row["kind"]) == (SYMBOL, "0.01", "0.00001", "spot")


@on_open_house
async def test_scopes_decide_what_a_key_may_do(house):
    keys = {scope: (await house.key(scope))[1] for scope in ("read", "trade", "manage")}
    wanted = {
        ("GET", "/v1/balances"): (200, 200, 200),
        ("GET", "/v1/positions"): (200, 200, 200),
        ("GET", "/v1/orders/open"): (200, 200, 200),
        ("GET", "/v1/fills"): (200, 200, 200),
        ("DELETE", "/v1/orders"): (403, 200, 200),
        ("GET", "/v1/keys"): (403, 403, 200),
        ("GET", "/sim/ledger"): (403, 403, 200),
        ("GET", "/v1/no-such"): (404, 404, 404),
    }
    for (method, path), statuses in wanted.items():
        for key, status in zip(keys.values(), statuses, strict=True):
            answer = await house.rest.request(method, path, headers={"X-API-Key": key})
            assert answer.status_code == status, (method, path)
            assert (await house.rest.request(method, path, headers={"X-API-Key": "x"})).status_code == 401


@on_open_house
async def test_secrets_are_shown_once_and_nowhere_else(house):
    _, secret = await house.key("trade")
    for path in ("/v1/keys", "/sim/ledger"):
        text = (await house.rest.get(path)).text
        assert secret not in text
        assert MANAGE not in text


@on_open_house
async def test_order_placed_read_and_cancelled(house):
    placed = await house.rest.post("/v1/orders", json=house.order())
    assert (placed.status_code, placed.json()["type"]) == (201, "ack")
    (row,) = (await house.rest.get("/v1/orders/open")).json()["orders"]
    assert (row["client_order_id"], row["price"], row["leaves"]) == ("1", "64000.00", "0.01000")
    cancelled = await house.rest.delete("/v1/orders/1")
    assert (cancelled.status_code, cancelled.json()["type"]) == (200, "cancelled")
    assert (await house.rest.get("/v1/orders/1")).json()["status"] == "cancelled"
    assert (await house.rest.delete("/v1/orders/1")).status_code == 404
    assert (await house.rest.get("/v1/orders/77")).status_code == 404


@on_open_house
async def test_rejected_order_is_a_400_and_stays_readable(house):
    answer = await house.rest.post("/v1/orders", json=house.order(price=64000.001))
    assert (answer.status_code, answer.json()["type"], answer.json()["error"]) == (400, "reject", "off_grid")
    assert (await house.rest.get("/v1/orders/1")).json()["status"] == "rejected"


@on_open_house
async def test_cancel_all_by_symbol(house):
    for _ in range(2):
        await house.rest.post("/v1/orders", json=house.order())
    assert (await house.rest.delete("/v1/orders?symbol=NO-SUCH")).status_code == 400
    answer = (await house.rest.delete(f"/v1/orders?symbol={SYMBOL}")).json()
    assert answer == {"cancelled": ["1", "2"], "count": 2}


@on_open_house
async def test_fills_positions_and_balances_agree(house):
    for price in (63000, 64000):
        house.crowd("sell", 0.005, price)
    await house.rest.post("/v1/orders", json=house.order())
    fills = (await house.rest.get("/v1/fills")).json()["fills"]
    after = (await house.rest.get(f"/v1/fills?after={fills[0]['trade_id']}")).json()["fills"]
    assert after == fills[1:]
    assert (await house.rest.get("/v1/fills?after=x")).status_code == 400
    (position,) = (await house.rest.get("/v1/positions")).json()["positions"]
    assert position == {"symbol": SYMBOL, "position": "0.01000", "baseline": "1"}
    balances = {row["currency"]: row for row in (await house.rest.get("/v1/balances")).json()["balances"]}
    spent = sum(Decimal(f["price"]) * Decimal(f["quantity"]) + Decimal(f["fee"]) for f in fills)
    assert Decimal(balances["USDC"]["total"]) == 100000 - spent
    assert balances["BTC"]["total"] == balances["BTC"]["available"] == "1.01000000"


@on_open_house
async def test_faucet_gives_once(house):
    assert (await house.rest.post("/v1/faucet/claim")).json() == {"currency": "USDC", "amount": "1.00"}
    assert (await house.rest.post("/v1/faucet/claim")).status_code == 409
    assert house.exchange.ledger.total("paper", "USDC") == 100001


@on_open_house
async def test_revocation_that_fails_or_is_absent_leaves_the_key_alive(house):
    key_id, trade = await house.key()
    for switch, status in (("fail", 503), ("absent", 404)):
        await house.rest.post("/sim/faults", json={"revoke": switch})
        assert (await house.rest.delete(f"/v1/keys/{key_id}")).status_code == status
        assert (await house.rest.get("/v1/balances", headers={"X-API-Key": trade})).status_code == 200
    await house.rest.post("/sim/faults", json={"revoke": "normal"})
    assert (await house.rest.delete("/v1/keys/key_none")).status_code == 404
    assert (await house.rest.delete("/v1/keys/key_management")).status_code == 409


@on_open_house
async def test_ledger_tells_orders_keys_and_market(house):
    await house.rest.post("/v1/orders", json=house.order())
    await house.rest.post("/v1/orders", json=house.order(quantity=0.000001))
    house.crowd("buy", 0.01, 63000)
    ledger = (await house.rest.get("/sim/ledger")).json()
    assert [(row["status"], row["reject_reason"]) for row in ledger["orders"]] == [("open", ""), ("rejected", "off_grid")]
    assert ledger["market"]["frames"] == 0
    assert ledger["disagreements"] == 0


@on_open_house
async def test_ledger_since_a_time_leaves_out_what_had_ended_before_it(house):
    for quantity in (0.01, 0.000001):
        await house.rest.post("/v1/orders", json=house.order(quantity=quantity))
    for since, statuses in ((0, ["open", "rejected"]), (1 << 61, ["open"])):
        ledger = (await house.rest.get(f"/sim/ledger?since={since}")).json()
        assert [row["status"] for row in ledger["orders"]] == statuses
    assert (await house.rest.get("/sim/ledger?since=soon")).status_code == 400


@on_open_house
async def test_malformed_bodies_are_a_400(house):
    for path in ("/v1/orders", "/v1/keys", "/sim/faults", "/sim/order"):
        for body in (b"{", b"[]", b"\xff", b'{"no_such":1}'):
            assert (await house.rest.post(path, content=body)).status_code == 400, (path, body)
    assert (await house.rest.post("/v1/orders", content=b" " * 70_000)).status_code == 400


@on_open_house
async def test_rate_limited_order_is_a_429(house):
    house.exchange.rate._burst = 0
    assert (await house.rest.post("/v1/orders", json=house.order())).status_code == 429


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET /v1/time HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n"],
)
def test_malformed_request_is_a_400_and_the_server_lives_on(request_bytes):
    async def whole():
        async with asyncio.timeout(10), open_house() as house:
            url = house.rest.base_url
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(request_bytes)
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            writer.close()
            assert (await house.rest.get("/v1/time")).status_code == 200

    asyncio.run(whole())


def test_connection_is_kept_and_takes_requests_sent_together():
    async def whole():
        async with asyncio.timeout(10), open_house() as house:
            url = house.rest.base_url
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(b"GET /v1/time HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
            for _ in range(2):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            writer.close()

    asyncio.run(whole())
