# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The compiled execution loop: one ``exec_pass`` after the other until the stop word is set.

A pass: take over restarted segments, check the lease, read market events (an order never waits behind the next event),
signals, reconciliation, the order session (when the market is quiet or 20 us have passed), run the timer, journal,
encode, send, beat. The clock is read once at the start of a pass and again only where a latency is measured.
"""

from __future__ import annotations

from engine import core, inbound, outbound, pages, rehearsal
from engine import tables as et
from engine import wiring as wi
from engine.core_type import core_at
from fabric import duty
from fabric import layout as lay
from fabric.atomics import load_acquire, load_relaxed, row
from fabric.clock import monotonic_ns, wall_ns
from fabric.jit import kernel
from fabric.meters import heartbeat, record, status_set
from risk import tables as rt
from venue import tables as vt


@kernel
def check_permission(w, n, c, now_ns):
    """Lease, arming and stop words become core state; a time gap longer than the lease fences the loop itself."""
    ok = inbound.lease_valid(w, c.scalars[et.K_EPOCH], now_ns)
    if n[wi.WN_GAP_NS] > n[wi.WN_LEASE_TTL_NS]:
        ok = ok * 0
    if ok != n[wi.WN_LEASE_OK]:
        n[wi.WN_LEASE_OK] = ok
        n[wi.WN_LEASE_SEEN] |= ok
        n[wi.WN_LAPSED_NS] = now_ns
        core.on_lease(c, ok, now_ns)
    if not ok and n[wi.WN_LEASE_SEEN] and n[wi.WN_SESSION_UP]:
        waited = now_ns - n[wi.WN_LAPSED_NS] > wi.LAPSE_CLOSE_NS
        if waited or c.scalars[et.K_LIVE_COUNT] == 0:  # its own orders are gone, or there was time enough to say so
            inbound.close_session(w, n, c, row(w[wi.WI_SESSION], len(vt.SESSION)), vt.CLOSE_LAPSE, now_ns)
    if w[wi.WI_CONTROL] == 0:
        return
    armed = load_relaxed(w[wi.WI_CONTROL] + lay.C_ARMED * 8)
    if armed != n[wi.WN_ARMED]:
        n[wi.WN_ARMED] = armed
        core.arm(c, armed, now_ns)
    stop = load_acquire(w[wi.WI_CONTROL] + lay.C_STOP * 8)
    if stop != lay.STOP_RUN:
        core.stop(c, now_ns)


@kernel
def exec_pass(w, n, c, now_ns):
    """One pass; returns how much there was to do."""
    if inbound.take_remaps(w, n, c, now_ns):
        core.on_lost(c, now_ns)
        inbound.replay_state(w, n, c, now_ns)
    check_permission(w, n, c, now_ns)
    work = inbound.read_market(w, n, c, now_ns)
    if work == 0:
        work += inbound.read_signals(w, n, c, now_ns)
        work += inbound.read_inbox(w, n, c, now_ns)
    if work == 0 or now_ns - n[wi.WN_LAST_ORDER_POLL_NS] > wi.ORDER_POLL_NS:
        n[wi.WN_LAST_ORDER_POLL_NS] = now_ns
        work += inbound.read_session(w, n, c, now_ns)
    if work == 0 and n[wi.WN_UNSENT] > 0 and n[wi.WN_SESSION_UP]:
        outbound.check_unsent(w, n)  # when there is time, so that no order waits for the answer
    if now_ns - n[wi.WN_LAST_TIMER_NS] > wi.TIMER_NS and c.scalars[et.K_COMMANDS] == 0:
        n[wi.WN_LAST_TIMER_NS] = now_ns
        c.scalars[et.K_WALL_OFFSET_NS] = wall_ns(w[wi.WI_SCRATCH]) - monotonic_ns(w[wi.WI_SCRATCH])
        core.on_timer(c, now_ns)
    outbound.drain(w, n, c, now_ns)
    n[wi.WN_PASSES] += 1
    pages.beat(w, n, c, now_ns)
    if now_ns - n[wi.WN_LAST_PAGE_NS] > wi.PAGE_NS and work == 0:
        n[wi.WN_LAST_PAGE_NS] = now_ns
        pages.account_page(w, n, c, now_ns)
        pages.counters(w, n, c)
        heartbeat(w[wi.WI_STATS], now_ns)
        status_set(w[wi.WI_STATS], lay.P_PASSES, n[wi.WN_PASSES])
    if work:
        record(w[wi.WI_STATS], lay.EH_PASS_NS, monotonic_ns(w[wi.WI_SCRATCH]) - now_ns)
    return work


@kernel
def stand_in(w, n, c, now_ns):
    """Rehearse an order at the touch of the first instrument, if there is one."""
    book = c.books[0]
    if book[rt.BK_STATUS] == lay.BOOK_READY:
        address = w[wi.WI_UNDERSTUDY]
        own = row(address, wi.ROWS)
        rehearsal.rehearse(own, row(address + wi.ROWS * 8, wi.ROWS), core_at(own[wi.WI_CORE]), book, now_ns)
        n[wi.WN_TOUCHED] = rehearsal.touch(w, c)
        c.counters[lay.EC_REHEARSALS] += 1


@kernel
def exec_loop(wiring_address, passes_max):
    """Run passes until the stop word is set, or ``passes_max`` of them (warming); returns the passes made."""
    w = row(wiring_address, wi.ROWS)
    n = row(wiring_address + wi.ROWS * 8, wi.ROWS)
    d = row(w[wi.WI_DUTY], duty.WORDS)
    c = core_at(w[wi.WI_CORE])
    done = 0
    while done < passes_max and load_acquire(w[wi.WI_STOP]) == 0:
        now_ns = monotonic_ns(w[wi.WI_SCRATCH])
        n[wi.WN_GAP_NS] = duty.begin(d, w[wi.WI_STATS], now_ns)
        work = exec_pass(w, n, c, now_ns)
        done += 1
        if work:
            n[wi.WN_REHEARSED_NS] = now_ns  # the path is warm
        elif now_ns - n[wi.WN_REHEARSED_NS] > wi.REHEARSE_NS and w[wi.WI_UNDERSTUDY]:
            n[wi.WN_REHEARSED_NS] = now_ns
            stand_in(w, n, c, now_ns)
        duty.end(d, work, now_ns, w[wi.WI_SCRATCH])
    return done
