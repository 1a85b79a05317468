"""Journal files and checkpoints on a disk that tears and damages: believed up to the last good record, or not at all."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest

from engine import checkpoint, journal_file, state
from engine.checkpoint import Checkpoint, CheckpointError, decode, encode, tables_of
from engine.journal_file import RECORD_BYTES
from fabric import layout
from fabric.segment import Segment
from risk import tables as risk
from tests.engine.corekit import config
from tests.engine.journalkit import checkpoint_of


def some_records(count: int) -> Any:
    rows = np.random.default_rng(5).integers(-(1 << 62), 1 << 62, (count, len(layout.JOURNAL_RECORD)))
    rows[:, layout.J_SEQ] = np.arange(1, count + 1)
    return rows


def an_image(life: int = 1, position: int = 0, cash: int = 0) -> Checkpoint:
    core = state.build(config())
    core.account[risk.AC_CASH_E8] = cash
    return checkpoint_of(tables_of(core), {"life": life}, position=position)


def test_records_come_back_as_they_were() -> None:
    rows = some_records(5)
    tail = journal_file.unseal(journal_file.seal(rows, 1))
    assert np.array_equal(tail.records, rows)
    assert tail.bad == ""


def test_every_torn_length_keeps_exactly_the_whole_records(tmp_path: pathlib.Path) -> None:
    rows = some_records(4)
    raw = journal_file.seal(rows, 1)
    file = tmp_path / "f"
    for length in range(len(raw) + 1):
        file.write_bytes(raw[:length])
        tail = journal_file.read(file)
        assert np.array_equal(tail.records, rows[: length // RECORD_BYTES])
        assert bool(tail.bad) == (length % RECORD_BYTES != 0)


def test_every_changed_byte_of_the_tail_ends_the_good_records_before_it() -> None:
    rows = some_records(3)
    raw = journal_file.seal(rows, 1)
    for at in range(len(raw)):
        damaged = bytearray(raw)
        damaged[at] ^= 0x10
        tail = journal_file.unseal(bytes(damaged))
        assert len(tail.records) == at // RECORD_BYTES, at
        assert "damaged" in tail.bad


def test_zeroed_block_and_repeated_block_are_not_taken_for_records() -> None:
    raw = journal_file.seal(some_records(3), 1)
    zeroed = raw[:RECORD_BYTES] + bytes(RECORD_BYTES) + raw[2 * RECORD_BYTES :]
    repeated = raw[:RECORD_BYTES] * 2
    assert [len(journal_file.unseal(one).records) for one in (zeroed, repeated)] == [1, 1]


def test_tail_is_read_after_a_position_and_a_file_shorter_than_that_says_so(tmp_path: pathlib.Path) -> None:
    rows = some_records(6)
    file = tmp_path / "f"
    file.write_bytes(journal_file.seal(rows, 1))
    assert np.array_equal(journal_file.read(file, 4).records, rows[4:])
    assert journal_file.read(file, 6).bad == ""
    assert "ends before record 9" in journal_file.read(file, 9).bad
    assert "missing" in journal_file.read(tmp_path / "none", 1).bad
    assert journal_file.read(tmp_path / "none").bad == ""


def test_checkpoint_comes_back_as_it_was() -> None:
    image = an_image(3, 17, cash=123)
    again = decode(encode(image))
    assert again.age == (3, 17)
    assert all(np.array_equal(again.tables[name], image.tables[name]) for name in checkpoint.DURABLE)


def test_checkpoint_torn_at_any_length_or_changed_in_any_byte_is_refused() -> None:
    data = encode(an_image())
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            decode(data[:length])
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(CheckpointError):
            decode(bytes(damaged))


def test_checkpoint_whose_tables_have_other_columns_is_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(an_image())
    monkeypatch.setattr(checkpoint, "VERSION", [checkpoint.VERSION[0], checkpoint.VERSION[1] ^ 1])
    with pytest.raises(CheckpointError, match="another version"):
        decode(data)


def test_saving_never_touches_the_newest_checkpoint(tmp_path: pathlib.Path) -> None:
    for position in range(5):
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        checkpoint.save(tmp_path, an_image(1, position))
        good, bad = checkpoint.load(tmp_path)
        assert [one.position for one in good] == ([position, position - 1] if position else [0])
        assert bad == []
        unchanged = [name for name, data in before.items() if (tmp_path / name).read_bytes() == data]
        assert len(unchanged) == min(position, 1)


def test_damaged_slot_is_named_and_replaced_first(tmp_path: pathlib.Path) -> None:
    checkpoint.save(tmp_path, an_image(1, 1))
    checkpoint.save(tmp_path, an_image(1, 2))
    newest = next(f for f in tmp_path.iterdir() if decode(f.read_bytes()).position == 2)
    newest.write_bytes(newest.read_bytes()[:-1])
    good, bad = checkpoint.load(tmp_path)
    assert [one.position for one in good] == [1]
    assert newest.name in bad[0]
    checkpoint.save(tmp_path, an_image(1, 3))
    assert [one.position for one in checkpoint.load(tmp_path)[0]] == [3, 1]


def test_power_cut_before_the_rename_leaves_the_old_checkpoint(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, an_image(1, 1))

    def cut(*_: object) -> None:
        raise OSError("power")

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(OSError, match="power"):
        checkpoint.save(tmp_path, an_image(1, 2))
    assert [one.position for one in checkpoint.load(tmp_path)[0]] == [1]


@pytest.fixture
def dead_execution(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, Any]:
    """(shm, state, records): a dead execution's ring with five records, of which the file has two and a half."""
    shm, home = tmp_path / "shm", tmp_path / "state"
    shm.mkdir()
    rows = some_records(5)
    segment = Segment.create(shm, "exec", "execution")
    for row in rows:
        slot = layout.JOURNAL_RING_OFFSET + int(row[layout.J_SEQ]) % layout.JOURNAL_SLOTS * RECORD_BYTES
        for word, value in enumerate(row):
            segment.set_word(slot + word * 8, int(value))
    segment.set_word(layout.EXEC_JOURNAL_CURSOR_OFFSET, 5)
    os.close(segment.fd)
    journal_file.write_card(home, {"life": 4, "started_ns": 1})
    journal_file.path(home, 4).write_bytes(journal_file.seal(rows, 1)[: 2 * RECORD_BYTES + 60])
    return shm, home, rows


def test_what_the_ring_of_a_dead_execution_still_holds_is_saved_once(dead_execution: Any) -> None:
    shm, home, rows = dead_execution
    assert journal_file.salvage(shm, home) == 3
    assert np.array_equal(journal_file.read(journal_file.path(home, 4)).records, rows)
    assert journal_file.salvage(shm, home) == 0


def test_ring_of_an_earlier_life_is_not_mixed_in(dead_execution: Any) -> None:
    shm, home, _ = dead_execution
    journal_file.write_card(home, {"life": 5, "started_ns": 1 << 61})
    assert journal_file.salvage(shm, home) == 0
    assert not journal_file.path(home, 5).exists()
