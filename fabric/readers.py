# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""How to follow a ring: what a reader does when the writer was faster, and how it learns that nothing more will come.

A market reader owns ``reader``, int64[READER_WORDS] of its own memory: the sequence that it wants next, the records that
were published and never reached it (exact), and how often it was lapped. Its policy:

    LATEST  the newest record and no other, e.g. a display
    RESYNC  a lap is said once; the reader then stands at the newest record: re-read the state table, books in doubt, go on
    FATAL   a lap is said for ever and nothing more is handed over: a recorder must not pretend to be complete

Sequences begin at 1 in each generation. The market ring's mark is twice the sequence, so its last one is 2**62 - 1; from
there on a reader would take "not yet" for a lap. At ten million records a second that is 14,600 years of one generation.
The lossless ring lasts twice as long, the sequence lock for ever: it only compares for equality.
"""

from __future__ import annotations

from fabric import layout
from fabric.atomics import fence_acquire, load_acquire, load_relaxed
from fabric.jit import kernel
from fabric.rings import SEQLOCK_TRIES, lossless_read, market_publish, market_read

LATEST, RESYNC, FATAL = range(3)
NEXT, LOST, LAPS = range(3)
READER_WORDS = 3
LAPPED = -1
SEQUENCE_MAX = 2**62 - 1
_BID, _ASK = layout.ST_BID_TICKS * layout.WORD, layout.ST_ASK_TICKS * layout.WORD


@kernel
def market_join(cursor, reader):
    """A late reader begins with the next record to be published; what was before is in the state table."""
    reader[NEXT] = load_acquire(cursor) + 1  # pairs with store_release(cursor) in market_publish


@kernel
def market_take(cursor, ring, slots, policy, reader, out):
    """Copy new records into the rows of ``out``; returns how many, or LAPPED. Rows before a lap are handed over first."""
    if policy == LATEST:
        return _take_newest(cursor, ring, slots, reader, out)
    for count in range(out.shape[0]):
        status = market_read(ring, slots, reader[NEXT], out[count])
        if status == layout.RING_EMPTY:
            return count
        if status == layout.RING_LAPPED:
            if count > 0:
                return count  # a lapped slot stays lapped: the next call finds it again
            newest = max(load_acquire(cursor), reader[NEXT])
            if policy == FATAL:
                reader[LOST], reader[LAPS] = newest - reader[NEXT] + 1, 1
            else:
                reader[LOST] += newest - reader[NEXT]
                reader[LAPS] += 1
                reader[NEXT] = newest
            return LAPPED
        reader[NEXT] += 1
    return out.shape[0]


@kernel
def _take_newest(cursor, ring, slots, reader, out):
    for _ in range(SEQLOCK_TRIES):
        newest = load_acquire(cursor)
        if newest < reader[NEXT]:
            return 0
        if market_read(ring, slots, newest, out[0]) == layout.RING_OK:
            reader[LOST] += newest - reader[NEXT]
            reader[NEXT] = newest + 1
            return 1
    return 0  # the writer went round the whole ring in each try: the next call finds something newer


@kernel
def market_publish_batch(cursor, ring, slots, records):
    """Publish each row in order, in one call; returns the last sequence. The cursor follows every record, as for one."""
    sequence = load_acquire(cursor)
    for count in range(records.shape[0]):
        sequence = market_publish(cursor, ring, slots, records[count])
    return sequence


@kernel
def state_top(address):
    """(1, bid_ticks, bid_lots, ask_ticks, ask_lots) of a row of the state table, in registers; five zeroes when its writer
    never let go. One cache line is read, nothing is copied to memory."""
    for _ in range(SEQLOCK_TRIES):
        mark = load_acquire(address)  # pairs with the last store_release in seqlock_write
        if mark & 1:
            continue
        bid_ticks, bid_lots = load_relaxed(address + _BID), load_relaxed(address + _BID + 8)
        ask_ticks, ask_lots = load_relaxed(address + _ASK), load_relaxed(address + _ASK + 8)
        fence_acquire()  # pairs with fence_release in seqlock_write
        if load_relaxed(address) == mark:
            return 1, bid_ticks, bid_lots, ask_ticks, ask_lots
    return 0, 0, 0, 0, 0


@kernel
def lossless_take(state, cursor, ring, slots, sequence, out):
    """``lossless_read`` with an end: RING_CLOSED when the writer's segment is closed and ``sequence`` will never come.

    ``state`` is the address of the state word in the header of the writer's segment.
    """
    if lossless_read(cursor, ring, slots, sequence, out) == layout.RING_OK:
        return layout.RING_OK
    if load_acquire(state) != layout.SEGMENT_STATE_CLOSED:
        return layout.RING_EMPTY
    if lossless_read(cursor, ring, slots, sequence, out) == layout.RING_OK:  # it came between the two loads above
        return layout.RING_OK
    return layout.RING_CLOSED
