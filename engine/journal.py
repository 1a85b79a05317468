"""The journal process, ``python -m engine.journal RUN_DIR``: execution's lossless ring to a file, in order.

Reads ``exec``; writes ``journal`` (its position, which lets the ring be reused), ``stats-journal``,
``state/journal/exec-<life>.bin`` (``engine.journal_file``) and the checkpoints that a restart begins with: the records it
has written, folded (``engine.fold``). The position moves after ``write``, so a killed journal loses nothing that it had
taken; a restarted one goes on at the end of the file. A disk that fails is said in the ``failed`` word: execution then stops
new orders, and cancels pass.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
import sys
import time

import numpy as np
import numpy.typing as npt

from engine import checkpoint, journal_file, restart
from engine.fold import Fold
from engine.journal_file import RECORD_BYTES, write_all
from fabric import jit, layout, rings
from fabric.child import StopRequest, load_config, place
from fabric.segment import Segment, SegmentError
from fabric.stats import StatsWriter
from watchdog.latch import sync_directory

BATCH = 1024
SYNC_EVERY_NS = 50_000_000
CHECKPOINT_EVERY_NS = 5_000_000_000
PENDING_MAX = 256  # batches that are written and not yet folded
IDLE_S = 0.001
WAIT_S = 120.0


def read_journal(path: pathlib.Path) -> npt.NDArray[np.int64]:
    """All good records of a file, (n, len(JOURNAL_RECORD)); a torn or damaged end is left out."""
    return journal_file.read(path).records


class Journal:
    def __init__(self, run_dir: str) -> None:
        config = load_config(run_dir)
        self.config = config
        place(config["placement"]["house"])
        hashes = {"config_hash": config["config_hash"], "code_hash": config["code_hash"]}
        self.stats = StatsWriter(config["shm_dir"], "journal", **hashes)
        self.segment = Segment.create(config["shm_dir"], "journal", "journal", **hashes)
        self.stop = StopRequest(config["shm_dir"])
        self._batch = np.zeros((BATCH, len(layout.JOURNAL_RECORD)), np.int64)
        self._next = 1
        self._pending: list[npt.NDArray[np.int64]] = []

    def _word(self, index: int, value: int) -> None:
        self.segment.set_word(layout.JOURNAL_PROGRESS_OFFSET + index * layout.WORD, value)

    def _wait_for_execution(self) -> Segment | None:
        deadline = time.monotonic() + WAIT_S
        while not self.stop.terminated and time.monotonic() < deadline:
            self.stats.beat()
            self.segment.beat()
            try:
                segment = Segment.attach(self.config["shm_dir"], "exec")
            except SegmentError:
                time.sleep(0.02)
                continue
            if segment.owner_alive():
                return segment
            os.close(segment.fd)
            time.sleep(0.02)
        return None

    def _open(self, execution: Segment) -> int:
        """The file of this life, and the tables as they are at its end. Raises OSError for a damaged file."""
        state_dir = self.config["state_dir"]
        newest = checkpoint.load(state_dir)[0][0]
        self._newest, self._checkpoint_ns = newest, time.monotonic_ns()
        self._fold = Fold(restart.bare(self.config, newest), newest.position, newest.last_ns, newest.trades)
        path = journal_file.path(state_dir, newest.age[0])
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        tail = journal_file.read(path, newest.position)
        self._fold.apply(tail.records)
        self._next = self._fold.position + 1
        if os.fstat(fd).st_size // RECORD_BYTES >= self._next:
            raise OSError(errno.EIO, f"{path.name}: {tail.bad}")
        os.ftruncate(fd, self._fold.position * RECORD_BYTES)  # a torn last record was never acknowledged: it is in the ring
        os.lseek(fd, 0, os.SEEK_END)
        sync_directory(path.parent)
        self._word(layout.JP_CONSUMED, self._next - 1)
        self._word(layout.JP_EXEC_GENERATION, execution.generation)  # last: pairs with engine.journaling
        return fd

    def _checkpoint(self, fd: int) -> None:
        """The records first, then the tables that stand for them."""
        self._catch_up(len(self._pending))
        os.fdatasync(fd)
        fold, newest = self._fold, self._newest
        clock = restart.clock()
        self._newest = dataclasses.replace(
            newest,
            position=fold.position,
            last_ns=clock.mono_ns,  # of the same moment as wall_ns: so the age of the state is known after another boot
            wall_ns=clock.wall_ns,
            trades=fold.trades,
            tables=checkpoint.tables_of(fold.core),
        )
        checkpoint.save(self.config["state_dir"], self._newest)
        self._checkpoint_ns = time.monotonic_ns()

    def _catch_up(self, batches: int) -> None:
        """Fold the oldest of what was written."""
        for batch in self._pending[:batches]:
            self._fold.apply(batch)
        del self._pending[:batches]

    def _step(self, execution: Segment, fd: int) -> int:
        base = execution.address
        count = int(
            rings.lossless_drain(
                base + layout.EXEC_JOURNAL_CURSOR_OFFSET,
                base + layout.JOURNAL_RING_OFFSET,
                layout.JOURNAL_SLOTS,
                self._next,
                self._batch,
            )
        )
        if count:
            write_all(fd, journal_file.seal(self._batch[:count], self._next))
            self._next += count
            rings.lossless_done(
                self.segment.address + layout.JOURNAL_PROGRESS_OFFSET + layout.JP_CONSUMED * layout.WORD, self._next - 1
            )
            self._pending.append(self._batch[:count].copy())
            self.stats.add("records", count)
            self.stats.add("bytes", count * RECORD_BYTES)
        return count

    def run(self) -> int:
        self.stats.status(state=layout.PROCESS_READY, generation=self.segment.generation)
        execution = self._wait_for_execution()
        if execution is None:
            self.stats.status(state=layout.PROCESS_STOPPED)
            return 0
        try:
            fd = self._open(execution)
        except OSError as error:
            return self._fail(error)
        self.stats.status(state=layout.PROCESS_RUNNING, cache_misses=jit.cache_misses())
        synced_ns, dirty = time.monotonic_ns(), False
        while True:
            self.stats.beat()
            self.segment.beat()
            try:
                count = self._step(execution, fd)
                now_ns = time.monotonic_ns()
                dirty = dirty or count > 0
                if dirty and now_ns - synced_ns > SYNC_EVERY_NS:
                    os.fdatasync(fd)
                    self.stats.record("sync", time.monotonic_ns() - now_ns)
                    self.stats.add("syncs")
                    synced_ns, dirty = now_ns, False
                    self._word(layout.JP_SYNCED, self._next - 1)
                if count == 0 or len(self._pending) > PENDING_MAX:  # in a burst others need the cpu more
                    self._catch_up(1)
                if now_ns - self._checkpoint_ns > CHECKPOINT_EVERY_NS and self._next - 1 > self._newest.position:
                    self._checkpoint(fd)
            except OSError as error:
                return self._fail(error)
            if count == 0:
                if self.stop.terminated or (not execution.owner_alive() and not self._left(execution)):
                    break
                time.sleep(IDLE_S)
        if execution.state != layout.SEGMENT_STATE_CLOSED and not execution.owner_alive():
            print(f"journal: execution died; all {self._next - 1} records that it had published are written", flush=True)
        os.fsync(fd)
        self._checkpoint(fd)
        self._word(layout.JP_SYNCED, self._next - 1)
        self.stats.status(state=layout.PROCESS_STOPPED)
        return 0

    def _fail(self, error: OSError) -> int:
        self._word(layout.JP_FAILED, 1)
        self.stats.add("write_errors")
        self.stats.error(f"journal: {error.strerror}; free space in the state directory, then restart")
        self.stats.status(state=layout.PROCESS_FAILED)
        print(f"journal: cannot write: {error.strerror}; new orders are blocked", flush=True)
        return 1

    def _left(self, execution: Segment) -> bool:
        return execution.word(layout.EXEC_JOURNAL_CURSOR_OFFSET) >= self._next


if __name__ == "__main__":
    sys.exit(Journal(sys.argv[1]).run())
