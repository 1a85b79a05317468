"""A process that stands in for a role: writes its stats page, says when it starts and ends, obeys the stop word."""

from __future__ import annotations

import json
import pathlib
import signal
import sys
import threading

from fabric import layout
from fabric.segment import Segment
from fabric.stats import StatsWriter


def note(run_dir: pathlib.Path, text: str) -> None:
    with (run_dir / "diary.txt").open("a") as diary:
        diary.write(text + "\n")


def main(role: str) -> None:
    run_dir = pathlib.Path(sys.argv[1])
    config = json.loads((run_dir / "config.json").read_text())
    if (run_dir / f"{role}.fails").exists():
        sys.exit(f"{role}: the model file is missing; install it")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    stats = StatsWriter(config["shm_dir"], role)
    control = Segment.attach(config["shm_dir"], "control")
    stats.status(state=layout.PROCESS_RUNNING)
    note(run_dir, f"start {role}")
    stop = layout.CONTROL_OFFSET + layout.C_STOP * layout.WORD
    while not ended.wait(0.01):
        if role == "execution" and control.word(stop) == layout.STOP_CANCEL_AND_VERIFY:
            break
    note(run_dir, f"end {role}")
    stats.status(state=layout.PROCESS_STOPPED)
