# mypy: disable-error-code="no-untyped-call"
"""The rings between two real processes on four slots, as fast as both can: no torn word, every loss counted exactly."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import ring_kernels as kernels

from fabric import rings

HERE = pathlib.Path(__file__).resolve().parent
START = "import sys; sys.path[:0] = sys.argv[1:3]; import ring_kernels; ring_kernels.writer(sys.argv[3])"
RECORDS = 1_000_000


class Pair:
    """This process, which reads, and the writer, on one mapped file."""

    def __init__(self, path: pathlib.Path) -> None:
        path.write_bytes(bytes(kernels.FILE_BYTES))
        self.words = kernels.map_words(path)
        command = [sys.executable, "-c", START, str(HERE), str(HERE.parent.parent), str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, loop: int, records: int) -> dict[str, int]:
        """Let the writer write while this process reads; returns what was seen."""
        self.words[:] = 0
        out, result = np.zeros(rings.SLOT_WORDS, np.int64), np.zeros(4, np.int64)
        kernels.READERS[loop](self.words.ctypes.data, 0, out, result)  # compile before the writer runs
        assert self.process.stdin is not None
        self.process.stdin.write(f"{loop} {records}\n")
        self.process.stdin.flush()
        kernels.READERS[loop](self.words.ctypes.data, records, out, result)
        assert int(self.answer()) == records
        return dict(zip(("seen", "lost", "laps", "torn"), result.tolist(), strict=True))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("rings") / "words")
    yield pair
    pair.close()


def test_a_lapped_market_reader_tears_nothing_and_counts_every_loss(pair: Pair) -> None:
    result = pair.run(kernels.MARKET, RECORDS)
    assert result["laps"] > 0, "the reader was never lapped: nothing was proved"
    assert result["torn"] == 0
    assert result["seen"] + result["lost"] == RECORDS


def test_a_page_read_while_it_is_written_is_never_mixed(pair: Pair) -> None:
    result = pair.run(kernels.PAGE, RECORDS)
    assert result["laps"] > 0, "no state was ever skipped: nothing was proved"
    assert result["seen"] > 0
    assert result["torn"] == 0


def test_a_full_lossless_ring_hands_over_every_record(pair: Pair) -> None:
    result = pair.run(kernels.LOSSLESS, RECORDS // 20)
    assert result == {"seen": RECORDS // 20, "lost": 0, "laps": 0, "torn": 0}
