# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The pages that others read: the account page, the beat and the core's counters. Written by the loop thread alone."""

from __future__ import annotations

from engine import markouts
from engine import tables as et
from engine import wiring as wi
from fabric import duty
from fabric import layout as lay
from fabric.atomics import row, store_relaxed, store_release
from fabric.jit import kernel
from fabric.meters import counter_set
from fabric.rings import seqlock_write
from risk import account
from risk import tables as rt


@kernel
def beat(w, n, c, now_ns):
    """The work loop's own beat: the watchdog renews the lease on nothing else."""
    base = w[wi.WI_EXEC] + lay.BEAT_OFFSET
    store_relaxed(base + lay.B_EPOCH * 8, c.scalars[et.K_EPOCH])
    store_relaxed(base + lay.B_MARKET_SEQ * 8, n[wi.WN_MARKET_NEXT] - 1)
    store_relaxed(base + lay.B_ORDER_ID * 8, c.scalars[et.K_NEXT_COUNTER])
    store_relaxed(base + lay.B_ORDERS_SENT * 8, n[wi.WN_ORDERS_SENT])
    store_relaxed(base + lay.B_STATE * 8, c.account[rt.AC_STATE])
    store_relaxed(base + lay.B_STALL_MAX_NS * 8, row(w[wi.WI_DUTY], duty.WORDS)[duty.DU_STALL_MAX_NS])
    store_relaxed(base + lay.B_MONO_NS * 8, now_ns)
    store_release(base + lay.B_PASSES * 8, n[wi.WN_PASSES])  # pairs with the watchdog's read: passes last
    store_relaxed(w[wi.WI_EXEC] + lay.HEARTBEAT_OFFSET, now_ns)


@kernel
def account_page(w, n, c, now_ns):
    """One consistent picture of the account."""
    p = row(w[wi.WI_ACCOUNT_WORDS], lay.ACCOUNT_BYTES // 8)
    a = c.account
    p[lay.AP_UPDATED_NS] = now_ns
    p[lay.AP_NAV_E8], p[lay.AP_DAY_START_NAV_E8] = a[rt.AC_NAV_E8], a[rt.AC_DAY_START_NAV_E8]
    p[lay.AP_HWM_E8], p[lay.AP_CASH_E8] = a[rt.AC_HWM_E8], a[rt.AC_CASH_E8]
    p[lay.AP_REALISED_E8], p[lay.AP_UNREALISED_E8] = a[rt.AC_REALISED_E8], a[rt.AC_UNREALISED_E8]
    p[lay.AP_FEES_E8] = a[rt.AC_FEES_E8]
    p[lay.AP_RISK_STATE], p[lay.AP_RISK_REASON] = a[rt.AC_STATE], a[rt.AC_REASON]
    p[lay.AP_OPEN_ORDERS], p[lay.AP_UNKNOWN_ORDERS] = c.scalars[et.K_LIVE_COUNT], a[rt.AC_UNKNOWN_ORDERS]
    p[lay.AP_ORDERS_SENT], p[lay.AP_FILLS] = n[wi.WN_ORDERS_SENT], c.scalars[et.K_FILLS]
    p[lay.AP_DRAWDOWN_STEP], p[lay.AP_LIMIT_ONLY] = a[rt.AC_DRAWDOWN_STEP], a[rt.AC_LIMIT_ONLY]
    p[lay.AP_INSTRUMENTS] = n[wi.WN_INSTRUMENTS]
    p[lay.AP_LEASE_STATE] = lay.LEASE_GRANTED if n[wi.WN_LEASE_OK] else lay.LEASE_WITHHELD
    p[lay.AP_EPOCH] = c.scalars[et.K_EPOCH]
    p[lay.AP_SIGNALS_USED] = c.scalars[et.K_SIGNALS_USED]
    p[lay.AP_SIGNALS_EXPIRED] = c.scalars[et.K_SIGNALS_EXPIRED]
    p[lay.AP_SIGNALS_REFUSED] = c.scalars[et.K_SIGNALS_REFUSED]
    p[lay.AP_RECONCILED] = a[rt.AC_RECONCILED]
    for horizon in range(markouts.HORIZONS):
        p[lay.AP_MARKOUT_100MS_E8 + horizon] = c.scalars[et.K_MARKOUT_100MS_E8 + horizon]
        p[lay.AP_MARKED_100MS_E8 + horizon] = c.scalars[et.K_MARKED_100MS_E8 + horizon]
    for i in range(n[wi.WN_INSTRUMENTS]):
        at = lay.ACCOUNT_ROWS_WORD + i * len(lay.ACCOUNT_ROW)
        q = c.positions[i]
        mark = c.books[i, rt.BK_MARK_X2_TICKS]
        p[at + lay.AR_POSITION_LOTS], p[at + lay.AR_COST_E8] = q[rt.PO_LOTS], q[rt.PO_COST_E8]
        p[at + lay.AR_MARK_X2_TICKS] = mark
        p[at + lay.AR_REALISED_E8], p[at + lay.AR_UNREALISED_E8] = q[rt.PO_REALISED_E8], q[rt.PO_UNREALISED_E8]
        p[at + lay.AR_WORKING_BUY_LOTS] = q[rt.PO_WORKING_BUY_LOTS]
        p[at + lay.AR_WORKING_SELL_LOTS] = q[rt.PO_WORKING_SELL_LOTS]
        p[at + lay.AR_CAP_LOTS] = account.cap_lots(a, mark, c.instruments[i, rt.IN_MULT], c.limits)
    seqlock_write(w[wi.WI_EXEC] + lay.ACCOUNT_OFFSET, p, lay.ACCOUNT_BYTES // 8)


@kernel
def counters(w, n, c):
    """Copy the core's counters to the stats page; those that the shell counts itself stay."""
    stats = w[wi.WI_STATS]
    for k in range(lay.EXEC_REASON_BASE + len(lay.REASON)):
        if c.counters[k] != 0:
            counter_set(stats, k, c.counters[k])
