"""The dead-man timer with a clock to turn, and over real sockets; the account's budget, which counts everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sim_house import House, OpenHouse, hear, open_house, tell
from test_server import on_open_house

from sim.dead_man import DeadMan
from sim.entry import Refused
from sim.limits import RateLimit


class Alarm:
    """Stands for the event loop: `ring` runs what is due and was not cancelled."""

    def __init__(self) -> None:
        self.pending: list[dict[str, Any]] = []

    def __call__(self, delay_s: float, call: Callable[[], None]) -> Any:
        entry = {"delay_s": delay_s, "call": call, "live": True}
        self.pending.append(entry)
        alarm = self

        class Handle:
            def cancel(self) -> None:
                alarm.pending.remove(entry)

        return Handle()

    def ring(self) -> None:
        for entry in list(self.pending):
            self.pending.remove(entry)
            entry["call"]()


@pytest.fixture
def house() -> House:
    one = House()
    one.place(price=63000.0)
    one.place(price=62000.0)
    return one


def test_a_timer_that_runs_out_takes_every_order_of_the_account_and_no_other(house: House) -> None:
    house.crowd("sell", 0.01, 70000)
    alarm = Alarm()
    timer = DeadMan(house.exchange, alarm)
    armed = timer.set(5_000)
    assert armed == {"armed": True, "trigger_ts": house.clock() + 5_000_000, "fired": 0}
    assert alarm.pending[0]["delay_s"] == 5.0
    alarm.ring()
    assert house.exchange.open_orders() == []
    assert len(house.exchange.open_orders("anonymous")) == 1
    assert [message["reason"] for message in house.said if message["type"] == "cancelled"] == ["killed", "killed"]
    assert timer.view() == {"armed": False, "trigger_ts": 0, "fired": 1}
    assert [(event["what"], event["cancelled"]) for event in timer.events] == [("armed", 0), ("fired", 2)]


def test_setting_it_again_replaces_the_old_time_and_zero_disarms(house: House) -> None:
    alarm = Alarm()
    timer = DeadMan(house.exchange, alarm)
    timer.set(5_000)
    timer.set(7_000)
    assert [entry["delay_s"] for entry in alarm.pending] == [7.0]
    timer.set(0)
    assert alarm.pending == []
    alarm.ring()
    assert len(house.exchange.open_orders()) == 2


def test_it_fires_once_until_it_is_set_again(house: House) -> None:
    alarm = Alarm()
    timer = DeadMan(house.exchange, alarm)
    timer.set(5_000)
    alarm.ring()
    house.place(price=61000.0)
    alarm.ring()
    assert len(house.exchange.open_orders()) == 1
    timer.set(5_000)
    alarm.ring()
    assert house.exchange.open_orders() == []
    assert timer.fired == 2


def test_a_dead_timer_can_be_set_and_never_fires(house: House) -> None:
    house.exchange.faults.update({"timer_dead": True})
    alarm = Alarm()
    timer = DeadMan(house.exchange, alarm)
    timer.set(5_000)
    alarm.ring()
    assert len(house.exchange.open_orders()) == 2
    assert timer.fired == 0


def order_of(house: OpenHouse, timeout_ms: Any, **changes: Any) -> dict[str, Any]:
    return {"timeout_ms": timeout_ms, "timestamp": house.clock() // 1000, "recv_window": 200} | changes


@on_open_house
async def test_over_the_wire_the_real_loop_fires_it_and_the_ledger_tells(house):
    await house.rest.post("/v1/orders", json=house.order())
    async with house.session() as ws:
        await tell(ws, action="subscribe", channels=["fills"])
        armed = (await house.rest.post("/v1/orders/cancel-after", json=order_of(house, 100))).json()
        assert armed["armed"] is True
        assert (await hear(ws, "cancelled"))["reason"] == "killed"
    assert (await house.rest.get("/v1/orders/cancel-after")).json() == {"armed": False, "trigger_ts": 0, "fired": 1}
    events = (await house.rest.get("/sim/ledger")).json()["timer"]
    assert [event["what"] for event in events] == ["armed", "fired"]


@on_open_house
async def test_a_timer_message_that_is_late_or_malformed_changes_nothing(house):
    late = order_of(house, 1000, timestamp=house.clock() // 1000 - 201)
    for body, reason in (
        (late, "deadline_passed"),
        (order_of(house, 99), "bad_field"),
        (order_of(house, True), "bad_field"),
        (order_of(house, "1000"), "bad_field"),
        ({"timeout_ms": 1000}, "bad_field"),
    ):
        answer = await house.rest.post("/v1/orders/cancel-after", json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, reason)
    assert house.server.dead_man.events == []


@on_open_house
async def test_only_a_key_that_may_trade_sets_the_timer_and_an_absent_one_is_a_404(house):
    for scope, status in (("read", 403), ("trade", 200)):
        _, key = await house.key(scope)
        answer = await house.rest.post("/v1/orders/cancel-after", json=order_of(house, 0), headers={"X-API-Key": key})
        assert answer.status_code == status
    await house.rest.post("/sim/faults", json={"timer_absent": True})
    assert (await house.rest.post("/v1/orders/cancel-after", json=order_of(house, 1000))).status_code == 404
    assert (await house.rest.get("/v1/orders/cancel-after")).status_code == 404


def test_the_budget_counts_orders_cancels_and_calls_alike_and_refuses_them_all_beyond_it() -> None:
    async def whole() -> None:
        async with asyncio.timeout(10), open_house(budget=RateLimit(per_s=1, burst=5)) as house:
            assert (await house.rest.post("/v1/orders", json=house.order())).status_code == 201
            assert (await house.rest.get("/v1/balances")).status_code == 200
            assert (await house.rest.delete("/v1/orders/1")).status_code == 200
            async with house.session() as ws:
                await tell(ws, action="subscribe", channels=["fills"])
                await hear(ws, "subscribed")
                await tell(ws, **house.order())
                await hear(ws, "ack")
                await tell(ws, action="cancel_order", client_order_id="2")
                await hear(ws, "cancelled")
                await tell(ws, **house.order())
                assert (await hear(ws, "reject"))["reason"] == "rate_limited"
                await tell(ws, action="cancel_all")
                assert (await hear(ws, "error"))["reason"] == "rate_limited"
            for method, path in (("GET", "/v1/orders/open"), ("DELETE", "/v1/orders"), ("DELETE", "/v1/keys/x")):
                assert (await house.rest.request(method, path)).status_code == 429
            assert (await house.rest.get("/sim/ledger")).json()["budget"]["refused"] == 5
            house.clock.us += 1_000_000
            assert (await house.rest.delete("/v1/orders")).status_code == 200

    asyncio.run(whole())


def test_without_a_budget_nothing_is_counted(house: House) -> None:
    for _ in range(1000):
        house.exchange.spend()
    house.exchange.budget = RateLimit(per_s=1, burst=1)
    house.exchange.spend()
    with pytest.raises(Refused):
        house.exchange.spend()
