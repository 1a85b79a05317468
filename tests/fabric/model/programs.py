"""The rings and the sequence lock as scenarios: which kernels run, on how many slots, and what must never be seen.

A slot has two payload words here (``SLOT_WORDS`` = 3), a ring 2 to 8 slots; the kernels' text is otherwise the original.
What the kernels' callers add is written out in the threads below, as feed/loop.py, engine/inbound.py and engine/journal.py
do it: go to the cursor after a lap, count what was lost, read the state again; report a record as done after its copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from fabric import layout, rings
from model.explorer import Scenario, Violation, Word
from model.source import SETTLE, Constant, Edit, Program, as_program, load

CURSOR, CONSUMED, RING, PAGE = 8, 16, 1024, 512
WORDS, TRIES = 3, 2
OK, EMPTY, LAPPED, FULL = layout.RING_OK, layout.RING_EMPTY, layout.RING_LAPPED, layout.RING_FULL


class Rows(dict[tuple[int, int], Any]):
    """A private table, as ``out[row, word]``."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.shape = (rows, WORDS)


@dataclasses.dataclass(frozen=True)
class Kernels(Constant):
    """The kernels as programs, with a mutant's edits; the other fields are what a mutant of their caller does."""

    edits: tuple[tuple[str, Edit], ...] = ()
    cursor_order: str = "acquire"
    done_first: bool = False
    state_behind: bool = False

    def __getattr__(self, name: str) -> Callable[..., Program]:
        mine = [edit for kernel, edit in self.edits if kernel == name]
        names = {"SLOT_WORDS": WORDS, "SEQLOCK_TRIES": TRIES}
        program = as_program(getattr(rings, name), names, mine)
        object.__setattr__(self, name, program)
        return program


def record(sequence: int) -> list[int]:
    """What the writer publishes as this record: every word derived from its sequence."""
    return [sequence, *(sequence * 10 + word for word in range(1, WORDS))]


def demand(condition: bool, text: str) -> None:
    if not condition:
        raise Violation(text)


def ring_words(slots: int, owner: str, held: Mapping[int, int], marks: int) -> dict[int, Word]:
    """The words of a ring in which ``held`` says which sequence each slot holds; a ready slot's mark is marks * sequence."""
    words = {}
    for slot in range(slots):
        sequence = held.get(slot, 0)
        values = [marks * sequence, *(record(sequence)[1:] if sequence else [0] * (WORDS - 1))]
        for word in range(WORDS):
            name = f"slot{slot}.{'seq' if word == 0 else word}"
            words[RING + slot * rings.SLOT_BYTES + word * 8] = Word(name, values[word], owner)
    return words


def page_words() -> dict[int, Word]:
    return {PAGE + word * 8: Word(f"page.{word or 'lock'}", 0, "writer") for word in range(WORDS)}


# --- Market ring -------------------------------------------------------------------------------------------------------
def market_writer(k: Kernels, slots: int, records: int) -> Program:
    for sequence in range(1, records + 1):
        published = yield from k.market_publish(CURSOR, RING, slots, record(sequence))
        demand(published == sequence, f"record {sequence} was published as {published}")


def feed(k: Kernels, slots: int, records: int) -> Program:
    """As feed/loop.py: the event to the ring, then its row to the state table."""
    for sequence in range(1, records + 1):
        yield from k.market_publish(CURSOR, RING, slots, record(sequence))
        if not k.state_behind:
            yield from k.seqlock_write(PAGE, record(sequence), WORDS)
        elif sequence > 1:
            yield from k.seqlock_write(PAGE, record(sequence - 1), WORDS)


def market_reader(k: Kernels, slots: int, records: int, resyncs: bool = False) -> Program:
    """From 1 on, as engine/inbound.py: after a lap on from the cursor, the loss counted, the state table read again."""
    wanted, seen, lost, newest = 1, 0, 0, 0
    while wanted <= records:
        out = [0] * WORDS
        status = yield from k.market_read(RING, slots, wanted, out)
        if status == OK:
            yield SETTLE
            demand(wanted > newest, f"record {wanted} was accepted after {newest}")
            demand(out == record(wanted), f"torn: {out} was accepted as {record(wanted)}")
            newest, seen, wanted = wanted, seen + 1, wanted + 1
        elif status == LAPPED:
            yield "lapped"
            cursor = yield load(CURSOR, k.cursor_order)
            demand(cursor >= wanted, f"lapped at record {wanted}, and then the cursor was {cursor}: a record would come twice")
            lost, wanted = lost + cursor - wanted, cursor
            if resyncs and (yield from k.seqlock_read(PAGE, out, WORDS)):
                yield SETTLE
                demand(out[0] // 2 >= cursor - 1, f"going on from record {cursor}, but the state is that of {out[0] // 2}")
                yield "resynced"
        else:
            yield "empty"
    demand(seen + lost == records, f"seen {seen} + lost {lost} is not {records} published")
    yield "all read"


def late_market_reader(k: Kernels, slots: int, reads: int) -> Program:
    """Comes at any time and begins at the cursor: what the cursor names is there, or was there and is overwritten."""
    for _ in range(reads):
        cursor = yield load(CURSOR, k.cursor_order)
        if cursor == 0:
            continue
        out = [0] * WORDS
        status = yield from k.market_read(RING, slots, cursor, out)
        demand(status != EMPTY, f"nothing at the cursor, {cursor}")
        if status == OK:
            yield SETTLE
            demand(out == record(cursor), f"torn: {out} was accepted as {record(cursor)}")
            yield "late joiner"


def market(k: Kernels, slots: int = 2, records: int = 3, readers: int = 1, late: int = 0) -> Scenario:
    """``late``: reads of one more reader, which comes at any time."""
    words = {CURSOR: Word("cursor", 0, "writer")} | ring_words(slots, "writer", {}, 2)
    threads: dict[str, Callable[[], Program]] = {"writer": lambda: market_writer(k, slots, records)}
    for number in range(1, readers + 1):
        threads[f"reader {number}"] = lambda: market_reader(k, slots, records)
    if late:
        threads["late joiner"] = lambda: late_market_reader(k, slots, late)
    goals = {"all read", "empty"} if readers else set()
    goals |= {"lapped"} if readers and records > slots else set()
    goals |= {"late joiner"} if late else set()
    name = f"market ring, {slots} slots, {records} records, {readers} readers" + (" and a late one" if late else "")
    return Scenario(name, words, threads, frozenset(goals), frozenset({"writer"}))


def resync(k: Kernels, slots: int = 2, records: int = 3) -> Scenario:
    """Ring and state table as the feed writes them and a lapped execution reads them: no record is missing from both."""
    words = {CURSOR: Word("cursor", 0, "writer")} | ring_words(slots, "writer", {}, 2) | page_words()
    threads: dict[str, Callable[[], Program]] = {
        "writer": lambda: feed(k, slots, records),
        "reader": lambda: market_reader(k, slots, records, resyncs=True),
    }
    goals = frozenset({"all read", "lapped", "resynced"})
    return Scenario(f"resync, {slots} slots, {records} records", words, threads, goals, frozenset({"writer"}))


# --- Lossless ring -----------------------------------------------------------------------------------------------------
def lossless_writer(k: Kernels, slots: int, first: int, last: int, urgent: Callable[[int], bool]) -> Program:
    """Tries each record until there is room; ``urgent(sequence)`` says which may use the last eighth."""
    cached = [0]
    for sequence in range(first, last + 1):
        status = FULL
        room = slots if urgent(sequence) else slots - slots // 8
        while status != OK:
            status = yield from k.lossless_publish(
                CURSOR, RING, slots, CONSUMED, cached, record(sequence), int(urgent(sequence))
            )
            demand(status == FULL or sequence - cached[0] <= room, f"record {sequence} took a slot kept for urgent ones")
            yield "published" if status == OK else "full"
    yield "all written"


def lossless_reader(k: Kernels, slots: int, last: int) -> Program:
    """As engine/inbound.py: read, deal with it, report it as done."""
    wanted = 1
    while wanted <= last:
        out = [0] * WORDS
        if k.done_first:
            yield from k.lossless_done(CONSUMED, wanted)
        status = yield from k.lossless_read(CURSOR, RING, slots, wanted, out)
        if status == OK:
            yield from k.lossless_done(CONSUMED, wanted)
            yield SETTLE
            demand(out == record(wanted), f"record {wanted} was read as {out}")
            wanted += 1
        else:
            yield "empty"
    yield "all read"


def batch_reader(k: Kernels, slots: int, last: int, batch: int) -> Program:
    """As engine/journal.py: drain, write, one ``done`` for all of them."""
    wanted = 1
    while wanted <= last:
        out = Rows(batch)
        count = yield from k.lossless_drain(CURSOR, RING, slots, wanted, out)
        if count:
            yield from k.lossless_done(CONSUMED, wanted + count - 1)
            yield SETTLE
            for row in range(count):
                values = [out[row, word] for word in range(WORDS)]
                demand(values == record(wanted + row), f"record {wanted + row} was read as {values}")
            yield "a batch" if count > 1 else "one"
            wanted += count
    yield "all read"


def unread_is_whole(slots: int) -> Callable[[Callable[[int], int]], str | None]:
    """Nothing between the reader's count and the writer's was overwritten."""

    def check(newest: Callable[[int], int]) -> str | None:
        cursor, consumed = newest(CURSOR), newest(CONSUMED)
        if not 0 <= cursor - consumed <= slots:
            return f"{cursor} written and {consumed} consumed in {slots} slots"
        for sequence in range(consumed + 1, cursor + 1):
            slot = RING + (sequence & (slots - 1)) * rings.SLOT_BYTES
            held = [newest(slot + word * 8) for word in range(WORDS)]
            if held != record(sequence):
                return f"record {sequence} is not consumed and its slot holds {held}"
        return None

    return check


def lossless(k: Kernels, slots: int = 2, records: int = 3, batch: int = 0, unread: int = 0, urgent: str = "none") -> Scenario:
    """``unread`` records are already in the ring; ``urgent`` names which of the new ones are: none, all, last."""
    last = unread + records
    may = {"none": lambda _: False, "all": lambda _: True, "last": lambda sequence: sequence == last}[urgent]
    words = ring_words(slots, "writer", {sequence & (slots - 1): sequence for sequence in range(1, unread + 1)}, 1)
    words |= {CURSOR: Word("cursor", unread, "writer"), CONSUMED: Word("consumed", 0, "reader")}
    threads: dict[str, Callable[[], Program]] = {
        "writer": lambda: lossless_writer(k, slots, unread + 1, last, may),
        "reader": lambda: batch_reader(k, slots, last, batch) if batch else lossless_reader(k, slots, last),
    }
    goals = {"all read", "all written", "published", "full"} | ({"a batch"} if batch else set())
    name = f"lossless ring, {slots} slots, {records} records" + (f" after {unread} unread" if unread else "")
    name += (f", batches of {batch}" if batch else "") + (f", {urgent} urgent" if urgent != "none" else "")
    return Scenario(name, words, threads, frozenset(goals), frozenset({"writer", "reader"}), unread_is_whole(slots))


# --- Sequence lock of the state table ----------------------------------------------------------------------------------
def page_writer(k: Kernels, versions: int) -> Program:
    for version in range(1, versions + 1):
        yield from k.seqlock_write(PAGE, record(version), WORDS)


def page_reader(k: Kernels, reads: int) -> Program:
    newest = 0
    for _ in range(reads):
        out = [0] * WORDS
        if (yield from k.seqlock_read(PAGE, out, WORDS)):
            yield SETTLE
            version = out[0] // 2
            wanted = [2 * version, *(record(version)[1:] if version else [0] * (WORDS - 1))]
            demand(out == wanted, f"torn: {out} was accepted as version {version}")
            demand(version >= newest, f"version {version} was read after {newest}")
            newest = version
            yield "a page" if version else "the empty page"
        else:
            yield "gave up"


def state_table(k: Kernels, versions: int = 2, readers: int = 1, reads: int = 2) -> Scenario:
    threads: dict[str, Callable[[], Program]] = {"writer": lambda: page_writer(k, versions)}
    for number in range(1, readers + 1):
        threads[f"reader {number}"] = lambda: page_reader(k, reads)
    name = f"state table, {versions} versions, {readers} readers x {reads}"
    goals = frozenset({"a page", "the empty page", "gave up"})
    return Scenario(name, page_words(), threads, goals, frozenset({"writer"}))
