# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Snapshot and deltas joined: what comes while a book is not ready waits, and is replayed onto the next snapshot.

One hold per book, in the last rows of its block (``feed.book``), bounded; one that runs full is dropped and counted, and
the replay then finds the gap. Written by the feed's loop alone. The hold of a ready book is empty.
"""

from __future__ import annotations

from fabric import layout as lay
from fabric.atomics import table
from fabric.jit import kernel
from fabric.meters import counter_add
from feed import book
from venue import tables as t

MESSAGES = 64
LEVELS = book.DEPTH
# The row of heads: how many messages and levels wait, then (previous, sequence, levels) of each message.
_COUNT, _USED, _FIRST, _WORDS = 0, 1, 2, 3


@kernel
def clear(books, instrument):
    """Forget what waits: its session is gone."""
    heads = table(book.address_of(books, instrument), book.ROWS, book.DEPTH)[book.HEADS]
    heads[_COUNT] = heads[_USED] = 0


@kernel
def _hold(one, held, previous, sequence, levels, count, stats):
    heads = one[book.HEADS]
    if heads[_COUNT] == MESSAGES or heads[_USED] + count > LEVELS:
        counter_add(stats, lay.FC_JOIN_DROPPED, heads[_COUNT])
        heads[_COUNT] = heads[_USED] = 0
    if count > LEVELS:
        counter_add(stats, lay.FC_JOIN_DROPPED, 1)
        return
    at = _FIRST + _WORDS * heads[_COUNT]
    heads[at], heads[at + 1], heads[at + 2] = previous, sequence, count
    used = heads[_USED]
    for k in range(count):
        for word in range(len(t.LEVEL)):
            held[used + k, word] = levels[k, word]
    heads[_COUNT] += 1
    heads[_USED] = used + count


@kernel
def _count(stats, outcome):
    if outcome == t.BOOK_STALE:
        counter_add(stats, lay.FC_BOOK_STALE_DELTA, 1)
    elif outcome == t.BOOK_BEFORE_SNAPSHOT:
        counter_add(stats, lay.FC_BOOK_BEFORE_SNAPSHOT, 1)
    elif outcome == t.BOOK_GAP:
        counter_add(stats, lay.FC_BOOK_GAPS, 1)
    elif outcome == t.BOOK_CROSSED:
        counter_add(stats, lay.FC_BOOK_CROSSED, 1)
    elif outcome == t.BOOK_REFUSED:
        counter_add(stats, lay.FC_BOOK_REFUSED, 1)


@kernel
def _waits(outcome):
    """1 for a delta that the next snapshot may need."""
    return outcome == t.BOOK_BEFORE_SNAPSHOT or outcome == t.BOOK_GAP or outcome == t.BOOK_CROSSED


@kernel
def _replay(one, held, stats):
    """What waits, onto the snapshot just applied; from the first that does not fit, the rest waits on."""
    heads = one[book.HEADS]
    messages = heads[_COUNT]
    heads[_COUNT] = heads[_USED] = 0
    used = 0
    for k in range(messages):
        at = _FIRST + _WORDS * k
        previous, sequence, count = heads[at], heads[at + 1], heads[at + 2]
        levels = held[used : used + count]
        used += count
        outcome = book.apply_delta(one, previous, sequence, levels, count)
        if outcome != t.BOOK_BEFORE_SNAPSHOT:  # that was counted when it came
            _count(stats, outcome)
        if _waits(outcome):
            _hold(one, held, previous, sequence, levels, count, stats)  # at or before the place it is read from


@kernel
def apply(books, decoded, levels, stats):
    """One decoded snapshot or delta (DECODED) to its book, then what waited for it; counts and returns a BOOK_* outcome."""
    address = book.address_of(books, decoded[t.DC_INSTRUMENT])
    one = table(address, book.ROWS, book.DEPTH)
    held = table(address + book.HELD * book.DEPTH * 8, LEVELS, len(t.LEVEL))
    previous, sequence, count = decoded[t.DC_PREV_SEQ], decoded[t.DC_VENUE_SEQ], decoded[t.DC_LEVELS]
    if decoded[t.DC_IS_SNAPSHOT]:
        outcome = book.apply_snapshot(one, sequence, levels, count)
    else:
        outcome = book.apply_delta(one, previous, sequence, levels, count)
    _count(stats, outcome)
    if decoded[t.DC_IS_SNAPSHOT]:
        if outcome == t.BOOK_APPLIED:
            _replay(one, held, stats)
    elif _waits(outcome):
        _hold(one, held, previous, sequence, levels, count, stats)
    return outcome
