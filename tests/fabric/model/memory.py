"""Memory as the threads of a model see it: three models behind one interface. Each word is 8 bytes and never tears.

``Sequential``  one memory, one operation at a time.
``Tso``         x86: each thread's stores wait in a FIFO buffer, drain at any moment, and its own loads look there first.
                Acquire and release cost nothing and do nothing; a full fence waits for an empty buffer.
``Weak``        RC11 by views, with late loads. A store adds a message to its word and carries a *view*: for each word, the
                oldest message that whoever acquires it may still read. So stores are seen out of order unless a release
                store or release fence stands between them and the reader loads with acquire, or has an acquire fence
                after its load; a load may take any message not older than the thread's view (satisfied early). A relaxed
                load that only copies into private memory may also be satisfied *late*, after later stores of its thread,
                until a fence, a release store, an access to the same word or the use of the value (``settle``).

What Weak covers of ARM: reordering of loads with loads and stores with stores, loads with later stores where the value is
copied and not branched upon, lack of a single order in which all see all stores (more than ARM allows). What it does not:
a store made visible before an earlier load whose value was branched upon (ARM forbids it, a compiler must not invent
stores), a relaxed load kept in a local name and used later, words written by several threads (each word has one writer,
and a store by another thread is a violation), release sequences (C++20: only the release store itself publishes),
read-modify-write operations, and progress: a load may read an old value for ever, so only safety is checked.

``is_local`` names the operations after which no other thread's choices change. They are done at once, in no other order:
stores into a buffer (Tso), messages (Weak, where reading the old one stays allowed), fences, loads of one's own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

View = tuple[int, ...]


class Op(NamedTuple):
    """One operation of a thread: load, store, fence, or settle (all that was copied has arrived)."""

    kind: str
    address: int = 0
    value: int = 0
    order: str = "relaxed"
    copies: bool = False  # of a load: the value only goes to private memory


class Late(NamedTuple):
    """The answer to a load that will be satisfied later."""


class Fill(NamedTuple):
    """Not an answer: the late load at this place of the queue is satisfied now, the operation is still to do."""

    place: int
    value: int


Answer = int | None | Late | Fill
Step = tuple[Any, Any, Answer]  # shared part, the thread's private part, what the thread is told


class Memory(Protocol):
    """Immutable states in two parts, one shared and one private to each thread; ``location`` numbers a word from 0."""

    name: str

    def start(self, words: Sequence[int], threads: int) -> tuple[Any, list[Any]]: ...
    def apply(self, shared: Any, private: Any, op: Op, location: int) -> Iterator[Step]: ...
    def drain(self, shared: Any, private: Any) -> Iterator[tuple[Any, Any]]: ...
    def is_local(self, private: Any, op: Op, location: int, own: bool) -> bool: ...
    def newest(self, shared: Any, location: int) -> int: ...


def _with(items: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*items[:place], value, *items[place + 1 :])


class Sequential:
    """Sequential consistency."""

    name = "SC"

    def start(self, words: Sequence[int], threads: int) -> tuple[Any, list[Any]]:
        return tuple(words), [()] * threads

    def apply(self, shared: Any, private: Any, op: Op, location: int) -> Iterator[Step]:
        if op.kind == "load":
            yield shared, private, shared[location]
        elif op.kind == "store":
            yield _with(shared, location, op.value), private, None
        else:
            yield shared, private, None

    def drain(self, shared: Any, private: Any) -> Iterator[tuple[Any, Any]]:
        return iter(())

    def is_local(self, private: Any, op: Op, location: int, own: bool) -> bool:
        return op.kind in ("fence", "settle") or (op.kind == "load" and own)

    def newest(self, shared: Any, location: int) -> int:
        return int(shared[location])


class Tso(Sequential):
    """x86-TSO: a FIFO store buffer per thread, of any length, with forwarding to its own loads."""

    name = "TSO"

    def apply(self, shared: Any, private: Any, op: Op, location: int) -> Iterator[Step]:
        if op.kind == "load":
            forwarded = [value for where, value in private if where == location]
            yield shared, private, forwarded[-1] if forwarded else shared[location]
        elif op.kind == "store":
            yield shared, (*private, (location, op.value)), None
        elif not (op.kind == "fence" and op.order == "full" and private):
            yield shared, private, None

    def drain(self, shared: Any, private: Any) -> Iterator[tuple[Any, Any]]:
        if private:
            yield _with(shared, *private[0]), private[1:]

    def is_local(self, private: Any, op: Op, location: int, own: bool) -> bool:
        if op.kind == "fence" and op.order == "full":
            return not private
        return op.kind in ("store", "fence", "settle") or (op.kind == "load" and own)


class Message(NamedTuple):
    """One store: its value, and what a thread that acquires it has seen from then on."""

    value: int
    view: View


class Thread(NamedTuple):
    """A thread's views: of its next loads, after an acquire fence, at its last release fence; and its late loads."""

    now: View
    acquired: View
    released: View
    late: tuple[tuple[int, int], ...] = ()  # (location, oldest message that may be read)


class Shared(NamedTuple):
    """All messages of each word, oldest first, and the view that full fences hand on."""

    words: tuple[tuple[Message, ...], ...]
    fenced: View


def _join(a: View, b: View) -> View:
    return a if a is b else tuple(map(max, a, b))


class Weak:
    """RC11 by views, with late loads; see the top of this file."""

    name = "weak"

    def start(self, words: Sequence[int], threads: int) -> tuple[Any, list[Any]]:
        zero = (0,) * len(words)
        return Shared(tuple((Message(word, zero),) for word in words), zero), [Thread(zero, zero, zero)] * threads

    def apply(self, shared: Any, private: Any, op: Op, location: int) -> Iterator[Step]:
        place = self._must_settle(private, op, location)
        if place is not None:
            where, oldest = private.late[place]
            rest = private._replace(late=(*private.late[:place], *private.late[place + 1 :]))
            for number in range(oldest, len(shared.words[where])):
                message, after = self._read(shared, rest, where, number, "relaxed")
                yield shared, after, Fill(place, message.value)
        elif op.kind == "load" and op.copies and op.order == "relaxed":
            yield shared, private._replace(late=(*private.late, (location, private.now[location]))), Late()
        elif op.kind == "load":
            for number in range(private.now[location], len(shared.words[location])):
                message, after = self._read(shared, private, location, number, op.order)
                yield shared, after, message.value
        elif op.kind == "store":
            yield self._write(shared, private, op, location)
        elif op.kind == "fence":
            yield self._fence(shared, private, op.order)
        else:
            yield shared, private, None

    @staticmethod
    def _must_settle(private: Thread, op: Op, location: int) -> int | None:
        """The late load that has to be satisfied before this operation."""
        if not private.late:
            return None
        if op.kind in ("fence", "settle") or (op.kind == "store" and op.order == "release"):
            return 0
        same = [place for place, (where, _) in enumerate(private.late) if where == location]
        return same[0] if same and op.kind in ("load", "store") else None

    @staticmethod
    def _read(shared: Shared, private: Thread, location: int, number: int, order: str) -> tuple[Message, Thread]:
        message = shared.words[location][number]
        now = _with(private.now, location, max(private.now[location], number))
        if order == "acquire":
            now = _join(now, message.view)
        acquired = _join(_join(private.acquired, now), message.view)
        return message, private._replace(now=now, acquired=acquired)

    @staticmethod
    def _write(shared: Shared, private: Thread, op: Op, location: int) -> Step:
        number = len(shared.words[location])
        now, acquired = _with(private.now, location, number), _with(private.acquired, location, number)
        view = now if op.order == "release" else _with(private.released, location, number)
        word = (*shared.words[location], Message(op.value, view))
        return shared._replace(words=_with(shared.words, location, word)), private._replace(now=now, acquired=acquired), None

    @staticmethod
    def _fence(shared: Shared, private: Thread, order: str) -> Step:
        if order == "acquire":
            return shared, private._replace(now=private.acquired), None
        if order == "release":
            return shared, private._replace(released=private.now), None
        both = _join(private.acquired, shared.fenced)
        return shared._replace(fenced=both), private._replace(now=both, acquired=both, released=both), None

    def drain(self, shared: Any, private: Any) -> Iterator[tuple[Any, Any]]:
        return iter(())

    def is_local(self, private: Any, op: Op, location: int, own: bool) -> bool:
        if self._must_settle(private, op, location) is not None:
            return False
        if op.kind == "load":
            return own or (op.copies and op.order == "relaxed")
        return not (op.kind == "fence" and op.order == "full")

    def newest(self, shared: Any, location: int) -> int:
        return int(shared.words[location][-1].value)


MODELS: tuple[Memory, ...] = (Sequential(), Tso(), Weak())
