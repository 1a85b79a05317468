"""Errors put into the books on purpose: one reconciliation with the exchange's own ledger finds each of them."""

from __future__ import annotations

import pytest

from engine import tables
from fabric import layout
from risk import tables as risk
from tests.engine.corekit import MS, Run

BID, ASK = 1_000_000, 1_000_010
S = 1000 * MS


class Ledger:
    """What the exchange holds: it knows nothing of the engine but the trades that happened there."""

    def __init__(self, cash_e8: int) -> None:
        self.lots, self.cash_e8 = 0, cash_e8

    def trade(self, side: int, lots: int, price: int, mult: int) -> None:
        signed = lots if side == layout.SIDE_BUY else -lots
        self.lots += signed
        self.cash_e8 -= signed * price * mult


def buy(run: Run, ledger: Ledger, lots: int = 20) -> int:
    """An order that traded whole at the exchange; the engine has not heard of it yet."""
    row = run.order(price=ASK, lots=lots)
    run.commands()
    run.ack(row)
    ledger.trade(layout.SIDE_BUY, lots, ASK, int(run.c.instruments[0, risk.IN_MULT]))
    return row


def honest(run: Run, row: int) -> None:
    run.fill(row, 20)


def sign_error(run: Run, row: int) -> None:
    run.c.orders[row, tables.OR_SIDE] = layout.SIDE_SELL
    run.fill(row, 20)


def doubled_fill(run: Run, row: int) -> None:
    run.fill(row, 20)
    run.fill(row, 20)


def lost_fill(run: Run, row: int) -> None:
    run.fill(row, 15)


def wrong_lot_size(run: Run, row: int) -> None:
    run.fill(row, 200)


def reconcile(run: Run, ledger: Ledger) -> None:
    run.event("reconcile_begin")
    run.event("position", instrument=0, lots=ledger.lots)
    run.event("position", instrument=1, lots=0)
    run.event("balance", extra=ledger.cash_e8)
    run.event("reconcile_end")


def traded(error) -> tuple[Run, Ledger]:
    """A house with one trade booked honestly, and the next one with this error."""
    run = Run()
    run.tick(BID, ASK)
    ledger = Ledger(int(run.c.account[risk.AC_CASH_E8]))
    honest(run, buy(run, ledger))
    reconcile(run, ledger)
    assert run.count("reconcile_differences") == run.c.scalars[tables.K_DIFFERENCES] == 0
    row = buy(run, ledger)
    error(run, row)
    run.now += 2 * S
    run.tick(BID, ASK)
    return run, ledger


def test_honest_books_agree():
    run, ledger = traded(honest)
    reconcile(run, ledger)
    assert run.c.scalars[tables.K_DIFFERENCES] == 0


@pytest.mark.parametrize("error", [sign_error, doubled_fill, lost_fill, wrong_lot_size], ids=lambda one: one.__name__)
def test_an_injected_error_is_caught_within_one_reconciliation(error):
    run, ledger = traded(error)
    booked = run.position()
    assert booked != ledger.lots
    reconcile(run, ledger)
    p = run.c.positions[0]
    assert run.count("reconcile_differences") == 1
    assert p[risk.PO_DIFFERENCE_LOTS] == ledger.lots - booked
    assert p[risk.PO_CONFIRMED_LOTS] == ledger.lots, "exits are bounded by what the exchange says"
    assert run.c.scalars[tables.K_RECONCILE_WANTED] == 1
    assert run.c.scalars[tables.K_DIFFERENCES] == 2, "the cash differs as well"


@pytest.mark.parametrize("error", [sign_error, doubled_fill, lost_fill, wrong_lot_size], ids=lambda one: one.__name__)
def test_an_injected_error_that_stays_goes_to_nobody_and_blocks_increases(error):
    run, ledger = traded(error)
    booked = run.position()
    reconcile(run, ledger)
    run.now += 2 * S
    reconcile(run, ledger)
    assert run.position() == ledger.lots
    assert run.c.account[risk.AC_CASH_E8] == ledger.cash_e8
    assert run.c.subbooks[risk.OWNER_UNOWNED * 2, risk.SB_LOTS] == ledger.lots - booked
    run.tick(BID, ASK)
    assert run.order(price=ASK, lots=10) == -1
    assert run.reason("unowned_position") == 1
