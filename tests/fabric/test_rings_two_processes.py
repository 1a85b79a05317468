"""The rings between real processes, few slots, as fast as they can: no torn word, every loss counted, nothing lost or doubled.

One writer and three readers, the second and the third slow, on two cpus where there are two.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
import ring_kernels as kernels

HERE = pathlib.Path(__file__).resolve().parent
START = "import sys; sys.path[:0] = sys.argv[1:3]; import ring_kernels; ring_kernels.worker(*sys.argv[3:])"
SLOW = (0, 20, 300)  # pauses of the cpu that a reader takes for each record
RECORDS, LOSSLESS_RECORDS = 2_000_000, 20_000


class Worker:
    """One process."""

    def __init__(self, path: pathlib.Path, role: str, cpu: int) -> None:
        command = [sys.executable, "-c", START, str(HERE), str(HERE.parent.parent), str(path), role, str(cpu)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, loop: int, slots: int, records: int, work: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{loop} {slots} {records} {work}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def result(self) -> list[int]:
        return [int(word) for word in self.answer().split()]


class Crew:
    """The writer and its readers on one mapped file."""

    def __init__(self, path: pathlib.Path) -> None:
        path.write_bytes(bytes(kernels.FILE_BYTES))
        self.words = kernels.map_words(path)
        self.writer = Worker(path, "writer", -1)
        self.readers = []
        for _ in SLOW:  # one after the other: what one compiles, the next one loads
            self.readers.append(Worker(path, "reader", 0))
            assert self.readers[-1].answer() == "ready"
        assert self.writer.answer() == "ready"

    def run(
        self, loop: int, slots: int, records: int, slow: tuple[int, ...] = SLOW
    ) -> tuple[dict[str, int], list[dict[str, int]]]:
        """Let all of them run; what the writer says, and what each reader saw."""
        self.words[:] = 0
        for reader, work in zip(self.readers, slow, strict=False):
            reader.tell(loop, slots, records, work)
        self.writer.tell(loop, slots, records, 0)
        published, full, *_ = self.writer.result()
        names = ("seen", "lost", "laps", "torn")
        seen = [dict(zip(names, reader.result(), strict=True)) for reader, _ in zip(self.readers, slow, strict=False)]
        return {"published": published, "full": full}, seen

    def close(self) -> None:
        for worker in (self.writer, *self.readers):
            worker.process.kill()
            worker.process.communicate()


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    crew = Crew(tmp_path_factory.mktemp("rings") / "words")
    yield crew
    crew.close()


@pytest.mark.parametrize("slots", [8, 64])
def test_lapped_market_readers_tear_nothing_and_count_every_loss(crew: Crew, slots: int) -> None:
    wrote, readers = crew.run(kernels.MARKET, slots, RECORDS)
    assert wrote["published"] == RECORDS
    for seen in readers:
        assert seen["torn"] == 0
        assert seen["seen"] + seen["lost"] == RECORDS
    for seen in readers[1:]:
        assert seen["laps"] > 0, "a slow reader was never lapped: nothing was proved"
        assert seen["seen"] > 0


def test_a_page_read_while_it_is_written_is_never_mixed_and_never_older(crew: Crew) -> None:
    wrote, readers = crew.run(kernels.PAGE, 8, RECORDS)
    assert wrote["published"] == RECORDS
    for seen in readers:
        assert seen["torn"] == 0
        assert seen["seen"] > 0
    assert sum(seen["laps"] for seen in readers) > 0, "no state was ever skipped: nothing was proved"


@pytest.mark.parametrize("slots", [8, 64])
def test_a_full_lossless_ring_hands_over_every_record_once(crew: Crew, slots: int) -> None:
    wrote, (seen,) = crew.run(kernels.LOSSLESS, slots, LOSSLESS_RECORDS, slow=SLOW[2:])
    assert wrote["full"] > 0, "the ring was never full: nothing was proved"
    assert wrote["published"] == LOSSLESS_RECORDS
    assert seen == {"seen": LOSSLESS_RECORDS, "lost": 0, "laps": 0, "torn": 0}
