# mypy: disable-error-code="no-untyped-call"
"""What the compiler made of the two whole loops: no reference is counted and nothing is raised anywhere in them.

They come from the kernel cache, or are compiled here and put there, which takes minutes on a busy machine. Each check is
shown a function that it must refuse.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import compiled
import numba
import numpy as np
import pytest
from numba import types

from engine.loop import exec_loop
from fabric import jit
from feed.loop import feed_loop
from strategy.loader import load

SIGNATURE = (types.int64, types.int64)
LOOPS = pytest.mark.parametrize("loop", [feed_loop, exec_loop], ids=lambda loop: loop.__name__)
COLD = jit.HOT | {"cache": False}
pytestmark = pytest.mark.timeout(600)


@LOOPS
def test_a_whole_loop_counts_no_references(loop: Any) -> None:
    assert compiled.references(compiled.whole_text(loop, SIGNATURE)) == []


@LOOPS
def test_a_whole_loop_raises_nothing(loop: Any) -> None:
    text = compiled.whole_text(loop, SIGNATURE)
    assert len(compiled.native_functions(text)) > 20, "this is not the text of the loop"
    assert compiled.raises(text) == []


@LOOPS
def test_a_whole_loop_waits_on_acquire_loads_and_tells_by_release_stores(loop: Any) -> None:
    text = compiled.whole_text(loop, SIGNATURE)
    body = re.search(rf"^define [^\n]*{loop.__name__}[^\n]*%excinfo.*?^\}}", text, re.MULTILINE | re.DOTALL)
    assert body is not None
    assert re.search(r"load atomic i64, .* acquire", body.group()), "the stop word is not read anew in each pass"
    orders = [
        set(re.findall(r"(?:load|store) atomic i64.* (acquire|release),|fence (\w+)", one))
        for one in compiled.native_functions(text)
    ]
    assert {("release", ""), ("", "release")} in orders, "no function of it publishes as market_publish and seqlock_write do"
    if loop is exec_loop:
        assert {("acquire", ""), ("", "acquire")} in orders, "no function of it reads as market_read does"


def test_a_strategy_counts_no_references() -> None:
    """It may raise, as no loop may: its array bounds are checked, and its trampoline answers with a fault instead."""
    decide = load("market_making").keep[1].decide
    ((arguments, _),) = decide.overloads.items()
    text = compiled.whole_text(decide, arguments)
    assert compiled.references(text) == []
    assert compiled.raises(text), "strategies are compiled with bounds checks"


# --- Functions that must be refused ----------------------------------------------------------------------------------------
@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def counts(first: int, second: int) -> Any:
    return [np.zeros(first), np.zeros(second)]


@numba.njit(**COLD)  # type: ignore[untyped-decorator]
def raises(first: int, second: int) -> int:
    if first > second:
        raise ValueError("too much")
    return first


@numba.njit(**COLD)  # type: ignore[untyped-decorator]
def steps_by_zero(first: int, second: int) -> int:
    total = 0
    for index in range(0, first, second):
        total ^= index * index
    return total


@numba.njit(**COLD | {"error_model": "python"})  # type: ignore[untyped-decorator]
def divides_by_zero(first: int, second: int) -> int:
    return first // second


@numba.njit(**COLD | {"boundscheck": True})  # type: ignore[untyped-decorator]
def indexes_outside(first: int, second: int) -> int:
    return (first, second, 7)[first]


@numba.njit(**COLD)  # type: ignore[untyped-decorator]
def calls_what_raises(first: int, second: int) -> int:
    return int(raises(first, second) + steps_by_zero(second, first))


@numba.njit(**COLD)  # type: ignore[untyped-decorator]
def is_fine(first: int, second: int) -> int:
    return first // second + max(first, second)


def test_a_function_that_counts_references_would_be_seen() -> None:
    assert compiled.references(compiled.whole_text(counts, SIGNATURE))


@pytest.mark.parametrize(
    "bad", [raises, steps_by_zero, divides_by_zero, indexes_outside, calls_what_raises], ids=lambda bad: bad.__name__
)
def test_a_function_that_can_raise_would_be_seen(bad: Any) -> None:
    assert compiled.raises(compiled.whole_text(bad, SIGNATURE))


def test_a_function_that_cannot_raise_passes() -> None:
    text = compiled.whole_text(is_fine, SIGNATURE)
    assert compiled.native_functions(text)
    assert compiled.raises(text) == []


# --- A second process ------------------------------------------------------------------------------------------------------
SECOND = """
import sys
import numpy as np
from numba import types
from engine.loop import exec_loop
from fabric import jit, layout, meters, readers, rings
from fabric.segment import Segment
from feed.loop import feed_loop

for loop in (feed_loop, exec_loop):
    loop.compile((types.int64, types.int64))
    print(loop.__name__, sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values()))

out, rows, place = np.zeros(16, np.int64), np.zeros((3, 16), np.int64), np.zeros(3, np.int64)


def every_kernel(page):
    cursor, ring = page + layout.MARKET_CURSOR_OFFSET, page + layout.MARKET_RING_OFFSET
    rings.market_read(ring, layout.MARKET_SLOTS, 1, out)
    rings.seqlock_read(page + layout.STATE_OFFSET, out, 16)
    rings.lossless_read(cursor, ring, layout.MARKET_SLOTS, 1, out)
    rings.lossless_drain(cursor, ring, layout.MARKET_SLOTS, 1, rows)
    readers.market_take(cursor, ring, layout.MARKET_SLOTS, readers.RESYNC, place, rows)
    return sum(len(dispatcher.signatures) for dispatcher in jit.DISPATCHERS)


writer = Segment.create(sys.argv[1], "market", "feed")
reader = Segment.attach(sys.argv[1], "market")
writable, read_only = every_kernel(writer.address), every_kernel(reader.address)
print(jit.cache_misses(), read_only - writable)
before = len(rings.seqlock_write.signatures)
frozen = out.copy()
for writable in (True, False):
    frozen.flags.writeable = writable
    rings.seqlock_write(rows.ctypes.data, frozen, 8)
print(len(rings.seqlock_write.signatures) - before)
"""


def second_process(shm_dir: pathlib.Path) -> list[list[str]]:
    result = subprocess.run(
        [sys.executable, "-c", SECOND, str(shm_dir)], cwd=jit.ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return [line.split() for line in result.stdout.splitlines()]


def test_a_second_process_compiles_nothing_not_even_for_read_only_pages(tmp_path: pathlib.Path) -> None:
    """Kernels take addresses: a page that may only be read is no other type (seam 4 of the design)."""
    for loop in (feed_loop, exec_loop):
        loop.compile(SIGNATURE)
    second_process(tmp_path)  # small kernels that nobody has compiled yet
    loaded = second_process(tmp_path)
    assert loaded[:2] == [["feed_loop", "1", "0"], ["exec_loop", "1", "0"]]
    assert loaded[2] == ["0", "0"]
    assert loaded[3] == ["2"], "a read-only array is another type, which is why kernels take no array over shared memory"
