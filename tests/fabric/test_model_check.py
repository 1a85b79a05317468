"""The short form of the model check: the rings' own source in every interleaving, and the mutants that show it can fail.

``pytest -s`` prints the states explored; ``make model`` runs the long form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from model import explorer
from model.checks import short, table
from model.explorer import Result, Scenario, TooManyStates, Violation, Word, explore
from model.litmus import LITMUS, Litmus, outcomes
from model.memory import MODELS, Memory, Op, Sequential, Weak
from model.mutants import MUTANTS, Mutant
from model.programs import Kernels, lossless, market, state_table
from model.source import SETTLE, Copy, Program, as_program, load, store

each_model = pytest.mark.parametrize("memory", MODELS, ids=lambda memory: memory.name)


# --- The models, against the textbook ------------------------------------------------------------------------------------
@pytest.mark.parametrize("litmus", LITMUS, ids=lambda litmus: litmus.name)
def test_a_memory_model_allows_what_the_textbook_says_and_no_more(litmus: Litmus) -> None:
    assert {memory.name for memory in MODELS if litmus.outcome in outcomes(litmus, memory)} == litmus.allowed


class InEveryOrder:
    """A memory model without the shortcut for local operations."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def is_local(self, private: Any, op: Op, location: int, own: bool) -> bool:
        return False


@each_model
def test_local_operations_done_at_once_hide_no_outcome(memory: Memory) -> None:
    for litmus in LITMUS:
        assert outcomes(litmus, memory) == outcomes(litmus, InEveryOrder(memory)), litmus.name
    scenario = lossless(Kernels(), records=3)
    fast, slow = explore(scenario, memory), explore(scenario, InEveryOrder(memory))
    assert (fast.violation, fast.notes) == (slow.violation, slow.notes)
    assert fast.states < slow.states


class Remembering(explorer._Run):
    """A thread whose state is all that it was ever told."""

    def __init__(self, make: Callable[[], Program]) -> None:
        self.told: list[Any] = []
        super().__init__(make)

    def answer(self, answer: Any) -> None:
        self.told.append(answer)
        super().answer(answer)

    def key(self) -> Any:
        return *super().key(), tuple(self.told)


@each_model
def test_local_names_and_position_are_the_whole_state_of_a_thread(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios = [market(Kernels(), readers=0, late=1), state_table(Kernels(), reads=1)]  # without endless polling
    merged = [explore(scenario, memory) for scenario in scenarios]
    monkeypatch.setattr(explorer, "_Run", Remembering)
    for scenario, short_memory in zip(scenarios, merged, strict=True):
        whole = explore(scenario, memory)
        assert (whole.violation, whole.notes) == (short_memory.violation, short_memory.notes)
        assert whole.states >= short_memory.states


# --- The explorer, against what it must notice ---------------------------------------------------------------------------
WORDS = {8: Word("x", 0, "a"), 16: Word("y", 0, "b")}


def explored(a: Callable[[], Program], b: Callable[[], Program] | None = None, **more: Any) -> Result:
    threads = {"a": a} | ({"b": b} if b else {})
    return explore(Scenario("tiny", WORDS, threads, **more), Sequential())


def test_a_store_to_a_word_of_another_thread_is_a_violation() -> None:
    def a() -> Program:
        yield store(16, 1)

    assert explored(a).violation == "a stores y, which is b's"


def test_a_word_that_is_not_there_is_a_violation() -> None:
    def a() -> Program:
        yield load(24)

    assert explored(a).violation == "a loads a word that is not there: 24"


def test_threads_that_wait_for_each_other_are_a_violation_and_one_that_polls_is_not() -> None:
    def waits(theirs: int, mine: int) -> Callable[[], Program]:
        def thread() -> Program:
            while not (yield load(theirs)):
                pass
            yield store(mine, 1)

        return thread

    def goes_first() -> Program:
        yield store(8, 1)

    assert "never come to their end" in explored(waits(16, 8), waits(8, 16)).violation
    assert explored(goes_first, waits(8, 16)).violation == ""


def test_a_goal_that_is_never_met_is_a_violation() -> None:
    def a() -> Program:
        if (yield load(16)):
            yield "seen"

    assert explored(a, goals=frozenset({"seen"})).violation == "never reached: seen"


def test_the_trace_leads_to_the_violation() -> None:
    def a() -> Program:
        yield store(8, 1)
        yield store(8, 2)

    def b() -> Program:
        if (yield load(8)) == 1:
            raise Violation("saw one")

    result = explored(a, b)
    assert (result.violation, result.trace) == ("saw one", ("a: store relaxed x = 1", "b: load relaxed x -> 1"))


def test_a_mortal_thread_may_stop_between_any_two_operations() -> None:
    def a() -> Program:
        yield store(8, 1)
        yield store(8, 2)

    states = {mortal: explored(a, mortal=frozenset(mortal)).states for mortal in ((), ("a",))}
    assert states == {(): 3, ("a",): 3 + 3}


def test_too_many_states_prove_nothing() -> None:
    with pytest.raises(TooManyStates):
        explore(market(Kernels()), Sequential(), states_max=10)


def test_a_copy_that_is_late_takes_the_value_of_a_later_store() -> None:
    def a() -> Program:
        out = [0]
        yield Copy(Op("load", 16, copies=True), out, 0)
        yield store(8, 1)
        yield SETTLE
        yield f"copied {out[0]}"

    def b() -> Program:
        if (yield load(8)):
            yield store(16, 7)

    scenario = Scenario("late", WORDS, {"a": a, "b": b})
    assert explore(scenario, Sequential()).notes == {"copied 0"}
    assert explore(scenario, Weak()).notes == {"copied 0", "copied 7"}


# --- The rewriting of a kernel -------------------------------------------------------------------------------------------
def sample(address: int, out: list[int]) -> int:
    """Nothing that runs: its text is rewritten."""
    out[0] = load_relaxed(address)  # type: ignore[name-defined]  # noqa: F821
    if load_acquire(address + 8) > out[0]:  # type: ignore[name-defined]  # noqa: F821
        store_release(address, out[0] + 1)  # type: ignore[name-defined]  # noqa: F821
        fence_acquire()  # type: ignore[name-defined]  # noqa: F821
    return out[0]


def test_a_kernel_becomes_its_operations_in_order() -> None:
    out = [0]
    program = as_program(sample, {})(8, out)
    assert next(program) == Copy(Op("load", 8, copies=True), out, 0)
    out[0] = 5
    assert program.send(None) == load(16, "acquire")
    assert program.send(6) == store(8, 6, "release")
    assert program.send(None) == Op("fence", order="acquire")
    with pytest.raises(StopIteration, match="5"):
        program.send(None)


def test_an_edit_that_no_longer_fits_the_kernel_fails() -> None:
    with pytest.raises(AssertionError, match="sample has changed"):
        as_program(sample, {}, [("store_release(address, 1)", "pass")])


# --- The rings and the state table ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def results() -> Iterator[list[Result]]:
    """All that was explored, printed at the end."""
    done: list[Result] = []
    yield done
    print(f"\n{table(done)}")


@pytest.mark.parametrize("scenario", short(), ids=lambda scenario: scenario.name)
def test_no_interleaving_breaks_a_promise(scenario: Scenario, results: list[Result]) -> None:
    mine = [explore(scenario, memory) for memory in MODELS]
    results.extend(mine)
    broken = [str(result) for result in mine if result.violation]
    assert not broken, "\n".join([*broken, table(results)])


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_in_exactly_the_models_in_which_it_is_wrong(mutant: Mutant) -> None:
    found = {memory.name: explore(mutant.scenario(), memory) for memory in MODELS}
    caught = {name for name, result in found.items() if result.violation}
    assert caught == mutant.caught_in, "\n".join(map(str, found.values()))
