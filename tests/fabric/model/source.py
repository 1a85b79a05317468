"""A kernel's own text as a generator: each load, store and fence of shared memory becomes a yield of a ``memory.Op``.

The text is taken from the kernel, edited where a mutant asks for it (each edit must match exactly once, so that a changed
kernel cannot make a mutant silently equal to the original), and rewritten in two ways, nothing else:

- ``x = load(a)`` inside any expression is hoisted to a statement of its own before it, in order of evaluation, so that a
  thread between two steps is its local names and its position, and nothing on a hidden stack;
- ``out[i] = load(a)`` becomes a copy: the model may let its value arrive late.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from model.memory import Op

Edit = tuple[str, str]
Program = Generator[Any, Any, Any]
LOADS = {f"load_{order}": order for order in ("relaxed", "acquire")}
STORES = {f"store_{order}": order for order in ("relaxed", "release")}
FENCES = {f"fence_{order}": order for order in ("acquire", "release", "full")}


class Constant:
    """Made once for a scenario and never changed: part of no thread's state."""


class Copy(NamedTuple):
    """A load into ``target[key]``, which is private memory."""

    op: Op
    target: Any
    key: Any


def load(address: int, order: str = "relaxed") -> Op:
    return Op("load", address, 0, order)


def store(address: int, value: int, order: str = "relaxed") -> Op:
    return Op("store", address, value, order)


def fence(order: str) -> Op:
    return Op("fence", order=order)


SETTLE = Op("settle")  # all values that were copied are used now


class _Rewriter:
    """Statements with operations inside -> statements that yield them."""

    def __init__(self) -> None:
        self.count = 0

    def body(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        return [new for old in statements for new in self.statement(old)]

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        before: list[ast.stmt] = []
        for name in ("body", "orelse", "finalbody"):
            if inner := getattr(node, name, None):
                setattr(node, name, self.body(inner))
        for handler in getattr(node, "handlers", ()):
            handler.body = self.body(handler.body)
        if isinstance(node, ast.While):
            self.expression(node.test, before)
            assert not before, f"a while that loads is not handled: {ast.unparse(node)}"
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            if stored := self._into(node.targets[0], node.value, before):
                return [*before, _line(stored)]
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(node, name, self.expression(value, before))
        hoisted_whole = before and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        return before if hoisted_whole else [*before, node]

    def _into(self, target: ast.Subscript, value: ast.expr, before: list[ast.stmt]) -> str | None:
        """``target = value`` as a copy; None when it is none."""
        if isinstance(value, ast.Call) and _name(value) in LOADS:
            address = ast.unparse(self.expression(value.args[0], before))
            return (
                f"yield _copy({address}, {LOADS[_name(value)]!r}, {ast.unparse(target.value)}, ({ast.unparse(target.slice)}))"
            )
        return None

    def expression(self, node: ast.expr, before: list[ast.stmt]) -> ast.expr:
        """The expression with its operations hoisted into ``before``."""
        if isinstance(node, ast.BoolOp | ast.IfExp | ast.ListComp | ast.GeneratorExp | ast.Lambda):
            probe: list[ast.stmt] = []
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(child, probe)
            assert not probe, f"an operation that may be skipped: {ast.unparse(node)}"
            return node
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(node, name, self.expression(value, before))
            elif isinstance(value, list):
                setattr(node, name, [self.expression(one, before) if isinstance(one, ast.expr) else one for one in value])
        text = self._operation(node)
        if text is None:
            return node
        self.count += 1
        before.append(_line(f"_h{self.count} = {text}"))
        stored = isinstance(node, ast.Call) and (_name(node) in STORES or _name(node) in FENCES)
        return ast.Constant(None) if stored else ast.Name(f"_h{self.count}", ast.Load())

    def _operation(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Call):
            name, arguments = _name(node), ", ".join(ast.unparse(one) for one in node.args)
            for table, maker in ((LOADS, "_load"), (STORES, "_store"), (FENCES, "_fence")):
                if name in table:
                    return f"yield {maker}({arguments}{', ' if arguments else ''}{table[name]!r})"
        return None


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _line(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


def _copy(address: int, order: str, target: Any, key: Any) -> Copy:
    return Copy(Op("load", address, 0, order, copies=True), target, key)


def as_program(
    function: Callable[..., Any],
    names: Mapping[str, Any],
    edits: Sequence[Edit] = (),
) -> Callable[..., Program]:
    """The function's text, edited and rewritten, over its module's names and ``names`` (which win)."""
    function = inspect.unwrap(getattr(function, "py_func", function))
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in edits:
        assert text.count(old) == 1, f"{function.__name__} has changed: {old!r} is in it {text.count(old)} times"
        text = text.replace(old, new)
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list, definition.returns = [], None
    for argument in ast.walk(definition.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    definition.body = [*_Rewriter().body(definition.body), *ast.parse("if False:\n    yield").body]
    module = ast.fix_missing_locations(ast.Module([definition], []))
    space = {**vars(inspect.getmodule(function)), **names}
    space |= {"_load": load, "_store": store, "_fence": fence, "_copy": _copy}
    exec(compile(module, f"<{function.__name__}>", "exec"), space)
    program: Callable[..., Program] = space[function.__name__]
    return program
