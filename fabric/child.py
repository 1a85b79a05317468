"""What every child process does first and last: configuration, placement, stop requests. No numba here."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import signal
from typing import Any

from fabric import layout
from fabric.segment import Segment, SegmentError

_MCL_CURRENT_FUTURE = 3


def load_config(run_dir: str) -> dict[str, Any]:
    """``RUN_DIR/config.json`` as the supervisor wrote it (validated there)."""
    config: dict[str, Any] = json.loads((pathlib.Path(run_dir) / "config.json").read_text())
    return config


class StopRequest:
    """Set by SIGTERM; Ctrl-C is the supervisor's alone. ``requested`` also sees the supervisor's stop word."""

    def __init__(self, shm_dir: str) -> None:
        self._shm_dir = shm_dir
        self._control: Segment | None = None
        self.terminated = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)

    def _on_term(self, *_: object) -> None:
        self.terminated = True

    @property
    def control(self) -> Segment | None:
        """The supervisor's page, None while there is none."""
        if self._control is None:
            with contextlib.suppress(SegmentError):
                self._control = Segment.attach(self._shm_dir, "control")
        return self._control

    def word(self, index: int) -> int:
        control = self.control
        return control.word(layout.CONTROL_OFFSET + index * layout.WORD) if control else 0

    @property
    def requested(self) -> bool:
        return self.terminated or self.word(layout.C_STOP) != layout.STOP_RUN


def place(cpus: list[int], lock_memory: bool = False) -> str:
    """Pin this thread (and threads that it starts) to cpus that exist; returns a note when the host lacks something."""
    notes = []
    available = os.sched_getaffinity(0) | set(range(os.cpu_count() or 1))
    wanted = set(cpus) & available
    if wanted:
        try:
            os.sched_setaffinity(0, wanted)
        except OSError as error:
            notes.append(f"cannot pin to {sorted(wanted)}: {error.strerror}")
    if lock_memory and ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT_FUTURE):
        notes.append(f"cannot lock memory: {os.strerror(ctypes.get_errno())}; raise RLIMIT_MEMLOCK")
    return "; ".join(notes)
