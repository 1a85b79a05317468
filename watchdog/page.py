"""The watchdog's own stats segment, ``stats-watchdog``: it writes, the dashboard and the supervisor read.

Several threads of this process count, so ``count`` and ``record`` take a lock that nobody holds for longer than that.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import time
from pathlib import Path

from fabric import layout

ERRORS_SLOT_WORDS = layout.ERROR_BYTES // layout.WORD
WORD_MAX = (1 << 63) - 1
ERROR_TEXT_BYTES = layout.ERROR_BYTES - 4 * layout.WORD


def create_segment(shm_dir: Path, name: str, size: int) -> tuple[Path, mmap.mmap, int]:
    """A new file ``NAME.<generation>`` of zeroes with all its pages reserved: (path, map, generation). Raises OSError."""
    generations = [int(p.suffix[1:]) for p in shm_dir.glob(f"{name}.*") if p.suffix[1:].isdigit()]
    generation = max(generations, default=0) + 1
    path = shm_dir / f"{name}.{generation}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)  # a full /dev/shm is an error here, not SIGBUS later
        return path, mmap.mmap(fd, size), generation
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(fd)


def publish_link(path: Path, name: str) -> None:
    """Point the symlink ``NAME`` at ``path`` in one rename, and drop the older generations."""
    temporary = path.with_name(f".{name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.name)
    os.replace(temporary, path.with_name(name))
    for old in path.parent.glob(f"{name}.*"):
        if old.suffix[1:].isdigit() and old != path:
            with contextlib.suppress(OSError):
                old.unlink()


def boot_id() -> int:
    """63 bits of this boot's id, as every segment header has it."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return 0
    return int(text.replace("-", "").strip()[:16], 16) >> 1


def bucket(value_ns: int) -> int:
    """Index of an HdrHistogram with two significant digits: 128 buckets per power of two."""
    exponent = (value_ns | 255).bit_length() - 8
    return ((exponent + 1) << 7) + (value_ns >> exponent) - 128


class StatsPage:
    """Counters, histograms, status row and error log of role watchdog."""

    def __init__(self, shm_dir: Path, config_hash: int, code_hash: int, start: int) -> None:
        name = "stats-watchdog"
        self.path, self.map, generation = create_segment(shm_dir, name, layout.STATS_BYTES)
        self.lock_fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)  # kept open: its lock says that we live
        fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.bytes = memoryview(self.map)
        self.words = self.bytes.cast("q")
        self.lock = threading.Lock()
        header = {
            layout.H_VERSION: layout.VERSION,
            layout.H_KIND: layout.SEGMENT_STATS,
            layout.H_SCHEMA_HASH: layout.schema_hash(),
            layout.H_TOTAL_BYTES: layout.STATS_BYTES,
            layout.H_BODY_OFFSET: layout.BODY_OFFSET,
            layout.H_GENERATION: generation,
            layout.H_OWNER_PID: os.getpid(),
            layout.H_OWNER_START: start,
            layout.H_CREATED_NS: time.monotonic_ns(),
            layout.H_STATE: layout.SEGMENT_STATE_READY,
            layout.H_BOOT_ID: boot_id(),
            layout.H_CONFIG_HASH: config_hash,
            layout.H_CODE_HASH: code_hash,
            layout.H_ROLE: layout.ROLE_WATCHDOG,
        }
        for word, value in header.items():
            self.words[word] = value
        self.words[layout.H_CHECKSUM] = layout.header_checksum(self.words)
        for word, (_, value) in enumerate(layout.STATS_DIRECTORY, layout.DIRECTORY_OFFSET // layout.WORD):
            self.words[word] = value
        names = layout.STATS_NAMES_OFFSET
        self.bytes[names : names + len(layout.STATS_NAMES)] = layout.STATS_NAMES.encode()
        for index, label in enumerate(layout.WATCHDOG_COUNTERS):
            self._label(index, label)
        for index, label in enumerate(layout.WATCHDOG_HISTOGRAMS):
            self._label(layout.COUNTERS_MAX + index, label)
        self.status(layout.P_PID, os.getpid())
        self.status(layout.P_STARTED_NS, time.monotonic_ns())
        self.status(layout.P_GENERATION, generation)
        self.status(layout.P_CPU, -1)
        self.status(layout.P_STATE, layout.PROCESS_STARTING)
        self.words[layout.H_MAGIC] = layout.MAGIC
        publish_link(self.path, name)

    def _label(self, index: int, label: str) -> None:
        offset = layout.LABELS_OFFSET + index * layout.LABEL_BYTES
        self.bytes[offset : offset + len(label)] = label.encode()

    def heartbeat(self, now_ns: int) -> None:
        self.words[layout.HEARTBEAT_OFFSET // layout.WORD] = now_ns
        self._add(layout.STATUS_OFFSET // layout.WORD + layout.P_PASSES, 1)

    def status(self, word: int, value: int) -> None:
        self.words[layout.STATUS_OFFSET // layout.WORD + word] = value

    def set(self, counter: int, value: int) -> None:
        self.words[(layout.COUNTERS_OFFSET + counter * layout.COUNTER_STRIDE) // layout.WORD] = value

    def count(self, counter: int, amount: int = 1) -> None:
        with self.lock:
            self._add((layout.COUNTERS_OFFSET + counter * layout.COUNTER_STRIDE) // layout.WORD, amount)

    def _add(self, word: int, amount: int) -> None:
        """A word that somebody has damaged wraps and stays positive: counting must never end the watchdog."""
        self.words[word] = (self.words[word] + amount) & WORD_MAX

    def record(self, histogram: int, value_ns: int) -> None:
        base = (layout.HISTOGRAMS_OFFSET + histogram * layout.HISTOGRAM_STRIDE) // layout.WORD
        index = bucket(max(value_ns, 0))
        with self.lock:
            if index < layout.HISTOGRAM_BUCKETS:
                self._add(base + len(layout.HISTOGRAM_HEADER) + index, 1)
            else:
                self._add(base + layout.HG_COUNT_OVER, 1)
            self.words[base + layout.HG_MAX_NS] = max(self.words[base + layout.HG_MAX_NS], value_ns)

    def error(self, text: str) -> None:
        """Put one line into the error log; the same text again only counts. A full log keeps its oldest lines."""
        data = text.encode()[:ERROR_TEXT_BYTES]
        now = time.monotonic_ns()
        with self.lock:
            for slot in range(layout.ERRORS_MAX):
                offset = layout.ERRORS_OFFSET + slot * layout.ERROR_BYTES
                word = offset // layout.WORD
                body = offset + 4 * layout.WORD
                length = self.words[word + 3]
                if length == 0:
                    self.bytes[body : body + len(data)] = data
                    self.words[word + 1] = now
                    self.words[word + 3] = len(data)
                elif bytes(self.bytes[body : body + length]) != data:
                    continue
                self.words[word + 2] = now
                self._add(word, 1)
                return
