# mypy: disable-error-code="no-untyped-call"
"""The stats segment of one process: counters, histograms, a status row and an error log that repeats cannot flood.

One writer per segment: its loop thread through the kernels of ``fabric.meters`` and its Python threads through
``StatsWriter``, on different counters. Readers never write and never reset: they keep an older snapshot and subtract.
Labels and a directory of all offsets are in the segment: any tool reads it from the path alone (docs/stats-page.md).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import threading
import time

import numpy as np
import numpy.typing as npt

from fabric import layout
from fabric.meters import bucket_of, bucket_value
from fabric.segment import Segment

_TEXT_OFFSET = 32  # of an error record: after count, first_ns, last_ns, length


@dataclasses.dataclass(frozen=True)
class Histogram:
    """A snapshot: values in ns, two significant digits."""

    buckets: npt.NDArray[np.int64]
    max_ns: int

    @property
    def count(self) -> int:
        return int(self.buckets.sum())

    def percentile(self, percent: float) -> int | None:
        """The value at or below which ``percent`` of the samples lie; None when there are none."""
        total = self.count
        if not total:
            return None
        wanted = max(1, int(np.ceil(total * percent / 100)))
        index = int(np.searchsorted(np.cumsum(self.buckets), wanted))
        return min(int(bucket_value(index)), self.max_ns)

    def __sub__(self, older: Histogram) -> Histogram:
        """What happened since ``older``; the maximum stays that of the whole run."""
        return Histogram(self.buckets - older.buckets, self.max_ns)

    def __add__(self, other: Histogram) -> Histogram:
        """Both together, e.g. one stage over several processes."""
        return Histogram(self.buckets + other.buckets, max(self.max_ns, other.max_ns))

    def summary(self) -> dict[str, int | None]:
        """count, p50, p99, p999, max in ns."""
        points = {"p50": 50.0, "p99": 99.0, "p999": 99.9}
        return {"count": self.count, **{k: self.percentile(p) for k, p in points.items()}, "max": self.max_ns or None}


class StatsWriter:
    """The writer's side, for Python threads. ``segment.address`` goes to the kernels."""

    def __init__(self, shm_dir: str | pathlib.Path, role: str, config_hash: int = 0, code_hash: int = 0) -> None:
        self.counters = layout.COUNTERS_OF_ROLE[role]
        self.histograms = layout.HISTOGRAMS_OF_ROLE[role]
        self.segment = Segment.create(shm_dir, f"stats-{role}", role, config_hash, code_hash, self._describe)
        self._raw = memoryview(self.segment.words).cast("B")
        self._errors: dict[str, int] = {}
        self._error_lock = threading.Lock()
        self.status(pid=os.getpid(), state=layout.PROCESS_STARTING, started_ns=time.monotonic_ns())

    def _describe(self, segment: Segment) -> None:
        """Directory, names and labels, before any reader can come."""
        raw = memoryview(segment.words).cast("B")
        for word, (_, value) in enumerate(layout.STATS_DIRECTORY, layout.DIRECTORY_OFFSET // layout.WORD):
            segment.words[word] = value
        names = layout.STATS_NAMES_OFFSET
        raw[names : names + len(layout.STATS_NAMES)] = layout.STATS_NAMES.encode()
        for index, label in enumerate(self.counters):
            self._label(raw, index, label)
        for index, label in enumerate(self.histograms):
            self._label(raw, layout.COUNTERS_MAX + index, label)

    @staticmethod
    def _label(raw: memoryview, index: int, label: str) -> None:
        text = label.encode()[: layout.LABEL_BYTES - 1]
        start = layout.LABELS_OFFSET + index * layout.LABEL_BYTES
        raw[start : start + len(text)] = text

    def _counter_word(self, counter: int | str) -> int:
        index = self.counters.index(counter) if isinstance(counter, str) else counter
        return (layout.COUNTERS_OFFSET + index * layout.COUNTER_STRIDE) // layout.WORD

    def add(self, counter: int | str, count: int = 1) -> None:
        self.segment.words[self._counter_word(counter)] += count

    def set(self, counter: int | str, value: int) -> None:
        self.segment.words[self._counter_word(counter)] = value

    def record(self, histogram: int | str, value_ns: int) -> None:
        index = self.histograms.index(histogram) if isinstance(histogram, str) else histogram
        base = (layout.HISTOGRAMS_OFFSET + index * layout.HISTOGRAM_STRIDE) // layout.WORD
        words = self.segment.words
        value_ns = max(0, value_ns)
        words[base + layout.HG_MAX_NS] = max(words[base + layout.HG_MAX_NS], value_ns)
        words[base + len(layout.HISTOGRAM_HEADER) + int(bucket_of(value_ns))] += 1

    def status(self, **values: int) -> None:
        """Set words of the status row by name, e.g. ``state=layout.PROCESS_RUNNING``."""
        for name, value in values.items():
            self.segment.words[layout.STATUS_OFFSET // layout.WORD + layout.STATUS_ROW.index(name)] = value

    def beat(self) -> None:
        self.segment.beat()

    def error(self, text: str) -> None:
        """Log a distinct error: a repeat raises its count, and the last record counts all that no longer fit.

        So a storm can fill neither the log nor the memory. Any thread may call it. Never pass a secret.
        """
        now = time.monotonic_ns()
        encoded = text.encode(errors="replace")[: layout.ERROR_BYTES - _TEXT_OFFSET]
        with self._error_lock:
            slot = self._errors.get(text, len(self._errors))
            if slot < layout.ERRORS_MAX - 1:
                self._errors[text] = slot
            start = layout.ERRORS_OFFSET + slot * layout.ERROR_BYTES
            words, word = self.segment.words, start // layout.WORD
            if not words[word]:
                words[word + 1] = now
            self._raw[start + _TEXT_OFFSET : start + _TEXT_OFFSET + len(encoded)] = encoded
            words[word + 2], words[word + 3] = now, len(encoded)
            words[word] += 1


@dataclasses.dataclass(frozen=True)
class LoggedError:
    count: int
    first_ns: int
    last_ns: int
    text: str


class StatsReader:
    """Any reader's side; maps the segment read-only. Raises SegmentError when it is not there."""

    def __init__(self, shm_dir: str | pathlib.Path, role: str) -> None:
        self.segment = Segment.attach(shm_dir, f"stats-{role}")
        self._words = np.frombuffer(self.segment.words, np.int64)
        raw = memoryview(self.segment.words).cast("B")

        def labels(first: int, count: int) -> list[str]:
            found = []
            for index in range(first, first + count):
                start = layout.LABELS_OFFSET + index * layout.LABEL_BYTES
                text = bytes(raw[start : start + layout.LABEL_BYTES]).split(b"\0")[0].decode("utf-8", "replace")
                if text:
                    found.append(text)
            return found

        self.counter_labels = labels(0, layout.COUNTERS_MAX)
        self.histogram_labels = labels(layout.COUNTERS_MAX, layout.HISTOGRAMS_MAX)

    def counters(self) -> dict[str, int]:
        start, stride = layout.COUNTERS_OFFSET // layout.WORD, layout.COUNTER_STRIDE // layout.WORD
        values = self._words[start : start + stride * len(self.counter_labels) : stride]
        return {label: int(value) for label, value in zip(self.counter_labels, values, strict=True)}

    def histogram(self, name: str) -> Histogram:
        index = self.histogram_labels.index(name)
        start = (layout.HISTOGRAMS_OFFSET + index * layout.HISTOGRAM_STRIDE) // layout.WORD
        first = start + len(layout.HISTOGRAM_HEADER)
        return Histogram(
            self._words[first : first + layout.HISTOGRAM_BUCKETS].copy(), int(self._words[start + layout.HG_MAX_NS])
        )

    def status(self) -> dict[str, int]:
        start = layout.STATUS_OFFSET // layout.WORD
        return {name: int(self._words[start + i]) for i, name in enumerate(layout.STATUS_ROW) if name != "_"}

    def heartbeat_age_ns(self) -> int | None:
        return self.segment.heartbeat_age_ns()

    def errors(self) -> list[LoggedError]:
        found = []
        for slot in range(layout.ERRORS_MAX):
            start = layout.ERRORS_OFFSET + slot * layout.ERROR_BYTES
            count, first, last, length = (int(v) for v in self._words[start // 8 : start // 8 + 4])
            if count:
                length = min(max(length, 0), layout.ERROR_BYTES - _TEXT_OFFSET)
                text = bytes(memoryview(self.segment.words).cast("B")[start + _TEXT_OFFSET : start + _TEXT_OFFSET + length])
                found.append(LoggedError(count, first, last, text.decode("utf-8", "replace")))
        return found
