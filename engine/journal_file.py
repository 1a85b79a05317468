"""The journal's file: 128-byte records, each sealed, so that what a crash has torn or a disk has changed is never believed.

Word 0 of a record holds its sequence (from 1, without gaps) and above it a CRC-32 of the whole record; the other words
are ``layout.JOURNAL_RECORD``. The journal process alone writes; a reader takes records up to the first one that is torn,
damaged or out of sequence, and says which that is. Next to each file lies its card, ``exec-<life>.json``: which
configuration, code, instruments and owners the numbers in it mean. A *life* is one execution process; lives are counted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from fabric import layout
from fabric.segment import Segment, SegmentError
from watchdog.latch import sync_directory

Records = npt.NDArray[np.int64]
RECORD_WORDS = len(layout.JOURNAL_RECORD)
RECORD_BYTES = RECORD_WORDS * layout.WORD
SEQUENCE_BITS = 31
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


@dataclasses.dataclass(frozen=True)
class Tail:
    """Good records in order, and in words what came after them ("" = nothing)."""

    records: Records
    bad: str


def directory(state_dir: str | pathlib.Path) -> pathlib.Path:
    return pathlib.Path(state_dir) / "journal"


def path(state_dir: str | pathlib.Path, life: int) -> pathlib.Path:
    """The records of one life."""
    return directory(state_dir) / f"exec-{life:06d}.bin"


def seal(records: Records, first: int) -> bytes:
    """What goes to the file for records that are the ``first`` and following ones of it."""
    sealed = np.ascontiguousarray(records).copy()
    sealed[:, layout.J_SEQ] = np.arange(first, first + len(sealed))
    raw = sealed.tobytes()
    sums = [zlib.crc32(raw[at : at + RECORD_BYTES]) for at in range(0, len(raw), RECORD_BYTES)]
    sealed[:, layout.J_SEQ] |= np.array(sums, np.int64) << SEQUENCE_BITS
    return sealed.tobytes()


def unseal(raw: bytes, first: int = 1) -> Tail:
    """The good records at the start of ``raw``, whose first one must be number ``first``; their word 0 is the number alone."""
    whole = len(raw) // RECORD_BYTES
    records = np.frombuffer(raw[: whole * RECORD_BYTES], np.int64).reshape(-1, RECORD_WORDS).copy()
    sums = records[:, layout.J_SEQ] >> SEQUENCE_BITS
    records[:, layout.J_SEQ] &= SEQUENCE_MASK
    plain = records.tobytes()
    for k in range(whole):
        at = k * RECORD_BYTES
        if records[k, layout.J_SEQ] != first + k or zlib.crc32(plain[at : at + RECORD_BYTES]) != sums[k]:
            return Tail(records[:k], f"record {first + k} is damaged; {whole - k} records from there on are not used")
    torn = len(raw) - whole * RECORD_BYTES
    return Tail(records, f"the last record is torn after {torn} of {RECORD_BYTES} bytes" if torn else "")


def read(file: pathlib.Path, after: int = 0) -> Tail:
    """Good records from number ``after`` + 1 on. A missing file has none; one that is too short says so."""
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(after * RECORD_BYTES)
            tail = unseal(stream.read(), after + 1)
    except FileNotFoundError:
        return Tail(np.zeros((0, RECORD_WORDS), np.int64), "the file is missing" if after else "")
    if size < after * RECORD_BYTES:
        return Tail(tail.records, f"it ends before record {after}")
    return tail


def has_records(file: pathlib.Path) -> bool:
    """Whether its first record is a good one."""
    try:
        with file.open("rb") as stream:
            return unseal(stream.read(RECORD_BYTES)).records.size > 0
    except FileNotFoundError:
        return False


def salvage(shm_dir: str | pathlib.Path, state_dir: str | pathlib.Path) -> int:
    """Append to its file what a dead execution had published and no journal process had taken; how many records.

    After a SIGKILL of the whole house the last milliseconds are still in shared memory. Called before dead segments are
    removed, so the segment found there is that of the newest life.
    """
    lives = cards(state_dir)
    try:
        segment = Segment.attach(shm_dir, "exec")
    except SegmentError:
        return 0
    life = max(lives, default=0)
    if not life or segment.owner_alive() or segment.words[layout.H_CREATED_NS] < lives[life].get("started_ns", 1 << 62):
        return 0
    file = path(state_dir, life)
    have = len(read(file).records)
    published = segment.word(layout.EXEC_JOURNAL_CURSOR_OFFSET)
    if not 0 < published - have <= layout.JOURNAL_SLOTS:
        return 0
    first = layout.JOURNAL_RING_OFFSET // layout.WORD
    ring = np.array(segment.words[first : first + layout.JOURNAL_SLOTS * RECORD_WORDS], np.int64).reshape(-1, RECORD_WORDS)
    wanted = np.arange(have + 1, published + 1)
    records = ring[wanted & (layout.JOURNAL_SLOTS - 1)]
    if not (records[:, layout.J_SEQ] == wanted).all():
        return 0
    with file.open("r+b" if file.exists() else "w+b") as stream:
        stream.truncate(have * RECORD_BYTES)
        stream.seek(0, os.SEEK_END)
        stream.write(seal(records, have + 1))
        stream.flush()
        os.fsync(stream.fileno())
    return len(records)


def write_durable(file: pathlib.Path, data: bytes) -> None:
    """Replace ``file`` atomically; on return the new bytes survive a power cut. Raises OSError."""
    temporary = file.with_name(f".{file.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, file)
    sync_directory(file.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Every byte, or OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_card(state_dir: str | pathlib.Path, card: dict[str, Any]) -> None:
    """The card of a life, durable before its first record."""
    directory(state_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durable(path(state_dir, card["life"]).with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())


def cards(state_dir: str | pathlib.Path) -> dict[int, dict[str, Any]]:
    """Every life's card by its number, ascending; one that cannot be read is an empty card."""
    found: dict[int, dict[str, Any]] = {}
    for file in sorted(directory(state_dir).glob("exec-*.json")):
        number = file.stem.removeprefix("exec-")
        if number.isdecimal():
            try:
                found[int(number)] = json.loads(file.read_text())
            except (OSError, ValueError):
                found[int(number)] = {}
    return found
