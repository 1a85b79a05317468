# mypy: ignore-errors
"""NautilusTrader's risk and submit path, in its own environment: ``python nautilus_submit.py COUNT < orders.json``.

Reads ``[[side, price, quantity], ...]`` (0 = buy; decimal texts) from standard input, writes one JSON object: version and
ns of each order from ``order_factory.limit`` and ``Strategy.submit_order`` to the execution client's ``submit_order`` and back:
message bus, cache, risk engine (its own checks on, rate limits set wide), execution engine. The client is the last step and
counts. The order is then, outside the timing, submitted, accepted and cancelled. Imports nothing of Pulex.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from decimal import Decimal

import nautilus_trader
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.config import RiskEngineConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.client import ExecutionClient
from nautilus_trader.execution.engine import ExecutionEngine
from nautilus_trader.model.currencies import BTC, USD, USDC
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import AccountState, OrderAccepted, OrderCanceled, OrderSubmitted
from nautilus_trader.model.identifiers import AccountId, ClientId, InstrumentId, Symbol, TraderId, Venue, VenueOrderId
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import AccountBalance, Money, Price, Quantity
from nautilus_trader.portfolio.portfolio import Portfolio
from nautilus_trader.risk.engine import RiskEngine
from nautilus_trader.trading.strategy import Strategy

VENUE, ACCOUNT = Venue("BENCH"), AccountId("BENCH-1")
WARM = 2_000


class Client(ExecutionClient):
    """Where an order would leave: it is counted."""

    reached = 0

    def submit_order(self, command) -> None:
        self.reached += 1


def instrument() -> CurrencyPair:
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol("BTC-USDC"), VENUE), raw_symbol=Symbol("BTC-USDC"), base_currency=BTC,
        quote_currency=USDC, price_precision=2, size_precision=5, price_increment=Price.from_str("0.01"),
        size_increment=Quantity.from_str("0.00001"), lot_size=None, max_quantity=Quantity.from_str("100.00000"),
        min_quantity=Quantity.from_str("0.00001"), max_notional=None, min_notional=Money(1.0, USDC), max_price=None,
        min_price=None, margin_init=Decimal(0), margin_maint=Decimal(0), maker_fee=Decimal(0), taker_fee=Decimal(0),
        ts_event=0, ts_init=0,
    )  # fmt: skip


def balance(amount, currency):
    return AccountBalance(Money(amount, currency), Money(0, currency), Money(amount, currency))


class House:
    """Engines wired as the trader's kernel wires them."""

    def __init__(self) -> None:
        clock, trader = LiveClock(), TraderId("BENCH-001")
        bus, self.cache = MessageBus(trader_id=trader, clock=clock), Cache()
        portfolio = Portfolio(msgbus=bus, cache=self.cache, clock=clock)
        self.engine = ExecutionEngine(msgbus=bus, cache=self.cache, clock=clock)
        wide = RiskEngineConfig(max_order_submit_rate="100000000/00:00:01", max_order_modify_rate="100000000/00:00:01")
        self.risk = RiskEngine(portfolio=portfolio, msgbus=bus, cache=self.cache, clock=clock, config=wide)
        self.instrument, self.clock = instrument(), clock
        self.cache.add_instrument(self.instrument)
        self.client = Client(
            client_id=ClientId("BENCH"), venue=VENUE, oms_type=OmsType.NETTING, account_type=AccountType.CASH,
            base_currency=None, msgbus=bus, cache=self.cache, clock=clock,
        )  # fmt: skip
        self.engine.register_client(self.client)
        portfolio.update_account(
            AccountState(
                account_id=ACCOUNT,
                account_type=AccountType.CASH,
                base_currency=None,
                reported=True,
                balances=[balance(100_000_000, USDC), balance(100_000, BTC), balance(1_000_000, USD)],
                margins=[],
                info={},
                event_id=UUID4(),
                ts_event=0,
                ts_init=0,
            )
        )
        self.strategy = Strategy()
        self.strategy.register(trader_id=trader, portfolio=portfolio, msgbus=bus, cache=self.cache, clock=clock)
        for one in (self.risk, self.engine, self.strategy):
            one.start()

    def submit(self, side, price, quantity):
        """ns from the wish to the client, and the order."""
        started = time.perf_counter_ns()
        order = self.strategy.order_factory.limit(self.instrument.id, side, quantity, price)
        self.strategy.submit_order(order)
        return time.perf_counter_ns() - started, order

    def end(self, order, number) -> None:
        """Submitted, accepted, cancelled."""
        ids = (order.trader_id, order.strategy_id, order.instrument_id, order.client_order_id)
        venue_id = VenueOrderId(str(number))
        self.engine.process(OrderSubmitted(*ids, ACCOUNT, UUID4(), 0, 0))
        self.engine.process(OrderAccepted(*ids, venue_id, ACCOUNT, UUID4(), 0, 0))
        self.engine.process(OrderCanceled(*ids, venue_id, ACCOUNT, UUID4(), 0, 0))


def main(count: int) -> None:
    wishes = [
        (OrderSide.SELL if side else OrderSide.BUY, Price.from_str(price), Quantity.from_str(quantity))
        for side, price, quantity in json.load(sys.stdin)
    ]
    house, samples = House(), []
    for k in range(WARM + count):
        if k % 1_000 == 0:
            gc.collect()
        spent, order = house.submit(*wishes[k % len(wishes)])
        house.end(order, k + 1)
        if k >= WARM:
            samples.append(spent)
    json.dump(
        {"version": nautilus_trader.__version__, "python": sys.version.split()[0], "reached": house.client.reached - WARM}
        | {"samples": samples},
        sys.stdout,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
