# mypy: disable-error-code="no-untyped-call"
"""The machine code of the two whole loops: no reference is counted anywhere in them.

They come from the kernel cache, or are compiled here and put there, which takes minutes on a busy machine.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba import types

from engine.loop import exec_loop
from feed.loop import feed_loop

SIGNATURE = (types.int64, types.int64)


def machine_code(loop: Any) -> bytes:
    """The linked object of a whole loop, whether it was compiled now or loaded from the cache."""
    loop.compile(SIGNATURE)
    code: bytes = loop.overloads[SIGNATURE].library._get_compiled_object()
    return code


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", [feed_loop, exec_loop], ids=lambda loop: loop.__name__)
def test_a_whole_loop_counts_no_references(loop: Any) -> None:
    assert b"NRT_" not in machine_code(loop)


def test_a_function_that_counts_references_would_be_seen() -> None:
    @numba.njit(cache=True)  # type: ignore[untyped-decorator]
    def keep(first: int, second: int) -> Any:
        return [np.zeros(first), np.zeros(second)]

    assert b"NRT_" in machine_code(keep)
