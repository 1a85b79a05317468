# mypy: disable-error-code="no-untyped-call"
"""What the compiler made of the two whole loops: no reference is counted anywhere in them.

They come from the kernel cache, or are compiled here and put there, which takes minutes on a busy machine.
"""

from __future__ import annotations

import re
from typing import Any

import numba
import numpy as np
import pytest
from numba import types

from engine.loop import exec_loop
from feed.loop import feed_loop

SIGNATURE = (types.int64, types.int64)


def whole_text(loop: Any) -> str:
    """The optimised LLVM text of a loop with all that it calls, whether compiled now or loaded from the cache."""
    loop.compile(SIGNATURE)
    return str(loop.overloads[SIGNATURE].library._get_module_for_linking())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", [feed_loop, exec_loop], ids=lambda loop: loop.__name__)
def test_a_whole_loop_counts_no_references(loop: Any) -> None:
    text = whole_text(loop)
    assert re.search(r"load atomic i64, .* acquire", text), "this is not the text of the loop"
    assert "NRT_" not in text


def test_a_function_that_counts_references_would_be_seen() -> None:
    @numba.njit(cache=True)  # type: ignore[untyped-decorator]
    def keep(first: int, second: int) -> Any:
        return [np.zeros(first), np.zeros(second)]

    assert "NRT_" in whole_text(keep)
