"""What numba made of a function, as text, and what must not be in it. Each check names the lines that it found.

A native function of numba returns a status: 0, or another number after it has stored what to raise. Beside it, in the same
text, stands the wrapper that Python calls, which may do both: the checks look at native functions only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numba

from fabric import jit

_NATIVE = re.compile(r"^define [^\n]*i32 @[^\n(]*\([^\n]*%excinfo[^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"ret i32 (%[\w.\-]+)")


def optimised(function: Any, *signature: Any) -> str:
    """Optimised LLVM text; compiled anew, because numba keeps no text of what it loads from its cache."""
    return str(_fresh(function, signature).inspect_llvm(signature))


def machine_code(function: Any, *signature: Any) -> str:
    """The assembly."""
    return str(_fresh(function, signature).inspect_asm(signature))


def _fresh(function: Any, signature: Any) -> Any:
    fresh = numba.njit(**jit.HOT | {"cache": False})(function.py_func)
    fresh.compile(signature)
    return fresh


def whole_text(loop: Any, signature: Any) -> str:
    """The optimised LLVM text of a loop with all that it calls, whether compiled now or loaded from the cache."""
    if signature not in loop.overloads:
        loop.compile(signature)
    return str(loop.overloads[signature].library._get_module_for_linking())


def native_functions(text: str) -> list[str]:
    """Bodies of the compiled functions, without the wrappers for Python."""
    return [match.group(1) for match in _NATIVE.finditer(text)]


def references(text: str) -> list[str]:
    """Lines that count references or allocate."""
    return [line.strip() for line in text.splitlines() if "NRT_" in line]


def raises(text: str) -> list[str]:
    """Lines by which a function can raise: a pickled exception is stored, or a status that is not 0 begins here."""
    return [line for body in native_functions(text) for line in _raises_in(body)]


def _raises_in(body: str) -> Iterator[str]:
    statuses = set(_STATUS.findall(body))
    for line in map(str.strip, body.splitlines()):
        name, _, value = line.partition(" = ")
        begins = (
            "picklebuf" in line
            or "numba_exception_output" in line
            or re.search(r"call [^\n]*@\"?(Py|numba_)", line)
            or re.fullmatch(r"ret i32 -?[1-9]\d*", line)
            or (name in statuses and value.startswith("phi") and re.search(r"\[ -?[1-9]\d*,", value))
            or (name in statuses and value.startswith("select") and re.search(r"i32 -?[1-9]\d*", value))
            or (name in statuses and value.startswith(("zext", "sext")))
        )
        if begins:
            yield line


def locked(assembly: str) -> list[str]:
    """Instructions that stop the other cores or the store buffer."""
    return [line.strip() for line in assembly.splitlines() if re.match(r"\s+(lock\b|xchg[bwlq]?\b.*\(|mfence)", line)]
