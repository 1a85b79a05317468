"""The WebSocket side over real sockets."""

from __future__ import annotations

import asyncio
from functools import wraps

import orjson
import pytest
from sim_house import MANAGE, SYMBOL, hear, open_house, tell
from websockets.exceptions import ConnectionClosed, InvalidStatus

import sim.server


def on_open_house(test):
    """Run the coroutine `test` with an open house, whole within ten seconds."""

    @wraps(test)
    def run():
        async def whole():
            async with asyncio.timeout(10), open_house() as house:
                await test(house)

        asyncio.run(whole())

    del run.__wrapped__
    return run


async def subscribed(ws, *channels):
    await tell(ws, action="subscribe", channels=channels or ["fills"], symbols=[SYMBOL])
    return await hear(ws, "subscribed")


async def refused_status(connecting):
    with pytest.raises(InvalidStatus) as refused:
        async with connecting:
            pass
    return refused.value.response.status_code


@on_open_house
async def test_unknown_or_missing_key_gets_401_on_the_upgrade(house):
    assert await refused_status(house.session("sk_trade_unknown")) == 401
    assert await refused_status(house.session("")) == 401


@on_open_house
async def test_stream_starts_when_both_market_channels_are_taken(house):
    async with house.session() as ws:
        await subscribed(ws, "orderbook")
        assert not house.server.pacer.started
        await subscribed(ws, "ticker")
        first = await hear(ws)
        assert (first["type"], first["index"]) == ("book_snapshot", 0)
        house.crowd("buy", 0.01, 63000)
        assert [(m := await hear(ws))["type"], m["index"]] == ["book_delta", 1]


@on_open_house
async def test_late_subscriber_gets_a_snapshot_without_index_and_then_the_same_stream(house):
    async with house.session() as one, house.session() as two:
        await subscribed(one, "ticker", "orderbook")
        await hear(one, "book_snapshot")
        await subscribed(two, "orderbook")
        assert (await hear(two))["index"] == -1
        house.crowd("buy", 0.01, 63000)
        assert (await hear(two))["index"] == (await hear(one))["index"] == 1


@on_open_house
async def test_resync_answers_a_snapshot_to_the_asker(house):
    async with house.session() as ws:
        await tell(ws, action="resync", symbol=SYMBOL)
        assert (await hear(ws))["type"] == "book_snapshot"
        await tell(ws, action="resync", symbol="NO-SUCH")
        assert (await hear(ws))["reason"] == "bad_field"


@on_open_house
async def test_order_is_acked_filled_and_told_to_every_fills_session_of_the_account(house):
    _, trade = await house.key("trade")
    async with house.session(trade) as ws, house.session() as watcher, house.session() as deaf:
        await subscribed(ws)
        await subscribed(watcher)
        await tell(ws, **house.order())
        await hear(ws, "ack")
        answer = await house.rest.post(
            "/sim/order",
            json={"side": "sell", "symbol": SYMBOL, "type": "ioc", "price": "63999.00", "quantity": "0.004"},
        )
        assert answer.status_code == 201
        for session in (ws, watcher):
            fill = await hear(session, "fill")
            assert (fill["price"], fill["quantity"], fill["leaves"]) == ("64000.00", "0.00400", "0.00600")
            assert fill["liquidity"] == "maker"
        await tell(ws, action="cancel_order", client_order_id="1")
        cancelled = await hear(ws)
        assert (cancelled["type"], cancelled["cumulative"], cancelled["reason"]) == ("cancelled", "0.00400", "requested")
        await tell(deaf, action="ping", id=5)
        assert (await hear(deaf))["type"] == "pong"


@on_open_house
async def test_cancel_all_answers_after_the_cancels(house):
    async with house.session() as ws:
        await subscribed(ws)
        await tell(ws, **house.order())
        await tell(ws, action="cancel_all", timestamp=house.clock() // 1000)
        assert [(await hear(ws))["type"] for _ in range(3)] == ["ack", "cancelled", "cancel_all_ack"]


@on_open_house
async def test_read_key_cannot_place_or_cancel(house):
    _, read = await house.key("read")
    async with house.session(read) as ws:
        await subscribed(ws)
        await tell(ws, **house.order())
        assert (await hear(ws))["reason"] == "not_allowed"
        await tell(ws, action="cancel_all")
        assert (await hear(ws))["reason"] == "not_allowed"


@on_open_house
async def test_malformed_frames_are_answered_and_never_end_the_session(house):
    frames = [
        ("{", "bad_json"),
        ("[]", "bad_json"),
        ("null", "bad_json"),
        ("[" * 5000, "bad_json"),
        (b"\xff\x00", "bad_json"),
        ('{"action":["subscribe"]}', "unknown_action"),
        ("{}", "unknown_action"),
        ('{"action":"subscribe"}', "bad_field"),
        ('{"action":"subscribe","channels":[{}],"symbols":[]}', "bad_field"),
        ('{"action":"subscribe","channels":["ticker"],"symbols":[]}', "bad_field"),
        ('{"action":"subscribe","channels":["ticker"],"symbols":[1]}', "bad_field"),
        ('{"action":"subscribe","channels":["fills"],"symbols":["NO-SUCH"]}', "bad_field"),
        ('{"action":"place_order"}', "bad_field"),
        ('{"action":"cancel_order","client_order_id":1}', "bad_field"),
        ('{"action":"cancel_order","client_order_id":"1","timestamp":1.5}', "bad_field"),
        ('{"action":"cancel_all","symbol":[]}', "bad_field"),
        ('{"action":"resync"}', "bad_field"),
        ('{"action":"ping","id":{}}', "bad_field"),
    ]
    async with house.session() as ws:
        for frame, reason in frames:
            await ws.send(frame)
            answer = await hear(ws)
            assert (answer["type"], answer["reason"]) == ("error", reason), frame
        await tell(ws, action="ping", id=1)
        assert (await hear(ws))["id"] == 1


@on_open_house
async def test_revoked_key_loses_its_session_and_every_way_in(house):
    key_id, trade = await house.key()
    async with house.session(trade) as ws, house.session() as other:
        await tell(ws, action="ping", id=1)
        await hear(ws)
        assert (await house.rest.delete(f"/v1/keys/{key_id}")).json() == {"key_id": key_id, "revoked": True}
        with pytest.raises(ConnectionClosed) as closed:
            await hear(ws)
        assert closed.value.rcvd.code == 4401
        await tell(other, action="ping", id=2)
        await hear(other, "pong")
    assert await refused_status(house.session(trade)) == 401
    answer = await house.rest.get("/v1/balances", headers={"X-API-Key": trade})
    assert answer.status_code == 401
    ledger = (await house.rest.get("/sim/ledger")).json()
    (row,) = [key for key in ledger["keys"] if key["key_id"] == key_id]
    assert [use["what"] for use in row["refused"]] == ["ws", "rest"]
    assert row["revoked_ts"] == house.clock()


@on_open_house
async def test_session_that_stays_after_revocation_cannot_trade(house):
    key_id, trade = await house.key()
    await house.rest.post("/sim/faults", json={"revoked_sessions_stay": True})
    async with house.session(trade) as ws:
        await subscribed(ws)
        await house.rest.delete(f"/v1/keys/{key_id}")
        await tell(ws, **house.order())
        assert (await hear(ws))["reason"] == "not_allowed"


@on_open_house
async def test_slow_revocation_answers_now_and_closes_later(house):
    key_id, trade = await house.key()
    await house.rest.post("/sim/faults", json={"revoke": "slow", "revoke_delay_s": 0.05})
    async with house.session(trade) as ws:
        assert (await house.rest.delete(f"/v1/keys/{key_id}")).status_code == 200
        assert (await house.rest.get("/v1/balances", headers={"X-API-Key": trade})).status_code == 200
        with pytest.raises(ConnectionClosed):
            await hear(ws)


@on_open_house
async def test_cancel_on_disconnect_pulls_the_orders_of_that_key_alone(house):
    _, one = await house.key()
    await house.rest.post("/sim/faults", json={"cancel_on_disconnect": True})
    async with house.session() as watcher:
        await subscribed(watcher)
        async with house.session(one) as ws:
            await tell(watcher, **house.order())
            await hear(watcher, "ack")
            await tell(ws, **house.order())
            await hear(watcher, "ack")
        cancelled = await hear(watcher, "cancelled")
        assert (cancelled["client_order_id"], cancelled["reason"]) == ("2", "killed")
        assert [order.client_order_id for order in house.exchange.open_orders()] == ["1"]


@on_open_house
async def test_order_that_waited_in_the_socket_misses_its_deadline(house):
    async with house.session() as ws:
        await subscribed(ws)
        await house.rest.post("/sim/faults", json={"stop_reading_s": 0.05})
        await tell(ws, **house.order())
        house.clock.us += 300_000
        assert (await hear(ws))["reason"] == "deadline_passed"


@on_open_house
async def test_dropped_and_duplicated_market_messages(house):
    async with house.session() as ws:
        await subscribed(ws, "ticker", "orderbook")
        assert (await hear(ws))["index"] == 0
        await house.rest.post("/sim/faults", json={"drop": 1.0})
        house.crowd("buy", 0.01, 63000)
        await house.rest.post("/sim/faults", json={"drop": 0, "duplicate": 1})
        house.crowd("buy", 0.01, 63000)
        assert [(await hear(ws))["index"] for _ in range(2)] == [2, 2]


@on_open_house
async def test_reordered_market_messages_come_one_after_the_next(house):
    async with house.session() as ws:
        await subscribed(ws, "ticker", "orderbook")
        assert (await hear(ws))["index"] == 0
        for chance in (1.0, 0.0):
            await house.rest.post("/sim/faults", json={"reorder": chance})
            house.crowd("buy", 0.01, 63000)
        assert [(await hear(ws))["index"] for _ in range(2)] == [2, 1]


@on_open_house
async def test_raw_text_goes_to_market_sessions_as_it_is(house):
    async with house.session() as ws, house.session() as other:
        await subscribed(ws, "ticker")
        await subscribed(other, "fills")
        await house.rest.post("/sim/faults", json={"raw": '{"type":"tick",'})
        assert await ws.recv() == '{"type":"tick",'
        await tell(other, action="ping", id=1)
        assert (await hear(other))["type"] == "pong"


@on_open_house
async def test_delay_holds_answers_back_in_order(house):
    async with house.session() as ws:
        await house.rest.post("/sim/faults", json={"delay_ms": 40})
        started = asyncio.get_running_loop().time()
        for number in (1, 2):
            await tell(ws, action="ping", id=number)
        assert [(await hear(ws))["id"] for _ in range(2)] == [1, 2]
        assert asyncio.get_running_loop().time() - started >= 0.039


def test_session_that_does_not_keep_up_is_closed_and_counted(monkeypatch):
    monkeypatch.setattr(sim.server, "QUEUE_MAX", 2)

    async def whole():
        async with asyncio.timeout(10), open_house() as house, house.session(MANAGE) as ws:
            await subscribed(ws, "ticker")
            (session,) = house.server._sessions
            for _ in range(3):  # no await between: the writer gets no turn
                house.server._put(session, orjson.dumps({"type": "tick"}))
            with pytest.raises(ConnectionClosed) as closed:
                await hear(ws, "never")
            assert closed.value.rcvd.code == 1013
            assert (await house.rest.get("/sim/ledger")).json()["market"]["slow_sessions"] == 1

    asyncio.run(whole())
