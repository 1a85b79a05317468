"""Reads a strategy's source before it is imported, and refuses what may not run inside the core.

The rule is a list of what is allowed: integers, ``math.*``, ``if``, ``for ... in range()``, own functions defined above
their use (so nothing recurses), and column names from ``strategy.api``, ``strategy.tables`` and ``fabric.layout``. A
``while`` is refused because a strategy that never returns stops the engine. This protects against mistakes, not against
a hostile author: whoever may place a file in the configuration may run any code anyway.
"""

from __future__ import annotations

import ast

ALLOWED_MODULES = ("math", "fabric.layout", "strategy.api", "strategy.tables", "__future__")
ALLOWED_CALLS = frozenset({"abs", "bool", "divmod", "float", "int", "len", "max", "min", "range", "round"})
_REFUSED: dict[type[ast.AST], str] = {
    ast.Raise: "raise (return a negative status instead)",
    ast.Assert: "assert (return a negative status instead)",
    ast.Try: "try",
    ast.TryStar: "try",
    ast.With: "with",
    ast.AsyncWith: "async with",
    ast.AsyncFor: "async for",
    ast.AsyncFunctionDef: "async def",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.Global: "global (keep memory in state[])",
    ast.Nonlocal: "nonlocal (keep memory in state[])",
    ast.Lambda: "lambda",
    ast.ClassDef: "class",
    ast.While: "while (use for ... in range(n) with break)",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "a format string",
    ast.Delete: "del",
    ast.NamedExpr: ":=",
}
_TOP_LEVEL = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.AnnAssign)


class StrategyError(ValueError):
    """A strategy cannot be used; the text names the file, the line and what to change."""


class _Checker:
    def __init__(self, file: str) -> None:
        self.file = file
        self.modules: set[str] = set()  # names that are modules, dotted ones as written
        self.functions: set[str] = set()  # own functions, defined so far
        self.math: set[str] = set()  # names imported from math

    def refuse(self, node: ast.AST, what: str) -> StrategyError:
        return StrategyError(f"{self.file}:{getattr(node, 'lineno', 1)}: a strategy may not use {what}")

    def imports(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in ALLOWED_MODULES:
                    raise self.refuse(node, f"import {alias.name}; allowed: {', '.join(ALLOWED_MODULES[:-1])}")
                self.modules.add(alias.asname or alias.name)
            return
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            if not node.level and whole in ALLOWED_MODULES:
                self.modules.add(alias.asname or alias.name)
            elif node.level or node.module not in ALLOWED_MODULES or alias.name == "*" or alias.name[0] == "_":
                raise self.refuse(node, f"from {'.' * node.level}{node.module or ''} import {alias.name}")
            elif node.module == "math":
                self.math.add(alias.asname or alias.name)

    def call(self, node: ast.Call) -> None:
        target = ast.unparse(node.func)
        if isinstance(node.func, ast.Attribute):
            if not (target.startswith("math.") and target.count(".") == 1 and "math" in self.modules):
                raise self.refuse(node, f"the call {target}(); only math.* has methods to call")
        elif target not in ALLOWED_CALLS | self.functions | self.math:
            raise self.refuse(node, f"the call {target}(); own functions must be defined above their use")

    def body(self, top: ast.AST) -> None:
        for node in ast.walk(top):
            if what := _REFUSED.get(type(node)):
                raise self.refuse(node, what)
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef) and node is not top:
                raise self.refuse(node, "an import or a function inside another one")
            if isinstance(node, ast.For) and not (
                isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "range" and not node.orelse
            ):
                raise self.refuse(node, "a loop over anything but range()")
            if isinstance(node, ast.Call):
                self.call(node)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in self.modules:
                raise self.refuse(node, f".{node.attr} (attributes of arrays; use len() and an index)")
            elif isinstance(node, ast.Name) and node.id.startswith("__"):
                raise self.refuse(node, node.id)


def check(source: str, file: str) -> tuple[str, ...]:
    """Names of the file's functions, ``decide`` among them. Raises StrategyError with ``FILE:LINE: ...``."""
    try:
        tree = ast.parse(source, file)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise StrategyError(f"{file}:{line}: {getattr(error, 'msg', None) or error}") from None
    checker = _Checker(file)
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # docstring
        if not isinstance(node, _TOP_LEVEL):
            raise checker.refuse(node, "anything but imports, constants and functions at the top of the file")
        if isinstance(node, ast.Import | ast.ImportFrom):
            checker.imports(node)
            continue
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            raise checker.refuse(node, "a decorator; Pulex compiles the function itself")
        checker.body(node)
        if isinstance(node, ast.FunctionDef):
            if node.name in checker.functions or node.name in ALLOWED_CALLS | checker.math | checker.modules:
                raise checker.refuse(node, f"a second meaning of {node.name}")
            checker.functions.add(node.name)
            if node.name == "decide":
                _check_decide(node, file)
    if "decide" not in checker.functions:
        raise StrategyError(f"{file}:1: has no function decide(view, parameters, state, intents)")
    return tuple(sorted(checker.functions))


def _check_decide(node: ast.FunctionDef, file: str) -> None:
    arguments = node.args
    names = [argument.arg for argument in arguments.args]
    extra = arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults or arguments.posonlyargs
    if names != ["view", "parameters", "state", "intents"] or extra:
        raise StrategyError(f"{file}:{node.lineno}: must be decide(view, parameters, state, intents), not {names}")
