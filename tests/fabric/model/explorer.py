"""Every reachable state of a few threads over one memory model, depth first; the first violation comes with its trace.

A thread is a generator of ``memory.Op`` (and of ``source.Copy``), or of a plain string: a note that this point was reached.
It must be a deterministic function of its answers. It reports a broken promise by raising ``Violation``. An invariant
sees the newest value of each word and returns a text when it is broken. A mortal thread may stop for ever between any
two of its operations (and with it, on x86, what was still in its store buffer: every prefix of its stores is met).

Generators cannot be copied, so each thread is unfolded lazily into an automaton: a node is the thread's local names and
position in each of its frames, an edge is an answer. A node is reached once by replaying its answers; all global states
then share it. A polling loop comes back to the same node, so no bound on the number of polls is needed. What is neither
in a local name nor in the position would be lost: no operation in the middle of an expression, and the turn of a ``for``
must be told by its variable.
"""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from model.memory import Answer, Fill, Late, Memory, Op
from model.source import Constant, Copy, Program

STATES_MAX = 2_000_000


class Violation(Exception):
    """A thread saw what it must never see."""


class TooManyStates(RuntimeError):
    """The configuration is larger than the explorer may go through: nothing was proved."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of shared memory: its name in traces, its first value, and the only thread that may store it."""

    name: str
    value: int = 0
    owner: str | None = None


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Threads over words. ``goals`` are notes that must be met, or the check proved nothing."""

    name: str
    words: Mapping[int, Word]
    threads: Mapping[str, Callable[[], Program]]
    goals: frozenset[str] = frozenset()
    mortal: frozenset[str] = frozenset()
    invariant: Callable[[Callable[[int], int]], str | None] = lambda newest: None


@dataclasses.dataclass(frozen=True)
class Result:
    scenario: str
    model: str
    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()
    notes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        head = f"{self.scenario} under {self.model}: {self.states} states"
        return head + (f"; {self.violation}\n  " + "\n  ".join(self.trace) if self.violation else "")


def _frozen(value: Any) -> Any:
    """A private value as something hashable and equal exactly when it is the same state."""
    if value is None or isinstance(value, int | str | types.FunctionType | types.MethodType | types.ModuleType | type):
        return value
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_frozen, value))
    if isinstance(value, dict):
        return ("dict", *((key, _frozen(value[key])) for key in value))
    if isinstance(value, types.GeneratorType | Constant):
        return None  # the frame of a generator is looked at by itself
    return (type(value).__name__, *((name, _frozen(one)) for name, one in sorted(vars(value).items())))


@dataclasses.dataclass
class Node:
    """A thread between two operations: how to get here, and what it wants next (None: it has ended)."""

    answers: tuple[Answer, ...]
    op: Op | None = None
    location: int = -1
    own: bool = False
    violation: str = ""
    notes: tuple[str, ...] = ()


class _Run:
    """One life of the generator."""

    def __init__(self, make: Callable[[], Program]) -> None:
        self.generator = make()
        self.late: list[Copy] = []
        self.notes: list[str] = []
        self.wanted: Op | Copy | None = None
        self.violation = ""
        self._next(lambda: next(self.generator))

    def _next(self, step: Callable[[], Any]) -> None:
        self.notes.clear()
        try:
            wanted = step()
            while isinstance(wanted, str):
                self.notes.append(wanted)
                wanted = next(self.generator)
        except StopIteration:
            wanted = None
        except Violation as broken:
            wanted, self.violation = None, str(broken)
        self.wanted = wanted

    def answer(self, answer: Answer) -> None:
        if isinstance(answer, Fill):
            copy = self.late.pop(answer.place)
            copy.target[copy.key] = answer.value
            self.notes.clear()
            return
        copy_or_op = self.wanted
        if isinstance(copy_or_op, Copy):
            if isinstance(answer, Late):
                self.late.append(copy_or_op)
            copy_or_op.target[copy_or_op.key] = None if isinstance(answer, Late) else answer
            answer = None
        self._next(lambda: self.generator.send(answer))

    def key(self) -> Any:
        frames: list[Any] = []
        inner: Any = self.generator
        while isinstance(inner, types.GeneratorType) and inner.gi_frame is not None:
            frame = inner.gi_frame
            frames.append((frame.f_code, frame.f_lasti, _frozen(dict(frame.f_locals))))
            inner = inner.gi_yieldfrom
        op = self.wanted.op if isinstance(self.wanted, Copy) else self.wanted
        return op, self.violation, tuple(frames), tuple(copy.key for copy in self.late)


class Automaton:
    """A thread, unfolded as far as it has been needed."""

    def __init__(self, name: str, make: Callable[[], Program], words: Mapping[int, Word], numbers: Mapping[int, int]) -> None:
        self.name, self._make, self._words, self._numbers = name, make, words, numbers
        self.nodes: list[Node] = []
        self._ids: dict[Any, int] = {}
        self._edges: dict[tuple[int, Answer], tuple[int, tuple[str, ...]]] = {}
        self.start, self.start_notes = self._add(_Run(make), ())
        self.dead = len(self.nodes)
        self.nodes.append(Node((), None))

    def _add(self, run: _Run, answers: tuple[Answer, ...]) -> tuple[int, tuple[str, ...]]:
        key, notes = run.key(), tuple(run.notes)
        if key not in self._ids:
            self._ids[key] = len(self.nodes)
            op = run.wanted.op if isinstance(run.wanted, Copy) else run.wanted
            node = Node(answers, op, violation=run.violation)
            if op is not None and op.kind in ("load", "store"):
                self._place(node, op)
            self.nodes.append(node)
        return self._ids[key], notes

    def _place(self, node: Node, op: Op) -> None:
        word = self._words.get(op.address)
        if word is None:
            node.op, node.violation = None, f"{self.name} {op.kind}s a word that is not there: {op.address}"
        elif op.kind == "store" and word.owner != self.name:
            node.op, node.violation = None, f"{self.name} stores {word.name}, which is {word.owner}'s"
        else:
            node.location, node.own = self._numbers[op.address], word.owner in (self.name, None)

    def has_ended(self, node: int) -> bool:
        return node != self.dead and self.nodes[node].op is None

    def step(self, node: int, answer: Answer) -> tuple[int, tuple[str, ...]]:
        """(next node, notes met on the way)."""
        edge = (node, answer)
        found = self._edges.get(edge)
        if found is None:
            run, answers = _Run(self._make), (*self.nodes[node].answers, answer)
            for one in answers:
                run.answer(one)
            found = self._edges[edge] = self._add(run, answers)
        return found


State = tuple[int, ...]  # shared part, then per thread its private part and its node; all by number


class _Table:
    """Parts of states, numbered, so that a state is a short tuple of ints."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.values: list[Any] = []

    def number(self, value: Any) -> int:
        found = self.numbers.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found


class _Search:
    def __init__(self, scenario: Scenario, memory: Memory) -> None:
        self.scenario, self.memory = scenario, memory
        self.addresses = sorted(scenario.words)
        numbers = {address: number for number, address in enumerate(self.addresses)}
        self.numbers = numbers
        self.threads = [Automaton(name, make, scenario.words, numbers) for name, make in scenario.threads.items()]
        self.shared, self.private = _Table(), _Table()
        self.checked: dict[int, str | None] = {}
        self.memo: dict[tuple[int, int, Op], list[tuple[int, int, Answer]]] = {}
        self.notes: set[str] = {note for thread in self.threads for note in thread.start_notes}

    def first(self) -> State:
        words = [self.scenario.words[address].value for address in self.addresses]
        shared, privates = self.memory.start(words, len(self.threads))
        pairs = [(self.private.number(p), t.start) for p, t in zip(privates, self.threads, strict=True)]
        return (self.shared.number(shared), *(number for pair in pairs for number in pair))

    def violation(self, state: State) -> str | None:
        for thread, node in zip(self.threads, state[2::2], strict=True):
            if text := thread.nodes[node].violation:
                return text
        shared = state[0]
        if shared not in self.checked:
            whole = self.shared.values[shared]
            self.checked[shared] = self.scenario.invariant(lambda address: self.memory.newest(whole, self.numbers[address]))
        return self.checked[shared]

    def _results(self, shared: int, private: int, op: Op, location: int) -> list[tuple[int, int, Answer]]:
        key = (shared, private, op)
        found = self.memo.get(key)
        if found is None:
            steps = self.memory.apply(self.shared.values[shared], self.private.values[private], op, location)
            found = [(self.shared.number(s), self.private.number(p), answer) for s, p, answer in steps]
            self.memo[key] = found
        return found

    def _steps_of(self, state: State, index: int) -> Iterator[tuple[State, str]]:
        thread, place = self.threads[index], 1 + 2 * index
        node = thread.nodes[state[place + 1]]
        if node.op is None:
            return
        for shared, private, answer in self._results(state[0], state[place], node.op, node.location):
            reached, notes = thread.step(state[place + 1], answer)
            self.notes.update(notes)
            yield (shared, *state[1:place], private, reached, *state[place + 2 :]), self._label(thread.name, node.op, answer)

    def successors(self, state: State) -> Iterator[tuple[State, str]]:
        """A local operation alone, if there is one; else every operation, every drain, every death."""
        for index, thread in enumerate(self.threads):
            private, node = self.private.values[state[1 + 2 * index]], thread.nodes[state[2 + 2 * index]]
            if node.op is not None and self.memory.is_local(private, node.op, node.location, node.own):
                yield from self._steps_of(state, index)
                return
        for index in range(len(self.threads)):
            yield from self._steps_of(state, index)
        yield from self._others(state)

    def _others(self, state: State) -> Iterator[tuple[State, str]]:
        """Buffers that drain, threads that die."""
        for index, thread in enumerate(self.threads):
            place = 1 + 2 * index
            if state[place + 1] == thread.dead:
                continue
            for shared, private in self.memory.drain(self.shared.values[state[0]], self.private.values[state[place]]):
                pair = (self.shared.number(shared), self.private.number(private))
                yield (pair[0], *state[1:place], pair[1], *state[place + 1 :]), f"{thread.name}: its oldest store is seen"
            if thread.name in self.scenario.mortal:
                yield (*state[: place + 1], thread.dead, *state[place + 2 :]), f"{thread.name} dies"

    def stuck(self, before: Mapping[State, list[State]]) -> State | None:
        """A state without deaths from which no state is reached in which every thread has ended, if there is one."""
        ends = [state for state in before if all(t.has_ended(n) for t, n in zip(self.threads, state[2::2], strict=True))]
        good, todo = set(ends), ends
        while todo:
            fresh = [state for state in before[todo.pop()] if state not in good]
            good.update(fresh)
            todo.extend(fresh)
        alive = (s for s in before if all(t.dead != n for t, n in zip(self.threads, s[2::2], strict=True)))
        return next((state for state in alive if state not in good), None)

    def _label(self, name: str, op: Op, answer: Answer) -> str:
        where = self.scenario.words[op.address].name if op.address in self.scenario.words else ""
        if isinstance(answer, Fill):
            return f"{name}: a late copy arrives: {answer.value}"
        if op.kind == "store":
            return f"{name}: store {op.order} {where} = {op.value}"
        if op.kind == "load":
            return f"{name}: load {op.order} {where} -> {'later' if isinstance(answer, Late) else answer}"
        return f"{name}: {op.kind} {op.order}" if op.kind == "fence" else f"{name}: {op.kind}"


def explore(scenario: Scenario, memory: Memory, states_max: int = STATES_MAX, shortest: bool = False) -> Result:
    """Go through all states; stops at the first violation.

    A goal that was never met is a violation too, and so is a state without deaths from which the threads can no longer
    all come to their end. ``shortest`` goes breadth first: slower to a violation, but with the shortest trace.
    """
    search = _Search(scenario, memory)
    first = search.first()
    parents: dict[State, tuple[State, str] | None] = {first: None}
    before: dict[State, list[State]] = {first: []}
    todo = collections.deque([first])

    def result(broken: str, state: State | None) -> Result:
        trace, at = [], parents[state] if state else None
        while at is not None:
            trace.append(at[1])
            at = parents[at[0]]
        return Result(scenario.name, memory.name, len(parents), broken, tuple(reversed(trace)), frozenset(search.notes))

    while todo:
        state = todo.popleft() if shortest else todo.pop()
        if broken := search.violation(state):
            return result(broken, state)
        for reached, label in search.successors(state):
            if reached not in parents:
                parents[reached] = (state, label)
                before[reached] = []
                todo.append(reached)
            before[reached].append(state)
        if len(parents) > states_max:
            raise TooManyStates(f"{scenario.name} under {memory.name}: more than {states_max} states")
    if missed := scenario.goals - search.notes:
        return result(f"never reached: {', '.join(sorted(missed))}", None)
    stuck = search.stuck(before)
    return result("from here the threads never come to their end" if stuck else "", stuck)
