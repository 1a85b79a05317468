"""The journal process on a real ring: file, checkpoint, going on after its own death, and a disk that fails."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
from typing import Any

import numpy as np
import pytest

from engine import checkpoint, journal, journal_file, restart
from engine.journal import Journal
from engine.journal_file import RECORD_BYTES
from fabric import layout
from fabric.segment import Segment
from tests.engine.corekit import config
from tests.engine.journalkit import Journaled, durable


class House:
    """A run directory with a life begun and its ``exec`` segment; ``publish`` is what the loop does."""

    def __init__(self, root: pathlib.Path) -> None:
        self.run_dir, self.state_dir, shm = root / "run", root / "state", root / "shm"
        for directory in (self.run_dir, self.state_dir, shm):
            directory.mkdir()
        own = {"state_dir": str(self.state_dir), "shm_dir": str(shm), "placement": {"house": list(os.sched_getaffinity(0))}}
        hashes = {"mode": "live", "venue": {"rest_url": "x"}, "config_hash": 1, "code_hash": 2}
        self.config = config() | own | hashes
        (self.run_dir / "config.json").write_text(json.dumps(self.config))
        self.life = restart.begin(self.config, restart.clock(), say=lambda line: None)
        self.execution = Segment.create(shm, "exec", "execution")
        self.published = 0

    def publish(self, batch: Any) -> None:
        for row in batch:
            self.published += 1
            slot = layout.JOURNAL_RING_OFFSET + self.published % layout.JOURNAL_SLOTS * RECORD_BYTES
            for word, value in enumerate([self.published, *row[1:]]):
                self.execution.set_word(slot + word * 8, int(value))
        self.execution.set_word(layout.EXEC_JOURNAL_CURSOR_OFFSET, self.published)

    @property
    def file(self) -> pathlib.Path:
        return journal_file.path(self.state_dir, 1)


@pytest.fixture
def house(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> House:
    class Once:
        """Terminated at the second look: the first one waits for execution."""

        def __init__(self, shm_dir: str) -> None:
            self._looks = 0

        @property
        def terminated(self) -> bool:
            self._looks += 1
            return self._looks > 1

    monkeypatch.setattr(journal, "StopRequest", Once)
    return House(tmp_path)


@pytest.fixture
def run(house: House) -> Journaled:
    """A run that begins as the house's life does and then trades a little."""
    r = Journaled()
    r.records.clear()
    r.c.scalars[:] = house.life.core.scalars
    for name in ("account", "positions", "seen_trades"):
        getattr(r.c, name)[:] = getattr(house.life.core, name)
    r.c.scalars[3] = 0
    return r


def trade(run: Journaled, number: int) -> Any:
    """Some more records: a fill of nobody's order, which any start can fold."""
    done = len(run.records)
    run.event("fill", order_id=5, trade_id=number, instrument=0, side=0, lots=2, price_ticks=1_000_000)
    run.commands()
    return run.batch()[done:]


def test_records_are_sealed_in_the_file_and_folded_into_the_last_checkpoint(house: House, run: Journaled) -> None:
    house.publish(trade(run, 1))
    assert Journal(str(house.run_dir)).run() == 0
    tail = journal_file.read(house.file)
    assert (len(tail.records), tail.bad) == (house.published, "")
    newest = checkpoint.load(house.state_dir)[0][0]
    assert newest.age == (1, house.published)
    assert newest.tables["positions"][0, 0] == 2


def test_restarted_journal_goes_on_and_takes_a_torn_record_from_the_ring_again(house: House, run: Journaled) -> None:
    house.publish(trade(run, 1))
    first = Journal(str(house.run_dir))
    fd = first._open(house.execution)
    first._step(house.execution, fd)
    os.close(fd)  # killed: no checkpoint of its own
    house.file.write_bytes(house.file.read_bytes()[:-5])
    house.publish(trade(run, 2))
    second = Journal(str(house.run_dir))
    assert second.run() == 0
    records = journal_file.read(house.file).records
    assert np.array_equal(records[:, 1:], run.batch()[:, 1:])
    found = restart.resume(house.config, house.state_dir)
    assert found is not None
    assert durable(found[1].core)["positions"] == durable(run.c)["positions"]


def test_damaged_file_stops_new_orders_instead_of_being_cut(house: House, run: Journaled) -> None:
    house.publish(trade(run, 1))
    house.publish(trade(run, 2))
    first = Journal(str(house.run_dir))
    first._step(house.execution, first._open(house.execution))
    raw = bytearray(house.file.read_bytes())
    raw[70] ^= 1
    house.file.write_bytes(raw)
    second = Journal(str(house.run_dir))
    assert second.run() == 1
    assert second.segment.word(layout.JOURNAL_PROGRESS_OFFSET + layout.JP_FAILED * 8) == 1
    assert house.file.read_bytes() == bytes(raw)


def test_disk_that_fails_is_said_in_the_failed_word(house: House, run: Journaled, monkeypatch: pytest.MonkeyPatch) -> None:
    house.publish(trade(run, 1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "write_all", full)
    process = Journal(str(house.run_dir))
    assert process.run() == 1
    assert process.segment.word(layout.JOURNAL_PROGRESS_OFFSET + layout.JP_FAILED * 8) == 1
    assert process.segment.word(layout.JOURNAL_PROGRESS_OFFSET + layout.JP_CONSUMED * 8) == 0


def test_records_of_each_life_have_a_file_of_their_own(house: House, run: Journaled) -> None:
    house.publish(trade(run, 1))
    assert Journal(str(house.run_dir)).run() == 0
    for life in (2, 3):
        restart.begin(house.config, restart.clock(), say=lambda line: None)
        house.execution = Segment.create(house.config["shm_dir"], "exec", "execution")
        house.published = 0
        house.publish(trade(run, life))
        assert Journal(str(house.run_dir)).run() == 0
    sizes = [len(journal_file.read(journal_file.path(house.state_dir, life)).records) for life in (1, 2, 3)]
    assert sizes == [2, 2, 2]
    found = restart.resume(house.config, house.state_dir)
    assert found is not None
    assert found[1].core.positions[0, 0] == 6


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "died"])
def test_a_death_of_execution_is_told_from_an_end_in_order(
    house: House, run: Journaled, closed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ends:
        """The first look waits for execution; at the second one it has ended, and the kernel has dropped its lock."""

        def __init__(self, shm_dir: str) -> None:
            self._looks = 0

        @property
        def terminated(self) -> bool:
            self._looks += 1
            if self._looks == 2:
                fcntl.flock(house.execution.fd, fcntl.LOCK_UN)
            return False

    monkeypatch.setattr(journal, "StopRequest", Ends)
    batch = trade(run, 1)
    house.publish(batch)
    if closed:
        house.execution.enter(layout.SEGMENT_STATE_CLOSED)
    assert Journal(str(house.run_dir)).run() == 0
    said = capsys.readouterr().out
    assert said == ("" if closed else f"journal: execution died; all {len(batch)} records that it had published are written\n")
    assert len(journal_file.read(house.file).records) == len(batch)
