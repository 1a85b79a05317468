# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The rings, the sequence lock and their memory ordering. Addresses are bytes; a slot is 16 words, word 0 its sequence.

Market ring (one writer, any number of readers, the writer never waits). Sequence s counts from 1; slot ``s & (slots-1)``
holds 2s-1 while s is being written and 2s when it is ready. Lossless ring (one writer, one reader): the writer
publishes its count, the reader publishes its own count *in its own segment*; a slot is reused only after that.
"""

from __future__ import annotations

from fabric import layout
from fabric.atomics import fence_acquire, fence_release, load_acquire, load_relaxed, prefetch, store_relaxed, store_release
from fabric.jit import kernel

SLOT_WORDS = 16
SLOT_BYTES = 128
SEQLOCK_TRIES = 1000


@kernel
def market_publish(cursor, ring, slots, record):
    """Publish ``record[1:16]``; returns its sequence. Never waits."""
    sequence = load_relaxed(cursor) + 1
    slot = ring + (sequence & (slots - 1)) * SLOT_BYTES
    store_relaxed(slot, 2 * sequence - 1)
    fence_release()  # pairs with fence_acquire in market_read: payload never becomes visible under the old even mark
    for word in range(1, SLOT_WORDS):
        store_relaxed(slot + word * 8, record[word])
    store_release(slot, 2 * sequence)  # pairs with load_acquire(slot) in market_read: even mark after payload
    store_release(cursor, sequence)  # pairs with load_acquire(cursor) of a late joiner
    return sequence


@kernel
def market_read(ring, slots, sequence, out):
    """Copy record ``sequence`` to ``out[1:16]``: RING_OK, RING_EMPTY (not there yet) or RING_LAPPED (overwritten)."""
    slot = ring + (sequence & (slots - 1)) * SLOT_BYTES
    prefetch(slot + SLOT_BYTES // 2)  # both lines of the slot on their way at once: a hop waits for one miss, not for two
    mark = load_acquire(slot)  # pairs with the last store_release(slot) in market_publish
    if mark < 2 * sequence:
        return layout.RING_EMPTY
    if mark > 2 * sequence:
        return layout.RING_LAPPED
    for word in range(1, SLOT_WORDS):
        out[word] = load_relaxed(slot + word * 8)
    fence_acquire()  # pairs with fence_release in market_publish: if payload was newer, the mark is seen changed
    if load_acquire(slot) != mark:  # acquire: the cursor that a lapped reader loads next is never older than this lap
        return layout.RING_LAPPED
    out[0] = sequence
    return layout.RING_OK


@kernel
def lossless_publish(cursor, ring, slots, consumed, cached, record, urgent):
    """Publish ``record[1:16]`` unless the reader is behind.

    ``consumed`` is the address of the reader's count (0: no reader), ``cached`` an int64[1] copy of it that only the
    writer touches. The last eighth is for ``urgent`` records (cancels, outcomes). RING_OK, RING_FULL or RING_NO_CONSUMER.
    """
    if consumed == 0:
        return layout.RING_NO_CONSUMER
    sequence = load_relaxed(cursor) + 1
    room = slots if urgent else slots - slots // 8
    if sequence - cached[0] > room:
        cached[0] = load_acquire(consumed)  # pairs with store_release in lossless_done: the slot has been copied out
        if sequence - cached[0] > room:
            return layout.RING_FULL
    slot = ring + (sequence & (slots - 1)) * SLOT_BYTES
    store_relaxed(slot, sequence)
    for word in range(1, SLOT_WORDS):
        store_relaxed(slot + word * 8, record[word])
    store_release(cursor, sequence)  # pairs with load_acquire(cursor) in lossless_read: count after payload
    return layout.RING_OK


@kernel
def lossless_read(cursor, ring, slots, sequence, out):
    """Copy record ``sequence`` to ``out[0:16]``: RING_OK or RING_EMPTY. Call lossless_done when it was dealt with."""
    if load_acquire(cursor) < sequence:  # pairs with store_release(cursor) in lossless_publish
        return layout.RING_EMPTY
    slot = ring + (sequence & (slots - 1)) * SLOT_BYTES
    for word in range(SLOT_WORDS):
        out[word] = load_relaxed(slot + word * 8)
    return layout.RING_OK


@kernel
def lossless_done(consumed, sequence):
    """The reader needs nothing up to and including ``sequence`` any more."""
    store_release(consumed, sequence)  # pairs with load_acquire(consumed) in lossless_publish


@kernel
def seqlock_write(address, values, words):
    """Store ``values[1:words]`` behind the lock word at ``address``; one writer."""
    mark = load_relaxed(address)
    store_relaxed(address, mark + 1)
    fence_release()  # pairs with fence_acquire in seqlock_read: no value is visible under the old even mark
    for word in range(1, words):
        store_relaxed(address + word * 8, values[word])
    store_release(address, mark + 2)  # pairs with the first load_acquire in seqlock_read


@kernel
def seqlock_read(address, out, words):
    """Copy a consistent ``out[0:words]``; 1, or 0 when the writer kept on writing (or died in the middle)."""
    for _ in range(SEQLOCK_TRIES):
        mark = load_acquire(address)  # pairs with the last store_release in seqlock_write
        if mark & 1:
            continue
        for word in range(1, words):
            out[word] = load_relaxed(address + word * 8)
        fence_acquire()  # pairs with fence_release in seqlock_write
        if load_relaxed(address) == mark:
            out[0] = mark
            return 1
    return 0


@kernel
def lossless_drain(cursor, ring, slots, sequence, out):
    """Copy records from ``sequence`` on into the rows of ``out``; returns how many. Call lossless_done afterwards."""
    available = load_acquire(cursor) - sequence + 1  # pairs with store_release(cursor) in lossless_publish
    count = min(max(available, 0), out.shape[0])
    for k in range(count):
        slot = ring + ((sequence + k) & (slots - 1)) * SLOT_BYTES
        for word in range(SLOT_WORDS):
            out[k, word] = load_relaxed(slot + word * 8)
    return count
