"""The rings' own source, run in every order in which one writer's stores and one reader's loads can meet.

x86 keeps a core's stores in order and a core's loads in order, so a reader sees at each load some prefix of the writer's
stores; all prefixes are tried, on slots of two payload words. A mutant of the source that leaves out one step must be
caught by the same check, which shows that the check can fail. Weaker memory is not modelled here.
"""

from __future__ import annotations

import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fabric import layout, rings

CURSOR, RING, SLOTS, WORDS, CONSUMED = 0, 1000, 2, 3, 500
Edit = tuple[str, str]
Stores = Sequence[tuple[int, int]]


class Machine:
    """Memory by address, and the kernels' Python source over it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, stores: Stores = (), schedule: Sequence[int] = ()) -> None:
        """Empty the memory; ``schedule`` gives, for each load to come, how many of ``stores`` have been made by then."""
        self.words: defaultdict[int, int] = defaultdict(int)
        self.pending, self.schedule = iter(stores), iter(schedule)
        self.made = 0
        self.stored: list[tuple[int, int]] = []

    def load(self, address: int) -> int:
        for _ in range(next(self.schedule, self.made) - self.made):
            where, value = next(self.pending)
            self.words[where] = value
            self.made += 1
        return self.words[address]

    def store(self, address: int, value: int) -> None:
        self.words[address] = value
        self.stored.append((address, value))

    def source(self, kernel: Any, edits: Sequence[Edit] = ()) -> Callable[..., Any]:
        """The kernel as a Python function, after replacing parts of its text."""
        text = inspect.getsource(kernel.py_func)
        for old, new in edits:
            assert text.count(old) == 1, f"the kernel has changed: {old!r} is not in it once"
            text = text.replace(old, new)
        names = {
            **vars(rings),
            "kernel": lambda function: function,
            "SLOT_WORDS": WORDS,
            "SEQLOCK_TRIES": 2,
            **dict.fromkeys(("load_relaxed", "load_acquire"), self.load),
            **dict.fromkeys(("store_relaxed", "store_release"), self.store),
            **dict.fromkeys(("fence_acquire", "fence_release"), lambda: None),
        }
        exec(text, names)
        function: Callable[..., Any] = names[kernel.py_func.__name__]
        return function


def orders(loads: int, stores: Stores) -> Iterator[tuple[int, ...]]:
    """Every choice of how many stores each load sees; what was seen once stays seen."""
    return itertools.combinations_with_replacement(range(len(stores) + 1), loads)


def payload(sequence: int) -> list[int]:
    return [0, sequence * 10 + 1, sequence * 10 + 2]


def market_stores(records: int, edits: Sequence[Edit]) -> Stores:
    machine = Machine()
    publish = machine.source(rings.market_publish, edits)
    for sequence in range(1, records + 1):
        publish(CURSOR, RING, SLOTS, payload(sequence))
    return machine.stored


# --- Market ring ---------------------------------------------------------------------------------------------------------
def torn_market_reads(writer: Sequence[Edit] = (), reader: Sequence[Edit] = ()) -> tuple[int, set[int]]:
    """Read record 1 of 2 slots while records 1 to 3 are written: (reads that were OK and wrong, statuses met)."""
    machine, stores = Machine(), market_stores(3, writer)
    read, torn, met = machine.source(rings.market_read, reader), 0, set()
    for schedule in orders(1 + WORDS, stores):
        machine.reset(stores, schedule)
        out = [0] * WORDS
        status = read(RING, SLOTS, 1, out)
        torn += status == layout.RING_OK and out != [1, *payload(1)[1:]]
        met.add(status)
    return torn, met


def test_no_order_of_loads_and_stores_tears_a_market_record() -> None:
    assert torn_market_reads() == (0, {layout.RING_OK, layout.RING_EMPTY, layout.RING_LAPPED})


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ([("store_relaxed(slot, 2 * sequence - 1)", "pass")], []),
        ([("store_relaxed(slot, 2 * sequence - 1)", "store_relaxed(slot, 2 * sequence)")], []),
        ([], [("if load_relaxed(slot) != mark:", "if False:")]),
        ([], [("if mark < 2 * sequence:", "if mark < 2 * sequence - 1:")]),
        ([], [("if mark > 2 * sequence:", "if False:")]),
    ],
    ids=["no odd mark", "even mark first", "no second look", "odd mark read as ready", "no lap"],
)
def test_a_market_ring_without_one_of_its_steps_is_caught(writer: list[Edit], reader: list[Edit]) -> None:
    assert torn_market_reads(writer, reader)[0] > 0


def unreadable_at_cursor(edits: Sequence[Edit] = ()) -> int:
    """Orders in which a late reader finds nothing at the cursor that it has just loaded."""
    machine, stores = Machine(), market_stores(2, edits)
    read, missing = machine.source(rings.market_read), 0
    for schedule in orders(3, stores):
        machine.reset(stores, schedule)
        cursor = machine.load(CURSOR)
        missing += cursor > 0 and read(RING, SLOTS, cursor, [0] * WORDS) == layout.RING_EMPTY
    return missing


def test_a_late_reader_always_finds_the_record_at_the_cursor() -> None:
    assert unreadable_at_cursor() == 0


def test_a_cursor_that_moves_before_its_record_is_ready_is_caught() -> None:
    early = ("store_relaxed(slot, 2 * sequence - 1)", "store_release(cursor, sequence)")
    assert unreadable_at_cursor([early]) > 0


# --- Sequence lock -------------------------------------------------------------------------------------------------------
def torn_pages(writer: Sequence[Edit] = (), reader: Sequence[Edit] = ()) -> tuple[int, set[int]]:
    """Read a page while it is written twice: (reads that were 1 and mixed, results met)."""
    machine = Machine()
    write = machine.source(rings.seqlock_write, writer)
    write(RING, payload(1), WORDS)
    write(RING, payload(2), WORDS)
    stores, torn, met = machine.stored, 0, set()
    read = machine.source(rings.seqlock_read, reader)
    for schedule in orders(2 * (1 + WORDS), stores):
        machine.reset(stores, schedule)
        out = [0] * WORDS
        result = read(RING, out, WORDS)
        torn += result == 1 and out[1:] not in ([0, 0], payload(1)[1:], payload(2)[1:])
        met.add(result)
    return torn, met


def test_no_order_of_loads_and_stores_tears_a_page() -> None:
    assert torn_pages() == (0, {0, 1})


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ([("store_relaxed(address, mark + 1)", "pass")], []),
        ([], [("if load_relaxed(address) == mark:", "if True:")]),
        ([], [("if mark & 1:", "if False:")]),
    ],
    ids=["no odd mark", "no second look", "odd mark read as ready"],
)
def test_a_page_without_one_of_its_steps_is_caught(writer: list[Edit], reader: list[Edit]) -> None:
    assert torn_pages(writer, reader)[0] > 0


# --- Lossless ring -------------------------------------------------------------------------------------------------------
def wrong_lossless_reads(writer: Sequence[Edit] = (), reader: Sequence[Edit] = ()) -> tuple[int, set[int]]:
    """Read record 2 while records 1 and 2 are written: (reads that were OK and wrong, statuses met)."""
    machine = Machine()
    publish = machine.source(rings.lossless_publish, writer)
    for sequence in (1, 2):
        publish(CURSOR, RING, SLOTS, CONSUMED, [0], payload(sequence), 1)
    stores, wrong, met = machine.stored, 0, set()
    read = machine.source(rings.lossless_read, reader)
    for schedule in orders(1 + WORDS, stores):
        machine.reset(stores, schedule)
        out = [0] * WORDS
        status = read(CURSOR, RING, SLOTS, 2, out)
        wrong += status == layout.RING_OK and out != [2, *payload(2)[1:]]
        met.add(status)
    return wrong, met


def test_no_order_of_loads_and_stores_shows_a_lossless_record_before_it_is_whole() -> None:
    assert wrong_lossless_reads() == (0, {layout.RING_OK, layout.RING_EMPTY})


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ([("store_relaxed(slot, sequence)", "store_relaxed(slot, sequence); store_release(cursor, sequence)")], []),
        ([], [("if load_acquire(cursor) < sequence:", "if load_acquire(cursor) < sequence - 1:")]),
    ],
    ids=["count first", "read past the count"],
)
def test_a_lossless_ring_without_one_of_its_steps_is_caught(writer: list[Edit], reader: list[Edit]) -> None:
    assert wrong_lossless_reads(writer, reader)[0] > 0
