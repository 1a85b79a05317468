# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What leaves a pass: commands become frames, all in one call of ``send``.

Order of safety: intents are in the journal ring before anything is sent; cancels are encoded first, so that a lease that
lapses while we encode cuts off exactly the new orders; the lease and epoch check is the last step before the call. A frame
sent in part closes the socket, and every order without an answer is then unknown.
"""

from __future__ import annotations

from engine import core, inbound, journaling, submit
from engine import tables as et
from engine import wiring as wi
from fabric import layout as lay
from fabric.atomics import octet_table, octets, row, store_release, table
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.meters import record
from risk import tables as rt
from venue import frames, masks, purpleflea_encode, sockets, transport
from venue import tables as vt

NS_PER_MS = 1_000_000


@kernel
def seal_text(w, n, send, end):
    """Close the frame whose payload ends at ``end``; 1, or 0 when it did not fit and nothing was added."""
    if end < 0:
        return 0
    sealed = frames.seal(send, n[wi.WN_SEND_END], end, frames.OP_TEXT, masks.next_mask(row(w[wi.WI_MASK], masks.WORDS)))
    if sealed < 0:
        return 0
    n[wi.WN_SEND_END] = sealed
    return 1


@kernel
def encode_cancels(w, n, c, count, wall_ms):
    """Encode cancels and cancel-alls, and hand queries to the control thread."""
    send = octets(w[wi.WI_SEND], n[wi.WN_SEND_CAPACITY])
    instruments = n[wi.WN_INSTRUMENTS]
    symbols = octet_table(w[wi.WI_SYMBOLS], instruments, vt.SYMBOL_BYTES)
    for k in range(count):
        m = c.commands[k]
        at = n[wi.WN_SEND_END] + frames.ROOM
        if m[et.CM_KIND] == et.COMMAND_CANCEL:
            end = purpleflea_encode.encode_cancel(send, at, m[et.CM_ORDER_ID], wall_ms, n[wi.WN_RECV_WINDOW_MS])
            m[et.CM_REASON] = seal_text(w, n, send, end)
        elif m[et.CM_KIND] == et.COMMAND_CANCEL_ALL:
            end = purpleflea_encode.encode_cancel_all(send, at, m[et.CM_INSTRUMENT], symbols, wall_ms)
            seal_text(w, n, send, end)
        elif m[et.CM_KIND] == et.COMMAND_QUERY:
            rows = table(w[wi.WI_OUTBOX] + lay.LINE, wi.OUTBOX, len(et.COMMAND))
            slot = rows[n[wi.WN_OUTBOX_COUNT] & (wi.OUTBOX - 1)]
            for word in range(len(et.COMMAND)):
                slot[word] = m[word]
            n[wi.WN_OUTBOX_COUNT] += 1
            store_release(w[wi.WI_OUTBOX], n[wi.WN_OUTBOX_COUNT])  # pairs with the control thread's read of the count


@kernel
def refusal(w, n, c, journaled, now_ns):
    """Why no new order may leave in this pass; REASON_NONE when it may."""
    if not inbound.lease_valid(w, c.scalars[et.K_EPOCH], now_ns):
        return lay.REASON_LEASE_LAPSED
    if not journaled or not n[wi.WN_JOURNAL_OK]:
        return lay.REASON_JOURNAL_FULL
    if not n[wi.WN_SESSION_UP]:
        return lay.REASON_SESSION_DOWN
    if n[wi.WN_UNSENT] > n[wi.WN_UNSENT_MAX]:
        check_unsent(w, n)
    return lay.REASON_UNSENT_BYTES if n[wi.WN_UNSENT] > n[wi.WN_UNSENT_MAX] else lay.REASON_NONE


@kernel
def check_unsent(w, n):
    """Ask the kernel what the venue has not taken yet; a question that fails counts as more than is allowed."""
    s = row(w[wi.WI_SESSION], len(vt.SESSION))
    unsent = sockets.unsent_bytes(s[vt.SE_FD], w[wi.WI_SCRATCH])
    n[wi.WN_UNSENT] = unsent if unsent >= 0 else n[wi.WN_UNSENT_MAX] + 1


@kernel
def encode_places(w, n, c, count, wall_ms, reason, now_ns):
    """Encode new orders, or report why not; encoded ones have CM_REASON 0. Returns how many were encoded.

    One that is not wanted any more, by what happened later in this pass, does not leave.
    """
    send = octets(w[wi.WI_SEND], n[wi.WN_SEND_CAPACITY])
    instruments = n[wi.WN_INSTRUMENTS]
    symbols = octet_table(w[wi.WI_SYMBOLS], instruments, vt.SYMBOL_BYTES)
    grids = table(w[wi.WI_GRIDS], instruments, len(vt.GRID))
    encoded = 0
    for k in range(count):
        m = c.commands[k]
        if m[et.CM_KIND] != et.COMMAND_PLACE:
            continue
        why = reason
        if why == lay.REASON_NONE and c.orders[m[et.CM_ROW], et.OR_CANCEL_WANTED] != 0:
            why = c.orders[m[et.CM_ROW], et.OR_REASON]  # its cancel leaves first, and would find nothing
        if why == lay.REASON_NONE:
            end = purpleflea_encode.encode_place(
                send,
                n[wi.WN_SEND_END] + frames.ROOM,
                m[et.CM_ORDER_ID],
                m[et.CM_INSTRUMENT],
                m[et.CM_SIDE],
                m[et.CM_TYPE],
                m[et.CM_PRICE_TICKS],
                m[et.CM_LOTS],
                symbols,
                grids,
                wall_ms,
                n[wi.WN_RECV_WINDOW_MS],
                0,
            )
            if not seal_text(w, n, send, end):
                why = lay.REASON_SEND_FAILED
        if why == lay.REASON_NONE:
            encoded += 1
        else:
            core.placed(c, m[et.CM_ROW], core.NOT_SENT, why, now_ns)
            c.counters[lay.EC_BLOCKED_LEASE] += 1 if why == lay.REASON_LEASE_LAPSED else 0
        m[et.CM_REASON] = why
    return encoded


@kernel
def encode_amends(w, n, c, count, wall_ms, reason, now_ns):
    """Encode smaller sizes of resting orders, under the same permission as new ones. Returns how many were encoded."""
    send = octets(w[wi.WI_SEND], n[wi.WN_SEND_CAPACITY])
    grids = table(w[wi.WI_GRIDS], n[wi.WN_INSTRUMENTS], len(vt.GRID))
    window_ms, encoded = n[wi.WN_RECV_WINDOW_MS], 0
    for k in range(count):
        m = c.commands[k]
        if m[et.CM_KIND] != et.COMMAND_AMEND:
            continue
        why, at = reason, n[wi.WN_SEND_END] + frames.ROOM
        if c.orders[m[et.CM_ROW], et.OR_CANCEL_WANTED] != 0:
            why = lay.REASON_REQUESTED  # its cancel leaves first
        if why == lay.REASON_NONE:
            order_id, instrument, lots = m[et.CM_ORDER_ID], m[et.CM_INSTRUMENT], m[et.CM_LOTS]
            end = purpleflea_encode.encode_amend(send, at, order_id, instrument, lots, grids, wall_ms, window_ms)
            if not seal_text(w, n, send, end):
                why = lay.REASON_SEND_FAILED
        if why == lay.REASON_NONE:
            encoded += 1
        else:
            core.amend_said(c, m[et.CM_ROW], core.NOT_SENT, now_ns)
        m[et.CM_REASON] = why
    return encoded


@kernel
def report_places(w, c, count, outcome, reason, now_ns):
    """Tell the core the fate of every encoded order and amend; the age of the record behind an order that left is counted."""
    for k in range(count):
        m = c.commands[k]
        if m[et.CM_KIND] == et.COMMAND_AMEND and m[et.CM_REASON] == lay.REASON_NONE:
            core.amend_said(c, m[et.CM_ROW], outcome, now_ns)
        if m[et.CM_KIND] == et.COMMAND_PLACE and m[et.CM_REASON] == lay.REASON_NONE:
            core.placed(c, m[et.CM_ROW], outcome, reason, now_ns)
            o = c.orders[m[et.CM_ROW]]
            g = o[et.OR_SIGNAL_ROW]
            if outcome == core.SENT and 0 <= g < et.SIGNAL_ROWS and c.signals[g, et.SG_ID] == o[et.OR_SIGNAL_ID]:
                record(w[wi.WI_STATS], lay.EH_SIGNAL_AGE, now_ns - c.signals[g, et.SG_ISSUED_NS])


@kernel
def report_cancels(c, count, sent, now_ns):
    """Tell the core which cancels left (encoded ones carry CM_REASON 1)."""
    for k in range(count):
        m = c.commands[k]
        if m[et.CM_KIND] == et.COMMAND_CANCEL:
            left = sent and m[et.CM_REASON] == 1
            core.cancel_said(c, m[et.CM_ROW], core.SENT if left else core.NOT_SENT, now_ns)


@kernel
def send_all(w, n, c, count, places, amends, cancels_end, started):
    """The one call. Returns 0, or a close code when the socket took only a part or is dead."""
    s = row(w[wi.WI_SESSION], len(vt.SESSION))
    stats = w[wi.WI_STATS]
    before = monotonic_ns(w[wi.WI_SCRATCH])
    if places + amends and not inbound.lease_valid(w, c.scalars[et.K_EPOCH], before):  # the last step before send
        n[wi.WN_SEND_END] = cancels_end
        c.counters[lay.EC_BLOCKED_LEASE] += places
        report_places(w, c, count, core.NOT_SENT, lay.REASON_LEASE_LAPSED, before)
        places = amends = 0
    size = n[wi.WN_SEND_END]
    n[wi.WN_SEND_END] = 0
    if size == 0:
        report_cancels(c, count, 0, before)
        return vt.CLOSE_NONE
    record(stats, lay.EH_ENCODE, before - started)
    if n[wi.WN_TRIGGER_RECV_NS] > 0:
        record(stats, lay.EH_TICK_TO_ORDER, before - n[wi.WN_TRIGGER_RECV_NS])
    sent = transport.transmit(s, w[wi.WI_SEND], size)
    after = monotonic_ns(w[wi.WI_SCRATCH])
    record(stats, lay.EH_SEND, after - before)
    c.counters[lay.EC_SENDS] += 1
    c.counters[lay.EC_BYTES_OUT] += max(sent, 0)
    n[wi.WN_ORDERS_SENT] += places
    n[wi.WN_UNSENT] += size  # all of it until the kernel says otherwise (``check_unsent``)
    whole = sent == size
    if places + amends:
        report_places(w, c, count, core.SENT if whole else core.IN_DOUBT, lay.REASON_NONE, after)
    report_cancels(c, count, 1, after)
    if whole:
        return vt.CLOSE_NONE
    c.counters[lay.EC_SEND_PARTIAL] += 1
    return vt.CLOSE_PARTIAL


@kernel
def time_gate(w, c):
    """What the risk gate costs here: the like of the last order, a tick away, judged once more now that it has left.

    The core reads no clock, so the gate cannot be timed inside it. The judgement writes to a row that nobody reads.
    """
    order = row(w[wi.WI_GATE], len(rt.ORDER_IN))
    for column in range(len(rt.ORDER_IN)):
        order[column] = c.order_in[column]
    order[rt.OI_ID] += 1
    order[rt.OI_PRICE_TICKS] += 1
    now_ns = monotonic_ns(w[wi.WI_SCRATCH])
    submit.judge(c, order, row(w[wi.WI_GATE] + len(rt.ORDER_IN) * 8, len(rt.GATE_OUT)), now_ns)
    record(w[wi.WI_STATS], lay.EH_GATE, monotonic_ns(w[wi.WI_SCRATCH]) - now_ns)


@kernel
def drain(w, n, c, now_ns):
    """Journal, encode and send what the core decided in this pass."""
    count = c.scalars[et.K_COMMANDS]
    if c.journal_count[0] == 0 and count == 0 and n[wi.WN_SEND_END] == 0:
        return
    started = monotonic_ns(w[wi.WI_SCRATCH])
    if n[wi.WN_TRIGGER_RECV_NS] > 0:
        record(w[wi.WI_STATS], lay.EH_DECIDE, started - now_ns)
    journaled = journaling.flush(w, n, c)
    wall_ms = (now_ns + c.scalars[et.K_WALL_OFFSET_NS]) // NS_PER_MS
    code = vt.CLOSE_NONE
    if n[wi.WN_SESSION_UP]:
        encode_cancels(w, n, c, count, wall_ms)
    cancels_end = n[wi.WN_SEND_END]
    reason = refusal(w, n, c, journaled, started) if count else lay.REASON_NONE
    amends = encode_amends(w, n, c, count, wall_ms, reason, started)
    places = encode_places(w, n, c, count, wall_ms, reason, started)
    if n[wi.WN_SESSION_UP] and n[wi.WN_SEND_END] > 0:
        code = send_all(w, n, c, count, places, amends, cancels_end, started)
    else:
        n[wi.WN_SEND_END] = 0
        report_cancels(c, count, 0, started)
    if places:
        time_gate(w, c)
    c.scalars[et.K_COMMANDS] = 0
    n[wi.WN_TRIGGER_RECV_NS] = 0
    journaling.flush(w, n, c)
    if code != vt.CLOSE_NONE:
        inbound.close_session(w, n, c, row(w[wi.WI_SESSION], len(vt.SESSION)), code, now_ns)
