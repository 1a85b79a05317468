"""What must hold after a fault, from the segments themselves and from what the reader reported; ``Failed`` when it does not."""

from __future__ import annotations

import numpy as np

from crash import kernels as k
from crash.shared import Shared
from crash.stage import require
from fabric import layout
from fabric.segment import Segment


def mark(source: Segment, ring: int, sequence: int) -> int:
    """Word 0 of the slot of a sequence."""
    return source.word(ring + (sequence & (k.SLOTS - 1)) * layout.LINE)


def published(source: Segment) -> int:
    """Records on the market ring that can be read; the newest may be ready before the cursor says so."""
    cursor = source.word(k.MARKET_CURSOR)
    return cursor + int(mark(source, k.MARKET_RING, cursor + 1) == 2 * (cursor + 1))


def place_of_death(source: Segment) -> str:
    """In the middle of what a dead or stopped writer is."""
    following = source.word(k.MARKET_CURSOR) + 1
    if mark(source, k.MARKET_RING, following) == 2 * following - 1:
        return "half a market record"
    if published(source) == following:
        return "a market record before the cursor"
    if source.word(k.ROW) & 1:
        return "half a row"
    following = source.word(k.LOSSLESS_CURSOR) + 1
    if mark(source, k.LOSSLESS_RING, following) == following:
        return "half a lossless record"
    return "between two"


def wrong(shared: Shared) -> dict[str, int]:
    """What the reader counted that must not be."""
    return {name: int(count) for name, count in zip(k.WRONG, shared.wrong, strict=True) if count}


def nothing_is_wrong(shared: Shared, living: Segment) -> None:
    """No torn or foreign record, no false lap, no mixed row; a living writer was never called dead."""
    require(not wrong(shared), "the reader saw what must not be")
    require(living.owner_alive(), "the writer lives and its lock is free")
    require(shared.saw(living.generation)[k.SA_DEAD] == 0, "a living writer was called dead")


def market_adds_up(shared: Shared, source: Segment) -> None:
    """The reader has read a dead writer's ring to its end: seen + lost = published since it joined."""
    saw, count = shared.saw(source.generation), published(source)
    accounted = int(saw[k.SA_SEEN] + saw[k.SA_LOST])
    since = count - int(saw[k.SA_JOINED]) + 1
    require(accounted == since, f"market: seen + lost is {accounted}, published since the reader joined {since}")


class Books:
    """The ledger of one generation, held against the lossless contract: what each reader may have handed out, once."""

    def __init__(self, shared: Shared, source: Segment) -> None:
        self.ledger, self.source = shared.ledger(source.generation), source
        self.handed = np.zeros(k.LEDGER_RECORDS, np.int64)
        self.resume: int = 0  # what was done when the reader came

    def close_run(self) -> int:
        """The reader is gone: it handed out what followed on ``resume``, in order, each record once. Returns the last one."""
        fresh = self.ledger[:, 0] - self.handed
        taken = np.flatnonzero(fresh)
        last = self.resume + len(taken)
        if len(taken):
            first, final = int(taken[0]), int(taken[-1])
            require(first == self.resume + 1, f"lossless: {self.resume} were done, the reader went on at {first}")
            require(final == last, f"lossless: {final - last} of the records up to {final} were never handed out")
            require(bool((fresh[taken] == 1).all()), "lossless: a record was handed out twice by one reader")
        sequences = np.arange(self.resume + 1, last + 1)
        right = sequences * k.PRIME + self.source.words[layout.H_CREATED_NS] + 1
        require(bool((self.ledger[sequences, 1] == right).all()), "lossless: a record had the effect of another one")
        self.handed += fresh
        return last

    def reader_died(self, page: Segment) -> int:
        """Nothing was done that was not taken. Returns how many were taken and not done: these come again."""
        last, done = self.close_run(), page.word(k.CONSUMED)
        require(page.word(k.FOLLOWED) == self.source.generation, "the reader's page is of another generation")
        require(done <= last, f"lossless: {done} were called done, {last} were taken")
        require(last - done <= k.BATCH, f"lossless: {last} were taken, only {done} done")
        self.resume = done
        return last - done

    def left(self, least: int, most: int) -> None:
        """The reader has left the generation for a newer one: everything published was handed out."""
        last = self.close_run()
        require(least <= last <= most, f"lossless: {last} records handed out, {least} to {most} published")
