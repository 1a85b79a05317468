"""The instrument of a recording: its symbol and the finest grid it uses."""

from __future__ import annotations

import pathlib

import pytest

from ops import recorded
from ops.config import ConfigError
from ops.recorded import instrument

TICK = '1723161254087891268 {"stream":"b","data":{"u":9,"s":"BTCUSDT","b":"100.10","B":"1.50000","a":"100.12","A":"0.00001"}}\n'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty cache directory."""
    monkeypatch.setenv("PULEX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: pathlib.Path, text: str) -> pathlib.Path:
    file = folder / "recording"
    file.write_text(text)
    return file


def test_grid_is_the_finest_that_occurs(tmp_path: pathlib.Path) -> None:
    found = instrument(write(tmp_path, TICK))
    assert (found.symbol, found.base, found.quote) == ("BTCUSDT", "BTC", "USDT")
    assert (found.tick_size, found.lot_size) == ("0.01", "0.00001")


def test_known_recording_is_not_read_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = instrument(write(tmp_path, TICK))
    monkeypatch.setattr(recorded, "read_instrument", lambda path: pytest.fail("read again"))
    assert instrument(tmp_path / "recording") == first


def test_changed_recording_is_read_again(tmp_path: pathlib.Path) -> None:
    instrument(write(tmp_path, TICK))
    assert instrument(write(tmp_path, TICK + TICK.replace("100.12", "100.125"))).tick_size == "0.001"


def test_broken_answer_in_the_cache_is_read_anew(tmp_path: pathlib.Path, own_cache: pathlib.Path) -> None:
    first = instrument(write(tmp_path, TICK))
    for kept in (own_cache / "recordings").iterdir():
        kept.write_text("{")
    assert instrument(tmp_path / "recording") == first


def test_recording_of_two_symbols_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="BTCUSDT and ETHUSDT"):
        instrument(write(tmp_path, TICK + TICK.replace("BTCUSDT", "ETHUSDT")))


def test_file_without_frames_and_absent_file_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="no market frame"):
        instrument(write(tmp_path, "hello\n"))
    with pytest.raises(ConfigError, match="No such file"):
        instrument(tmp_path / "absent.gz")


def test_real_recording_keeps_the_dust_sizes_far_from_the_touch(recordings: pathlib.Path) -> None:
    found = instrument(recordings / "binance" / "spot__btcusdt_20240808.gz")
    assert (found.symbol, found.tick_size, found.lot_size) == ("BTCUSDT", "0.01", "0.000001")
