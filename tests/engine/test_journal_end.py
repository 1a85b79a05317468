# mypy: disable-error-code="no-untyped-call"
"""The journal process writes all that execution published, and tells a death from an end."""

from __future__ import annotations

import fcntl
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from engine.journal import journal_path, read_journal
from fabric import jit, layout, rings
from fabric.segment import Segment

RECORDS = 300


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "died"])
def test_a_journal_tells_an_execution_that_died_from_one_that_closed_its_ring(tmp_path: pathlib.Path, closed: bool) -> None:
    config = {
        "shm_dir": str(tmp_path), "state_dir": str(tmp_path / "state"), "config_hash": 1, "code_hash": 2,
        "placement": {"house": [0]},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    execution = Segment.create(tmp_path, "exec", "execution")
    consumed, cached = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for number in range(RECORDS):
        status = rings.lossless_publish(
            execution.address + layout.EXEC_JOURNAL_CURSOR_OFFSET,
            execution.address + layout.JOURNAL_RING_OFFSET,
            layout.JOURNAL_SLOTS,
            consumed.ctypes.data,
            cached,
            np.full(len(layout.JOURNAL_RECORD), number),
            1,
        )
        assert status == layout.RING_OK
    command = [sys.executable, "-m", "engine.journal", str(tmp_path)]
    with subprocess.Popen(command, cwd=jit.ROOT, stdout=subprocess.PIPE, text=True) as journal:
        path = journal_path(config["state_dir"], execution)  # type: ignore[arg-type]
        while journal.poll() is None and not (path.exists() and len(read_journal(path)) == RECORDS):
            time.sleep(0.01)
        if closed:
            execution.enter(layout.SEGMENT_STATE_CLOSED)
        fcntl.flock(execution.fd, fcntl.LOCK_UN)  # what the kernel does when a process ends
        said, _ = journal.communicate(timeout=60)
    assert journal.returncode == 0
    assert said == ("" if closed else f"journal: execution died; all {RECORDS} records that it had published are written\n")
    assert read_journal(path)[:, 1].tolist() == list(range(RECORDS))
