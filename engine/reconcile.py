# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The account as the venue reports it against ours: the venue wins, the difference goes to ``unowned``.

A position difference is applied when two reconciliations in a row show the same one with no fill in between (a fill may be
on its way), or at once at the first start. ``balance`` sets the cash at the start; later only together with a position
difference; another difference is counted. After a restart (``K_RESTORED``) cash that came meanwhile is a capital flow, and
cash that is missing is a loss: what nobody saw never loosens a limit.
"""

from __future__ import annotations

from engine import orders, tables
from engine.commands import journal
from engine.events import SETTLE_NS
from fabric import layout
from fabric.jit import kernel
from risk import account
from risk import tables as risk


@kernel
def begin(c, now_ns):
    """A round starts: what is sent after this moment cannot be missed by it."""
    c.scalars[tables.K_RECONCILING] = now_ns
    c.scalars[tables.K_RECONCILE_WANTED] = 0
    return 0


@kernel
def position(c, event, now_ns):
    """Compare one position; ``lots`` is the venue's, the configured baseline included."""
    i = event[tables.EV_INSTRUMENT]
    if i < 0 or i >= c.scalars[tables.K_INSTRUMENTS]:
        return 0
    p = c.positions[i]
    at_venue = event[tables.EV_LOTS] - c.instruments[i, risk.IN_BASELINE_LOTS]
    difference = at_venue - p[risk.PO_LOTS]
    first = c.account[risk.AC_RECONCILED] == 0 and c.scalars[tables.K_RESTORED] == 0
    if difference == 0:
        p[risk.PO_DIFFERENCE_LOTS] = 0
        p[risk.PO_CONFIRMED_LOTS] = p[risk.PO_LOTS]
        return 0
    c.scalars[tables.K_DIFFERENCES] += 1
    c.counters[layout.EC_RECONCILE_DIFFERENCES] += 1
    settled = now_ns - p[risk.PO_LAST_FILL_NS] > SETTLE_NS and p[risk.PO_DIFFERENCE_LOTS] == difference
    if not first and not settled:
        p[risk.PO_CONFIRMED_LOTS] = at_venue
        p[risk.PO_DIFFERENCE_LOTS] = difference
        c.scalars[tables.K_RECONCILE_WANTED] = 1
        return 0
    return take_over(c, i, difference, now_ns)


@kernel
def take_over(c, i, difference, now_ns):
    """Book a difference to ``unowned`` at the mark, and take the venue's cash with the balance that follows."""
    p = c.positions[i]
    s = c.subbooks[risk.OWNER_UNOWNED * c.scalars[tables.K_INSTRUMENTS] + i]
    b = c.books[i]
    mark_x2 = b[risk.BK_GOOD_MARK_X2_TICKS]
    cost = difference * mark_x2 * c.instruments[i, risk.IN_MULT] // 2
    p[risk.PO_LOTS] += difference
    p[risk.PO_COST_E8] += cost
    p[risk.PO_CONFIRMED_LOTS] = p[risk.PO_LOTS]
    p[risk.PO_DIFFERENCE_LOTS] = 0
    account.expose(c.account, c.positions, c.books, c.instruments, i)
    s[risk.SB_LOTS] += difference
    s[risk.SB_COST_E8] += cost
    c.scalars[tables.K_UNOWNED_MASK] |= 1 << i
    c.scalars[tables.K_CASH_DUE] = 1
    journal(c, layout.JOURNAL_STATE, -1, i, difference, 0, layout.REASON_UNOWNED_POSITION, 0, now_ns)
    return 1


@kernel
def positions_agree(c):
    """1 when the venue's positions of this round were all ours."""
    for i in range(c.scalars[tables.K_INSTRUMENTS]):
        if c.positions[i, risk.PO_DIFFERENCE_LOTS] != 0:
            return 0
    return 1


@kernel
def balance(c, event):
    """Cash of the account, ``extra`` in 1e-8: taken at the start, compared afterwards."""
    cash = event[tables.EV_EXTRA]
    a = c.account
    moved = cash - a[risk.AC_CASH_E8]
    if a[risk.AC_RECONCILED] == 0 and c.scalars[tables.K_RESTORED] == 0:
        account.capital_flow(a, moved)
        a[risk.AC_FLOWS_E8] = 0
    elif a[risk.AC_RECONCILED] == 0 and moved != 0 and positions_agree(c) != 0:
        c.scalars[tables.K_DIFFERENCES] += 1
        if moved > 0:
            account.capital_flow(a, moved)
        else:
            a[risk.AC_CASH_E8] = cash
    elif cash != a[risk.AC_CASH_E8]:
        c.scalars[tables.K_DIFFERENCES] += 1
        if c.scalars[tables.K_CASH_DUE] != 0:
            a[risk.AC_CASH_E8] = cash
    c.scalars[tables.K_CASH_DUE] = 0
    return 0


@kernel
def finish(c, now_ns):
    """The round is complete: what was not found open is unknown and asked about; the account counts as reconciled."""
    began = c.scalars[tables.K_RECONCILING]
    row = c.scalars[tables.K_LIVE_HEAD]
    for _ in range(len(c.orders)):
        if row < 0 or began == 0:
            break
        o = c.orders[row]
        following = o[tables.OR_NEXT_LIVE]
        if o[tables.OR_DEADLINE_NS] < began and o[tables.OR_QUERIED_NS] < began:
            orders.set_state(c, row, layout.STATE_UNKNOWN)
            orders.query(c, row, now_ns)
        row = following
    if began != 0:
        c.account[risk.AC_RECONCILED] = 1
        c.scalars[tables.K_RECONCILE_DUE] = 0
        c.scalars[tables.K_RECONCILE_COUNT] += 1
        c.counters[layout.EC_RECONCILES] += 1
    c.scalars[tables.K_RECONCILING] = 0
    return 0
