"""Mutation run: one small change of a source file at a time, and the tests must notice (``make mutants``).

    python -m tests.mutants risk/checks.py risk/gate.py [--tests tests/risk] [--jobs 2] [--survivors]

Changes: comparison to its neighbour and to its opposite, integers one up and one down, ``and`` for ``or``, an operand or a
condition dropped, ``min`` for ``max``, plus for minus, a store or call left out. Each mutant is a fork of one process that
has collected the tests, with the code of the module's functions replaced; kernels run as plain Python
(``tests.interpreted``), and what killed the one before is tried first. Results are appended to a file, so a run that was
stopped goes on; ``--survivors`` runs only what survived last time. Survivors that are equivalent stand in docs/mutants.md
with the proof, as `label`; any other survivor, and any label there that names no survivor, makes the run fail.
"""

from __future__ import annotations

import argparse
import ast
import collections
import copy
import hashlib
import importlib
import json
import os
import pathlib
import re
import resource
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

SWAPS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
CPU_S = 90  # a mutant that takes longer hangs; all tests on one that survives take some six
LEFT_OUT = {  # the first judges a generator of examples, the second a document; they cost as much as all others together
    "test_the_worlds_reach_every_answer_of_the_gate",
    "test_trips_to_the_first_pause_are_what_the_simulation_gives",
}
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"


class Mutant(NamedTuple):
    """``label`` says where and what in words of the source, so that it outlives moved lines."""

    label: str
    line: int
    tree: ast.Module


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Each node that may stand in place of this one."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            for other in SWAPS.get(type(op), ()):
                yield changed(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield from (ast.Constant(node.value + step) for step in (1, -1))
    elif isinstance(node, ast.BoolOp):
        yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for at in range(len(node.values)):
            rest = [*node.values[:at], *node.values[at + 1 :]]
            yield changed(node, values=rest) if len(rest) > 1 else rest[0]
    elif isinstance(node, ast.If | ast.IfExp):
        yield from (changed(node, test=ast.Constant(value)) for value in (True, False))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        yield changed(node, func=ast.Name("max" if node.func.id == "min" else "min", ast.Load()))
    elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
        yield changed(node, op=ast.Sub() if isinstance(node.op, ast.Add) else ast.Add())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    if isinstance(node, ast.AugAssign | ast.Expr) or (isinstance(node, ast.Assign) and is_store(node)):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield ast.Pass()


def is_store(node: ast.Assign) -> bool:
    """Into a table; without a local name's assignment the code would only stop."""
    return all(isinstance(target, ast.Subscript) for target in node.targets)


def changed(node: ast.AST, **fields: Any) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def text(node: ast.AST) -> str:
    """One line: of a statement with a body its head only."""
    return ast.unparse(node).splitlines()[0]


def spots(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str, int]]:
    """(function, parent, field, index or -1) of every node inside a function's body and of module constants."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST, str, int]]:
        for field, value in ast.iter_fields(node):
            if field in ("decorator_list", "annotation", "returns", "args") and isinstance(node, ast.FunctionDef | ast.arg):
                continue
            for at, child in enumerate(value) if isinstance(value, list) else [(-1, value)]:
                if isinstance(child, ast.AST):
                    yield function, node, field, at
                    yield from walk(child, child.name if isinstance(child, ast.FunctionDef) else function)

    yield from walk(tree, "module")


def mutants(source: str, module: str) -> list[Mutant]:
    """Every mutant of a source text, in its order. The tree of each is whole and shared with nobody."""
    found: list[Mutant] = []
    seen: collections.Counter[str] = collections.Counter()
    tree = ast.parse(source)
    for function, parent, field, at in spots(tree):
        value = getattr(parent, field)
        node = value[at] if at >= 0 else value
        for other in changes(node):
            label = f"{module}.{function}: {text(node)} -> {text(other)}"
            seen[label] += 1
            put(parent, field, at, ast.copy_location(other, node))
            whole = ast.fix_missing_locations(copy.deepcopy(tree))
            put(parent, field, at, node)
            found.append(Mutant(label if seen[label] == 1 else f"{label} #{seen[label]}", node.lineno, whole))
    return found


def put(parent: ast.AST, field: str, at: int, node: ast.AST) -> None:
    if at >= 0:
        getattr(parent, field)[at] = node
    else:
        setattr(parent, field, node)


def replace(module: types.ModuleType, tree: ast.Module) -> None:
    """Give the functions of a loaded module the code of a mutant in place, so that whoever holds one runs the mutant."""
    namespace: dict[str, Any] = {"__name__": module.__name__, "__file__": module.__file__}
    exec(compile(tree, str(module.__file__), "exec"), namespace)
    for name, value in namespace.items():
        known = module.__dict__.get(name)
        if isinstance(value, types.FunctionType) and isinstance(known, types.FunctionType):
            known.__code__ = value.__code__ if value is not known else known.__code__
        elif not name.startswith("__"):
            module.__dict__[name] = value


def in_child(session: Any, items: Sequence[Any], module: types.ModuleType, tree: ast.Module, said: int) -> int:
    """Run the tests on the mutant until one fails; exit status. The failing one's place in ``items`` is written to ``said``."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        replace(module, tree)
    except Exception:
        return 1
    for at, item in enumerate(items):
        following = items[at + 1] if at + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            os.write(said, at.to_bytes(4, "little"))
            return 1
    return 0


def verdict(status: int) -> str:
    """From a wait status; RuntimeError when the tests could not be run at all."""
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            return TIMEOUT
        return KILLED
    code = os.waitstatus_to_exitcode(status)
    if code in (3, 4, 5):
        raise RuntimeError(f"pytest ended with {code}: see what the tests say without a mutant")
    return SURVIVED if code == 0 else KILLED


class Bench:
    """The collected tests, ready to be forked; the ones that killed last are tried first."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.items = [item for item in session.items if item.name not in LEFT_OUT]

    def own_first(self, file: pathlib.Path, module: str) -> None:
        names = {f"test_{file.stem}.py", f"test_{module.replace('.', '_')}.py"}
        self.items.sort(key=lambda item: item.path.name not in names)

    def fork(self, module: str, tree: ast.Module) -> tuple[int, int, list[Any]]:
        """(pid, pipe that names the killer, the items as the child has them)."""
        loaded, items = importlib.import_module(module), list(self.items)
        hear, say = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 3
            try:
                code = in_child(self.session, items, loaded, tree, say)
            finally:
                os._exit(code)
        os.close(say)
        return pid, hear, items

    def verdict(self, status: int, hear: int, items: list[Any]) -> str:
        """Of an ended child; what killed comes first from now on."""
        with os.fdopen(hear, "rb") as pipe:
            if killer := pipe.read(4):
                item = items[int.from_bytes(killer, "little")]
                self.items.remove(item)
                self.items.insert(0, item)
        return verdict(status)

    def sound(self, module: str, tree: ast.Module) -> bool:
        """Whether the tests pass on the module as it is."""
        pid, hear, items = self.fork(module, tree)
        return self.verdict(os.waitpid(pid, 0)[1], hear, items) == SURVIVED

    def run(self, module: str, todo: Sequence[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
        """Judge the mutants of a file, ``jobs`` at a time."""
        waiting, running = list(reversed(todo)), {}
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop()
                pid, hear, items = self.fork(module, mutant.tree)
                running[pid] = (mutant, hear, items)
            pid, status = os.wait()
            mutant, hear, items = running.pop(pid)
            yield mutant, self.verdict(status, hear, items)


def digest(files: Sequence[pathlib.Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]


class Results:
    """What earlier runs found, as long as the mutated file is the same and so are the tests."""

    def __init__(self, file: pathlib.Path, source: str, tests: str, survivors: bool) -> None:
        self.file, self.stamp = file, {"source": source, "tests": tests}
        self.known: dict[str, str] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            one = json.loads(line)
            if one["source"] == source and (one["tests"] == tests or (survivors and one["result"] != SURVIVED)):
                self.known[one["mutant"]] = one["result"]

    def add(self, mutant: Mutant, result: str) -> None:
        self.known[mutant.label] = result
        with self.file.open("a") as out:
            out.write(json.dumps({**self.stamp, "mutant": mutant.label, "result": result}) + "\n")


def preload() -> None:
    """Kernels as plain Python, and properties that stop at their first failure."""
    import hypothesis

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # one failure is enough, the smallest is not needed
    hypothesis.settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, print_blob=False, phases=phases
    )
    os.environ["PULEX_PROPERTIES"] = "mutants"  # what tests/conftest.py loads
    hypothesis.settings.load_profile("mutants")
    import tests.interpreted  # noqa: F401


def refuse(why: str) -> NoReturn:
    print(why, flush=True)  # pytest is told not to speak
    raise SystemExit(2)


class Run:
    """A plugin of pytest: with the tests collected, judge the mutants instead of running them once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.survivors: set[str] = set()

    def pytest_runtestloop(self, session: Any) -> bool:
        if session.testsfailed or not session.items:
            refuse(f"{self.options.tests}: the tests cannot be collected; see what they say without a mutant")
        bench = Bench(session)
        for file in self.options.files:
            self.survivors |= {mutant.label for mutant in judge(file, self.options, bench)}
        return True


def judge(file: pathlib.Path, options: argparse.Namespace, bench: Bench) -> list[Mutant]:
    """Report one file; returns its survivors."""
    module = ".".join(file.with_suffix("").parts)
    every = mutants(file.read_text(), file.stem)
    given = [pathlib.Path(path) for path in options.tests]
    test_files = [one for path in given for one in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    results = Results(options.results, digest([file]), digest(test_files), options.survivors)
    bench.own_first(file, module)
    if not bench.sound(module, ast.parse(file.read_text())):
        refuse(f"{file}: the tests fail without a mutant")
    todo = [mutant for mutant in every if mutant.label not in results.known]
    for mutant, result in bench.run(module, todo, options.jobs):
        results.add(mutant, result)
        if result != KILLED:
            print(f"{result:9}{file}:{mutant.line}  {mutant.label}", flush=True)
    said = collections.Counter(results.known[mutant.label] for mutant in every)
    print(
        f"{file}: {len(every)} mutants, {said[KILLED]} killed, {said[TIMEOUT]} by time, {said[SURVIVED]} survived", flush=True
    )
    return [mutant for mutant in every if results.known[mutant.label] == SURVIVED]


def proven(file: pathlib.Path, stems: Sequence[str]) -> set[str]:
    """Labels of the mutants of these modules that the document proves equivalent."""
    labels = re.findall(r"^\| `([^`]+)` \|", file.read_text(), re.MULTILINE) if file.exists() else []
    return {label.replace(r"\|", "|") for label in labels if label.split(".")[0] in stems}


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--tests", nargs="+", default=["tests/risk"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path(".mutants.jsonl"))
    parser.add_argument("--equivalent", type=pathlib.Path, default=pathlib.Path("docs/mutants.md"))
    parser.add_argument("--survivors", action="store_true")
    options = parser.parse_args()
    preload()
    import pytest

    plain = ["--assert=plain", "-p", "no:cacheprovider", "-p", "no:timeout", "-p", "no:terminal", "-o", "addopts="]
    ours = Run(options)
    if pytest.main([*plain, "--capture=no", *options.tests], plugins=[ours]) != 0:
        return 2
    survivors = ours.survivors
    listed = proven(options.equivalent, [file.stem for file in options.files])
    for label in sorted(survivors - listed):
        print(f"not killed and not proven equivalent: {label}")
    for label in sorted(listed - survivors):
        print(f"listed as equivalent, but no survivor: {label}")
    return 0 if survivors == listed else 1


if __name__ == "__main__":
    sys.exit(main())
