"""What a strategy's source may hold, and that a refusal names the user's file and line."""

import pathlib

import pytest

from strategy import check

GOOD = """import math
from fabric import layout
from strategy.api import NT_KIND, SV_BID_TICKS

PARAMETERS = {"width": 3}


def half(x):
    return x // 2


def decide(view, parameters, state, intents):
    total = 0
    for i in range(3):
        total += half(view[i]) + int(math.sqrt(4.0)) + layout.SIDE_SELL
    return 0
"""


def with_body(line: str) -> str:
    return f"def decide(view, parameters, state, intents):\n    x = 0\n    {line}\n    return 0\n"


def test_a_plain_strategy_with_helpers_and_math_passes() -> None:
    assert check.check(GOOD, "mine.py") == ("decide", "half")


def test_the_own_strategies_pass() -> None:
    file = pathlib.Path(check.__file__).with_name("market_making.py")
    assert "decide" in check.check(file.read_text(), str(file))


@pytest.mark.parametrize(
    "line",
    [
        "raise ValueError",
        "assert x == 0",
        "with open('f') as f: pass",
        "try: x = 1\n    except Exception: x = 2",
        "while True: x += 1",
        "global y",
        "x = eval('1')",
        "x = open('f')",
        "x = view.sum()",
        "x = view.ctypes",
        "x = [i for i in range(3)]",
        "x = (lambda: 1)()",
        "x = f'{x}'",
        "import os",
        "yield 1",
        "x = decide(view, parameters, state, intents)",
        "x = __import__('os')",
        "x = math.sqrt(2.0)",  # math is not imported here
        "for x in view: pass",
    ],
)
def test_what_may_not_run_in_the_core_is_refused_with_file_and_line(line: str) -> None:
    with pytest.raises(check.StrategyError, match=r"^mine\.py:3: "):
        check.check(with_body(line), "mine.py")


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "import numpy as np",
        "from fabric.atomics import store_release",
        "from strategy.api import *",
        "from strategy.loader import load",
        "from . import x",
        "print('hello')",
        "async def f(): pass",
        "class A: pass",
        "A = open('f')",
    ],
)
def test_top_level_code_and_other_imports_are_refused(line: str) -> None:
    with pytest.raises(check.StrategyError, match=r"^mine\.py:1: "):
        check.check(f"{line}\n{GOOD}", "mine.py")


@pytest.mark.parametrize("head", ["decide(view)", "decide(view, parameters, state, *intents)", "decided(x)"])
def test_a_wrong_signature_is_refused(head: str) -> None:
    with pytest.raises(check.StrategyError, match=r"decide\(view, parameters, state, intents\)"):
        check.check(f"def {head}:\n    return 0\n", "mine.py")


@pytest.mark.parametrize("text", ["def decide(:\n", "a\0b", "x = (" * 300])
def test_text_that_is_not_python_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(check.StrategyError, match=r"^mine\.py:\d+: "):
        check.check(text, "mine.py")


def test_a_decorator_is_refused() -> None:
    with pytest.raises(check.StrategyError, match="decorator"):
        check.check("@int\n" + with_body("pass"), "mine.py")
