"""The mutation run finds what tests miss, and calls killed only what they notice."""

from __future__ import annotations

import ast
import json
import pathlib
import subprocess
import sys

from tests import mutants

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = '"""A limit."""\n\n\ndef fits(lots, limit):\n    """Within the limit."""\n    return 0 < lots <= limit\n'
WEAK = "from planted_limit import fits\n\n\ndef test_fits():\n    assert fits(3, 5)\n    assert not fits(6, 5)\n"
STRONG = WEAK + "    assert fits(5, 5)\n    assert fits(1, 5)\n    assert not fits(0, 5)\n"


def run(home: pathlib.Path, *more: str) -> tuple[int, dict[str, str], str]:
    """(exit status, results by label, what was said) of a run in a directory of its own."""
    command = [sys.executable, "-m", "tests.mutants", "planted_limit.py", "--tests", "test_planted.py", *more]
    path = {"PYTHONPATH": f"{ROOT}:{home}", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=home, env=path, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in (home / ".mutants.jsonl").read_text().splitlines()]
    return done.returncode, {line["mutant"].split(": ")[1]: line["result"] for line in lines}, done.stdout


def test_planted_survivor_is_reported_and_dies_when_its_boundary_is_tested(tmp_path: pathlib.Path) -> None:
    (tmp_path / "planted_limit.py").write_text(SOURCE)
    (tmp_path / "test_planted.py").write_text(WEAK)
    status, results, said = run(tmp_path)
    assert status == 1
    assert results["0 < lots <= limit -> 0 < lots < limit"] == "survived"
    assert results["0 < lots <= limit -> 0 < lots > limit"] == "killed"
    assert "not killed and not proven equivalent: planted_limit.fits: 0 < lots <= limit -> 0 < lots < limit" in said
    (tmp_path / "test_planted.py").write_text(STRONG)
    status, results, said = run(tmp_path, "--survivors")
    assert [label for label, result in results.items() if result != "killed"] == []
    assert status == 0
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mutants.md").write_text("| `planted_limit.fits: 1 -> 2` | because |\n")
    status, _, said = run(tmp_path, "--survivors")
    assert status == 1  # what is listed as equivalent has to survive
    assert "listed as equivalent, but no survivor: planted_limit.fits: 1 -> 2" in said


def test_every_kind_of_change_is_made_and_each_is_valid_code() -> None:
    body = ("if a < 1 and b:", "    t[0] += min(a, b)", "    g(t)", "return -a if a == b else not a - b")
    source = "\n    ".join(("def f(t, a, b):", *body))
    found = mutants.mutants(source, "m")
    said = {mutant.label.split(": ", 1)[1] for mutant in found}
    assert said >= {
        *("a < 1 -> a <= 1", "a < 1 -> a >= 1", "1 -> 2", "1 -> 0", "a < 1 and b -> a < 1 or b"),
        *("a < 1 and b -> b", "not a - b -> a - b", "t[0] += min(a, b) -> pass", "t[0] += min(a, b) -> t[0] -= min(a, b)"),
        *("min(a, b) -> max(a, b)", "g(t) -> pass", "-a -> a", "a - b -> a + b", "a == b -> a != b"),
    }
    assert len({mutant.label for mutant in found}) == len(found)
    for mutant in found:
        compile(mutant.tree, "m", "exec")
        assert ast.dump(mutant.tree) != ast.dump(ast.parse(source))
