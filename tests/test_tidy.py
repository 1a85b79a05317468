"""Style as a test: sizes, banned calls, and the floors of the house, from the syntax tree of every source file."""

from __future__ import annotations

import ast
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOORS = {
    "fabric": 1, "venue": 2, "strategy": 2, "risk": 2, "watchdog": 2, "feed": 3, "engine": 3, "sim": 4, "ops": 5, "bench": 6,
}  # fmt: skip
MODULE_LINES_MAX, FUNCTION_LINES_MAX = 400, 60
COLUMNS_MAX = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
BANNED = {
    "multiprocessing.shared_memory": "its tracker unlinks segments of other people: use fabric.segment",
    "pickle": "no foreign code in messages",
}
TABLES = ("strategy.tables", "risk.tables", "venue.tables")  # plain data: floor 2 rooms may read each other's


def sources(*rooms: str) -> list[pathlib.Path]:
    return sorted(file for room in rooms for file in (ROOT / room).rglob("*.py") if ".venv" not in file.parts)


ALL = sources(*FLOORS)
TESTED = [*ALL, *sources("tests")]


def name(file: pathlib.Path) -> str:
    return str(file.relative_to(ROOT))


def tree(file: pathlib.Path) -> ast.Module:
    return ast.parse(file.read_text())


def imports(file: pathlib.Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import; ``from a import b`` gives ``a.b`` so that a submodule is seen."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(file)}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_kernel(node: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "kernel" for one in node.decorator_list)


@pytest.mark.parametrize("file", ALL, ids=name)
def test_module_begins_with_its_contract(file: pathlib.Path) -> None:
    assert ast.get_docstring(tree(file)) or not file.read_text()


@pytest.mark.parametrize("file", TESTED, ids=name)
def test_module_stays_short_and_narrow(file: pathlib.Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= MODULE_LINES_MAX, f"{len(lines)} lines; split it"
    long = [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX]
    assert not long, f"lines {long} are longer than {COLUMNS_MAX} columns"


@pytest.mark.parametrize("file", TESTED, ids=name)
def test_functions_are_short(file: pathlib.Path) -> None:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} at line {node.lineno}: {length} lines"


@pytest.mark.parametrize("file", ALL, ids=name)
def test_imports_point_down(file: pathlib.Path) -> None:
    room = name(file).split("/")[0]
    for line, dotted in imports(file):
        other = dotted.split(".")[0]
        assert not any(dotted.startswith(banned) for banned in BANNED), f"line {line}: {dotted}: {BANNED}"
        if other in FLOORS and other != room and not dotted.startswith(TABLES):
            assert FLOORS[other] < FLOORS[room], f"line {line}: {room} (floor {FLOORS[room]}) imports {dotted}"


@pytest.mark.parametrize("file", sources("watchdog"), ids=name)
def test_watchdog_needs_the_standard_library_and_the_layout_only(file: pathlib.Path) -> None:
    for line, dotted in imports(file):
        allowed = dotted.split(".")[0] in {*sys.stdlib_module_names, "watchdog"} or dotted == "fabric.layout"
        assert allowed, f"line {line}: {dotted}"


@pytest.mark.parametrize("file", sources("sim"), ids=name)
def test_exchange_shares_no_code_with_what_it_judges(file: pathlib.Path) -> None:
    for line, dotted in imports(file):
        assert dotted.split(".")[0] not in {*FLOORS} - {"sim"}, f"line {line}: {dotted}"


@pytest.mark.parametrize("file", sources("risk"), ids=name)
def test_risk_knows_no_sockets(file: pathlib.Path) -> None:
    for line, dotted in imports(file):
        assert dotted.split(".")[0] not in {"socket", "ssl", "asyncio", "websockets", "httpx"}, f"line {line}: {dotted}"


@pytest.mark.parametrize("file", ALL, ids=name)
def test_kernels_have_no_clock_print_or_exception(file: pathlib.Path) -> None:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef) and is_kernel(node):
            for inner in ast.walk(node):
                assert not isinstance(inner, ast.Raise | ast.Try | ast.Assert), f"{node.name}: line {inner.lineno}"
                if isinstance(inner, ast.Call):
                    called = ast.unparse(inner.func)
                    banned = called in ("print", "open") or called.startswith("time.")
                    assert not banned, f"{node.name}: {called}"


def test_no_text_of_the_project_names_a_machine() -> None:
    own_folder = str(ROOT.parent)
    for file in [*TESTED, ROOT / "Makefile", ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "constraints.txt"]:
        text = file.read_text()
        assert len(own_folder) < 4 or own_folder + "/" not in text, name(file)
        assert not re.search("/(root|home)/", text), name(file)


def test_every_room_is_packaged() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in ALL if name(file).split("/")[0] != "bench"}
    assert found == set(packages)


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    wanted = {one.lower() for one in [*project["dependencies"], *project["optional-dependencies"]["dev"]]}
    assert wanted <= pins
