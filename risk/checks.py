"""The checks of the gate: each looks at one thing and returns a REASON, 0 when the order passes.

All take the ORDER_IN row first, then the tables they read, and write nothing. They run in the order that `risk.gate`
lists; `fields` comes before any that indexes by instrument, and a missing limit fails before it is compared.
A limit is the last value allowed, except where its text says "reaches".
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from fabric import layout
from fabric.jit import inlined
from risk import account as accounts
from risk import money, rate, tables


@inlined
def state_reason(account, lease_ok):
    """Why the account's state or the lease refuses; the words in the account say more where they are set."""
    if account[tables.AC_STATE] == layout.RISK_KILLED:
        return layout.REASON_KILLED
    if lease_ok == 0:
        return layout.REASON_LEASE_LAPSED
    if account[tables.AC_REASON] != 0:
        return account[tables.AC_REASON]
    if account[tables.AC_STATE] == layout.RISK_DISARMED:
        return layout.REASON_SHUTDOWN
    if account[tables.AC_STATE] == layout.RISK_PAUSED:
        return layout.REASON_OWNER_PAUSED
    return layout.REASON_HALTED_OPERATOR


@inlined
def owner_state(order, owners, now_ns):
    """Latched until an operator, or paused until a time. An owner that does not exist is left to `fields`."""
    owner = order[tables.OI_OWNER]
    if owner < 0 or owner >= owners.shape[0]:
        return 0
    if owners[owner, tables.OW_LATCHED] != 0:
        return layout.REASON_OWNER_LATCHED
    return layout.REASON_OWNER_PAUSED if now_ns < owners[owner, tables.OW_PAUSED_UNTIL_NS] else 0


@inlined
def fields(order, instruments, owners):
    """Instrument known and active; owner, side and type within their ranges."""
    i = order[tables.OI_INSTRUMENT]
    if i < 0 or i >= instruments.shape[0]:
        return layout.REASON_UNKNOWN_SYMBOL
    if instruments[i, tables.IN_ACTIVE] == 0:
        return layout.REASON_UNKNOWN_SYMBOL
    side, kind, owner = order[tables.OI_SIDE], order[tables.OI_TYPE], order[tables.OI_OWNER]
    known = layout.SIDE_BUY <= side <= layout.SIDE_SELL and layout.TYPE_LIMIT <= kind <= layout.TYPE_POST_ONLY
    return 0 if known and 0 <= owner < owners.shape[0] else layout.REASON_OFF_GRID


@inlined
def duplicate_id(order, account):
    """Ids only rise; 0 means that the id is given at sending."""
    used = order[tables.OI_ID] != 0 and order[tables.OI_ID] <= account[tables.AC_LAST_ORDER_ID]
    return layout.REASON_DUPLICATE_ID if used else 0


@inlined
def limits_present(order, limits):
    """Every limit that can judge this order is there: all of them for a new order, the collar for an exit."""
    if limits[tables.LM_COLLAR_PPM] < 0:
        return layout.REASON_LIMIT_MISSING
    if order[tables.OI_IS_EXIT] == 0:
        for limit in range(tables.LM_DAY_LOSS_PPM, tables.LM_REJECTS_IN_ROW + 1):
            if limits[limit] < 0:
                return layout.REASON_LIMIT_MISSING
    return 0


@inlined
def reconciled(account):
    """Nothing is confirmed before the venue has been asked."""
    return 0 if account[tables.AC_RECONCILED] != 0 else layout.REASON_RECONCILE_PENDING


@inlined
def unowned(order, positions, unowned_mask):
    """An unexplained position in this instrument: only orders that can but reduce, until an operator has seen it."""
    i = order[tables.OI_INSTRUMENT]
    if unowned_mask >> i & 1 == 0:
        return 0
    fits = order[tables.OI_LOTS] <= accounts.reducible_lots(positions, i, order[tables.OI_SIDE])
    return 0 if fits else layout.REASON_UNOWNED_POSITION


@inlined
def book(order, books, limits, now_ns):
    """Both sides there, uncrossed, in sequence, and not older than the limit."""
    row = books[order[tables.OI_INSTRUMENT]]
    if row[tables.BK_STATUS] == layout.BOOK_DIRTY:
        return layout.REASON_BOOK_DIRTY
    bid, ask = row[tables.BK_BID_TICKS], row[tables.BK_ASK_TICKS]
    if row[tables.BK_STATUS] != layout.BOOK_READY or bid <= 0 or ask <= 0:
        return layout.REASON_BOOK_EMPTY
    if bid >= ask:
        return layout.REASON_BOOK_CROSSED
    stale = now_ns - row[tables.BK_UPDATED_NS] > limits[tables.LM_STALE_BOOK_NS]
    return layout.REASON_BOOK_STALE if stale else 0


@inlined
def grid(order, instruments):
    """Size within the instrument's range; a price, which only a market order may lack, within the headroom."""
    i, lots, price = order[tables.OI_INSTRUMENT], order[tables.OI_LOTS], order[tables.OI_PRICE_TICKS]
    if lots <= 0 or lots < instruments[i, tables.IN_MIN_LOTS] or price < 0 or price > money.PRICE_TICKS_MAX:
        return layout.REASON_OFF_GRID
    if price == 0 and order[tables.OI_TYPE] != layout.TYPE_MARKET:
        return layout.REASON_OFF_GRID
    return layout.REASON_MAX_ORDER_LOTS if lots > instruments[i, tables.IN_MAX_LOTS] else 0


@inlined
def exit_bound(order, positions):
    """An exit is never larger than what it can only reduce."""
    bound = accounts.reducible_lots(positions, order[tables.OI_INSTRUMENT], order[tables.OI_SIDE])
    return layout.REASON_EXIT_TOO_LARGE if order[tables.OI_LOTS] > bound else 0


@inlined
def reference_x2(book_row, limits, now_ns):
    """Twice the price that collars refer to: the mid of a usable book, else its last good mark, else 0."""
    if accounts.book_ready(book_row, limits, now_ns):
        return book_row[tables.BK_BID_TICKS] + book_row[tables.BK_ASK_TICKS]
    return max(book_row[tables.BK_GOOD_MARK_X2_TICKS], 0)


@inlined
def collar_price(side, mark_x2_ticks, collar_ppm):
    """The worst price within the collar: highest for a buy, lowest for a sell, at least one tick."""
    if side == layout.SIDE_BUY:
        return mark_x2_ticks * (money.PPM + collar_ppm) // (2 * money.PPM)
    return max(money.ceil_div(mark_x2_ticks * (money.PPM - collar_ppm), 2 * money.PPM), 1)


@inlined
def judged_price(order, book_row, limits, now_ns):
    """The order's price; without one, the far touch of a usable book, else the reference (rounded up)."""
    if order[tables.OI_PRICE_TICKS] > 0:
        return order[tables.OI_PRICE_TICKS]
    if not accounts.book_ready(book_row, limits, now_ns):
        return (reference_x2(book_row, limits, now_ns) + 1) // 2
    buy = order[tables.OI_SIDE] == layout.SIDE_BUY
    return book_row[tables.BK_ASK_TICKS] if buy else book_row[tables.BK_BID_TICKS]


@inlined
def collar(order, books, limits, now_ns):
    """The price is no further from the reference than the collar, on either side of it."""
    row = books[order[tables.OI_INSTRUMENT]]
    mark_x2 = reference_x2(row, limits, now_ns)
    if mark_x2 <= 0 or mark_x2 > 2 * money.PRICE_TICKS_MAX:
        return layout.REASON_NO_PRICE
    if order[tables.OI_PRICE_TICKS] == 0 and not accounts.book_ready(row, limits, now_ns):
        return 0  # the gate will price it at the collar
    off_x2 = abs(2 * judged_price(order, row, limits, now_ns) - mark_x2)
    return layout.REASON_PRICE_COLLAR if off_x2 * money.PPM > mark_x2 * limits[tables.LM_COLLAR_PPM] else 0


@inlined
def max_notional(order, books, instruments, limits):
    """Lots at the worse of limit and far touch."""
    i = order[tables.OI_INSTRUMENT]
    touch = books[i, tables.BK_ASK_TICKS if order[tables.OI_SIDE] == layout.SIDE_BUY else tables.BK_BID_TICKS]
    worst = max(order[tables.OI_PRICE_TICKS], min(touch, money.PRICE_TICKS_MAX))
    notional = order[tables.OI_LOTS] * worst * instruments[i, tables.IN_MULT]
    return layout.REASON_MAX_ORDER_NOTIONAL if notional > limits[tables.LM_MAX_ORDER_NOTIONAL_E8] else 0


@inlined
def min_notional(order, lots, books, instruments, limits, now_ns):
    """These lots at the order's own price (else the touch) reach the venue's smallest order."""
    i = order[tables.OI_INSTRUMENT]
    price = judged_price(order, books[i], limits, now_ns)
    small = lots * price * instruments[i, tables.IN_MULT] < instruments[i, tables.IN_MIN_NOTIONAL_E8]
    return layout.REASON_MIN_NOTIONAL if small else 0


@inlined
def open_orders(account, limits):
    """One more order would still be within the number allowed."""
    full = account[tables.AC_OPEN_ORDERS] >= limits[tables.LM_MAX_OPEN_ORDERS]
    return layout.REASON_MAX_OPEN_ORDERS if full else 0


@inlined
def worst_after(order, positions):
    """Lots of exposure on the order's side if it and everything working there fills (negative: it only reduces)."""
    i = order[tables.OI_INSTRUMENT]
    buy = order[tables.OI_SIDE] == layout.SIDE_BUY
    worst = accounts.worst_long(positions, i) if buy else accounts.worst_short(positions, i)
    return worst + order[tables.OI_LOTS]


@inlined
def position(order, account, positions, books, instruments, limits, now_ns):
    """The worst case stays within the cap, which is never below 0; what only reduces always does."""
    i = order[tables.OI_INSTRUMENT]
    mark_x2 = reference_x2(books[i], limits, now_ns)
    cap = accounts.cap_lots(account, mark_x2, instruments[i, tables.IN_MULT], limits)
    worst = worst_after(order, positions)
    return layout.REASON_POSITION_CAP if worst > cap else 0


@inlined
def gross(order, account, positions, books, instruments, limits, now_ns):
    """The worst cases of all instruments together, either direction, stay within the gross limit (at most EXPOSURE_MAX).

    The others are taken from the sum that the engine keeps (`account.expose`): the cost does not grow with their number.
    """
    i, side_worst = order[tables.OI_INSTRUMENT], worst_after(order, positions)
    before = max(accounts.worst_long(positions, i), accounts.worst_short(positions, i))
    if side_worst <= before:  # which is never below 0: the worst cases of both sides add up to all that works
        return 0
    mult = instruments[i, tables.IN_MULT]
    mark_x2 = min(reference_x2(books[i], limits, now_ns), 2 * money.PRICE_TICKS_MAX)
    mine = money.ceil_div(min(side_worst, money.position_bound(mult)) * mark_x2 * mult, 2)
    total = account[tables.AC_EXPOSURE_E8] - positions[i, tables.PO_EXPOSURE_E8] + min(mine, money.EXPOSURE_MAX)
    limit = money.mul_ppm_floor(accounts.limit_nav_e8(account), limits[tables.LM_GROSS_EXPOSURE_PPM])
    limit = min(limit // accounts.drawdown_divisor(account), money.EXPOSURE_MAX - 1)
    return layout.REASON_GROSS_EXPOSURE if total > limit else 0


@inlined
def funds(order, positions, instruments):
    """A spot sale is covered: confirmed position and baseline, less what is already for sale."""
    i = order[tables.OI_INSTRUMENT]
    if order[tables.OI_SIDE] == layout.SIDE_BUY or instruments[i, tables.IN_KIND] != 0:
        return 0
    free = positions[i, tables.PO_CONFIRMED_LOTS] + instruments[i, tables.IN_BASELINE_LOTS]
    free -= positions[i, tables.PO_WORKING_SELL_LOTS]
    return layout.REASON_INSUFFICIENT_FUNDS if order[tables.OI_LOTS] > free else 0


@inlined
def order_key(order):
    """What makes two orders of an owner the same: instrument, side, price and size, in one positive word."""
    low = order[tables.OI_PRICE_TICKS] << 31 | order[tables.OI_LOTS]
    return (order[tables.OI_INSTRUMENT] & 15) << 59 | order[tables.OI_SIDE] << 58 | low


@inlined
def duplicate_order(order, owners, limits, now_ns):
    """The owner's last order again, sooner than the window; quotes are kept apart by their slots instead."""
    owner = owners[order[tables.OI_OWNER]]
    if order[tables.OI_IS_QUOTE] != 0 or owner[tables.OW_LAST_ORDER_KEY] != order_key(order):
        return 0
    soon = now_ns - owner[tables.OW_LAST_ORDER_NS] < limits[tables.LM_DUPLICATE_WINDOW_NS]
    return layout.REASON_DUPLICATE_ORDER if soon else 0


@inlined
def message_rate(rate_row, limits, now_ns):
    """Orders and cancels of the last second leave room for one more message."""
    return layout.REASON_MESSAGE_RATE if rate.messages_exceed(rate_row, limits, now_ns) else 0
