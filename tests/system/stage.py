"""A running system on a market whose every message the test says, trading by strategies that do what the test says.

The exchange plays a recording of two frames (a depth book and a touch of 100 BTC at 49999.00 / 50001.00) that then stands
still, so every taking fill has a known price and every order behind the touch rests. What our side sees is said live, through
the exchange's ``raw`` switch: ticks move our mark to half a tick, trades are the commands of ``strategies/puppet.py``. So
every limit can be met exactly, at any speed of the machine. Prices here are ticks of 0.01, sizes lots of 0.001.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
from collections.abc import Callable
from typing import Any

from fabric import layout
from ops.figures import Pages, locked_words
from risk import limits as risk_limits
from tests.system.house import House
from tests.system.strategies import puppet

SYMBOL = "BTCUSDT"
BID, ASK = 4_999_900, 5_000_100  # where the exchange fills what takes
MID_X2 = BID + ASK
PUPPET = pathlib.Path(puppet.__file__)
MULT = 1_000  # 1e-8 of quote money per tick and lot
QUIET_S = 20.0
LIMIT, MARKET, IOC = layout.TYPE_LIMIT, layout.TYPE_MARKET, layout.TYPE_IOC
BUY, SELL = layout.SIDE_BUY, layout.SIDE_SELL
# Wide, so that only the breaker under test can act.
LIMITS: dict[str, int | str] = risk_limits.profile("aggressive") | {
    "profile": "aggressive",
    "day_loss_ppm": 900_000,
    "position_ppm": 4_000_000,
    "gross_exposure_ppm": 5_000_000,
    "order_rate_per_s": 200,
    "losses_in_row": 100,
    "slippage_ppm": 900_000,
    "drawdown_ppm": 900_000,
    "collar_ppm": 200_000,
    "max_order_notional_e8": 10**14,
    "message_rate_per_s": 10_000,
    "duplicate_window_ns": 0,
    "min_quote_life_ns": 0,
    "stale_book_ns": 600 * 10**9,
}


def write_recording(file: pathlib.Path) -> pathlib.Path:
    """The two frames; the far level makes the grid as fine as it is meant to be."""
    depth = {
        "lastUpdateId": 100,
        "bids": [["49990.00", "100.000"], ["1000.01", "0.001"]],
        "asks": [["50010.00", "100.000"], ["90000.00", "1.000"]],
    }
    touch = {"u": 101, "s": SYMBOL, "b": price_text(BID), "B": "100.000", "a": price_text(ASK), "A": "100.000"}
    file.write_text(f"1700000000000000000 {json.dumps(depth)}\n1700000000001000000 {json.dumps({'data': touch})}\n")
    return file


def price_text(ticks: int) -> str:
    return f"{ticks // 100}.{ticks % 100:02d}"


def size_text(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03d}"


class Stage:
    """A started, armed house with ``puppets`` strategies, and the words to play on it."""

    def __init__(self, house: House, puppets: int = 1, **limits: int) -> None:
        self.house = house
        self._numbers = itertools.count(1)
        self._sequences = itertools.count(1_000)
        strategies = [{"name": f"puppet{me}", "file": str(PUPPET), "parameters": {"me": me}} for me in range(puppets)]
        data = write_recording(house.home / "recording")
        values = {"limits": LIMITS | limits, "strategies": strategies}
        house.start(values, "--data", str(data), "--signal", "none", until="venue")
        self.pages: Pages | None = None
        house.wait(self._ready, 100.0, "an armed engine with a book")

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            self.pages = self.pages or Pages(self.house.config["shm_dir"])
            page = self.page()
            granted = page["lease_state"] and page["risk_state"] == layout.RISK_ACTIVE and page["reconciled"]
            return bool(granted and page["mark_x2_ticks"] == MID_X2)
        return False

    # --- what our side believes

    def page(self) -> dict[str, int]:
        """The account page with its first instrument's row; zeros while there is none."""
        segment = self.pages.segment("exec") if self.pages else None
        words = locked_words(segment, layout.ACCOUNT_OFFSET, layout.ACCOUNT_BYTES // layout.WORD) if segment else None
        row = words or [0] * (layout.ACCOUNT_BYTES // layout.WORD)
        cells = row[layout.ACCOUNT_ROWS_WORD :]
        return dict(zip(layout.ACCOUNT_PAGE, row, strict=False)) | dict(zip(layout.ACCOUNT_ROW, cells, strict=False))

    def count(self, name: str) -> int:
        """A counter of the execution process; ``reason.X`` for refusals."""
        reader = self.pages.stats("execution") if self.pages else None
        return reader.counters()[name] if reader else 0

    def nav_at(self, mark_x2: int) -> int:
        """NAV in 1e-8 if the mark were this: exact, as ``risk.account.mark`` values it."""
        page = self.page()
        return page["cash_e8"] + page["position_lots"] * mark_x2 * MULT // 2

    # --- what the test does

    def say(self, message: dict[str, Any]) -> None:
        """One market message to our feed, past the exchange's own market."""
        self.house.faults(raw=json.dumps(message | {"symbol": SYMBOL, "exchange_ts": 1_700_000_000_000_000, "index": -1}))

    def mark(self, mark_x2: int) -> None:
        """Move the touch that our side sees, 1.00 wide or half a tick more, and wait until it is our mark."""
        bid = (mark_x2 - 100) // 2
        ask = mark_x2 - bid
        touch = {"bid": price_text(bid), "bid_size": "5.000", "ask": price_text(ask), "ask_size": "5.000"}
        self.say({"type": "tick", "price": price_text(bid), "sequence": next(self._sequences)} | touch)
        self.until(lambda: self.page()["mark_x2_ticks"] == mark_x2, f"mark {mark_x2}")

    def command(
        self,
        price: int,
        lots: int,
        kind: int = LIMIT,
        side: int = BUY,
        *,
        count: int = 1,
        who: int = 0,
        deed: int = puppet.TAKE,
    ) -> None:
        """Make a puppet place orders (or quote, or pull); returns when it was told, not when it was done."""
        word = ((who * puppet.DEEDS + deed) * puppet.TYPES + kind) * puppet.SIDES + side
        word = ((word * puppet.ORDERS + count) * puppet.LOTS + lots) * puppet.NUMBERS + next(self._numbers) % puppet.NUMBERS
        trade = {"price": price_text(price), "size": size_text(word), "side": "buy", "trade_id": next(self._sequences)}
        self.say({"type": "trade"} | trade)

    def sent(self, price: int, lots: int, kind: int = LIMIT, side: int = BUY, who: int = 0) -> dict[str, Any]:
        """Command one order and return it as the exchange's ledger has it."""
        before = len(self.orders())
        self.command(price, lots, kind, side, who=who)
        self.until(lambda: len(self.orders()) > before, "the order in the ledger")
        order: dict[str, Any] = self.orders()[before]
        if kind in (MARKET, IOC):
            self.until(lambda: self.orders()[before]["status"] != "open", "the end of a taking order")
            self.until(lambda: self.page()["fills"] == len(self.house.ledger()["fills"]), "the fill on our side")
            order = self.orders()[before]
        return order

    def refused(self, reason: str, price: int, lots: int, kind: int = LIMIT, side: int = BUY, who: int = 0) -> None:
        """Command one order, see it refused for this reason on our side, and nothing of it in the ledger."""
        before, counted = len(self.orders()), self.count(f"reason.{reason}")
        self.command(price, lots, kind, side, who=who)
        self.until(lambda: self.count(f"reason.{reason}") > counted, f"a refusal: {reason}")
        assert len(self.orders()) == before

    def orders(self) -> list[dict[str, Any]]:
        """Our orders in the exchange's ledger, in order of arrival; kill test's probes are not among them."""
        return [order for order in self.house.ledger()["orders"] if order["status"] != "rejected"]

    def until(self, predicate: Callable[[], bool], what: str) -> None:
        """Wait for it, not long."""
        self.house.wait(predicate, QUIET_S, what)

    def end(self) -> dict[str, Any]:
        """Stop the house in order; nothing open, nothing unknown. Returns the summary."""
        code, summary = self.house.stop()
        assert code == 0, self.house.tail()
        assert summary["orders"]["open_at_exit"] == 0
        assert summary["orders"]["unknown"] == 0
        return summary
