"""sim.recording: lines to frames to wire messages, bad lines counted."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sim.recording import Frame, MessageMaker, Recording

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance"
TICKER = {"u": 212, "s": "BTCUSDT", "b": "100.10", "B": "2.00000000", "a": "100.13", "A": "1.50000000"}
TRADE = {"e": "trade", "E": 1700000000343, "s": "BTCUSDT", "t": 9, "p": "100.10", "q": "0.02", "T": 1700000000342, "m": True}
DEPTH = {"e": "depthUpdate", "E": 1700000000208, "s": "BTCUSDT", "U": 200, "u": 210, "b": [["100.10", "0.00"]], "a": []}
SNAPSHOT = {"lastUpdateId": 205, "bids": [["100.10", "2.0"]], "asks": [["100.13", "1.5"]]}


def lines(*payloads: dict[str, Any]) -> bytes:
    rows = []
    for number, payload in enumerate(payloads):
        frame = payload if "lastUpdateId" in payload else {"stream": "x", "data": payload}
        rows.append(f"{1700000000000000000 + number} {json.dumps(frame)}\n")
    return "".join(rows).encode()


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "recording"
    path.write_bytes(content)
    return path


def messages(path: Path) -> list[dict[str, Any]]:
    maker = MessageMaker("OTHER")
    return [maker.message(frame) for frame in Recording(path)]


@pytest.mark.parametrize("packed", [False, True])
def test_each_line_becomes_one_frame_plain_or_gzip(tmp_path: Path, packed: bool) -> None:
    content = lines(TICKER, TRADE, DEPTH, SNAPSHOT)
    recording = Recording(write(tmp_path, gzip.compress(content) if packed else content))
    assert list(recording) == [
        Frame(0, 1700000000000000000, "tick", TICKER),
        Frame(1, 1700000000000000001, "trade", TRADE),
        Frame(2, 1700000000000000002, "book_delta", DEPTH),
        Frame(3, 1700000000000000003, "book_snapshot", SNAPSHOT),
    ]
    assert (recording.lines, recording.malformed) == (4, 0)


def test_ticker_has_mid_until_a_trade_and_then_the_last_trade(tmp_path: Path) -> None:
    first, _, second = messages(write(tmp_path, lines(TICKER, {**TRADE, "p": "100.12"}, TICKER)))
    assert first == {
        "type": "tick",
        "symbol": "BTCUSDT",
        "price": "100.115",
        "bid": "100.10",
        "bid_size": "2.00000000",
        "ask": "100.13",
        "ask_size": "1.50000000",
        "sequence": 212,
        "exchange_ts": 1700000000000000,
        "index": 0,
    }
    assert second["price"] == "100.12"


def test_trade_side_is_the_aggressor_and_time_is_the_trade_time(tmp_path: Path) -> None:
    sold, bought = messages(write(tmp_path, lines(TRADE, {**TRADE, "m": False})))
    assert (sold["side"], bought["side"]) == ("sell", "buy")
    assert (sold["trade_id"], sold["price"], sold["size"]) == (9, "100.10", "0.02")
    assert sold["exchange_ts"] == 1700000000342000


def test_depth_follows_pu_where_present_else_the_one_before_its_first(tmp_path: Path) -> None:
    spot, futures = messages(write(tmp_path, lines(DEPTH, {**DEPTH, "pu": 150, "T": 1700000000207})))
    assert (spot["prev_sequence"], spot["sequence"], spot["exchange_ts"]) == (199, 210, 1700000000208000)
    assert (futures["prev_sequence"], futures["exchange_ts"]) == (150, 1700000000207000)
    assert (spot["bids"], spot["asks"]) == ([["100.10", "0.00"]], [])


def test_snapshot_takes_the_symbol_seen_last_or_the_given_one(tmp_path: Path) -> None:
    before, _, after = messages(write(tmp_path, lines(SNAPSHOT, TICKER, SNAPSHOT)))
    assert (before["symbol"], after["symbol"]) == ("OTHER", "BTCUSDT")
    assert (after["sequence"], after["bids"], after["index"]) == (205, [["100.10", "2.0"]], 2)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"no frame here",
        b"x {}",
        b"-5 {}",
        b"99999999999999999999 {}",
        b"1 [1]",
        b'1 {"data":7}',
        b'1 {"data":{"e":"kline","s":"X"}}',
        b'1 {"data":{"u":1,"s":"X","b":"1","B":"1","a":"nan","A":"1"}}',
        b'1 {"data":{"u":1,"s":"X","b":"1","B":"1","a":2,"A":"1"}}',
        b'1 {"data":{"u":-1,"s":"X","b":"1","B":"1","a":"2","A":"1"}}',
        b'1 {"data":{"e":"trade","E":"now","s":"X","t":1,"p":"1","q":"1","m":true}}',
        b'1 {"data":{"e":"trade","s":"X","t":1,"p":"1","q":"1"}}',
        b'1 {"data":{"e":"depthUpdate","s":"X","U":1,"u":2,"b":[["1"]],"a":[]}}',
        b'1 {"data":{"e":"depthUpdate","s":"X","U":1,"u":2,"b":[["1","-1"]],"a":[]}}',
        b'1 {"data":{"e":"depthUpdate","s":"X","u":2,"b":[],"a":[]}}',
        b'1 {"lastUpdateId":true,"bids":[],"asks":[]}',
        b"1 {\xff",
    ],
)
def test_malformed_line_is_counted_and_the_next_keeps_its_index(tmp_path: Path, bad: bytes) -> None:
    recording = Recording(write(tmp_path, bad + b"\n" + lines(TICKER)))
    assert [(frame.index, frame.kind) for frame in recording] == [(1, "tick")]
    assert (recording.lines, recording.malformed) == (2, 1)
    assert recording.problems[0][0] == 0


def test_truncated_gzip_ends_the_recording_and_is_counted(tmp_path: Path) -> None:
    whole = gzip.compress(lines(*[{**TICKER, "u": number, "B": f"{number * 7919 % 1000}.5"} for number in range(2000)]))
    recording = Recording(write(tmp_path, whole[: len(whole) // 2]))
    assert 0 < len(list(recording)) < 2000
    assert recording.malformed == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"recordings absent: {SHARED.name} (../shared/data/binance)")
def test_every_line_of_the_shared_spot_recording_becomes_a_message() -> None:
    recording = Recording(SHARED / "spot__btcusdt_20240808.gz")
    maker = MessageMaker("")
    kinds = Counter(maker.message(frame)["type"] for frame in recording)
    assert kinds == {"tick": 28040, "trade": 9757, "book_delta": 3451, "book_snapshot": 1}
    assert (recording.lines, recording.malformed) == (41249, 0)
