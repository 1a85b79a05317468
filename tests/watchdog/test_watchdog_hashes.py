"""Code and configuration are computed here, and compared with what every living process names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabric import layout
from fabric.jit import ROOMS
from tests.watchdog.stub import segment
from watchdog import hashes

CONFIG = {"name": "x", "code_hash": 5, "config_hash": 6}


def page(path: Path, role: str = "feed", **changed: int) -> Any:
    return segment(path, f"stats-{role}", layout.SEGMENT_STATS, layout.STATS_BYTES, CONFIG | changed)


def test_a_page_that_names_other_hashes_is_found_and_says_which(tmp_path: Path) -> None:
    page(tmp_path, "journal")
    assert hashes.pages_differ(tmp_path, CONFIG) == ""
    page(tmp_path, "signal", code_hash=7)
    assert hashes.pages_differ(tmp_path, CONFIG) == "signal runs another code: restart everything"
    page(tmp_path, "signal", config_hash=7)
    assert hashes.pages_differ(tmp_path, CONFIG) == "signal runs another configuration: restart everything"


def test_the_page_of_a_dead_process_says_nothing(tmp_path: Path) -> None:
    words = page(tmp_path, code_hash=7)
    words[layout.H_OWNER_START] += 1
    assert hashes.pages_differ(tmp_path, CONFIG) == ""


def test_a_damaged_or_short_page_does_not_stop_the_look(tmp_path: Path) -> None:
    (tmp_path / "stats-feed").write_bytes(b"short")
    (tmp_path / "stats-journal").write_bytes(b"\xff" * 4096)
    page(tmp_path, "signal", code_hash=7)
    assert "signal" in hashes.pages_differ(tmp_path, CONFIG)


def test_the_hash_of_the_code_changes_with_any_file_of_any_room(tmp_path: Path) -> None:
    for room in hashes.ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "one.py").write_text("x = 1\n")
    seen = {hashes.code_hash(tmp_path)}
    for room in hashes.ROOMS:
        (tmp_path / room / "one.py").write_text("x = 2\n")
        seen.add(hashes.code_hash(tmp_path))
    assert len(seen) == 1 + len(hashes.ROOMS)


def test_every_room_that_runs_is_hashed() -> None:
    assert set(hashes.ROOMS) == {*ROOMS, "watchdog"} - {"bench"}


@pytest.mark.parametrize("change", [{"name": "y"}, {"more": 1}])
def test_a_changed_configuration_or_source_is_told(change: dict[str, Any]) -> None:
    config: dict[str, Any] = {"name": "x"}
    config |= {"config_hash": hashes.config_hash(config), "code_hash": hashes.code_hash()}
    assert hashes.sources_changed(config) == ""
    assert "config.json was changed" in hashes.sources_changed(config | change)
    assert "source files" in hashes.sources_changed(config | {"code_hash": 1})
