"""Every alarm, fault, reason and exit code that a user can see has its page in docs/runbook, found from the source itself."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
from collections.abc import Iterator

import pytest

from fabric import layout
from ops import exits

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNBOOK = ROOT / "docs/runbook"
INDEX = (RUNBOOK / "README.md").read_text()
PAGES = sorted(page for page in RUNBOOK.glob("*.md") if page.name != "README.md")
SECTIONS = ("**What it means.** ", "**What to check.** ", "**What to do.** ")
TOLD = dict(re.findall(r"^\| `(.+)` \| \[.+\]\((.+)\) \|$", INDEX, re.MULTILINE))


def words(node: ast.expr) -> str | None:
    """The text of an expression with … for what varies; None when it is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def alarms(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each call of something named ``alarm``; a variable is looked up in its function's assignments."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(ast.walk(function))
        for call in nodes:
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name != "alarm":
                continue
            told = words(call.args[0])
            if told is not None:
                yield call.lineno, told
                continue
            wanted = ast.unparse(call.args[0])
            values = [one.value for one in nodes if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == wanted]
            assert values, f"line {call.lineno}: alarm({wanted}): its text is not to be seen; give it literally"
            for value in values:
                yield call.lineno, words(value) or ""


def raised() -> list[tuple[str, str]]:
    """(place, text) of every alarm in the source."""
    found = {}
    for room in ("watchdog", "ops", "engine", "feed", "strategy", "sim"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for line, told in alarms(file.read_text()):
                found[f"{file.relative_to(ROOT)}:{line}"] = told
    return sorted(found.items())


def faults() -> list[str]:
    """Causes of a lapse or a kill: the table of fault classes where there is one, and what calls of ``kill`` name."""
    names = {"witness", "host", "operator"}
    for file in (ROOT / "watchdog").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("kill", "terminate"):
                names |= {one for one in map(words, node.args[:1]) if one}
    try:
        names |= set(importlib.import_module("watchdog.faults").FAULTS)
    except ModuleNotFoundError:
        names |= {"runaway", "silent", "unproven", "damaged"}
    return sorted(names)


@pytest.mark.parametrize(("place", "text"), raised(), ids=[place for place, _ in raised()])
def test_an_alarm_has_its_page(place: str, text: str) -> None:
    assert text in TOLD, f"{place}: put `{text}` with a page into docs/runbook/README.md"
    assert (RUNBOOK / TOLD[text]).is_file()


@pytest.mark.parametrize("reason", [name for name in layout.REASON if name != "none"])
def test_a_reason_has_its_page(reason: str) -> None:
    assert (RUNBOOK / f"reason-{reason}.md").is_file()


@pytest.mark.parametrize("fault", faults())
def test_a_cause_of_a_lapse_or_a_kill_has_its_page(fault: str) -> None:
    assert (RUNBOOK / f"fault-{fault}.md").is_file()


@pytest.mark.parametrize("role", sorted(layout.COUNTERS_OF_ROLE))
def test_a_process_with_an_error_log_has_its_page(role: str) -> None:
    assert (RUNBOOK / f"error-{role}.md").is_file()


def test_every_exit_code_is_explained() -> None:
    text = (RUNBOOK / "exit-codes.md").read_text()
    codes = [value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)]
    assert len(codes) >= 8
    for code in codes:
        assert re.search(rf"(\*\* |· ){code} ", text), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_means_what_to_check_and_what_to_do_and_is_short(page: pathlib.Path) -> None:
    text = page.read_text()
    parts = text.split("\n\n")
    assert parts[0].startswith("# ")
    assert len(parts) == 1 + len(SECTIONS)
    for part, head in zip(parts[1:], SECTIONS, strict=True):
        assert part.startswith(head)
        assert len(part) > len(head)
    assert len(text) < 2000
    assert f"({page.name})" in INDEX


@pytest.mark.parametrize("page", [*PAGES, RUNBOOK / "README.md"], ids=lambda page: page.stem)
def test_a_link_leads_somewhere(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert (RUNBOOK / target).is_file(), target


def test_an_alarm_without_a_page_would_be_noticed() -> None:
    source = "def f(self):\n  self.reason = f'new: {1}'\n  self.alarm(self.reason)\n  alarm('x')\n  self.alarm(f'{2} of {3}')\n"
    assert [told for _, told in alarms(source)] == ["new: …", "x", "… of …"]
    assert not {"new: …", "x", "… of …"} & set(TOLD)
    with pytest.raises(AssertionError, match="not to be seen"):
        list(alarms("def f(text):\n  alarm(text)\n"))
