# mypy: disable-error-code="no-untyped-call"
"""The stats page describes itself: a program that knows its path and no file of Pulex prints all of it."""

from __future__ import annotations

import os
import pathlib
import random
import re
import runpy
import subprocess
import sys
from collections.abc import Callable

import pytest

from fabric import layout, meters
from fabric.segment import Segment
from fabric.stats import StatsReader, StatsWriter
from watchdog.page import StatsPage

ROOT = pathlib.Path(layout.__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "read_stats.py"
DIRECTORY = dict(layout.STATS_DIRECTORY)
DIRECTORY_BYTES = layout.WORD * len(DIRECTORY)


@pytest.fixture
def writer(tmp_path: pathlib.Path) -> StatsWriter:
    writer = StatsWriter(tmp_path, "execution")
    writer.set("fills", 42)
    writer.set("halts", -3)
    for value in range(1, 2001):
        meters.record(writer.segment.address, layout.EH_ACK, value * 1000)
    writer.error("venue closed the session")
    writer.error("venue closed the session")
    writer.status(state=layout.PROCESS_RUNNING, cpu=1)
    writer.beat()
    return writer


def printed(path: pathlib.Path) -> str:
    """What the example prints, far from this house and without its modules."""
    command = [sys.executable, "-I", str(EXAMPLE), str(path)]
    return subprocess.run(command, cwd="/", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True).stdout


def test_a_process_of_its_own_prints_what_our_reader_reads(tmp_path: pathlib.Path, writer: StatsWriter) -> None:
    lines = printed(tmp_path / "stats-execution").splitlines()
    reader = StatsReader(tmp_path, "execution")
    counters = {line.split()[1]: int(line.split()[2]) for line in lines if line.startswith("counter ")}
    assert counters == reader.counters()
    assert (counters["fills"], counters["halts"]) == (42, -3)
    ack = reader.histogram("ack").summary()
    assert f"histogram ack count 2000 p50 {ack['p50']} p99 {ack['p99']} p99.9 {ack['p999']} max 2000000" in lines
    assert [line.split()[1] for line in lines if line.startswith("histogram")] == list(layout.EXEC_HISTOGRAMS)
    assert {"status state running", "status cpu 1", f"status pid {os.getpid()}"} < set(lines)
    (error,) = reader.errors()
    assert f"error x2 first {error.first_ns} last {error.last_ns}: {error.text}" in lines
    assert re.fullmatch(r"heartbeat \d+\.\d ms ago", lines[0])


def test_the_watchdogs_own_page_describes_itself_too(tmp_path: pathlib.Path) -> None:
    page = StatsPage(tmp_path, 1, 2, 3)
    page.set(layout.WC_RENEWALS, 9)
    page.record(layout.WH_POLL, 500)
    page.error("poll: refused")
    lines = printed(tmp_path / "stats-watchdog").splitlines()
    assert lines[0] == "heartbeat never"
    poll = "histogram poll count 1 p50 500 p99 500 p99.9 500 max 500"
    assert {"counter renewals 9", poll, "status state starting"} < set(lines)
    assert lines[-1].endswith("poll: refused")
    assert StatsReader(tmp_path, "watchdog").counters()["renewals"] == 9  # its header passes the ladder


def test_the_directory_says_where_the_layout_puts_things() -> None:
    assert DIRECTORY["words"] == len(DIRECTORY)
    assert 1 << DIRECTORY["half_bits"] == next(index for index in range(999) if meters.bucket_value(index) != index) // 2
    assert DIRECTORY["max_in_histogram"] == layout.HG_MAX_NS * layout.WORD
    assert DIRECTORY["over_in_histogram"] == layout.HG_COUNT_OVER * layout.WORD
    assert all(value % layout.WORD == 0 for name, value in DIRECTORY.items() if name in ("counters", "histograms", "errors"))


def test_the_documentation_names_every_word_of_the_directory_in_order() -> None:
    named = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "docs" / "stats-page.md").read_text(), re.MULTILINE)
    assert [(int(number), name) for number, name in named] == list(enumerate(DIRECTORY))


# --- Damaged pages ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def show() -> Callable[[str], None]:
    function: Callable[[str], None] = runpy.run_path(str(EXAMPLE))["show"]
    return function


@pytest.mark.parametrize("pattern", [0x01, 0x80, 0xFF], ids=hex)
def test_a_damaged_directory_is_an_error_or_wrong_text_and_never_a_crash(
    tmp_path: pathlib.Path, writer: StatsWriter, show: Callable[[str], None], pattern: int
) -> None:
    raw = memoryview(writer.segment.words).cast("B")
    refused = 0
    for byte in range(layout.DIRECTORY_OFFSET, layout.DIRECTORY_OFFSET + DIRECTORY_BYTES):
        raw[byte] ^= pattern
        try:
            show(str(writer.segment.path))
        except (IndexError, ValueError):
            refused += 1
        raw[byte] ^= pattern
    assert refused > DIRECTORY_BYTES // 2


def test_a_page_of_noise_is_read_to_its_end_by_our_reader(tmp_path: pathlib.Path, writer: StatsWriter) -> None:
    raw, noise = memoryview(writer.segment.words).cast("B"), random.Random(4)
    reader = StatsReader(tmp_path, "execution")
    for _ in range(20):
        for _ in range(200):
            raw[noise.randrange(layout.BODY_OFFSET, len(raw))] = noise.randrange(256)
        start = noise.randrange(layout.ERRORS_OFFSET, len(raw) - 4096)
        raw[start : start + 4096] = noise.randbytes(4096)
        StatsReader(tmp_path, "execution")
        assert len(reader.errors()) <= layout.ERRORS_MAX
        assert len(reader.counters()) == len(reader.counter_labels)
        for name in reader.histogram_labels:
            reader.histogram(name).summary()
        assert set(reader.status()) < set(layout.STATUS_ROW)


@pytest.mark.parametrize("content", [b"", b"short", bytes(8192)], ids=["empty", "short", "zeroes"])
def test_another_file_is_one_line(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "file")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_page_of_another_kind_is_no_stats_page(tmp_path: pathlib.Path, show: Callable[[str], None]) -> None:
    other = Segment.create(tmp_path, "control", "supervisor")
    with pytest.raises(ValueError, match="not a stats page"):
        show(str(other.path))
