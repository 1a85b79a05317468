"""The journal process, ``python -m engine.journal RUN_DIR``: execution's lossless ring to a file, in order.

Reads ``exec``; writes ``journal`` (its position, which lets the ring be reused), ``stats-journal`` and
``state/journal/exec-<generation>-<created_ns>.bin``: 128-byte records (``layout.JOURNAL_RECORD``), nothing else. The position
moves after ``write``, so a killed journal loses nothing that it had taken; a restarted one goes on at the end of the file.
A disk that fails is said in the ``failed`` word: execution then stops new orders, and cancels pass.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time

import numpy as np
import numpy.typing as npt

from fabric import jit, layout, rings
from fabric.child import StopRequest, load_config, place
from fabric.segment import Segment, SegmentError
from fabric.stats import StatsWriter

BATCH = 1024
RECORD_BYTES = len(layout.JOURNAL_RECORD) * layout.WORD
SYNC_EVERY_NS = 50_000_000
IDLE_S = 0.001
WAIT_S = 120.0


def journal_path(state_dir: str, exec_segment: Segment) -> pathlib.Path:
    """One file per execution process."""
    created_ns = exec_segment.words[layout.H_CREATED_NS]
    return pathlib.Path(state_dir) / "journal" / f"exec-{exec_segment.generation}-{created_ns}.bin"


def read_journal(path: pathlib.Path) -> npt.NDArray[np.int64]:
    """All whole records of a file, (n, len(JOURNAL_RECORD)); a torn last one is left out."""
    raw = path.read_bytes()
    whole = len(raw) // RECORD_BYTES * RECORD_BYTES
    return np.frombuffer(raw[:whole], np.int64).reshape(-1, len(layout.JOURNAL_RECORD))


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
        path = journal_path(self.config["state_dir"], execution)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size // RECORD_BYTES * RECORD_BYTES
        os.ftruncate(fd, size)  # a torn last record was never acknowledged: it is still in the ring
        os.lseek(fd, size, os.SEEK_SET)
        self._next = size // RECORD_BYTES + 1
        self._word(layout.JP_CONSUMED, self._next - 1)
        self._word(layout.JP_EXEC_GENERATION, execution.generation)  # last: pairs with engine.journaling
        return fd

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
            _write_all(fd, self._batch[:count].tobytes())
            self._next += count
            rings.lossless_done(
                self.segment.address + layout.JOURNAL_PROGRESS_OFFSET + layout.JP_CONSUMED * layout.WORD, self._next - 1
            )
            self.stats.add("records", count)
            self.stats.add("bytes", count * RECORD_BYTES)
        return count

    def run(self) -> int:
        self.stats.status(state=layout.PROCESS_READY, generation=self.segment.generation)
        execution = self._wait_for_execution()
        if execution is None:
            self.stats.status(state=layout.PROCESS_STOPPED)
            return 0
        fd = self._open(execution)
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
            except OSError as error:
                self._word(layout.JP_FAILED, 1)
                self.stats.add("write_errors")
                self.stats.error(f"journal: {error.strerror}; free space in the state directory, then restart")
                self.stats.status(state=layout.PROCESS_FAILED)
                print(f"journal: cannot write: {error.strerror}; new orders are blocked", flush=True)
                return 1
            if count == 0:
                if self.stop.terminated or (not execution.owner_alive() and not self._left(execution)):
                    break
                time.sleep(IDLE_S)
        if execution.state != layout.SEGMENT_STATE_CLOSED and not execution.owner_alive():
            print(f"journal: execution died; all {self._next - 1} records that it had published are written", flush=True)
        os.fsync(fd)
        self._word(layout.JP_SYNCED, self._next - 1)
        self.stats.status(state=layout.PROCESS_STOPPED)
        return 0

    def _left(self, execution: Segment) -> bool:
        return execution.word(layout.EXEC_JOURNAL_CURSOR_OFFSET) >= self._next


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    sys.exit(Journal(sys.argv[1]).run())
