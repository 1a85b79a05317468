# mypy: disable-error-code="no-untyped-call"
"""The compiled seam: addresses that a loop calls, the cache across processes, and what a faulty strategy does."""

import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fabric.atomics import call_address
from fabric.jit import kernel
from strategy import api, loader, tables
from strategy.loader import StrategyError

SOURCE = """from strategy.api import NT_KIND, SV_BID_TICKS

PARAMETERS = {"row": 0, "step": 7}


def twice(x):
    return 2 * x


def decide(view, parameters, state, intents):
    state[0] += parameters[1]
    intents[parameters[0], NT_KIND] = twice(view[SV_BID_TICKS])
    return parameters[0] + 1
"""


@kernel
def call(address, view, parameters, state, intents):  # type: ignore[no-untyped-def]
    return call_address(address, view, parameters, state, intents)


class Memory:
    """The four arrays inside one block with guard words around each."""

    def __init__(self) -> None:
        self.block = np.full(1024, 0x5A5A, np.int64)
        self.view, self.parameters = self.block[100:132], self.block[200:232]
        self.state, self.intents = self.block[300:364], self.block[500:564].reshape(8, 8)
        for array in (self.view, self.parameters, self.state, self.intents):
            array[:] = 0

    def guards(self) -> list[int]:
        own = np.ones(1024, bool)
        for first, count in ((100, 32), (200, 32), (300, 64), (500, 64)):
            own[first : first + count] = False
        return sorted(set(self.block[own].tolist()))

    def call(self, strategy: loader.Strategy) -> int:
        addresses = [a.ctypes.data for a in (self.view, self.parameters, self.state, self.intents)]
        return int(call(strategy.address, *addresses))


@pytest.fixture
def mine(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    return file


def test_a_users_file_runs_compiled_and_interpreted_with_the_same_bytes(mine: pathlib.Path) -> None:
    strategy = loader.load("mine", mine)
    assert strategy.parameters == {"row": 0, "step": 7}
    compiled, plain = Memory(), Memory()
    for memory in (compiled, plain):
        memory.view[tables.SV_BID_TICKS] = 21
        memory.parameters[:] = loader.parameter_row(strategy, {"row": 2})
    assert compiled.call(strategy) == 3
    assert strategy.python(plain.view, plain.parameters, plain.state, plain.intents) == 3
    assert compiled.intents[2, tables.NT_KIND] == 42
    assert compiled.state[0] == 7
    assert np.array_equal(compiled.block, plain.block)


@pytest.mark.parametrize("row", [8, -9, 10**6, 2**61, -(2**62)])
def test_a_write_out_of_bounds_returns_a_fault_and_touches_nothing_else(mine: pathlib.Path, row: int) -> None:
    strategy, memory = loader.load("mine", mine), Memory()
    memory.parameters[:2] = row, 7
    assert memory.call(strategy) == api.FAULT
    assert memory.guards() == [0x5A5A]
    assert not memory.intents.any()


def test_more_rows_than_there_are_is_a_fault(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "many.py"
    file.write_text("def decide(view, parameters, state, intents):\n    return view[0]\n")
    strategy, memory = loader.load("many", file), Memory()
    results = []
    for rows in (8, 9, -3):
        memory.view[0] = rows
        results.append(memory.call(strategy))
    assert results == [8, api.FAULT, -3]


@pytest.mark.parametrize("target", ["view", "parameters"])
def test_view_and_parameters_are_read_only_for_a_strategy(tmp_path: pathlib.Path, target: str) -> None:
    file = tmp_path / f"writes_{target}.py"
    file.write_text(f"def decide(view, parameters, state, intents):\n    {target}[0] = 1\n    return 0\n")
    with pytest.raises(StrategyError, match=rf"writes_{target}\.py:\d+: does not compile"):
        loader.load("writes", file)


def test_a_strategy_that_allocates_is_refused_naming_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "lists.py"
    file.write_text("def decide(view, parameters, state, intents):\n    x = [view[0]]\n    return len(x)\n")
    with pytest.raises(StrategyError, match=r"lists\.py:\d+: "):
        loader.load("lists", file)


def _child(mine: pathlib.Path) -> str:
    code = (
        "import sys; from strategy import loader; from fabric import jit; s = loader.load('mine', sys.argv[1]);"
        "d = s.keep[1].decide; print(s.cached, sum(d.stats.cache_hits.values()), s.keep[0].cache_hits, jit.cache_misses())"
    )
    root = pathlib.Path(loader.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, str(mine)], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_second_process_loads_from_the_cache_and_a_changed_source_does_not(
    mine: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("PULEX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert _child(mine).startswith("False")
    assert _child(mine) == "True 1 1 0"
    mine.write_text(SOURCE.replace("2 * x", "3 * x"))
    assert _child(mine).startswith("False")


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [("no_such", None, "no file"), ("../etc", None, "not a name"), ("x", "/nonexistent/x.py", "no file")],
)
def test_a_strategy_that_is_not_there_is_named(name: str, file: Any, text: str) -> None:
    with pytest.raises(StrategyError, match=text):
        loader.load(name, file)


@pytest.mark.parametrize("given", [{"rwo": 1}, {"row": 1.5}, {"row": True}, {"row": 2**62}])
def test_unknown_parameters_and_wrong_values_are_refused(mine: pathlib.Path, given: dict[str, Any]) -> None:
    with pytest.raises(StrategyError, match="parameter"):
        loader.parameter_row(loader.load("mine", mine), given)


def test_too_many_or_fractional_parameters_are_refused(tmp_path: pathlib.Path) -> None:
    for text in ('{"a": 1.5}', str({f"p{i}": 0 for i in range(33)}), "3"):
        file = tmp_path / "bad.py"
        file.write_text(f"PARAMETERS = {text}\ndef decide(view, parameters, state, intents):\n    return 0\n")
        with pytest.raises(StrategyError, match="PARAMETERS"):
            loader.load("bad", file)
