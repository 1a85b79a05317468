"""How Pulex compiles: one decorator, one cache, one key.

``@kernel`` is numba's ``njit`` without reference counting (``_nrt=False``), without exceptions (``error_model="numpy"``),
releasing the GIL, and cached on disk. numba's own cache key sees only the file of the function; a changed constant in a
file that it imports would run stale. Here the key is the hash of that file and of every project file that it imports,
directly or not, with the versions of numba and llvmlite: what is loaded is what the sources say.

Writers of the cache: any process that compiles (``ops.warm`` before arming, tests). Readers: everyone. A cache that
cannot be written is not an error; the kernel is then compiled in memory and ``cache_misses`` tells.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOMS = ("fabric", "venue", "strategy", "risk", "feed", "engine", "sim", "ops", "bench")


def cache_dir() -> pathlib.Path:
    """``$PULEX_CACHE_DIR``, else ``$XDG_CACHE_HOME/pulex``, else ``~/.cache/pulex``."""
    if explicit := os.environ.get("PULEX_CACHE_DIR"):
        return pathlib.Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "pulex"


os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "kernels"))

import llvmlite  # noqa: E402  after the cache directory is set
import numba  # noqa: E402

numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]  # also when numba was imported before us

HOT: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
DISPATCHERS: list[Any] = []  # every kernel of this process, so that arming can assert zero cache misses


def _module_file(name: str) -> pathlib.Path | None:
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _imports(path: pathlib.Path) -> frozenset[pathlib.Path]:
    """Project files that this file imports by name."""
    found: set[pathlib.Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in ROOMS and (file := _module_file(name)):
                found.add(file)
    return frozenset(found)


@functools.cache
def source_stamp(path: pathlib.Path) -> str:
    """Hash of a file and all project files below it."""
    seen: set[pathlib.Path] = set()
    todo = [path]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(_imports(file))
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} ".encode())
    for file in sorted(seen):
        digest.update(str(file.name).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def kernel(function: F, **more: bool) -> F:
    """Compile a hot function: no reference counts, no exceptions, no GIL, cached by its whole source closure."""
    options = HOT | more
    try:
        dispatcher = numba.njit(**options)(function)
    except RuntimeError:  # numba finds no directory that it can write
        dispatcher = numba.njit(**options | {"cache": False})(function)
    else:
        dispatcher._cache._cache_file._source_stamp = source_stamp(pathlib.Path(function.__code__.co_filename))
    DISPATCHERS.append(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def inlined(function: F) -> F:
    """A kernel that every caller takes in whole: for small ones in hot loops, whose answers then stay in registers."""
    return kernel(function, forceinline=True)


def cache_misses() -> int:
    """Compilations that this process had to do itself; zero once everything was warmed by another process."""
    return sum(sum(d.stats.cache_misses.values()) for d in DISPATCHERS)
