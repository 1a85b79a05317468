# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What happens because time passes: orders in doubt, cancels said again, marks and breakers, pulls, the day.

Touches live orders only. Every step is bounded; a step that finds no command row is taken again on the next call.
"""

from __future__ import annotations

from engine import halting, orders, quotes, strategies, tables
from engine.commands import account_record, journal
from fabric import layout
from fabric.jit import kernel
from risk import account, breakers
from risk import tables as risk

MARK_NS = 1_000_000
QUERY_NS = 500_000_000
DAY_NS = 86_400_000_000_000


@kernel
def live_orders(c, now_ns):
    """Pending past its deadline becomes unknown; unknown ones are asked about again; wanted cancels are said again."""
    slack = c.scalars[tables.K_ORDER_DEADLINE_NS]
    row = c.scalars[tables.K_LIVE_HEAD]
    for _ in range(len(c.orders)):
        if row < 0:
            break
        o = c.orders[row]
        following, state = o[tables.OR_NEXT_LIVE], o[tables.OR_STATE]
        if state == layout.STATE_PENDING_NEW and now_ns > o[tables.OR_DEADLINE_NS] + slack:
            orders.make_unknown(c, row, now_ns)
        elif state == layout.STATE_PENDING_REPLACE and now_ns > o[tables.OR_AMEND_SENT_NS] + 2 * slack:
            orders.make_unknown(c, row, now_ns)  # no answer: how large it is has to be asked
        elif state == layout.STATE_UNKNOWN and now_ns - o[tables.OR_QUERIED_NS] >= QUERY_NS:
            orders.query(c, row, now_ns)
        if o[tables.OR_CANCEL_WANTED] != 0:
            orders.want_cancel(c, row, o[tables.OR_REASON], now_ns)
        row = following
    return 0


@kernel
def cancel_excess(c, instrument, side, now_ns):
    """Cancel increasing orders of one side, newest first, while the worst case exceeds the cap."""
    b, t, p = c.books[instrument], c.instruments[instrument], c.positions[instrument]
    mark = b[risk.BK_MARK_X2_TICKS]
    if mark <= 0:
        return 0
    cap = account.cap_lots(c.account, mark, t[risk.IN_MULT], c.limits)
    buy = side == layout.SIDE_BUY
    worst = account.worst_long(c.positions, instrument) if buy else account.worst_short(c.positions, instrument)
    held = p[risk.PO_LOTS] if buy else -p[risk.PO_LOTS]
    row = c.scalars[tables.K_LIVE_HEAD]
    for _ in range(len(c.orders)):
        if row < 0 or worst <= cap or worst <= -held:
            break
        o = c.orders[row]
        following = o[tables.OR_NEXT_LIVE]
        if o[tables.OR_INSTRUMENT] == instrument and o[tables.OR_SIDE] == side and o[tables.OR_IS_EXIT] == 0:
            orders.want_cancel(c, row, layout.REASON_POSITION_CAP, now_ns)
            worst -= o[tables.OR_LEAVES]
        row = following
    return 0


@kernel
def breakers_at_mark(c, now_ns):
    """Value the account, judge it, and do to working orders what a breach asks."""
    k = c.scalars
    if now_ns - k[tables.K_LAST_MARK_NS] < MARK_NS:
        return 0
    k[tables.K_LAST_MARK_NS] = now_ns
    peak = c.account[risk.AC_HWM_E8]
    account.mark(c.account, c.positions, c.instruments, c.books, c.limits, now_ns)
    breach = breakers.after_mark(c.account, c.owners, c.limits, now_ns)
    if c.account[risk.AC_HWM_E8] != peak or breach != 0 or k[tables.K_RECONCILE_COUNT] != k[tables.K_ACCOUNT_SAID]:
        k[tables.K_ACCOUNT_SAID] = k[tables.K_RECONCILE_COUNT]
        account_record(c, now_ns)
    if breach & breakers.BREACH_HALT != 0:
        c.counters[layout.EC_HALTS] += 1
        journal(c, layout.JOURNAL_BREACH, -1, -1, 0, 0, c.account[risk.AC_REASON], breach, now_ns)
    elif breach != 0:
        journal(c, layout.JOURNAL_BREACH, -1, -1, 0, 0, layout.REASON_DRAWDOWN_REDUCED, breach, now_ns)
    if c.account[risk.AC_STATE] >= layout.RISK_HALTED:
        halting.halt(c, c.account[risk.AC_REASON], now_ns)
        return breach
    k[tables.K_HALTED_NS] = k[tables.K_HALT_OVER] = 0
    if k[tables.K_LIVE_COUNT] > 0:
        for instrument in range(k[tables.K_INSTRUMENTS]):
            cancel_excess(c, instrument, layout.SIDE_BUY, now_ns)
            cancel_excess(c, instrument, layout.SIDE_SELL, now_ns)
    return breach


@kernel
def pulls(c, now_ns):
    """Protective: quotes of paused owners, and of instruments whose book is dirty, empty or stale."""
    if c.scalars[tables.K_LIVE_COUNT] == 0:
        return 0
    for strategy in range(c.scalars[tables.K_STRATEGIES]):
        if strategies.owner_may_quote(c, c.strategy_calls[strategy, tables.CA_OWNER], now_ns) == 0:
            quotes.pull_strategy(c, strategy, layout.REASON_OWNER_PAUSED, now_ns)
    for instrument in range(c.scalars[tables.K_INSTRUMENTS]):
        if account.book_ready(c.books[instrument], c.limits, now_ns) == 0:
            quotes.pull_instrument(c, instrument, layout.REASON_BOOK_STALE, now_ns)
    return 0


@kernel
def day(c, now_ns):
    """Roll the trading day once, by the wall clock in UTC."""
    rolled = account.roll_day(c.account, c.owners, (now_ns + c.scalars[tables.K_WALL_OFFSET_NS]) // DAY_NS)
    if rolled != 0:
        account_record(c, now_ns)
    return rolled
