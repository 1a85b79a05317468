"""The two durable facts: the epoch, and the latched kill. Written whole, fsynced, renamed into place.

``state/epoch`` holds one decimal number that only grows. ``state/latch.json`` exists while trading is latched off; its
record is documented in ``watchdog.kill``. ``state/operator.log`` takes one JSON line per decision of an operator.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class StateError(Exception):
    """A durable file is unreadable; the text says what to do."""


def write_durable(path: Path, text: str) -> None:
    """Replace ``path`` atomically; on return the new text survives a power cut. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def latch_text(record: dict[str, Any]) -> str:
    """The record as its file holds it."""
    return json.dumps(record, indent=1) + "\n"


class Durable:
    """Epoch, latch and operator log of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.epoch_path = state_dir / "epoch"
        self.latch_path = state_dir / "latch.json"
        self.log_path = state_dir / "operator.log"

    def epoch(self) -> int:
        """The last epoch taken, 0 before the first; raises StateError when the file is damaged."""
        try:
            text = self.epoch_path.read_text("ascii").strip()
        except FileNotFoundError:
            return 0
        if not text.isdigit():
            raise StateError(f"{self.epoch_path} is damaged: write the highest epoch ever used into it")
        return int(text)

    def take_epoch(self, at_least: int) -> int:
        """The next epoch, above the stored one and not below ``at_least``, durable before it is returned."""
        epoch = max(self.epoch() + 1, at_least)
        write_durable(self.epoch_path, f"{epoch}\n")
        return epoch

    def latch(self) -> dict[str, Any] | None:
        """The latched record or None. A damaged file is a latch of unknown cause, never "no latch"."""
        try:
            record = json.loads(self.latch_path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            record = None
        if not isinstance(record, dict):
            record = {"kind": "kill", "cause": "damaged", "reason": "state/latch.json was damaged"}
        return record

    def save_latch(self, record: dict[str, Any]) -> None:
        self.write_latch(latch_text(record))

    def write_latch(self, text: str) -> None:
        write_durable(self.latch_path, text)

    def clear_latch(self) -> None:
        self.latch_path.unlink(missing_ok=True)
        sync_directory(self.latch_path.parent)

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line, durable on return."""
        fd = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, (json.dumps(entry) + "\n").encode())
            os.fsync(fd)
        finally:
            os.close(fd)
