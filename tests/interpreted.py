"""Plugin for pytest (``-p tests.interpreted``): every kernel is its plain Python function, nothing is compiled.

For runs that change the source at every turn, as ``tests.mutants`` does: compiling would cost them minutes each.
``.py_func`` stays, so that tests which compare the two forms still run (and then compare a function with itself).
"""

from __future__ import annotations

from typing import Any

from fabric import jit


def plain(function: Any, **_: bool) -> Any:
    """What ``fabric.jit.kernel`` gives, without compiling."""
    function.py_func = function
    return function


jit.kernel = plain  # before any module with kernels is imported
