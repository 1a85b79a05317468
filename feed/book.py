# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The depth book of each instrument: sorted arrays of bounded depth, compiled, written by the feed's loop alone.

A side is two rows of one int64 block, keys and lots. Key = price in ticks for bids and its negative for asks, ascending,
so the best level of either side is the last one, an update near the touch moves few words, and one code serves both.

A message is refused whole before anything is touched, or applied whole. Only a snapshot makes a book ready; a gap, a
crossed book or a refused message makes it dirty until the next one. A book that is not ready has no top.
Sequence rules: ``docs/wire-protocol.md``. The last rows of a block belong to ``feed.join``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fabric import layout
from fabric.atomics import table
from fabric.jit import kernel
from fabric.layout import INSTRUMENTS_MAX
from venue import tables as t

DEPTH = 8192  # levels per side; beyond it the worst level is dropped and counted
ROWS = 9  # META, bid keys, bid lots, ask keys, ask lots; feed.join: heads, three rows of levels
META, BIDS, ASKS, HEADS, HELD = 0, 1, 3, 5, 6
# Words of the META row.
STATUS, SEQUENCE, SNAPSHOT_SEQUENCE, PREVIOUS, STARTED, COUNT_BIDS, COUNT_ASKS, DROPPED = range(8)


def make_books(instruments: int = INSTRUMENTS_MAX) -> npt.NDArray[np.int64]:
    """The block of all books, all empty; its address (``.ctypes.data``) is what the kernels below take."""
    return np.full((instruments * ROWS, DEPTH), 0, np.int64)  # written once: the loop meets no missing page


@kernel
def address_of(books, instrument):
    """Address of one instrument's int64[ROWS, DEPTH] in the block at ``books``."""
    return books + instrument * (ROWS * DEPTH * 8)


@kernel
def find(keys, count, key):
    """Index of the first key that is not less than ``key``."""
    low = 0
    high = count
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def set_level(book, side, ticks, lots):
    """Make one price hold this size, 0 = none."""
    first = BIDS if side == layout.SIDE_BUY else ASKS
    counter = COUNT_BIDS if side == layout.SIDE_BUY else COUNT_ASKS
    key = ticks if side == layout.SIDE_BUY else -ticks
    keys = book[first]
    sizes = book[first + 1]
    count = book[META, counter]
    at = find(keys, count, key)
    if at < count and keys[at] == key:
        if lots != 0:
            sizes[at] = lots
            return
        for k in range(at, count - 1):
            keys[k] = keys[k + 1]
            sizes[k] = sizes[k + 1]
        book[META, counter] = count - 1
        return
    if lots == 0:
        return
    if count == DEPTH:  # full: the worst level, the first one, goes; or the new one, when it is worse still
        book[META, DROPPED] += 1
        if at == 0:
            return
        at -= 1
        for k in range(at):
            keys[k] = keys[k + 1]
            sizes[k] = sizes[k + 1]
    else:
        for k in range(count, at, -1):
            keys[k] = keys[k - 1]
            sizes[k] = sizes[k - 1]
        book[META, counter] = count + 1
    keys[at] = key
    sizes[at] = lots


@kernel
def _valid(levels, count, snapshot):
    """1 when every level is one that may be applied."""
    if count < 0 or count > levels.shape[0]:
        return 0
    for k in range(count):
        side = levels[k, t.LV_SIDE]
        lots = levels[k, t.LV_LOTS]
        if (side != layout.SIDE_BUY and side != layout.SIDE_SELL) or levels[k, t.LV_TICKS] <= 0 or lots < 0:
            return 0
        if snapshot and lots == 0:
            return 0
    return 1


@kernel
def _settle(book):
    """Ready, or dirty when the best bid reached the best ask."""
    bids = book[META, COUNT_BIDS]
    asks = book[META, COUNT_ASKS]
    if bids > 0 and asks > 0 and book[BIDS, bids - 1] >= -book[ASKS, asks - 1]:
        book[META, STATUS] = layout.BOOK_DIRTY
        return t.BOOK_CROSSED
    book[META, STATUS] = layout.BOOK_READY
    return t.BOOK_APPLIED


@kernel
def apply_snapshot(book, sequence, levels, count):
    """Replace the book; BOOK_APPLIED, BOOK_STALE (older than a ready book), BOOK_CROSSED or BOOK_REFUSED."""
    meta = book[META]
    if meta[STATUS] == layout.BOOK_READY and sequence < meta[SEQUENCE]:
        return t.BOOK_STALE
    if not _valid(levels, count, True):
        meta[STATUS] = layout.BOOK_DIRTY
        return t.BOOK_REFUSED
    meta[COUNT_BIDS] = 0
    meta[COUNT_ASKS] = 0
    for k in range(count - 1, -1, -1):  # best first on the wire: backwards, each level goes to the end
        set_level(book, levels[k, t.LV_SIDE], levels[k, t.LV_TICKS], levels[k, t.LV_LOTS])
    meta[SEQUENCE] = sequence
    meta[SNAPSHOT_SEQUENCE] = sequence
    meta[PREVIOUS] = sequence
    meta[STARTED] = 0
    return _settle(book)


@kernel
def apply_delta(book, previous, sequence, levels, count):
    """Change levels; BOOK_APPLIED, BOOK_STALE, BOOK_BEFORE_SNAPSHOT, BOOK_GAP, BOOK_CROSSED or BOOK_REFUSED.

    The very message that was applied last is stale too: saying it twice loses nothing.
    """
    meta = book[META]
    if meta[STATUS] != layout.BOOK_READY:
        return t.BOOK_BEFORE_SNAPSHOT
    if sequence <= meta[SNAPSHOT_SEQUENCE] or (sequence == meta[SEQUENCE] and previous == meta[PREVIOUS]):
        return t.BOOK_STALE
    in_order = previous == meta[SEQUENCE] if meta[STARTED] else previous <= meta[SEQUENCE]
    if not in_order or sequence <= previous:
        meta[STATUS] = layout.BOOK_DIRTY
        return t.BOOK_GAP
    if not _valid(levels, count, False):
        meta[STATUS] = layout.BOOK_DIRTY
        return t.BOOK_REFUSED
    for k in range(count):
        set_level(book, levels[k, t.LV_SIDE], levels[k, t.LV_TICKS], levels[k, t.LV_LOTS])
    meta[SEQUENCE] = sequence
    meta[PREVIOUS] = previous
    meta[STARTED] = 1
    return _settle(book)


@kernel
def copy_top(book, out):
    """Write LEVELS x (bid_ticks, bid_lots, ask_ticks, ask_lots) from the best on, 0 = no level; returns how many rows."""
    ready = book[META, STATUS] == layout.BOOK_READY
    bids = book[META, COUNT_BIDS] if ready else 0
    asks = book[META, COUNT_ASKS] if ready else 0
    for k in range(layout.LEVELS):
        at = 4 * k
        out[at] = book[BIDS, bids - 1 - k] if k < bids else 0
        out[at + 1] = book[BIDS + 1, bids - 1 - k] if k < bids else 0
        out[at + 2] = -book[ASKS, asks - 1 - k] if k < asks else 0
        out[at + 3] = book[ASKS + 1, asks - 1 - k] if k < asks else 0
    return min(max(bids, asks), layout.LEVELS)


@kernel
def top(books, instrument, out):
    """``copy_top`` of one instrument."""
    return copy_top(table(address_of(books, instrument), ROWS, DEPTH), out)


@kernel
def status(books, instrument):
    """layout.BOOK_EMPTY (no snapshot yet), READY or DIRTY."""
    return table(address_of(books, instrument), ROWS, DEPTH)[META, STATUS]


@kernel
def dropped(books, instrument):
    """Levels that found no room so far."""
    return table(address_of(books, instrument), ROWS, DEPTH)[META, DROPPED]


@kernel
def one_sided(books, instrument):
    """1 when bids or asks are missing."""
    meta = table(address_of(books, instrument), ROWS, DEPTH)[META]
    return 1 if meta[COUNT_BIDS] == 0 or meta[COUNT_ASKS] == 0 else 0


@kernel
def sequence(books, instrument):
    """The venue's sequence of the last message applied."""
    return table(address_of(books, instrument), ROWS, DEPTH)[META, SEQUENCE]


@kernel
def mark_dirty(books, instrument):
    """Nothing known of the book holds any more, until the next snapshot."""
    table(address_of(books, instrument), ROWS, DEPTH)[META, STATUS] = layout.BOOK_DIRTY
