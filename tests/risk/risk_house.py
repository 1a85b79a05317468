"""A small account with one known price, for the tests of this room; and the room's kernels as plain Python."""

import contextlib

import numpy as np

from fabric import layout
from risk import account, breakers, checks, gate, limits, money, rate, tables

NOW = 10_000_000_000
BID, ASK, MULT = 9_999, 10_001, 10
LOT_E8 = 10_000 * MULT  # one lot at the mid
NAV = 10_000 * LOT_E8
OWNER = tables.OWNER_FIRST_STRATEGY
LOOSE = dict(limits.profile("aggressive"), position_ppm=1_000_000, gross_exposure_ppm=2_000_000)
MODULES = (money, account, rate, checks, breakers, gate)


def zeros(*shape):
    return np.zeros(shape, np.int64)


class World:
    """Every array that risk works on, funded, reconciled, active, with a ready book in both instruments."""

    def __init__(self, **changed_limits):
        self.account, self.order = zeros(len(tables.ACCOUNT)), zeros(len(tables.ORDER_IN))
        self.positions, self.books = zeros(2, len(tables.POSITION)), zeros(2, len(tables.BOOK))
        self.instruments, self.owners = zeros(2, len(tables.INSTRUMENT)), zeros(8, len(tables.OWNER))
        self.subbooks, self.rate = zeros(16, len(tables.SUBBOOK)), zeros(len(tables.RATE) + tables.RATE_SLOTS)
        self.limits, self.out = limits.limits_row(LOOSE | changed_limits), zeros(8)
        self.lease_ok, self.unowned_mask, self.now = 1, 0, NOW
        account.capital_flow(self.account, NAV)
        self.account[tables.AC_STATE], self.account[tables.AC_RECONCILED] = layout.RISK_ACTIVE, 1
        self.instruments[:, tables.IN_MULT] = MULT
        self.instruments[:, tables.IN_TICK_E8], self.instruments[:, tables.IN_LOT_E8] = 1_000_000, 1_000
        self.instruments[:, tables.IN_MIN_LOTS], self.instruments[:, tables.IN_MAX_LOTS] = 2, 1_000_000
        self.instruments[:, tables.IN_KIND], self.instruments[:, tables.IN_ACTIVE] = 1, 1
        self.books[:, tables.BK_STATUS], self.books[:, tables.BK_UPDATED_NS] = layout.BOOK_READY, NOW
        self.books[:, tables.BK_BID_TICKS], self.books[:, tables.BK_ASK_TICKS] = BID, ASK
        self.books[:, tables.BK_GOOD_MARK_X2_TICKS] = BID + ASK
        self.ask(lots=100)

    def ask(self, side=layout.SIDE_BUY, lots=100, price=10_000, kind=layout.TYPE_LIMIT, is_exit=0):
        self.order[:] = 0
        self.order[tables.OI_ID], self.order[tables.OI_OWNER] = 77, OWNER
        self.order[tables.OI_SIDE], self.order[tables.OI_TYPE] = side, kind
        self.order[tables.OI_PRICE_TICKS], self.order[tables.OI_LOTS] = price, lots
        self.order[tables.OI_IS_EXIT] = is_exit
        return self

    def hold(self, lots, i=0):
        self.positions[i, tables.PO_LOTS] = self.positions[i, tables.PO_CONFIRMED_LOTS] = lots
        self.positions[i, tables.PO_COST_E8] = lots * LOT_E8
        self.account[tables.AC_CASH_E8] -= lots * LOT_E8
        return self

    def expose(self):
        """What the engine does after each change of lots, working lots or marks."""
        for i in range(len(self.positions)):
            account.expose(self.account, self.positions, self.books, self.instruments, i)
        return self

    def judge(self, kernel=None):
        self.expose()
        return (kernel or gate.gate)(
            self.order,
            self.account,
            self.positions,
            self.books,
            self.instruments,
            self.limits,
            self.owners,
            self.rate,
            self.lease_ok,
            self.unowned_mask,
            self.now,
            self.out,
        )

    def answer(self):
        """(action, reason) by name."""
        return layout.ACTION[self.judge()], layout.REASON[self.out[tables.OUT_REASON]]

    def fill(self, side, lots, price, fee=0, owner=OWNER, i=0):
        return account.apply_fill(
            self.account,
            self.positions,
            self.instruments,
            self.subbooks,
            self.owners,
            i,
            owner,
            side,
            lots,
            price,
            fee,
            owner * 2 + i,
        )

    def mark(self):
        account.mark(self.account, self.positions, self.instruments, self.books, self.limits, self.now)

    def arrays(self):
        return [value for value in vars(self).values() if isinstance(value, np.ndarray)]


@contextlib.contextmanager
def interpreted(*modules):
    """Inside, every kernel of the room (or of these modules) is its plain Python function, also when another one calls it."""
    kept = [
        (module, name, item) for module in modules or MODULES for name, item in vars(module).items() if hasattr(item, "py_func")
    ]
    try:
        for module, name, item in kept:
            setattr(module, name, item.py_func)
        yield
    finally:
        for module, name, item in kept:
            setattr(module, name, item)
