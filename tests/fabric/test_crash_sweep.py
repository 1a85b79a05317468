"""The crash sweep in short, and its controls: a planted flaw must break the same checks. ``make chaos-fabric`` is long."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SEED, FAULTS = 3, 200
CPU_SECONDS_MAX = 40
FLAWS = {
    "mark_before_payload": "'torn': ",
    "in_place": "in vain for the reader to follow a generation",
    "done_before_taken": "'lossless_torn': ",
    "forgets_what_is_done": "the reader went on after 0, not ",
}


def sweep(tmp_path: pathlib.Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, report and output of a sweep in a process of its own, whose children are forked from it."""
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "crash", "--json", str(file), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    result = subprocess.run(command, cwd=HERE.parent.parent, env=environment, capture_output=True, text=True)
    output = result.stdout + result.stderr
    assert file.exists(), output
    return result.returncode, json.loads(file.read_text()), output


def test_no_kill_and_no_stop_tears_loses_or_doubles_a_record(tmp_path: pathlib.Path) -> None:
    status, report, output = sweep(tmp_path, "--seed", str(SEED), "--count", str(FAULTS))
    faults, met = report["faults"], report["met"]
    print(output)
    assert (status, report["broken"]) == (0, []), output
    assert sum(faults.values()) == FAULTS
    assert len(faults) == 9
    for proof in ("laps", "lossless ring full", "rows read", "market records seen", "lossless records", "stall seen"):
        assert met[proof] > 0, f"{proof}: nothing was proved"
    assert report["cpu_seconds"] < CPU_SECONDS_MAX
    if len(os.sched_getaffinity(0)) > 1:  # on one cpu most kills come where the victim has yielded
        died_inside = sum(count for name, count in met.items() if name.startswith("writer in ")) - met["writer in between two"]
        assert died_inside > 0, "no writer was caught in the middle of a record: nothing was proved"


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_sweep_breaks_when_an_actor_has_a_flaw(tmp_path: pathlib.Path, flaw: str) -> None:
    arguments = ("--seed", str(SEED), "--count", str(FAULTS), "--flaw", flaw, "--patience", "2", "--broken-max", "3")
    status, report, _ = sweep(tmp_path, *arguments)
    assert status == 1
    assert any(FLAWS[flaw] in line for line in report["broken"]), report["broken"]
