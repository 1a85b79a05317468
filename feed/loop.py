# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The compiled feed: receive, frame, scan, book, ring. One call of ``feed_loop`` lasts as long as the process is armed.

One market message becomes one market event, in order; a message that cannot be read changes nothing, is counted by
reason, and makes its book dirty when it might have been a book message. The control thread owns the descriptor until it
hands the session over (``venue.session``), and gets it back on any error.
"""

from __future__ import annotations

from fabric import duty
from fabric import layout as lay
from fabric.atomics import load_acquire, octet_table, octets, row, store_relaxed, store_release, table
from fabric.clock import monotonic_ns, wall_ns
from fabric.jit import kernel
from fabric.meters import counter_add, counter_set, heartbeat, record, status_set
from fabric.rings import market_publish, seqlock_write
from feed import book, join
from feed import tables as ft
from feed.warmth import touch
from venue import frames, masks, purpleflea, session, sockets, transport, websocket
from venue import tables as vt

FRAMES_PER_PASS = 512
MESSAGE_MAX = 2 * 1024 * 1024
TRAVEL_MAX_NS = 10_000_000_000
STATE_WORDS = lay.STATE_LEVELS_WORD + 4 * lay.LEVELS
_SOURCE_NONE = -1


@kernel
def publish(t, event, recv_ns, now_ns):
    """Put one event on the market ring."""
    event[lay.M_RECV_NS] = recv_ns
    event[lay.M_PUBLISH_NS] = now_ns
    market = t[ft.FD_MARKET]
    market_publish(market + lay.MARKET_CURSOR_OFFSET, market + lay.MARKET_RING_OFFSET, lay.MARKET_SLOTS, event)
    counter_add(t[ft.FD_STATS], lay.FC_EVENTS, 1)


@kernel
def write_state(t, instrument, words):
    """Publish the first ``words`` of an instrument's row of the state table."""
    rows = table(t[ft.FD_STATE_ROW], t[ft.FD_INSTRUMENTS], lay.STATE_ROW_WORDS)
    address = t[ft.FD_MARKET] + lay.STATE_OFFSET + instrument * lay.STATE_ROW_WORDS * 8
    seqlock_write(address, rows[instrument], words)


@kernel
def refresh_book(t, instrument):
    """Bring status, sequence and top levels of a state row up to its book."""
    state = table(t[ft.FD_STATE_ROW], t[ft.FD_INSTRUMENTS], lay.STATE_ROW_WORDS)[instrument]
    book.top(t[ft.FD_BOOKS], instrument, state[lay.STATE_LEVELS_WORD :])
    state[lay.ST_STATUS] = book.status(t[ft.FD_BOOKS], instrument)
    state[lay.ST_BOOK_SEQ] = book.sequence(t[ft.FD_BOOKS], instrument)


@kernel
def announce(t, kind, now_ns):
    """Tell the readers that the session went up or down, or (status) that a message was lost: no book may be trusted."""
    event = row(t[ft.FD_RECORD], 16)
    rows = table(t[ft.FD_STATE_ROW], t[ft.FD_INSTRUMENTS], lay.STATE_ROW_WORDS)
    for i in range(t[ft.FD_INSTRUMENTS]):
        if book.status(t[ft.FD_BOOKS], i) == lay.BOOK_READY:  # an empty book waits for its first snapshot
            book.mark_dirty(t[ft.FD_BOOKS], i)
        if kind != lay.MARKET_STATUS:
            join.clear(t[ft.FD_BOOKS], i)
        refresh_book(t, i)
        write_state(t, i, STATE_WORDS)
        for word in range(16):
            event[word] = 0
        event[lay.M_KIND] = kind
        event[lay.M_INSTRUMENT] = i
        event[lay.M_STATUS] = rows[i, lay.ST_STATUS]
        event[lay.M_SOURCE_INDEX] = _SOURCE_NONE
        publish(t, event, now_ns, now_ns)


@kernel
def count_source(t, index):
    """Account for a source index: 1 when it is new, 0 for a duplicate (which is then dropped)."""
    stats = t[ft.FD_STATS]
    last = t[ft.FD_SOURCE_LAST]
    if index < 0:
        return 1
    if last == _SOURCE_NONE:
        counter_set(stats, lay.FC_SOURCE_FIRST, index)
    elif index <= last:
        counter_add(stats, lay.FC_DUPLICATES, 1)
        return 0
    elif index > last + 1:
        counter_add(stats, lay.FC_SOURCE_GAPS, index - last - 1)
    t[ft.FD_SOURCE_LAST] = index
    counter_set(stats, lay.FC_SOURCE_LAST, index)
    return 1


@kernel
def sample_levels(t, instrument, index):
    """Copy the top levels for the control thread, which hashes them; dropped samples show as missing hashes."""
    slot = t[ft.FD_SAMPLES_COUNT] & (ft.SAMPLES - 1)
    rows = table(t[ft.FD_STATE_ROW], t[ft.FD_INSTRUMENTS], lay.STATE_ROW_WORDS)
    out = row(t[ft.FD_SAMPLES] + 64 + slot * ft.SAMPLE_WORDS * 8, ft.SAMPLE_WORDS)
    out[0] = index
    out[1] = instrument
    for word in range(4 * lay.LEVELS):
        out[2 + word] = rows[instrument, lay.STATE_LEVELS_WORD + word]
    t[ft.FD_SAMPLES_COUNT] += 1
    store_release(t[ft.FD_SAMPLES], t[ft.FD_SAMPLES_COUNT])  # pairs with the control thread's read of the count


@kernel
def apply_book(t, decoded, stats):
    """Apply a snapshot or delta and what waited for it; refreshes the state row."""
    i = decoded[vt.DC_INSTRUMENT]
    dropped = book.dropped(t[ft.FD_BOOKS], i)
    levels = table(t[ft.FD_LEVELS], vt.LEVELS_CAPACITY, len(vt.LEVEL))
    outcome = join.apply(t[ft.FD_BOOKS], decoded, levels, stats)
    if outcome == vt.BOOK_APPLIED:
        if decoded[vt.DC_IS_SNAPSHOT] and decoded[vt.DC_SOURCE_INDEX] < 0:
            counter_add(stats, lay.FC_BOOK_RESYNCS, 1)
        if book.one_sided(t[ft.FD_BOOKS], i):
            counter_add(stats, lay.FC_BOOK_EMPTY, 1)
    overflow = decoded[vt.DC_OVERFLOW] + book.dropped(t[ft.FD_BOOKS], i) - dropped
    if overflow > 0:
        counter_add(stats, lay.FC_DEPTH_OVERFLOW, overflow)
    if decoded[vt.DC_OFF_GRID] > 0:
        counter_add(stats, lay.FC_OFF_GRID, decoded[vt.DC_OFF_GRID])
    refresh_book(t, i)


@kernel
def on_market(t, decoded, recv_ns, started):
    """One decoded market message: book, ring, then (off the path) the state table; returns the time when it was told."""
    stats = t[ft.FD_STATS]
    kind, i, index = decoded[vt.DC_KIND], decoded[vt.DC_INSTRUMENT], decoded[vt.DC_SOURCE_INDEX]
    rows = table(t[ft.FD_STATE_ROW], t[ft.FD_INSTRUMENTS], lay.STATE_ROW_WORDS)
    state = rows[i]
    event = row(t[ft.FD_RECORD], 16)
    for word in range(16):
        event[word] = 0
    if kind == lay.MARKET_TICK:
        counter_add(stats, lay.FC_TICKS, 1)
        t[ft.FD_TICKS] += 1
        state[lay.ST_BID_TICKS] = event[lay.M_BID_TICKS] = decoded[vt.DC_BID_TICKS]
        state[lay.ST_BID_LOTS] = event[lay.M_BID_LOTS] = decoded[vt.DC_BID_LOTS]
        state[lay.ST_ASK_TICKS] = event[lay.M_ASK_TICKS] = decoded[vt.DC_ASK_TICKS]
        state[lay.ST_ASK_LOTS] = event[lay.M_ASK_LOTS] = decoded[vt.DC_ASK_LOTS]
        state[lay.ST_TICK_SEQ] = decoded[vt.DC_VENUE_SEQ]
    elif kind == lay.MARKET_TRADE:
        counter_add(stats, lay.FC_TRADES, 1)
        state[lay.ST_TRADE_TICKS] = event[lay.M_TRADE_TICKS] = decoded[vt.DC_TRADE_TICKS]
        state[lay.ST_TRADE_LOTS] = event[lay.M_TRADE_LOTS] = decoded[vt.DC_TRADE_LOTS]
    elif kind == lay.MARKET_BOOK:
        counter_add(stats, lay.FC_BOOKS, 1)
        apply_book(t, decoded, stats)
        first = lay.STATE_LEVELS_WORD
        event[lay.M_BID_TICKS], event[lay.M_BID_LOTS] = state[first], state[first + 1]
        event[lay.M_ASK_TICKS], event[lay.M_ASK_LOTS] = state[first + 2], state[first + 3]
    state[lay.ST_VENUE_NS] = decoded[vt.DC_VENUE_NS]
    state[lay.ST_RECV_NS] = recv_ns
    if index >= 0:
        state[lay.ST_SOURCE_INDEX] = index
    event[lay.M_KIND], event[lay.M_INSTRUMENT], event[lay.M_STATUS] = kind, i, state[lay.ST_STATUS]
    if kind == lay.MARKET_STATUS:
        event[lay.M_TRADE_LOTS] = decoded[vt.DC_STATUS]
    event[lay.M_VENUE_SEQ], event[lay.M_VENUE_NS] = decoded[vt.DC_VENUE_SEQ], decoded[vt.DC_VENUE_NS]
    event[lay.M_SOURCE_INDEX] = index
    ready = monotonic_ns(t[ft.FD_SCRATCH])
    record(stats, lay.FH_BOOK, ready - started)
    publish(t, event, recv_ns, ready)
    write_state(t, i, STATE_WORDS if kind == lay.MARKET_BOOK else lay.STATE_LEVELS_WORD)
    told = monotonic_ns(t[ft.FD_SCRATCH])
    record(stats, lay.FH_PUBLISH, told - ready)
    t[ft.FD_TOLD_NS] = told
    travelled_ns = recv_ns + t[ft.FD_WALL_OFFSET_NS] - decoded[vt.DC_VENUE_NS]
    if 0 <= travelled_ns < TRAVEL_MAX_NS:  # as the two wall clocks tell it; a recording's stamps are of another day
        record(stats, lay.FH_VENUE_TO_RECV, travelled_ns)
    if index >= 0 and t[ft.FD_HASH_EVERY] > 0 and (index + 1) % t[ft.FD_HASH_EVERY] == 0:
        sample_levels(t, i, index)
    return told


@kernel
def count_bad(t, status):
    """A message that could not be used: counted by reason; all books are in doubt, so all are dirty."""
    stats = t[ft.FD_STATS]
    if status == vt.SCAN_DECLINED:
        counter_add(stats, lay.FC_COLD_MESSAGES, 1)
    elif status == vt.SCAN_OFF_GRID:
        counter_add(stats, lay.FC_OFF_GRID, 1)
    elif status == vt.SCAN_BAD_NUMBER:
        counter_add(stats, lay.FC_BAD_NUMBER, 1)
    elif status == vt.SCAN_UNKNOWN_SYMBOL:
        counter_add(stats, lay.FC_UNKNOWN_SYMBOL, 1)
    elif status == vt.SCAN_UNKNOWN_TYPE:
        counter_add(stats, lay.FC_UNKNOWN_TYPE, 1)
    else:
        counter_add(stats, lay.FC_BAD_JSON, 1)


@kernel
def on_message(t, buffer, start, end, recv_ns, started):
    """One complete text message, taken up at ``started``; returns the time when it was dealt with."""
    stats = t[ft.FD_STATS]
    decoded = row(t[ft.FD_DECODED], len(vt.DECODED))
    n = t[ft.FD_INSTRUMENTS]
    status = purpleflea.decode_market(
        buffer,
        start,
        end,
        octet_table(t[ft.FD_SYMBOLS], n, vt.SYMBOL_BYTES),
        table(t[ft.FD_GRIDS], n, len(vt.GRID)),
        row(t[ft.FD_SLOTS], vt.SLOTS),
        decoded,
        table(t[ft.FD_LEVELS], vt.LEVELS_CAPACITY, len(vt.LEVEL)),
    )
    counter_add(stats, lay.FC_MESSAGES, 1)
    now_ns = monotonic_ns(t[ft.FD_SCRATCH])
    record(stats, lay.FH_SCAN, now_ns - started)
    if status != vt.SCAN_OK:
        count_bad(t, status)
        if status != vt.SCAN_UNKNOWN_TYPE and status != vt.SCAN_UNKNOWN_SYMBOL:
            announce(t, lay.MARKET_STATUS, now_ns)
        return now_ns
    if decoded[vt.DC_KIND] == lay.MARKET_OTHER or decoded[vt.DC_KIND] == lay.MARKET_NONE:
        return now_ns
    if count_source(t, decoded[vt.DC_SOURCE_INDEX]):
        return on_market(t, decoded, recv_ns, now_ns)
    return now_ns


@kernel
def ask_resync(t, now_ns):
    """Ask for a snapshot of each dirty book, not too often."""
    if now_ns - t[ft.FD_LAST_RESYNC_NS] < ft.RESYNC_EVERY_NS:
        return
    send = octets(t[ft.FD_SEND], t[ft.FD_SEND_CAPACITY])
    mask = row(t[ft.FD_MASK], masks.WORDS)
    lengths = row(t[ft.FD_RESYNC_LENGTHS], lay.INSTRUMENTS_MAX)
    texts = octets(t[ft.FD_RESYNC], lay.INSTRUMENTS_MAX * ft.RESYNC_BYTES)
    for i in range(t[ft.FD_INSTRUMENTS]):
        if book.status(t[ft.FD_BOOKS], i) == lay.BOOK_DIRTY:
            t[ft.FD_LAST_RESYNC_NS] = now_ns
            at = t[ft.FD_SEND_END]
            if at + frames.ROOM + lengths[i] > t[ft.FD_SEND_CAPACITY]:
                return
            for k in range(lengths[i]):
                send[at + frames.ROOM + k] = texts[i * ft.RESYNC_BYTES + k]
            end = at + frames.ROOM + lengths[i]
            t[ft.FD_SEND_END] = frames.seal(send, at, end, frames.OP_TEXT, masks.next_mask(mask))


@kernel
def flush(t, s):
    """Send what waits; a peer that takes nothing of a few hundred bytes is dead. 0 or a close code."""
    count = t[ft.FD_SEND_END]
    if count == 0:
        return vt.CLOSE_NONE
    t[ft.FD_SEND_END] = 0
    sent = transport.transmit(s, t[ft.FD_SEND], count)
    return vt.CLOSE_NONE if sent == count else vt.CLOSE_SEND


@kernel
def count_failed(stats, code):
    """The venue broke the protocol and was told so; the close code."""
    if code == websocket.TOO_BIG:
        counter_add(stats, lay.FC_OVERSIZE, 1)
        return vt.CLOSE_OVERSIZE
    if code == websocket.BAD_DATA:
        counter_add(stats, lay.FC_BAD_UTF8, 1)
        return vt.CLOSE_UTF8
    counter_add(stats, lay.FC_BAD_FRAME, 1)
    return vt.CLOSE_BINARY if code == websocket.UNSUPPORTED else vt.CLOSE_VIOLATION


@kernel
def read_frames(t, s, recv_ns):
    """Handle every complete frame in the buffer; 0 or a close code."""
    stats = t[ft.FD_STATS]
    frame = row(t[ft.FD_FRAME], len(vt.FRAME_WORDS))
    buffer = octets(s[vt.SE_BUFFER], s[vt.SE_CAPACITY])
    send = octets(t[ft.FD_SEND], t[ft.FD_SEND_CAPACITY])
    mask = row(t[ft.FD_MASK], masks.WORDS)
    clock = recv_ns
    for _ in range(FRAMES_PER_PASS):
        status = websocket.next_message(s, buffer, MESSAGE_MAX, send, t[ft.FD_SEND_END], mask, frame)
        t[ft.FD_SEND_END] = frame[vt.FR_SEND_END]
        if status == vt.MESSAGE_NEED:
            return vt.CLOSE_NONE
        if status == vt.MESSAGE_TEXT:
            ticks = t[ft.FD_TICKS]
            at = frame[vt.FR_AT]
            clock = on_message(t, buffer, at, at + frame[vt.FR_LENGTH], recv_ns, clock)
            if t[ft.FD_TICKS] != ticks and s[vt.SE_START] < s[vt.SE_END]:
                break  # the touch has moved: execution sees it now, not after the depth behind it
        elif status == vt.MESSAGE_PING:
            counter_add(stats, lay.FC_PINGS, 1)
        elif status == vt.MESSAGE_PONG:
            counter_add(stats, lay.FC_PONGS, 1)
        elif status == vt.MESSAGE_CLOSE:
            return vt.CLOSE_PEER
        elif status == vt.MESSAGE_FULL:
            break
        elif status != vt.MESSAGE_PART:
            if status == vt.MESSAGE_BINARY:  # the venue never does it
                websocket.fail(send, t[ft.FD_SEND_END], mask, frame, websocket.UNSUPPORTED)
                t[ft.FD_SEND_END] = frame[vt.FR_SEND_END]
            return count_failed(stats, frame[vt.FR_CODE])
    t[ft.FD_MORE] = 1  # what is left is read in the next pass
    return vt.CLOSE_NONE


@kernel
def feed_pass(t, now_ns):
    """One pass; returns the number of bytes that arrived."""
    address = t[ft.FD_SESSION]
    if not session.owned_by_loop(address):
        return 0
    s = row(address, len(vt.SESSION))
    if s[vt.SE_OPENED] == 0:
        s[vt.SE_OPENED] = 1
        websocket.begin(s)
        t[ft.FD_MORE] = t[ft.FD_SEND_END] = 0
        announce(t, lay.MARKET_CONNECTED, now_ns)
    code = vt.CLOSE_NONE
    more = t[ft.FD_MORE]
    t[ft.FD_MORE] = 0
    count = s[vt.SE_END] - s[vt.SE_START] if more else session.fill(s)
    if more:  # the rest of what came with the tick before
        code = read_frames(t, s, s[vt.SE_RECEIVED_NS])
    elif count > 0 or s[vt.SE_RECEIVED_NS] == 0:
        recv_ns = monotonic_ns(t[ft.FD_SCRATCH])
        s[vt.SE_RECEIVED_NS] = recv_ns
        counter_add(t[ft.FD_STATS], lay.FC_BYTES, max(count, 0))
        code = read_frames(t, s, recv_ns)
        record(t[ft.FD_STATS], lay.FH_PASS_NS, max(t[ft.FD_TOLD_NS] - now_ns, 0))
    elif count == -3:
        code = vt.CLOSE_OVERSIZE
    elif count < 0:
        code = vt.CLOSE_PEER if count == sockets.RECV_CLOSED else vt.CLOSE_ERROR
    ask_resync(t, now_ns)
    sent = flush(t, s)  # a session that ends is told why
    if code == vt.CLOSE_NONE:
        code = sent
    if code != vt.CLOSE_NONE:
        announce(t, lay.MARKET_DISCONNECTED, now_ns)
        session.give_back(address, s, code)
    return max(count, 0)


@kernel
def rehearse(t, now_ns):
    """The sample tick of the understudy ``t`` through scan, book and ring: private memory that nobody else reads.

    See ``engine.rehearsal``. Its session is never opened, its ring starts over each time so that it stays one slot.
    """
    s = row(t[ft.FD_SESSION], len(vt.SESSION))
    s[vt.SE_START], s[vt.SE_END] = 0, t[ft.FD_SAMPLE_BYTES]
    store_relaxed(t[ft.FD_MARKET] + lay.MARKET_CURSOR_OFFSET, 0)
    read_frames(t, s, now_ns)


@kernel
def feed_loop(t_address, passes_max):
    """Run passes until the stop word is set (or ``passes_max`` is reached, for warming); returns the passes made."""
    t = row(t_address, len(ft.FEED))
    d = row(t[ft.FD_DUTY], duty.WORDS)
    stats = t[ft.FD_STATS]
    done = 0
    while done < passes_max and load_acquire(t[ft.FD_STOP]) == 0:
        now_ns = monotonic_ns(t[ft.FD_SCRATCH])
        duty.begin(d, stats, now_ns)
        work = feed_pass(t, now_ns)
        done += 1
        if work:
            t[ft.FD_REHEARSED_NS] = now_ns  # the path is warm
        elif now_ns - t[ft.FD_REHEARSED_NS] > ft.REHEARSE_NS and t[ft.FD_UNDERSTUDY]:
            t[ft.FD_REHEARSED_NS] = now_ns
            rehearse(row(t[ft.FD_UNDERSTUDY], len(ft.FEED)), now_ns)
            t[ft.FD_TOUCHED] = touch(t)
            counter_add(stats, lay.FC_REHEARSALS, 1)
        heartbeat(stats, now_ns)
        status_set(stats, lay.P_PASSES, done)
        if work == 0 and now_ns - t[ft.FD_OFFSET_AT_NS] > ft.OFFSET_EVERY_NS:
            t[ft.FD_OFFSET_AT_NS] = now_ns
            t[ft.FD_WALL_OFFSET_NS] = wall_ns(t[ft.FD_SCRATCH]) - monotonic_ns(t[ft.FD_SCRATCH])
        duty.end(d, work, now_ns, t[ft.FD_SCRATCH])
    return done
