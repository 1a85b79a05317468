"""Code and configuration of every process against what the run was started with: no lease for a mixture.

``code_hash`` is computed here from the source files and ``config_hash`` from config.json itself, so that neither is taken on
trust; what a process was started with stands in the header of its stats page. The supervisor uses the same two functions.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fabric import layout
from watchdog.processes import ProcessError, start_time

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "fabric", "feed", "ops", "risk", "sim", "strategy", "venue", "watchdog")
OWN_HASHES = ("config_hash", "code_hash")
PAGES = ("feed", "execution", "journal", "signal", "supervisor")  # roles whose stats page carries both hashes


def hash63(data: bytes) -> int:
    """63 bits of sha256, fits a signed word."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little") >> 1


def code_hash(root: Path = ROOT) -> int:
    """Of every source file of every room: processes of two versions never share memory."""
    digest = hashlib.sha256()
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return hash63(digest.digest())


def config_hash(values: dict[str, Any]) -> int:
    """Of config.json without its hashes, in canonical form."""
    invariant = {key: value for key, value in values.items() if key not in OWN_HASHES}
    return hash63(json.dumps(invariant, sort_keys=True, separators=(",", ":")).encode())


def sources_changed(config: dict[str, Any]) -> str:
    """Why the files on disk are not those that the run was started with; "" when they are. Reads every source file."""
    if code_hash() != config["code_hash"]:
        return "the source files have changed since the start: restart everything"
    if config_hash(config) != config["config_hash"]:
        return "config.json was changed after it was written: restart everything"
    return ""


def pages_differ(shm_dir: Path, config: dict[str, Any]) -> str:
    """The first living process whose page names other hashes; "" when none does. A dead one's page says nothing."""
    for role in PAGES:
        header = _header(shm_dir / f"stats-{role}")
        if header is None:
            continue
        try:
            alive = start_time(header[layout.H_OWNER_PID]) == header[layout.H_OWNER_START]
        except ProcessError:
            alive = False
        named = header[layout.H_CODE_HASH], header[layout.H_CONFIG_HASH]
        if alive and named != (config["code_hash"], config["config_hash"]):
            what = "code" if named[0] != config["code_hash"] else "configuration"
            return f"{role} runs another {what}: restart everything"
    return ""


def _header(path: Path) -> list[int] | None:
    try:
        with open(path, "rb") as file:
            data = file.read(len(layout.HEADER) * layout.WORD)
    except OSError:
        return None
    words = list(memoryview(data).cast("q")) if len(data) == len(layout.HEADER) * layout.WORD else []
    return words if words and words[layout.H_MAGIC] == layout.MAGIC else None
