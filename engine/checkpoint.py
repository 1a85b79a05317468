"""The checkpoint: the folded tables as of one record of one journal file, in a file that is either whole or refused.

Written by the starting execution process once (before its segment exists) and from then on by the journal process, to the
older one of two slots: temporary file, fsync, rename, fsync of the directory. So the newest or the one before it is whole
whatever happens, and the journal is synced before the checkpoint that refers to it.

    "PULEXCP1" | u64 header bytes | header, JSON | tables, int64, zlib | CRC-32 of everything before, u64
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import journal_file
from engine import tables as columns
from engine.tables import Core
from risk import tables as risk

MAGIC = b"PULEXCP1"
_COLUMNS = (
    *(columns.CORE_SCALARS, columns.ORDER, columns.SIGNAL_ROW),
    *(risk.INSTRUMENT, risk.BOOK, risk.LIMIT, risk.ACCOUNT, risk.POSITION, risk.OWNER, risk.SUBBOOK),
)
VERSION = [3, zlib.crc32(repr(_COLUMNS).encode())]  # the second: of all columns, so that no change of them can be forgotten
SLOTS = ("checkpoint-0.bin", "checkpoint-1.bin")
# What a restart needs; the other tables of a core are empty at the start of a life.
DURABLE = (
    "scalars",
    "instruments",
    "books",
    "limits",
    "account",
    "positions",
    "owners",
    "subbooks",
    "orders",
    "signals",
    "seen_trades",
    "signal_ids",
)
Tables = dict[str, npt.NDArray[np.int64]]


class CheckpointError(ValueError):
    """The file is no whole checkpoint of this version; one line."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """``card`` is the card of the life that it belongs to, ``position`` the last record that is in the tables.

    ``last_ns`` is CLOCK_MONOTONIC of the boot ``boot_id``; ``absent`` keeps the rows of owners that are not configured now.
    """

    card: dict[str, Any]
    position: int
    last_ns: int
    wall_ns: int
    boot_id: int
    trades: tuple[int, ...]
    absent: dict[str, list[int]]
    tables: Tables

    @property
    def age(self) -> tuple[int, int]:
        """Orders checkpoints: the life, then the position."""
        return int(self.card["life"]), self.position


def tables_of(core: Core) -> Tables:
    """Copies of the durable tables."""
    return {name: getattr(core, name).copy() for name in DURABLE}


def encode(checkpoint: Checkpoint) -> bytes:
    """The bytes of the file."""
    header = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint) if field.name != "tables"}
    header |= {"version": VERSION, "shapes": {name: list(checkpoint.tables[name].shape) for name in DURABLE}}
    text = json.dumps(header).encode()
    payload = zlib.compress(b"".join(np.ascontiguousarray(checkpoint.tables[name]).tobytes() for name in DURABLE), 1)
    data = MAGIC + len(text).to_bytes(8, "little") + text + payload
    return data + zlib.crc32(data).to_bytes(8, "little")


def decode(data: bytes) -> Checkpoint:
    """Raises CheckpointError."""
    if data[:8] != MAGIC:
        raise CheckpointError("it does not begin as a checkpoint")
    body, stored = data[:-8], int.from_bytes(data[-8:], "little")
    if len(data) < 32 or zlib.crc32(body) != stored:
        raise CheckpointError("its checksum is wrong: it is torn or damaged")
    length = int.from_bytes(body[8:16], "little")
    header = json.loads(body[16 : 16 + length])
    if header.pop("version") != VERSION:
        raise CheckpointError("it is of another version of Pulex")
    raw = zlib.decompress(body[16 + length :])
    shapes, found, at = header.pop("shapes"), {}, 0
    if tuple(shapes) != DURABLE:
        raise CheckpointError("it holds other tables than this version of Pulex")
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * 8
        found[name] = np.frombuffer(raw[at : at + size], np.int64).reshape(shape).copy()
        at += size
    header["trades"] = tuple(header["trades"])
    return Checkpoint(**header, tables=found)


def load(state_dir: str | pathlib.Path) -> tuple[list[Checkpoint], list[str]]:
    """Whole checkpoints, newest first, and one line for each file that is none."""
    good, bad = [], []
    for slot in SLOTS:
        file = pathlib.Path(state_dir) / slot
        try:
            good.append(decode(file.read_bytes()))
        except FileNotFoundError:
            continue
        except (OSError, CheckpointError) as error:
            bad.append(f"{file.name}: {error}")
    return sorted(good, key=lambda one: one.age, reverse=True), bad


def save(state_dir: str | pathlib.Path, checkpoint: Checkpoint) -> None:
    """Replace the slot that is not the newest whole one; durable on return. Raises OSError."""
    directory = pathlib.Path(state_dir)
    ages: list[tuple[int, int]] = []
    for slot in SLOTS:
        try:
            ages.append(decode((directory / slot).read_bytes()).age)
        except (OSError, CheckpointError):
            ages.append((-1, -1))
    journal_file.write_durable(directory / SLOTS[ages.index(min(ages))], encode(checkpoint))
