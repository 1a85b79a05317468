"""What an operator decides about the state: written down with a name, and never under a running instance."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from ops import instance, operator
from ops.instance import InstanceError, Paths


def decisions(where: Paths) -> list[tuple[str, str, str]]:
    lines = (where.state_dir / "operator.log").read_text().splitlines()
    return [(one["what"], one["operator"], one["reason"]) for one in map(json.loads, lines)]


@pytest.fixture
def kept(where: Paths) -> Paths:
    """An instance with a state."""
    os.close(instance.lock(where))
    (where.state_dir / "journal").mkdir()
    (where.state_dir / "journal" / "exec-000001.bin").write_bytes(b"records")
    (where.state_dir / "checkpoint-0.bin").write_bytes(b"tables")
    (where.state_dir / "epoch").write_text("7\n")
    return where


def test_clearance_waits_for_the_next_start_with_its_name(kept: Paths) -> None:
    assert operator.clear(kept, "ann", "seen", True) == "it takes effect at the next start"
    order = json.loads((kept.state_dir / "clear.json").read_text())
    assert (order["operator"], order["reason"], order["peak"]) == ("ann", "seen", True)
    assert decisions(kept) == [("clear", "ann", "seen")]


def test_clearance_of_a_running_instance_says_that_it_has_to_stop(kept: Paths) -> None:
    descriptor = instance.lock(kept)
    assert "stop the one that runs" in operator.clear(kept, "ann", "seen", False)
    os.close(descriptor)


def test_forgetting_keeps_the_files_aside_and_the_epoch_in_force(kept: Paths) -> None:
    operator.forget(kept, "ann", "moved")
    (aside,) = kept.state_dir.glob("forgotten-*")
    assert (aside / "journal" / "exec-000001.bin").read_bytes() == b"records"
    assert (aside / "checkpoint-0.bin").read_bytes() == b"tables"
    assert not (kept.state_dir / "journal").exists()
    assert (kept.state_dir / "epoch").read_text() == "7\n"  # ids are never used twice
    assert decisions(kept) == [("forget", "ann", "moved")]


def test_running_instance_forgets_nothing(kept: Paths) -> None:
    descriptor = instance.lock(kept)
    with pytest.raises(InstanceError, match="stop it first"):
        operator.forget(kept, "ann", "moved")
    os.close(descriptor)
    assert (kept.state_dir / "checkpoint-0.bin").exists()


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("ann", " ")])
def test_nobody_decides_without_a_name_and_a_reason(kept: Paths, who: str, why: str) -> None:
    for decide in (lambda: operator.clear(kept, who, why, False), lambda: operator.forget(kept, who, why)):
        with pytest.raises(InstanceError, match="needs an operator and a reason"):
            decide()
    assert not (kept.state_dir / "operator.log").exists()


def test_instance_that_never_ran_has_nothing_to_decide(tmp_path: pathlib.Path) -> None:
    nowhere = Paths(tmp_path / "r", tmp_path / "s", tmp_path / "m")
    with pytest.raises(InstanceError, match="no instance of that name"):
        operator.clear(nowhere, "ann", "seen", False)
