"""All pages of a segment are present in the process that maps it: the first walk over its ring meets no page fault."""

from __future__ import annotations

import mmap
import pathlib
import resource
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from fabric import layout, segment
from fabric.segment import Segment

PAGES = layout.MARKET_BYTES // layout.PAGE
FEW = 3  # faults of Python itself while it walks


@pytest.fixture
def shm() -> Iterator[pathlib.Path]:
    """Where segments really live."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="pulex-test-") as directory:
        yield pathlib.Path(directory)


def faults(words: memoryview, store: bool = False) -> int:
    """Minor faults of this process while it touches one word of each page."""
    view = np.frombuffer(words, np.int64)
    step = layout.PAGE // layout.WORD
    total = np.zeros(len(view[::step]), np.int64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if store:
        view[::step] = total
    else:
        total += view[::step]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_plain_mapping_faults_so_that_the_meter_works(shm: pathlib.Path) -> None:
    writer = Segment.create(shm, "market", "feed")
    with mmap.mmap(writer.fd, writer.size, mmap.MAP_SHARED, mmap.PROT_READ) as plain:
        view = memoryview(plain)
        words = view.cast("q")
        found = faults(words)
        words.release()
        view.release()
    assert found > PAGES // 64  # the kernel maps up to 16 pages around each fault


@pytest.mark.parametrize("advice", ["kernel", "touch"])
def test_a_reader_faults_on_no_page_after_it_has_attached(
    shm: pathlib.Path, monkeypatch: pytest.MonkeyPatch, advice: str
) -> None:
    if advice == "touch":  # a kernel before 5.14 refuses the advice
        monkeypatch.setattr(segment, "_MADV_POPULATE_READ", 9999)
    Segment.create(shm, "market", "feed")
    reader = Segment.attach(shm, "market")
    assert faults(reader.words) <= FEW


@pytest.mark.parametrize("advice", ["kernel", "touch"])
def test_a_writer_faults_on_no_page_of_its_new_segment(shm: pathlib.Path, monkeypatch: pytest.MonkeyPatch, advice: str) -> None:
    if advice == "touch":
        monkeypatch.setattr(segment, "_MADV_POPULATE_WRITE", 9999)
    writer = Segment.create(shm, "market", "feed")
    assert faults(writer.words[layout.BODY_OFFSET // layout.WORD :], store=True) <= FEW
