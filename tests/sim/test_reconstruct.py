"""sim.reconstruct: the depth book of a recording and its hashes."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sim.reconstruct import DepthBook, book_hashes

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance"


@dataclass(frozen=True)
class Grid:
    tick_size: str = "0.01"
    lot_size: str = "0.001"


def update(first: int, last: int, bids: list[list[str]], asks: list[list[str]], **more: int) -> dict[str, Any]:
    return {"e": "depthUpdate", "U": first, "u": last, "b": bids, "a": asks, **more}


def snapshot(sequence: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    return {"lastUpdateId": sequence, "bids": bids, "asks": asks}


def book_after(*frames: dict[str, Any]) -> DepthBook:
    book = DepthBook("0.01", "0.001")
    for frame in frames:
        book.apply(frame)
    return book


def test_snapshot_drops_older_updates_that_waited_and_applies_newer_ones() -> None:
    book = book_after(
        update(1, 5, [["1.00", "9.000"]], []),
        update(6, 12, [["1.01", "2.000"]], []),
        snapshot(10, [["0.99", "1.000"]], [["1.05", "4.000"]]),
    )
    assert (book.bids, book.asks, book.sequence) == ({99: 1000, 101: 2000}, {105: 4000}, 12)


def test_zero_deletes_a_level_and_another_size_replaces_it() -> None:
    book = book_after(
        snapshot(10, [["0.99", "1.000"], ["0.98", "1.0"]], []),
        update(11, 12, [["0.99", "0.00000000"], ["0.98", "0.5"]], []),
    )
    assert book.bids == {98: 500}


def test_gap_empties_the_book_until_the_next_snapshot() -> None:
    frames = [snapshot(10, [["0.99", "1"]], []), update(11, 12, [], []), update(14, 15, [["0.97", "1"]], [])]
    book = book_after(*frames)
    assert (book.bids, book.gaps, book.sequence) == ({}, 1, -1)
    book.apply(snapshot(14, [["0.95", "1"]], []))
    assert (book.bids, book.sequence) == ({95: 1000, 97: 1000}, 15)


def test_futures_updates_join_by_pu() -> None:
    book = book_after(snapshot(10, [], []), update(3, 20, [], [], pu=9), update(99, 30, [["1.00", "1"]], [], pu=20))
    assert (book.gaps, book.bids) == (0, {100: 1000})


def test_level_off_the_grid_is_refused_alone_and_counted() -> None:
    book = book_after(snapshot(10, [["0.99", "1"]], []), update(11, 11, [["0.99", "1.0005"], ["0.98", "2"]], []))
    assert (book.bids, book.off_grid) == ({99: 1000, 98: 2000}, 1)


def test_hash_is_of_the_documented_text_after_each_nth_frame(tmp_path: Path) -> None:
    frames = [
        {"data": {"u": 1, "s": "X", "b": "0.99", "B": "1", "a": "1.05", "A": "1"}},
        {"stream": "d", "data": update(1, 5, [["1.00", "9.000"]], [])},
        snapshot(5, [["0.99", "1.000"], ["1.00", "0.250"]], [["1.05", "4.000"]]),
    ]
    rows = [f"1 {json.dumps(frame)}" for frame in frames]
    path = tmp_path / "small.gz"
    path.write_bytes(gzip.compress("\n".join([*rows, "not a frame", ""]).encode()))
    empty = "0:0:0:0\n0:0:0:0"
    full = "100:250:105:4000\n99:1000:0:0"
    assert book_hashes(path, Grid(), every=2, levels=2) == [
        (1, hashlib.sha256(empty.encode()).hexdigest()),
        (3, hashlib.sha256(full.encode()).hexdigest()),
    ]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"recordings absent: {SHARED.name} (../shared/data/binance)")
def test_shared_spot_recording_has_a_changing_hash_every_1000_frames() -> None:
    hashes = book_hashes(SHARED / "spot__btcusdt_20240808.gz", Grid("0.01", "0.00001"))
    assert [index for index, _ in hashes] == list(range(999, 41249, 1000))
    assert len({text for _, text in hashes}) == 41
