# mypy: disable-error-code="no-untyped-call"
"""The kernel cache: its key is the source of everything a kernel is made of, and a warm process compiles nothing."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import numba
import pytest
from numba.core.caching import CompileResultCacheImpl

from fabric import jit

FILES = {
    "fabric/__init__.py": "",
    "fabric/jit.py": (jit.ROOT / "fabric" / "jit.py").read_text(),
    "fabric/numbers.py": "FACTOR = 3\n",
    "fabric/middle.py": "import os\nfrom fabric import numbers\n",
    "fabric/other.py": "UNUSED = 1\n",
    "engine/__init__.py": "",
    "engine/work.py": """
        from fabric.jit import kernel
        from fabric.middle import numbers

        @kernel
        def work(x):
            return x * numbers.FACTOR
        """,
}


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
    """A house of two rooms: ``engine.work`` imports ``fabric.middle``, which imports ``fabric.numbers``."""
    for name, text in FILES.items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "copy"


def stamp(monkeypatch: pytest.MonkeyPatch, copy: pathlib.Path, name: str = "engine/work.py") -> str:
    monkeypatch.setattr(jit, "ROOT", copy)
    jit._imports.cache_clear()
    return jit.source_stamp.__wrapped__(copy / name)


@pytest.mark.parametrize("name", ["engine/work.py", "fabric/middle.py", "fabric/numbers.py", "fabric/jit.py"])
def test_the_stamp_changes_with_every_file_that_is_imported(
    monkeypatch: pytest.MonkeyPatch, copy: pathlib.Path, name: str
) -> None:
    before = stamp(monkeypatch, copy)
    assert stamp(monkeypatch, copy) == before
    with (copy / name).open("a") as file:
        file.write("# changed\n")
    assert stamp(monkeypatch, copy) != before


def test_the_stamp_does_not_change_with_a_file_that_is_not_imported(
    monkeypatch: pytest.MonkeyPatch, copy: pathlib.Path
) -> None:
    before = stamp(monkeypatch, copy)
    (copy / "fabric" / "other.py").write_text("UNUSED = 2\n")
    assert stamp(monkeypatch, copy) == before


def test_files_that_import_each_other_have_a_stamp(monkeypatch: pytest.MonkeyPatch, copy: pathlib.Path) -> None:
    before = stamp(monkeypatch, copy)
    (copy / "fabric" / "numbers.py").write_text("import engine.work\nFACTOR = 3\n")
    assert stamp(monkeypatch, copy) != before


def test_a_kernel_outside_the_house_is_stamped_with_what_it_imports_from_it(
    monkeypatch: pytest.MonkeyPatch, copy: pathlib.Path
) -> None:
    (copy.parent / "mine.py").write_text("from fabric.numbers import FACTOR\n")
    before = stamp(monkeypatch, copy, "../mine.py")
    (copy / "fabric" / "numbers.py").write_text("FACTOR = 4\n")
    assert stamp(monkeypatch, copy, "../mine.py") != before


def test_the_stamp_changes_with_the_version_of_the_compiler(monkeypatch: pytest.MonkeyPatch, copy: pathlib.Path) -> None:
    before = stamp(monkeypatch, copy)
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert stamp(monkeypatch, copy) != before


def test_no_file_of_the_house_imports_relatively() -> None:
    """The stamp follows absolute imports only."""
    for room in jit.ROOMS:
        for path in (jit.ROOT / room).rglob("*.py"):
            if ".venv" in path.parts:  # of a peer of the bench
                continue
            assert not re.search(r"^\s*from \.", path.read_text(), re.MULTILINE), path


def run(copy: pathlib.Path) -> list[int]:
    """In a new process: (6 times FACTOR, cache misses of all kernels)."""
    code = "from engine import work; from fabric import jit; print(work.work(6), jit.cache_misses())"
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment["PULEX_CACHE_DIR"] = str(copy.parent / "cache")
    result = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, check=True)
    return [int(word) for word in result.stdout.split()]


def test_a_second_process_compiles_nothing_and_a_changed_constant_is_never_stale(copy: pathlib.Path) -> None:
    assert run(copy) == [18, 1]
    assert run(copy) == [18, 0]
    (copy / "fabric" / "numbers.py").write_text("FACTOR = 5\n")
    assert run(copy) == [30, 1]
    assert any((copy.parent / "cache" / "kernels").rglob("*.nbc"))


def test_without_a_directory_to_write_to_a_kernel_is_compiled_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])
    before = jit.cache_misses()
    twice = jit.kernel(lambda x: x + x)
    try:
        assert twice(4) == 8
        assert jit.cache_misses() == before + 1
    finally:
        jit.DISPATCHERS.remove(twice)


def test_the_cache_directory_is_the_users_choice_then_xdgs_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("PULEX_CACHE_DIR", "/mine")
    assert jit.cache_dir() == pathlib.Path("/mine")
    monkeypatch.delenv("PULEX_CACHE_DIR")
    assert jit.cache_dir() == pathlib.Path("/xdg/pulex")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jit.cache_dir() == pathlib.Path("/somewhere/.cache/pulex")


def test_kernels_count_no_references_and_raise_nothing() -> None:
    assert jit.HOT == {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
