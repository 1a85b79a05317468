"""A recording through the real loop: every frame becomes one event, and the book is the independent reconstruction's."""

from __future__ import annotations

import gzip
import itertools
import pathlib
from types import SimpleNamespace

import orjson
from feed_house import BTC, House, frame

from fabric import layout
from feed import tables as ft
from feed.process import hash_levels
from sim.reconstruct import book_hashes
from sim.recording import MessageMaker, Recording

FRAMES = 12_000
EVERY = 1000


def test_recorded_frames_make_the_independent_book(recordings: pathlib.Path, tmp_path: pathlib.Path) -> None:
    part = tmp_path / "part"
    with gzip.open(recordings / "binance" / "spot__btcusdt_20240808.gz", "rb") as lines:
        part.write_bytes(b"".join(itertools.islice(lines, FRAMES)))
    maker = MessageMaker("BTCUSDT")
    house = House([BTC], hash_every=EVERY)
    try:
        house.push(b"".join(frame(orjson.dumps(maker.message(f))) for f in Recording(part)))
        samples = house.memory.arrays["samples"][8:].reshape(ft.SAMPLES, ft.SAMPLE_WORDS)[: FRAMES // EVERY]
        hashes = [(int(s[0]), hash_levels(s[2 : 2 + 4 * layout.LEVELS])) for s in samples]
        expected = book_hashes(part, SimpleNamespace(**BTC), EVERY, layout.LEVELS)
        assert len(set(expected)) == FRAMES // EVERY
        assert hashes == expected
        counted = house.counted()
        assert (house.counter("source_first"), house.counter("source_last")) == (0, FRAMES - 1)
        assert [e["source_index"] for e in house.events() if e["kind"] != layout.MARKET_CONNECTED] == list(range(FRAMES))
        assert counted.pop("ticks") + counted.pop("trades") + counted.pop("books") == FRAMES
        # In this part: three updates before the snapshot on line 7, two of them older; one size finer than the lot.
        assert counted == {"book_before_snapshot": 3, "book_stale_delta": 2, "off_grid": 1}
    finally:
        house.close()
