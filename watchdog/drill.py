"""The kill drill: the start test on a throwaway key at any time, with every step timed, and kept.

``state/drills.jsonl`` takes one line a drill: {wall_ns, result, key_id, refusal, ms, at_ms: {create, use, revoke, probe}}. The
last one is on the stats page of every later run. The running epoch is not touched: no lease, key or order of it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog.credentials import KeyRing, kill_test
from watchdog.page import StatsPage
from watchdog.venue import Venue

RESULTS = ("", "pass", "fail", "not_proven")
LINE_BYTES_MAX = 4096


def run(venue: Venue, ring: KeyRing, order: dict[str, Any], state_dir: Path) -> dict[str, Any]:
    """One drill, durable on return. Raises OSError when it cannot be kept."""
    result = {"wall_ns": time.time_ns(), **kill_test(venue, ring, order)}
    venue.close()
    fd = os.open(state_dir / "drills.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, (json.dumps(result) + "\n").encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    return result


def last(state_dir: Path) -> dict[str, Any] | None:
    """The newest complete line, None when there is none."""
    try:
        with open(state_dir / "drills.jsonl", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LINE_BYTES_MAX))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            found = json.loads(line)
            if found["result"] in RESULTS and isinstance(found["wall_ns"], int) and isinstance(found["ms"], int | float):
                return dict(found)
        except (ValueError, KeyError, TypeError):
            continue  # torn by a crash
    return None


def show(stats: StatsPage, result: dict[str, Any] | None) -> None:
    """Put a drill on the stats page."""
    if result is not None:
        stats.set(layout.WC_LAST_DRILL_WALL_S, result["wall_ns"] // 1_000_000_000)
        stats.set(layout.WC_LAST_DRILL_MS, round(result["ms"]))
        stats.set(layout.WC_DRILL_RESULT, RESULTS.index(result["result"]))
