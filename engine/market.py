# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Market slots into book rows. A book may be traded on when its touch is whole and its depth is not in doubt."""

from __future__ import annotations

from fabric import layout
from fabric.jit import kernel
from risk import account
from risk import tables as risk

TRADING = 1  # venue status "trading"; 0 = not said


@kernel
def judge(c, instrument, now_ns):
    """Derive status and marks of one row from its touch and its depth status."""
    b = c.books[instrument]
    bid, ask = b[risk.BK_BID_TICKS], b[risk.BK_ASK_TICKS]
    if b[risk.BK_BOOK_STATUS] == layout.BOOK_DIRTY or (bid > 0 and ask > 0 and bid >= ask):
        b[risk.BK_STATUS] = layout.BOOK_DIRTY
    elif bid <= 0 or ask <= 0 or b[risk.BK_BID_LOTS] <= 0 or b[risk.BK_ASK_LOTS] <= 0:
        b[risk.BK_STATUS] = layout.BOOK_EMPTY
    else:
        b[risk.BK_STATUS] = layout.BOOK_READY
        b[risk.BK_MARK_X2_TICKS] = bid + ask
        if b[risk.BK_GOOD_MARK_X2_TICKS] != bid + ask:
            b[risk.BK_GOOD_MARK_X2_TICKS] = bid + ask
            account.expose(c.account, c.positions, c.books, c.instruments, instrument)
    return b[risk.BK_STATUS]


@kernel
def apply(c, slot, now_ns):
    """One slot into its row; the instrument, or -1 when the slot names none of ours."""
    instrument, kind = slot[layout.M_INSTRUMENT], slot[layout.M_KIND]
    if instrument < 0 or instrument >= c.books.shape[0]:
        return -1
    b = c.books[instrument]
    if kind == layout.MARKET_TICK:
        b[risk.BK_BID_TICKS], b[risk.BK_BID_LOTS] = slot[layout.M_BID_TICKS], slot[layout.M_BID_LOTS]
        b[risk.BK_ASK_TICKS], b[risk.BK_ASK_LOTS] = slot[layout.M_ASK_TICKS], slot[layout.M_ASK_LOTS]
        b[risk.BK_UPDATED_NS] = now_ns
        if slot[layout.M_STATUS] == layout.BOOK_DIRTY:
            b[risk.BK_BOOK_STATUS] = layout.BOOK_DIRTY
    elif kind == layout.MARKET_TRADE:
        b[risk.BK_TRADE_TICKS], b[risk.BK_TRADE_LOTS] = slot[layout.M_TRADE_TICKS], slot[layout.M_TRADE_LOTS]
    elif kind == layout.MARKET_BOOK:
        b[risk.BK_BOOK_STATUS] = slot[layout.M_STATUS]
        b[risk.BK_BOOK_BID_TICKS], b[risk.BK_BOOK_ASK_TICKS] = slot[layout.M_BID_TICKS], slot[layout.M_ASK_TICKS]
    elif kind == layout.MARKET_STATUS:
        halted = slot[layout.M_TRADE_LOTS] > TRADING
        b[risk.BK_BOOK_STATUS] = layout.BOOK_DIRTY if halted else slot[layout.M_STATUS]
    elif kind == layout.MARKET_CONNECTED or kind == layout.MARKET_DISCONNECTED:
        b[risk.BK_BOOK_STATUS] = layout.BOOK_DIRTY
    else:
        return -1
    b[risk.BK_VENUE_NS] = slot[layout.M_VENUE_NS]
    b[risk.BK_RECV_NS] = slot[layout.M_RECV_NS]
    b[risk.BK_MESSAGE] = slot[layout.M_SOURCE_INDEX]
    judge(c, instrument, now_ns)
    return instrument


@kernel
def lose_all(c, now_ns):
    """Slots were lost: every book is in doubt until it is told anew."""
    for instrument in range(c.books.shape[0]):
        c.books[instrument, risk.BK_BOOK_STATUS] = layout.BOOK_DIRTY
        judge(c, instrument, now_ns)
    return 0
