"""What the router sends on books as they come: recorded ones and the synthetic market's; and what does not pass through it."""

from __future__ import annotations

import gzip
import itertools
import pathlib

import numpy as np
import pytest

from engine import router, strategies, tables
from fabric import layout
from risk import tables as risk
from sim.flow_figures import default_instruments
from sim.recording import MessageMaker, Recording
from sim.synthetic import SyntheticMarket
from tests.engine.corekit import MS, Run

BOOKS = 400
OWNER = risk.OWNER_FIRST_STRATEGY


def synthetic() -> list[tuple[int, int]]:
    """Touches of the synthetic market, in ticks of 0.01."""
    market, touches = SyntheticMarket(default_instruments(), 11), []
    for step in range(1, 20 * BOOKS):
        market.advance(step * 50 * MS, 0)
        bid, ask = market.touch("BTC-USDC")
        if bid and ask and (not touches or touches[-1] != (bid, ask)):
            touches.append((bid, ask))
        if len(touches) == BOOKS:
            break
    return touches


def recorded(folder: pathlib.Path, part: pathlib.Path) -> list[tuple[int, int]]:
    """Touches of a recorded market."""
    with gzip.open(folder / "binance" / "spot__btcusdt_20240808.gz", "rb") as lines:
        part.write_bytes(b"".join(itertools.islice(lines, 12_000)))
    maker = MessageMaker("BTCUSDT")
    said = [maker.message(frame) for frame in Recording(part)]
    found = [(round(float(m["bid"]) * 100), round(float(m["ask"]) * 100)) for m in said if m["type"] == "tick"]
    return [touch for touch, _ in itertools.groupby(found)][:BOOKS]


def marketable(touches: list[tuple[int, int]]) -> dict[str, int]:
    """Send signals of every urgency on these books; how many immediate orders left, by type, each marketable then."""
    random, seen = np.random.default_rng(5), {"ioc": 0, "fok": 0}
    wide = dict.fromkeys(("drawdown_ppm", "day_loss_ppm", "losses_in_row", "signal_count_per_h"), 10**6)
    run = Run(**wide, position_ppm=5 * 10**6, gross_exposure_ppm=10**7, signal_notional_per_h_e8=10**17)
    run.c.instruments[:, risk.IN_KIND] = 1
    for k, (bid, ask) in enumerate(touches):
        run.now += 110 * MS
        run.tick(bid, ask)
        side = int(random.integers(0, 2))
        limit = ask + int(random.integers(-20, 200)) if side == layout.SIDE_BUY else bid - int(random.integers(-20, 200))
        stop = bid // 2 if side == layout.SIDE_BUY else ask * 2
        fields = {"side": side, "lots": 10, "limit_ticks": limit, "stop_ticks": stop, "urgency": 1 + k % 10}
        run.oneshot(**fields, expires_ns=run.now + 400 * MS)
        while commands := run.commands():  # an answer may let the next order out, on the same book
            for row, price in [(row, price) for kind, row, price in commands if kind == "place"]:
                name, buy = layout.ORDER_TYPE[run.get(row, "type")], run.get(row, "side") == layout.SIDE_BUY
                if name in seen:
                    seen[name] += 1
                    assert (price >= ask) if buy else (price <= bid)
                    if run.get(row, "lots") == 10 and not run.get(row, "is_exit"):
                        run.fill(row, 9)  # so that the rest goes out as fill-or-kill
                run.cancelled(row)
    return seen


def test_every_ioc_and_fok_on_synthetic_books_is_marketable_when_it_leaves() -> None:
    seen = marketable(synthetic())
    assert seen["ioc"] > 50
    assert seen["fok"] > 5


def test_every_ioc_and_fok_on_recorded_books_is_marketable_when_it_leaves(
    recordings: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    seen = marketable(recorded(recordings, tmp_path / "part"))
    assert seen["ioc"] > 50
    assert seen["fok"] > 5


def wish(run: Run, kind: int, order_type: int, side: int, price: int) -> list[int]:
    """One intent of a strategy; the rows of the orders placed for it."""
    n = run.c.intents[0]
    n[:] = 0
    n[[tables.NT_KIND, tables.NT_SIDE, tables.NT_TYPE, tables.NT_PRICE_TICKS]] = kind, side, order_type, price
    n[[tables.NT_LOTS, tables.NT_SLOT]] = 10, side
    run.c.strategy_calls[0, tables.CA_OWNER] = OWNER
    strategies.apply_intent(run.c, 0, 0, 0, -1, run.now)
    return [row for name, row, _ in run.commands() if name == "place"]


@pytest.mark.parametrize("order_type", [layout.TYPE_POST_ONLY, layout.TYPE_LIMIT])
@pytest.mark.parametrize(("bid", "ask"), [(1_000_000, 1_000_010), (990_000, 1_010_000)])
def test_quotes_keep_their_own_type_and_price_whatever_the_urgency_rules_would_say(order_type: int, bid: int, ask: int) -> None:
    routed = {int(router.order_type(urgency, bid, ask, 0, 10, -100)) for urgency in range(1, 11)}
    assert routed - {order_type}, "the rules would make another order of it"
    run = Run()
    run.c.instruments[:, risk.IN_MAKER_FEE_PPM] = -100
    run.tick(bid, ask)
    (row,) = wish(run, tables.INTENT_QUOTE, order_type, layout.SIDE_BUY, bid - 3)
    assert (run.get(row, "type"), run.get(row, "price_ticks")) == (order_type, bid - 3)


@pytest.mark.parametrize("order_type", [layout.TYPE_MARKET, layout.TYPE_IOC, layout.TYPE_FOK])
def test_a_quote_that_would_not_rest_is_a_fault_of_its_strategy(order_type: int) -> None:
    run = Run()
    run.tick(1_000_000, 1_000_010)
    assert wish(run, tables.INTENT_QUOTE, order_type, layout.SIDE_BUY, 999_990) == []
    assert run.count("strategy_errors") == 1


def test_a_post_only_quote_is_moved_off_the_far_touch() -> None:
    run = Run()
    run.tick(1_000_000, 1_000_010)
    (row,) = wish(run, tables.INTENT_QUOTE, layout.TYPE_POST_ONLY, layout.SIDE_BUY, 1_000_050)
    assert run.get(row, "price_ticks") < 1_000_010
