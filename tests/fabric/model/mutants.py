"""Mutants: the original with one step changed, and the memory models that must catch it, no more and no fewer.

ALL: wrong wherever it runs. WEAK: right where stores and loads stay in order (SC, x86), wrong on weaker machines: the
step is there for those, and for a compiler. NONE: nothing here can tell it from the original; the text says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from model import programs
from model.explorer import Scenario
from model.programs import Kernels

ALL, WEAK, NONE = frozenset({"SC", "TSO", "weak"}), frozenset({"weak"}), frozenset[str]()


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    caught_in: frozenset[str]
    scenario: Callable[[], Scenario]


def _edited(kernel: str, old: str, new: str) -> Kernels:
    return Kernels(((kernel, (old, new)),))


def _market(name: str, caught_in: frozenset[str], kernel: str, old: str, new: str, late: int = 0) -> Mutant:
    k = _edited(kernel, old, new)
    return Mutant(f"market: {name}", caught_in, lambda: programs.market(k, readers=0 if late else 1, late=late))


def _lossless(name: str, caught_in: frozenset[str], kernel: str, old: str, new: str, batch: int = 0) -> Mutant:
    k = _edited(kernel, old, new)
    return Mutant(f"lossless: {name}", caught_in, lambda: programs.lossless(k, slots=2 + batch, records=3 + batch, batch=batch))


def _page(name: str, caught_in: frozenset[str], kernel: str, old: str, new: str) -> Mutant:
    k = _edited(kernel, old, new)
    return Mutant(f"state table: {name}", caught_in, lambda: programs.state_table(k))


ODD, EVEN = "store_relaxed(slot, 2 * sequence - 1)", "store_release(slot, 2 * sequence)"
CURSOR = "store_release(cursor, sequence)"
LOOK = "if load_acquire(slot) != mark:"

MARKET = (
    _market("no odd mark", ALL, "market_publish", ODD, "pass"),
    _market("even mark first", ALL, "market_publish", ODD, "store_relaxed(slot, 2 * sequence)"),
    Mutant(
        "market: odd mark after the payload",
        ALL,
        lambda: programs.market(Kernels((("market_publish", (ODD, "pass")), ("market_publish", (EVEN, f"{ODD}; {EVEN}"))))),
    ),
    _market("no release fence after the odd mark", WEAK, "market_publish", "fence_release()", "pass"),
    _market("even mark relaxed", WEAK, "market_publish", EVEN, "store_relaxed(slot, 2 * sequence)"),
    _market("cursor before the slot", ALL, "market_publish", ODD, f"{CURSOR}; {ODD}", late=1),
    _market("cursor relaxed", WEAK, "market_publish", CURSOR, "store_relaxed(cursor, sequence)", late=1),
    _market("no second look", ALL, "market_read", LOOK, "if False:"),
    _market("second look relaxed", WEAK, "market_read", LOOK, "if load_relaxed(slot) != mark:"),
    _market("no acquire fence before the second look", WEAK, "market_read", "fence_acquire()", "pass"),
    _market("mark loaded relaxed", WEAK, "market_read", "mark = load_acquire(slot)", "mark = load_relaxed(slot)"),
    _market("odd mark read as ready", ALL, "market_read", "if mark < 2 * sequence:", "if mark < 2 * sequence - 1:"),
    _market("no lap seen", ALL, "market_read", "if mark > 2 * sequence:", "if False:"),
    Mutant(
        "market: late joiner loads the cursor relaxed",
        WEAK,
        lambda: programs.market(Kernels(cursor_order="relaxed"), readers=0, late=1),
    ),
    Mutant("resync: state table one record behind the ring", ALL, lambda: programs.resync(Kernels(state_behind=True))),
    # The acquire fence inside seqlock_read comes after that load: a state older than the cursor fails the second look.
    Mutant(
        "resync: cursor loaded relaxed after a lap", NONE, lambda: programs.resync(Kernels(cursor_order="relaxed"), records=4)
    ),
)

COUNT, ROOM = "store_release(cursor, sequence)", "slots if urgent else slots - slots // 8"
FRESH = "cached[0] = load_acquire(consumed)"

NOT_YET, DONE = "load_acquire(cursor) < sequence", "store_release(consumed, sequence)"
OTHER = "fresh = load_relaxed(consumed); cached[0] = fresh"

LOSSLESS = (
    _lossless(
        "count before the payload",
        ALL,
        "lossless_publish",
        "store_relaxed(slot, sequence)",
        f"store_relaxed(slot, sequence); {COUNT}",
    ),
    _lossless("count relaxed", WEAK, "lossless_publish", COUNT, "store_relaxed(cursor, sequence)"),
    _lossless("one slot too many", ALL, "lossless_publish", ROOM, f"1 + ({ROOM})"),
    _lossless("never full", ALL, "lossless_publish", FRESH, "cached[0] = sequence"),
    _lossless("the reader's count is never looked at again", ALL, "lossless_publish", FRESH, "pass"),
    _lossless("read past the count", ALL, "lossless_read", NOT_YET, "load_acquire(cursor) + 1 < sequence"),
    _lossless("count loaded relaxed", WEAK, "lossless_read", "load_acquire(cursor)", "load_relaxed(cursor)"),
    _lossless("done relaxed", WEAK, "lossless_done", "store_release", "store_relaxed"),
    _lossless("done counts one ahead", ALL, "lossless_done", DONE, "store_release(consumed, sequence + 1)"),
    _lossless("drain takes one too many", ALL, "lossless_drain", "- sequence + 1", "- sequence + 2", batch=2),
    _lossless("drain loads the count relaxed", WEAK, "lossless_drain", "load_acquire(cursor)", "load_relaxed(cursor)", batch=2),
    Mutant("lossless: done before the copy", ALL, lambda: programs.lossless(Kernels(done_first=True))),
    Mutant(
        "lossless: the last eighth for everybody",
        ALL,
        lambda: programs.lossless(_edited("lossless_publish", ROOM, "slots"), slots=8, records=2, unread=7),
    ),
    # The count is branched upon before the slot is stored, and no machine shows a store before the branch it depends on.
    _lossless("reader's count loaded relaxed", NONE, "lossless_publish", FRESH, OTHER),
)

LOCK, UNLOCK = "store_relaxed(address, mark + 1)", "store_release(address, mark + 2)"
FIRST, AGAIN = "mark = load_acquire(address)", "if load_relaxed(address) == mark:"

PAGES = (
    _page("no odd mark", ALL, "seqlock_write", LOCK, "pass"),
    _page("the same even mark again", ALL, "seqlock_write", UNLOCK, "store_release(address, mark)"),
    _page("no release fence after the odd mark", WEAK, "seqlock_write", "fence_release()", "pass"),
    _page("even mark relaxed", WEAK, "seqlock_write", UNLOCK, "store_relaxed(address, mark + 2)"),
    _page("no second look", ALL, "seqlock_read", AGAIN, "if True:"),
    _page("odd mark read as ready", ALL, "seqlock_read", "if mark & 1:", "if False:"),
    _page("no acquire fence before the second look", WEAK, "seqlock_read", "fence_acquire()", "pass"),
    _page("mark loaded relaxed", WEAK, "seqlock_read", FIRST, "mark = load_relaxed(address)"),
)

MUTANTS = (*MARKET, *LOSSLESS, *PAGES)
