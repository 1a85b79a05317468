# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What comes into a pass: lease, market, signals, order session, reconciliation; each journaled, then given to the core.

A market, signal or venue record is journaled as it was read, its kind in the upper bits of the journal kind and the time
of the pass in place of a word that replay does not need.
"""

from __future__ import annotations

from engine import core, journaling
from engine import tables as et
from engine import wiring as wi
from fabric import layout as lay
from fabric.atomics import load_acquire, load_relaxed, octet_table, octets, row, store_release, table
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from fabric.meters import record
from fabric.rings import lossless_done, lossless_read, market_read, seqlock_read
from venue import masks, purpleflea, session, sockets, transport, websocket
from venue import tables as vt


@kernel
def lease_valid(w, epoch, now_ns):
    """Whether the lease of this epoch holds at ``now_ns``: the last step before every send.

    A grant may be younger than ``now_ns``: it was renewed while this pass ran. One from the future is a clock that jumped.
    """
    lease = w[wi.WI_LEASE]
    if lease == 0:
        return 0
    if load_acquire(lease + lay.L_EPOCH * 8) != epoch:
        return 0
    if load_acquire(lease + lay.L_STATE * 8) != lay.LEASE_GRANTED:
        return 0
    granted_ns, deadline_ns = load_relaxed(lease + lay.L_GRANTED_NS * 8), load_relaxed(lease + lay.L_DEADLINE_NS * 8)
    if granted_ns - now_ns > deadline_ns - granted_ns:
        return 0
    return 1 if now_ns < deadline_ns else 0


@kernel
def take_remaps(w, n, c, now_ns):
    """Take over segments of restarted writers; a new market ring is joined at its cursor, books dirty until fresh."""
    bump = load_acquire(w[wi.WI_REMAP])  # pairs with the control thread's bump, after the addresses
    if bump == n[wi.WN_REMAP_SEEN]:
        return 0
    n[wi.WN_REMAP_SEEN] = bump
    changed = 0
    if w[wi.WI_NEW_MARKET] != w[wi.WI_MARKET]:
        w[wi.WI_MARKET] = w[wi.WI_NEW_MARKET]
        n[wi.WN_MARKET_NEXT] = load_acquire(w[wi.WI_MARKET] + lay.MARKET_CURSOR_OFFSET) + 1
        changed = 1
    if w[wi.WI_NEW_SIGNAL] != w[wi.WI_SIGNAL]:
        w[wi.WI_SIGNAL] = w[wi.WI_NEW_SIGNAL]
        n[wi.WN_SIGNAL_NEXT] = 1
        seen = w[wi.WI_EXEC] + lay.EXEC_SIGNAL_CURSOR_OFFSET
        store_release(seen, 0)
        # the count first, then whose: pairs with the signal process's load of the generation before the count
        store_release(seen + 8, load_relaxed(w[wi.WI_SIGNAL] + lay.H_GENERATION * 8))
    w[wi.WI_JOURNAL] = w[wi.WI_NEW_JOURNAL]
    if w[wi.WI_NEW_EPOCH] != c.scalars[et.K_EPOCH]:
        w[wi.WI_LEASE] = w[wi.WI_NEW_LEASE]
        n[wi.WN_LEASE_SEEN] = 0
        core.new_epoch(c, w[wi.WI_NEW_EPOCH], now_ns)
    return changed


@kernel
def replay_state(w, n, c, now_ns):
    """After a lap or a new ring: the newest state of each instrument, as the events that would have told it."""
    words = row(w[wi.WI_STATE_WORDS], lay.STATE_ROW_WORDS)
    slot = row(w[wi.WI_SLOT], 16)
    for i in range(n[wi.WN_INSTRUMENTS]):
        address = w[wi.WI_MARKET] + lay.STATE_OFFSET + i * lay.STATE_ROW_WORDS * 8
        if not seqlock_read(address, words, lay.STATE_LEVELS_WORD + 4):
            continue  # being written for ever: the book stays dirty
        for kind in (lay.MARKET_BOOK, lay.MARKET_TICK):
            first = lay.STATE_LEVELS_WORD if kind == lay.MARKET_BOOK else lay.ST_BID_TICKS
            two = first + 2
            for word in range(16):
                slot[word] = 0
            slot[lay.M_KIND], slot[lay.M_INSTRUMENT], slot[lay.M_STATUS] = kind, i, words[lay.ST_STATUS]
            slot[lay.M_BID_TICKS], slot[lay.M_BID_LOTS] = words[first], words[first + 1]
            slot[lay.M_ASK_TICKS], slot[lay.M_ASK_LOTS] = words[two], words[two + 1]
            slot[lay.M_VENUE_NS], slot[lay.M_RECV_NS] = words[lay.ST_VENUE_NS], words[lay.ST_RECV_NS]
            slot[lay.M_SOURCE_INDEX] = -1
            journaling.market(w, n, c, slot, now_ns)
            if slot[lay.M_BID_TICKS] > 0:
                core.on_market(c, slot, now_ns)


@kernel
def read_market(w, n, c, now_ns):
    """Read what is new on the market ring; returns events read. A lap is counted and the state is re-read by the core."""
    if w[wi.WI_MARKET] == 0:
        return 0
    ring = w[wi.WI_MARKET] + lay.MARKET_RING_OFFSET
    slot = row(w[wi.WI_SLOT], 16)
    stats = w[wi.WI_STATS]
    for count in range(wi.MARKET_PER_PASS):
        status = market_read(ring, lay.MARKET_SLOTS, n[wi.WN_MARKET_NEXT], slot)
        if status == lay.RING_EMPTY:
            return count
        if status == lay.RING_LAPPED:
            cursor = load_acquire(w[wi.WI_MARKET] + lay.MARKET_CURSOR_OFFSET)
            c.counters[lay.EC_MARKET_LOST] += cursor - n[wi.WN_MARKET_NEXT]
            c.counters[lay.EC_MARKET_GAPS] += 1
            n[wi.WN_MARKET_NEXT] = cursor
            core.on_lost(c, now_ns)
            replay_state(w, n, c, now_ns)
            return count + 1
        n[wi.WN_MARKET_NEXT] += 1
        record(stats, lay.EH_RING_HOP, now_ns - slot[lay.M_PUBLISH_NS])
        record(stats, lay.EH_RECV_TO_SEEN, now_ns - slot[lay.M_RECV_NS])
        before = c.scalars[et.K_COMMANDS]
        journaling.market(w, n, c, slot, now_ns)
        core.on_market(c, slot, now_ns)
        if before == 0 and c.scalars[et.K_COMMANDS] > 0:
            n[wi.WN_TRIGGER_RECV_NS] = slot[lay.M_RECV_NS]
            n[wi.WN_TRIGGER_MESSAGE] = slot[lay.M_MESSAGE]
        if c.scalars[et.K_COMMANDS] > 0:
            return count + 1  # an order never waits behind the next event
    return wi.MARKET_PER_PASS


@kernel
def read_signals(w, n, c, now_ns):
    """Read new signal records; the position is published in our own segment."""
    if w[wi.WI_SIGNAL] == 0:
        return 0
    slot = row(w[wi.WI_SLOT], 16)
    cursor, ring = w[wi.WI_SIGNAL] + lay.SIGNAL_CURSOR_OFFSET, w[wi.WI_SIGNAL] + lay.SIGNAL_RING_OFFSET
    for count in range(wi.SIGNALS_PER_PASS):
        if lossless_read(cursor, ring, lay.SIGNAL_SLOTS, n[wi.WN_SIGNAL_NEXT], slot) != lay.RING_OK:
            return count
        journaling.signal(w, n, c, slot, now_ns)
        core.on_signal(c, slot, now_ns)
        lossless_done(w[wi.WI_EXEC] + lay.EXEC_SIGNAL_CURSOR_OFFSET, n[wi.WN_SIGNAL_NEXT])
        n[wi.WN_SIGNAL_NEXT] += 1
    return wi.SIGNALS_PER_PASS


@kernel
def read_inbox(w, n, c, now_ns):
    """Events of the control thread: reconciliation answers, session news."""
    available = load_acquire(w[wi.WI_INBOX])  # pairs with the control thread's store of the count, after the rows
    rows = table(w[wi.WI_INBOX] + lay.LINE, wi.INBOX, len(et.EVENT))
    done = 0
    while n[wi.WN_INBOX_DONE] < available and done < wi.INBOX:
        event = rows[n[wi.WN_INBOX_DONE] & (wi.INBOX - 1)]
        journaling.event(w, n, c, event, now_ns)
        core.on_event(c, event, now_ns)
        n[wi.WN_INBOX_DONE] += 1
        done += 1
    if done:
        store_release(w[wi.WI_INBOX] + 8, n[wi.WN_INBOX_DONE])  # pairs with the control thread's check for room
    return done


@kernel
def note_latency(w, c, event, now_ns):
    """Time from our send to the venue's answer, by kind."""
    order_id = event[et.EV_ORDER_ID]
    if order_id <= 0:
        return
    o = c.orders[(order_id & 0xFFFFFFFF) & (len(c.orders) - 1)]
    if o[et.OR_ID] != order_id:
        return
    if event[et.EV_KIND] == lay.EVENT_ACK and o[et.OR_SENT_NS] > 0:
        record(w[wi.WI_STATS], lay.EH_ACK, now_ns - o[et.OR_SENT_NS])
    elif event[et.EV_KIND] == lay.EVENT_CANCELLED and o[et.OR_CANCEL_SENT_NS] > 0:
        record(w[wi.WI_STATS], lay.EH_CANCEL_ACK, now_ns - o[et.OR_CANCEL_SENT_NS])


@kernel
def on_order_message(w, n, c, buffer, start, end, recv_ns):
    """One text message of the order session. What cannot be read is counted and asks for a reconciliation."""
    stats = w[wi.WI_STATS]
    count = n[wi.WN_INSTRUMENTS]
    event = row(w[wi.WI_EVENT], len(et.EVENT))
    status = purpleflea.decode_private(
        buffer,
        start,
        end,
        octet_table(w[wi.WI_SYMBOLS], count, vt.SYMBOL_BYTES),
        table(w[wi.WI_GRIDS], count, len(vt.GRID)),
        row(w[wi.WI_SLOTS], vt.SLOTS),
        event,
    )
    if status != vt.SCAN_OK:
        if status == vt.SCAN_DECLINED:
            c.counters[lay.EC_COLD_MESSAGES] += 1
        elif status == vt.SCAN_UNKNOWN_TYPE:
            c.counters[lay.EC_UNKNOWN_TYPE] += 1
            return
        elif status == vt.SCAN_OFF_GRID or status == vt.SCAN_BAD_NUMBER:
            c.counters[lay.EC_BAD_NUMBER] += 1
        else:
            c.counters[lay.EC_BAD_JSON] += 1
        c.scalars[et.K_RECONCILE_WANTED] = 1
        return
    if event[et.EV_KIND] == lay.EVENT_NONE or event[et.EV_KIND] == lay.EVENT_OTHER:
        return
    event[et.EV_RECV_NS] = recv_ns
    note_latency(w, c, event, recv_ns)
    journaling.event(w, n, c, event, recv_ns)
    core.on_event(c, event, recv_ns)
    record(stats, lay.EH_EVENT_APPLY, monotonic_ns(w[wi.WI_SCRATCH]) - recv_ns)


@kernel
def read_frames(w, n, c, s, recv_ns):
    """Handle the complete frames of the order session; 0 or a close code."""
    frame = row(w[wi.WI_FRAME], len(vt.FRAME_WORDS))
    buffer = octets(s[vt.SE_BUFFER], s[vt.SE_CAPACITY])
    send = octets(w[wi.WI_SEND], n[wi.WN_SEND_CAPACITY])
    mask = row(w[wi.WI_MASK], masks.WORDS)
    for _ in range(wi.FRAMES_PER_PASS):
        status = websocket.next_message(s, buffer, wi.MESSAGE_MAX, send, n[wi.WN_SEND_END], mask, frame)
        n[wi.WN_SEND_END] = frame[vt.FR_SEND_END]
        if status == vt.MESSAGE_NEED:
            return vt.CLOSE_NONE
        if status == vt.MESSAGE_TEXT:
            on_order_message(w, n, c, buffer, frame[vt.FR_AT], frame[vt.FR_AT] + frame[vt.FR_LENGTH], recv_ns)
        elif status == vt.MESSAGE_PING:
            c.counters[lay.EC_PINGS] += 1
        elif status == vt.MESSAGE_CLOSE:
            return vt.CLOSE_PEER
        elif status == vt.MESSAGE_FULL:
            break
        elif status == vt.MESSAGE_BINARY or status == vt.MESSAGE_FAILED:
            c.counters[lay.EC_BAD_FRAME] += 1
            return vt.CLOSE_VIOLATION
    s[vt.SE_MORE] = 1  # what is left is read in the next pass
    return vt.CLOSE_NONE


@kernel
def close_session(w, n, c, s, code, now_ns):
    """Give the session back; everything that waits for an answer is unknown from here."""
    n[wi.WN_SEND_END] = 0
    n[wi.WN_SESSION_UP] = 0
    session.give_back(w[wi.WI_SESSION], s, code)
    core.on_session(c, 0, now_ns)


@kernel
def read_session(w, n, c, now_ns):
    """Poll the order socket; returns bytes read."""
    if not session.owned_by_loop(w[wi.WI_SESSION]):
        return 0
    s = row(w[wi.WI_SESSION], len(vt.SESSION))
    first = s[vt.SE_OPENED] == 0
    if first:
        s[vt.SE_OPENED] = 1
        websocket.begin(s)
        n[wi.WN_SESSION_UP] = 1
        n[wi.WN_SEND_END] = n[wi.WN_UNSENT] = 0
        core.on_session(c, 1, now_ns)
    count = session.fill(s)
    if count == 0 and not first and not s[vt.SE_MORE]:
        return 0
    code = vt.CLOSE_NONE
    s[vt.SE_MORE] = 0
    if count == -3:
        code = vt.CLOSE_OVERSIZE
    elif count < 0:
        code = vt.CLOSE_PEER if count == sockets.RECV_CLOSED else vt.CLOSE_ERROR
    else:
        c.counters[lay.EC_BYTES_IN] += count
        code = read_frames(w, n, c, s, monotonic_ns(w[wi.WI_SCRATCH]))
    if code != vt.CLOSE_NONE:
        if n[wi.WN_SEND_END] > 0:  # nothing but answers to its frames: why the session ends
            transport.transmit(s, w[wi.WI_SEND], n[wi.WN_SEND_END])
        close_session(w, n, c, s, code, now_ns)
    return max(count, 0)
