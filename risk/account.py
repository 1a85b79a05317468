"""The account: fills, marks, capital flows and the day roll, in exact integers at average cost.

Written by the execution process only; units as in `risk.tables`. The same arithmetic keeps the net position and each
owner's sub-book. For any sequence of fills: ``cost == sum(signed lots * price * mult) + gross realised``, exactly; a
partly closed position gives up its share of the cost rounded up (against us) and keeps the remainder. Cash moves by
the full notional for spot and linear alike, so ``nav = cash + sum(lots * mark * mult)`` holds for both kinds.
Working lots, entry times and `last_fill_ns` belong to the engine.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from fabric import layout
from fabric.jit import kernel
from risk import money, tables

assert (tables.PO_LOTS, tables.PO_COST_E8, tables.PO_REALISED_E8, tables.PO_FEES_E8) == (0, 1, 2, 3)
assert (tables.SB_LOTS, tables.SB_COST_E8, tables.SB_REALISED_E8, tables.SB_FEES_E8) == (0, 1, 2, 3)


@kernel
def book_fill(row, signed_lots, price_ticks, mult, fee_e8):
    """One fill into one POSITION or SUBBOOK row (their first four words agree); returns realised net of the fee."""
    held, cost = row[tables.PO_LOTS], row[tables.PO_COST_E8]
    closed = 0
    if (held > 0 and signed_lots < 0) or (held < 0 and signed_lots > 0):
        closed = min(abs(held), abs(signed_lots))
    closing = closed if signed_lots > 0 else -closed
    closed_cost = money.share_ceil(cost, closed, abs(held)) if closed > 0 else 0
    realised = -closing * price_ticks * mult - closed_cost - fee_e8
    row[tables.PO_LOTS] = held + signed_lots
    row[tables.PO_COST_E8] = cost - closed_cost + (signed_lots - closing) * price_ticks * mult
    row[tables.PO_REALISED_E8] += realised
    row[tables.PO_FEES_E8] += fee_e8
    return realised


@kernel
def apply_fill(
    account,
    positions,
    instruments,
    subbooks,
    owners,
    instrument,
    owner,
    side,
    lots,
    price_ticks,
    fee_e8,
    subbook_row,
):
    """Book one fill everywhere; returns the realised result, net of its fee, of that owner's sub-book.

    `lots` > 0; `fee_e8` in quote money, negative is a rebate. A fill is the venue's word, so the confirmed position
    moves with it. `round_realised_e8` of the sub-book counts from the last time it was flat or flipped.
    """
    mult = instruments[instrument, tables.IN_MULT]
    signed = lots if side == layout.SIDE_BUY else -lots
    position, subbook = positions[instrument], subbooks[subbook_row]
    account[tables.AC_REALISED_E8] += book_fill(position, signed, price_ticks, mult, fee_e8)
    account[tables.AC_FEES_E8] += fee_e8
    account[tables.AC_CASH_E8] -= signed * price_ticks * mult + fee_e8
    position[tables.PO_CONFIRMED_LOTS] += signed
    held = subbook[tables.SB_LOTS]
    realised = book_fill(subbook, signed, price_ticks, mult, fee_e8)
    if held == 0:
        subbook[tables.SB_ROUND_REALISED_E8] = realised
    elif (held > 0) != (held + signed > 0) and held + signed != 0:
        subbook[tables.SB_ROUND_REALISED_E8] = 0
    else:
        subbook[tables.SB_ROUND_REALISED_E8] += realised
    owners[owner, tables.OW_REALISED_E8] += realised
    owners[owner, tables.OW_FEES_E8] += fee_e8
    owners[owner, tables.OW_FILLS] += 1
    return realised


@kernel
def book_ready(book, limits, now_ns):
    """1 when both sides are there, uncrossed, ready, and no older than the limit (a missing limit: never)."""
    sides = 0 < book[tables.BK_BID_TICKS] < book[tables.BK_ASK_TICKS]
    fresh = now_ns - book[tables.BK_UPDATED_NS] <= limits[tables.LM_STALE_BOOK_NS] and limits[tables.LM_STALE_BOOK_NS] >= 0
    return 1 if sides and fresh and book[tables.BK_STATUS] == layout.BOOK_READY else 0


@kernel
def worse_mark_x2(book, lots):
    """Without a usable book: the worse of last good mark and last trade for a position of this sign; 0 = neither."""
    good, trade = book[tables.BK_GOOD_MARK_X2_TICKS], 2 * book[tables.BK_TRADE_TICKS]
    if good <= 0 or trade <= 0:
        return max(good, trade, 0)
    return min(good, trade) if lots >= 0 else max(good, trade)


@kernel
def exposure_e8(positions, books, instruments, i):
    """Worst case of one instrument, either direction, at its last good mark; rounded up, at most EXPOSURE_MAX."""
    mult = instruments[i, tables.IN_MULT]
    worst = min(max(worst_long(positions, i), worst_short(positions, i), 0), money.position_bound(mult))
    mark_x2 = min(max(books[i, tables.BK_GOOD_MARK_X2_TICKS], 0), 2 * money.PRICE_TICKS_MAX)
    return min(money.ceil_div(worst * mark_x2 * mult, 2), money.EXPOSURE_MAX)


@kernel
def expose(account, positions, books, instruments, i):
    """To be called after lots, working lots or good mark of an instrument changed: the gross limit judges the sum."""
    value = exposure_e8(positions, books, instruments, i)
    account[tables.AC_EXPOSURE_E8] += value - positions[i, tables.PO_EXPOSURE_E8]
    positions[i, tables.PO_EXPOSURE_E8] = value


@kernel
def mark(account, positions, instruments, books, limits, now_ns):
    """Value everything: marks, unrealised, NAV, gross, exposure; raises the high-water mark. Values round down.

    A position that has never had a price is carried at cost; the gate lets nothing but a priced order through anyway.
    """
    nav = account[tables.AC_CASH_E8]
    gross = 0
    unrealised = 0
    exposure = 0
    for i in range(positions.shape[0]):
        position, book = positions[i], books[i]
        lots = position[tables.PO_LOTS]
        if book_ready(book, limits, now_ns):
            book[tables.BK_MARK_X2_TICKS] = book[tables.BK_BID_TICKS] + book[tables.BK_ASK_TICKS]
            book[tables.BK_GOOD_MARK_X2_TICKS] = book[tables.BK_MARK_X2_TICKS]
        else:
            book[tables.BK_MARK_X2_TICKS] = worse_mark_x2(book, lots)
        mark_x2 = book[tables.BK_MARK_X2_TICKS]
        value = lots * mark_x2 * instruments[i, tables.IN_MULT] // 2 if mark_x2 > 0 else position[tables.PO_COST_E8]
        position[tables.PO_UNREALISED_E8] = value - position[tables.PO_COST_E8]
        unrealised += position[tables.PO_UNREALISED_E8]
        nav += value
        gross = min(gross + abs(value), money.MONEY_MAX)
        position[tables.PO_EXPOSURE_E8] = exposure_e8(positions, books, instruments, i)
        exposure += position[tables.PO_EXPOSURE_E8]
    account[tables.AC_NAV_E8] = nav
    account[tables.AC_GROSS_E8] = gross
    account[tables.AC_EXPOSURE_E8] = exposure
    account[tables.AC_UNREALISED_E8] = unrealised
    account[tables.AC_HWM_E8] = max(account[tables.AC_HWM_E8], nav)


@kernel
def capital_flow(account, amount_e8):
    """A deposit (> 0) or withdrawal: moves cash, NAV, day start and high-water mark alike, never P&L."""
    account[tables.AC_CASH_E8] += amount_e8
    account[tables.AC_NAV_E8] += amount_e8
    account[tables.AC_DAY_START_NAV_E8] += amount_e8
    account[tables.AC_HWM_E8] += amount_e8
    account[tables.AC_FLOWS_E8] += amount_e8


@kernel
def roll_day(account, owners, day):
    """Start trading day number `day` once; returns 1 if it did. A number not above the last one does nothing.

    The day's loss and the owners' pause counts begin anew; a halt, a latched owner and a running pause stay.
    """
    if day <= account[tables.AC_DAY]:
        return 0
    account[tables.AC_DAY] = day
    account[tables.AC_DAY_START_NAV_E8] = account[tables.AC_NAV_E8]
    for owner in range(owners.shape[0]):
        owners[owner, tables.OW_DAY] = day
        owners[owner, tables.OW_PAUSES_TODAY] = 0
    return 1


@kernel
def worst_long(positions, i):
    """Lots held if every working buy fills and no sell does (negative: still short)."""
    return positions[i, tables.PO_LOTS] + positions[i, tables.PO_WORKING_BUY_LOTS]


@kernel
def worst_short(positions, i):
    """Lots short if every working sell fills and no buy does, as a positive number (negative: still long)."""
    return positions[i, tables.PO_WORKING_SELL_LOTS] - positions[i, tables.PO_LOTS]


@kernel
def reducible_lots(positions, i, side):
    """Largest order on this side that can only reduce: the confirmed position less all that works on this side.

    Booked and confirmed position may differ while something is in doubt; then the smaller one counts.
    """
    held, confirmed = positions[i, tables.PO_LOTS], positions[i, tables.PO_CONFIRMED_LOTS]
    if side == layout.SIDE_BUY:
        return max(min(-held, -confirmed) - positions[i, tables.PO_WORKING_BUY_LOTS], 0)
    return max(min(held, confirmed) - positions[i, tables.PO_WORKING_SELL_LOTS], 0)


@kernel
def limit_nav_e8(account):
    """The NAV that percentage limits refer to: the smaller of current and day start, never below zero."""
    return max(min(account[tables.AC_NAV_E8], account[tables.AC_DAY_START_NAV_E8]), 0)


@kernel
def drawdown_divisor(account):
    """What sizes and caps are divided by: 1, 2 or 4 for drawdown step 0, 1 or 2."""
    return 1 << min(max(account[tables.AC_DRAWDOWN_STEP], 0), 2)


@kernel
def cap_lots(account, mark_x2_ticks, mult, limits):
    """Position cap of one instrument in lots at this mark, drawdown included; 0 without limit, mark or NAV."""
    if limits[tables.LM_POSITION_PPM] < 0 or mark_x2_ticks <= 0 or mult <= 0:
        return 0
    cap_e8 = money.mul_ppm_floor(limit_nav_e8(account), limits[tables.LM_POSITION_PPM]) // drawdown_divisor(account)
    return min(2 * cap_e8 // mult // mark_x2_ticks, money.position_bound(mult))
