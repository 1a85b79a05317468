"""TRADING-RULES §5 in the running system: each breaker trips at its limit and not just below it, seen in the ledger."""

from __future__ import annotations

import time

import pytest

from engine.journal import read_journal
from fabric import layout
from tests.system.house import House, resting
from tests.system.stage import ASK, BID, BUY, IOC, LIMIT, MARKET, MID_X2, SELL, Stage
from tests.system.strategies import puppet

PPM = 1_000_000
SECOND_US = 1_000_000
AWAY = 4_900_000  # a price where a bid rests
JITTER_US = 100_000  # what the way to the exchange may differ between two orders


def test_position_takes_orders_up_to_the_cap_and_cancels_them_when_the_cap_falls(house: House) -> None:
    stage = Stage(house, position_ppm=50_000)  # 5,000 of 100,000 at a mark of 50,000.00: 100 lots
    assert stage.sent(AWAY, 60)["status"] == "open"
    assert stage.sent(AWAY, 40)["status"] == "open"
    stage.refused("position_cap", AWAY, 1)
    stage.mark(MID_X2 + 1)  # half a tick more, and 100 lots are worth more than 5,000
    stage.until(lambda: len(resting(house.ledger())) == 1, "the newest order to be cancelled")
    assert [(o["quantity"], o["status"]) for o in stage.orders()] == [("0.060", "open"), ("0.040", "cancelled")]
    assert stage.end()["orders"]["cancelled_at_exit"] == 1


def test_quote_that_shrinks_is_the_same_order_at_the_exchange(house: House) -> None:
    stage = Stage(house)
    stage.command(AWAY, 40, LIMIT, deed=puppet.QUOTE)
    stage.until(lambda: len(resting(house.ledger())) == 1, "the quote")
    order = stage.orders()[0]
    stage.command(AWAY, 10, LIMIT, deed=puppet.QUOTE)
    stage.until(lambda: stage.orders()[0]["quantity"] == "0.010", "the smaller quote")
    stage.until(lambda: stage.page()["working_buy_lots"] == 10, "the engine to know")
    assert [o["client_order_id"] for o in stage.orders()] == [order["client_order_id"]]
    assert (stage.count("amends_sent"), stage.count("orders_amended"), stage.count("cancels_sent")) == (1, 1, 0)
    assert stage.end()["orders"]["cancelled_at_exit"] == 1


def test_order_rate_queues_beyond_its_limit_and_never_delays_a_cancel(house: House) -> None:
    stage = Stage(house, order_rate_per_s=5, queue_slots=4, queue_ttl_ns=5 * 10**9)
    stage.command(AWAY, 1, LIMIT, deed=puppet.QUOTE)
    stage.until(lambda: len(stage.orders()) == 1, "the quote")
    quote = stage.orders()[0]["order_id"]
    stage.until(lambda: time.time_ns() // 1000 - stage.orders()[0]["received_ts"] > 1.2 * SECOND_US, "a quiet second")
    stage.command(AWAY - 100, 1, count=5)
    stage.until(lambda: len(stage.orders()) == 6, "as many orders as the limit allows")
    assert stage.count("queued") == 0
    stage.until(lambda: time.time_ns() // 1000 - stage.orders()[-1]["received_ts"] > 1.2 * SECOND_US, "a quiet second")

    stage.command(AWAY - 200, 1, count=8)
    stage.command(AWAY, 1, deed=puppet.PULL)
    stage.until(lambda: resting(house.ledger())[0]["order_id"] != quote, "the cancelled quote")
    pulled, burst = stage.orders()[0], stage.orders()[6:11]
    stage.until(lambda: len(stage.orders()) == 14, "the orders that waited")
    assert pulled["end_reason"] == "requested"
    assert pulled["ended_ts"] < burst[0]["received_ts"] + SECOND_US // 2
    assert stage.count("queued") == 3
    times = [order["received_ts"] for order in stage.orders()]
    assert min(later - sooner for sooner, later in zip(times, times[5:], strict=False)) > SECOND_US - JITTER_US

    journal = next((house.state_dir / "journal").glob("exec-*.bin"))
    stage.end()
    records = read_journal(journal)
    decided_ns = records[records[:, layout.J_KIND] & 255 == layout.JOURNAL_INTENT][:, layout.J_NOW_NS]
    assert len(decided_ns) == 14
    assert (decided_ns[5:] - decided_ns[:-5]).min() >= 10**9  # exactly, where it is decided


def test_order_rate_refuses_what_the_queue_cannot_hold_and_drops_what_waited_too_long(house: House) -> None:
    stage = Stage(house, order_rate_per_s=3, queue_slots=4, queue_ttl_ns=200_000_000)
    stage.command(AWAY, 1, count=8)
    stage.until(lambda: stage.count("queue_expired") == 4, "the queue to expire")
    assert stage.count("reason.rate_queue_full") == 1
    assert len(stage.orders()) == 3
    stage.end()


def test_consecutive_losses_pause_their_owner_alone_and_for_a_while(house: House) -> None:
    stage = Stage(house, puppets=2, losses_in_row=3, pause_ns=2_500_000_000)

    def lose() -> None:
        assert stage.sent(ASK, 10, IOC, BUY)["filled"] == "0.010"
        assert stage.sent(BID, 10, IOC, SELL)["filled"] == "0.010"

    stage.command(AWAY, 1, deed=puppet.QUOTE)
    stage.until(lambda: len(stage.orders()) == 1, "the quote")
    lose()
    lose()
    assert stage.count("pauses") == 0
    assert len(resting(house.ledger())) == 1
    lose()
    stage.refused("owner_paused", AWAY, 2)
    stage.until(lambda: resting(house.ledger()) == [], "the paused owner's quote to be pulled")
    assert stage.sent(AWAY, 3, who=1)["status"] == "open"
    assert stage.count("pauses") == 1
    paused_us = stage.orders()[6]["ended_ts"]

    stage.until(lambda: time.time_ns() // 1000 > paused_us + 2.5 * SECOND_US, "the end of the pause")
    assert stage.sent(AWAY, 4)["status"] == "open"
    stage.end()


def mark_for(sample_ppm: int) -> int:
    """The lowest mark at which a buy at the exchange's ask is this much worse (in ppm, rounded up)."""
    mark = 2 * ASK * PPM // (PPM + sample_ppm)
    while -(-(2 * ASK - mark) * PPM // mark) > sample_ppm:
        mark += 1
    assert -(-(2 * ASK - mark) * PPM // mark) == sample_ppm
    return mark


def test_slippage_turns_market_orders_into_ioc_at_the_collar_until_it_has_recovered(house: House) -> None:
    stage = Stage(house, slippage_ppm=1_000, collar_ppm=20_000)
    protection = ASK + 200

    def bought(sample_ppm: int) -> tuple[str, str]:
        stage.mark(mark_for(sample_ppm))
        order = stage.sent(protection, 2, MARKET)
        assert order["filled"] == "0.002"
        return order["type"], order["price"]

    as_asked = ("market", "50003.00")
    assert bought(999) == as_asked  # the first fill counts whole: just below
    assert stage.page()["limit_only"] == 0
    assert bought(1_007) == as_asked  # (7 x 999 + 1007) / 8 = 1000: the limit, for the next one
    assert stage.page()["limit_only"] == 1
    assert bought(1_000) == ("ioc", "50003.00")
    assert bought(-2_992) == ("ioc", "50003.00")  # an average of 501: not yet half of the limit
    assert stage.page()["limit_only"] == 1
    assert bought(493) == ("ioc", "50003.00")  # 500
    assert stage.page()["limit_only"] == 0
    assert bought(0) == as_asked
    stage.end()


@pytest.fixture
def losing(house: House) -> Stage:
    """Long 400 lots; drawdown limit 0.5 %, daily loss 1 %."""
    stage = Stage(house, drawdown_ppm=5_000, day_loss_ppm=10_000)
    assert stage.sent(ASK, 400, IOC)["filled"] == "0.400"
    return stage


def lowest_mark(stage: Stage, loss_below_e8: int) -> int:
    """The lowest mark (twice the mid) at which less than this much of 100,000 is lost."""
    start_e8 = stage.page()["day_start_nav_e8"]
    mark = MID_X2
    for step in (100_000, 1_000, 10, 1):
        while start_e8 - stage.nav_at(mark - step) < loss_below_e8:
            mark -= step
    return mark


def test_drawdown_halves_sizes_at_the_limit_quarters_them_beyond_and_releases_at_half(losing: Stage) -> None:
    stage = losing
    limit_e8 = stage.page()["hwm_e8"] * 5_000 // PPM

    def size_at(mark_x2: int) -> str:
        stage.mark(mark_x2)
        return str(stage.sent(4_700_000, 40)["quantity"])

    first, second = lowest_mark(stage, limit_e8), lowest_mark(stage, limit_e8 + limit_e8 // 2 + 1)
    release = lowest_mark(stage, limit_e8 // 2 + 1)
    assert size_at(first) == "0.040"
    assert size_at(first - 1) == "0.020"
    assert size_at(second) == "0.020"
    assert size_at(second - 1) == "0.010"
    assert size_at(release - 1) == "0.010"
    assert size_at(release) == "0.040"
    stage.end()


def test_daily_loss_halts_at_the_limit_cancels_everything_and_stays_halted(losing: Stage) -> None:
    stage = losing
    start_e8 = stage.page()["day_start_nav_e8"]
    mark = lowest_mark(stage, start_e8 // 90)
    while start_e8 - stage.nav_at(mark) >= stage.nav_at(mark) * 10_000 // PPM:
        mark += 1  # the limit is a share of the smaller, current NAV
    stage.mark(mark)
    assert stage.sent(4_700_000, 80)["status"] == "open"
    assert stage.page()["risk_state"] == layout.RISK_ACTIVE

    stage.mark(mark - 1)
    stage.until(lambda: stage.page()["risk_state"] == layout.RISK_HALTED, "the halt")
    assert stage.page()["risk_reason"] == layout.REASON_HALTED_DAILY_LOSS
    stage.until(lambda: resting(stage.house.ledger()) == [], "every working order to be cancelled")
    stage.refused("halted_daily_loss", 4_700_000, 80)
    stage.mark(MID_X2)
    stage.refused("halted_daily_loss", AWAY, 80)
    assert stage.page()["position_lots"] == 400  # on_halt = hold
    assert stage.end()["account"]["risk_state"] == "halted"
