"""Who owns what on the paper exchange: totals, reservations and fees, booked double, in exact Decimal.

Every booking moves money between two parties, so that the sum of each currency over all parties is zero at all times:
traders, `clearing` (the other side of each execution: zero between two traders, the crowd's position otherwise),
`fees` (income, negative after rebates) and `funding` (what was paid in). A trader can spend only what is not reserved,
and a reservation covers the worst fill of an order with its fees, so no total ever falls below zero.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_UP, Decimal

from sim.market import Execution, Instrument, Order

CLEARING = "clearing"
FEES = "fees"
FUNDING = "funding"

_CENT = Decimal("0.00000001")
_MILLION = Decimal(1_000_000)


def fee(instrument: Instrument, lots: int, price_ticks: int, *, maker: bool) -> Decimal:
    """The fee in quote currency, positive = paid, negative = rebate, rounded against the trader to 1e-8."""
    ppm = instrument.maker_fee_ppm if maker else instrument.taker_fee_ppm
    return (_notional(instrument, lots, price_ticks) * ppm / _MILLION).quantize(_CENT, ROUND_CEILING)


def _notional(instrument: Instrument, lots: int, price_ticks: int) -> Decimal:
    return instrument.price(price_ticks) * instrument.size(lots)


def fee_text(amount: Decimal) -> str:
    """A fee, or any amount on the 1e-8 grid, with eight decimals."""
    return format(amount, ".8f")


def balance_text(amount: Decimal) -> str:
    """A balance with eight decimals, rounded down: never more than there is."""
    return format(amount.quantize(_CENT, ROUND_FLOOR), "f")


class InsufficientFunds(Exception):
    """The account has less available than the order may need."""


class Ledger:
    """Totals by (party, currency) and what open orders hold back of them."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self._reserved: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self._held: dict[int, tuple[str, Decimal]] = {}

    def fund(self, account: str, currency: str, amount: Decimal) -> None:
        self._move(FUNDING, account, currency, amount)

    def total(self, account: str, currency: str) -> Decimal:
        return self._totals.get((account, currency), Decimal(0))

    def available(self, account: str, currency: str) -> Decimal:
        return self.total(account, currency) - self._reserved.get((account, currency), Decimal(0))

    def currencies(self, account: str) -> list[str]:
        return sorted(currency for party, currency in self._totals if party == account)

    def all_totals(self) -> dict[str, dict[str, str]]:
        """{party: {currency: amount}} with nothing rounded."""
        parties: dict[str, dict[str, str]] = {}
        for (party, currency), amount in sorted(self._totals.items()):
            parties.setdefault(party, {})[currency] = format(amount, "f")
        return parties

    def reserve(self, order: Order, instrument: Instrument) -> None:
        """Hold back what the order may cost; InsufficientFunds, with nothing changed, when that is not available."""
        currency, amount = _worst_case(order, instrument)
        if self.available(order.account, currency) < amount:
            raise InsufficientFunds
        self._reserved[order.account, currency] += amount
        self._held[order.order_id] = (currency, amount)

    def release(self, order: Order) -> None:
        """Give back what an ended order still holds; nothing to do for one that holds nothing."""
        currency, amount = self._held.pop(order.order_id, ("", Decimal(0)))
        if amount:
            self._reserved[order.account, currency] -= amount

    def settle(self, execution: Execution, instrument: Instrument) -> Decimal:
        """Book one side of a trade, shrink the order's reservation, and answer the fee. Advances `order.settled_lots`."""
        order = execution.order
        order.settled_lots += execution.lots
        notional = _notional(instrument, execution.lots, execution.price_ticks)
        base = instrument.size(execution.lots)
        paid = fee(instrument, execution.lots, execution.price_ticks, maker=execution.maker)
        buyer, seller = (order.account, CLEARING) if order.side == "buy" else (CLEARING, order.account)
        self._move(buyer, seller, instrument.quote, notional)
        self._move(seller, buyer, instrument.base, base)
        self._move(order.account, FEES, instrument.quote, paid)
        held = order.order_id in self._held
        self.release(order)
        if held and order.settled_lots < order.lots:
            currency, amount = _worst_case(order, instrument)
            self._reserved[order.account, currency] += amount
            self._held[order.order_id] = (currency, amount)
        return paid

    def _move(self, giver: str, taker: str, currency: str, amount: Decimal) -> None:
        self._totals[giver, currency] -= amount
        self._totals[taker, currency] += amount


def _worst_case(order: Order, instrument: Instrument) -> tuple[str, Decimal]:
    """(currency, amount) the unsettled rest may cost: a fill per lot, each fee rounded up by itself."""
    lots = order.lots - order.settled_lots
    if order.side == "sell":
        return instrument.base, instrument.size(lots)
    if order.price_ticks is None:  # no price at all: there is nothing to trade with, so nothing to hold back
        return instrument.quote, Decimal(0)
    notional = _notional(instrument, lots, order.price_ticks)
    ppm = max(instrument.maker_fee_ppm, instrument.taker_fee_ppm, 0)
    fees = (notional * ppm / _MILLION).quantize(_CENT, ROUND_UP) + _CENT * lots if ppm else Decimal(0)
    return instrument.quote, notional + fees
