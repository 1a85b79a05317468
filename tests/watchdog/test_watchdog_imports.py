"""The watchdog lives when everything else is broken: standard library and ``fabric.layout`` only."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.watchdog.stub import ROOT
from watchdog.venue import Answer, Secret

FILES = sorted((ROOT / "watchdog").rglob("*.py"))
OURS = {"fabric", "fabric.layout"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_module_imports_the_standard_library_and_the_layout_only(path) -> None:  # type: ignore[no-untyped-def]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [str(node.module)]
            if node.module == "fabric":
                assert [alias.name for alias in node.names] == ["layout"]
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names or name in OURS or name.startswith("watchdog"), name


def test_nothing_else_is_loaded_at_run_time() -> None:
    ours = "watchdog.process, watchdog.witness, watchdog.alone"
    code = f"import sys; before=set(sys.modules); import {ours}; print(*sorted(set(sys.modules)-before))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name for name in result.stdout.split() if not name.startswith("watchdog")}
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} <= OURS


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("sk_trade_planted")
    assert "planted" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(ValueError, match="printable") as caught:
        Secret("sk_planted\nX-Injected: 1")
    assert "planted" not in str(caught.value)


def test_the_summary_of_an_answer_leaves_out_what_may_hold_a_key() -> None:
    assert Answer(401, {"error": "unauthorized", "message": "key sk_trade_x"}).summary() == "401 unauthorized"
    assert Answer(500, {"error": "key sk_Trade_X is bad"}).summary() == "500"
