"""The compiled loop at the end of a socket pair: what it counts, publishes, answers, and when it gives the session up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from feed_house import BTC, CLOSE, ETH, PING, PONG, TEXT, House, frame

from fabric import layout
from feed.loop import FRAMES_PER_PASS, MESSAGE_MAX

READY, DIRTY, EMPTY = layout.BOOK_READY, layout.BOOK_DIRTY, layout.BOOK_EMPTY
RESYNC = [(TEXT, b'{"action":"resync","symbol":"BTCUSDT"}')]


@pytest.fixture
def house() -> Iterator[House]:
    one = House([BTC, ETH])
    one.events()
    yield one
    one.close()


@pytest.fixture
def ready(house: House) -> House:
    """With a book, and nothing counted yet but that."""
    house.send(snapshot(0, 100))
    assert house.state()["status"] == READY
    house.events()
    return house


def snapshot(index: int, sequence: int, **more: Any) -> dict[str, Any]:
    body = {"type": "book_snapshot", "symbol": "BTCUSDT", "sequence": sequence, "index": index, "exchange_ts": 5}
    return body | {"bids": [["100.00", "1"], ["99.00", "2"]], "asks": [["101.00", "3"]]} | more


def delta(index: int, previous: int, sequence: int, **more: Any) -> dict[str, Any]:
    body = {"type": "book_delta", "symbol": "BTCUSDT", "prev_sequence": previous, "sequence": sequence, "index": index}
    return body | {"bids": [], "asks": [], "exchange_ts": 6} | more


def tick(index: int, **more: Any) -> dict[str, Any]:
    body = {"type": "tick", "symbol": "BTCUSDT", "price": "100.50", "bid": "100.00", "bid_size": "1", "ask": "101.00"}
    return body | {"ask_size": "2", "sequence": 7, "exchange_ts": 9, "index": index} | more


def trade(index: int, **more: Any) -> dict[str, Any]:
    body = {"type": "trade", "symbol": "BTCUSDT", "price": "100.00", "size": "0.5", "side": "sell", "trade_id": 1}
    return body | {"exchange_ts": 9, "index": index} | more


def test_a_tick_is_told_before_what_came_with_it_is_read(ready: House) -> None:
    ready.venue.sendall(b"".join(frame(json.dumps(m).encode()) for m in (tick(1), delta(2, 100, 101), trade(3))))
    kinds, received = [], set()
    for _ in range(3):
        ready.memory.run(1)
        new = ready.events()
        kinds.append([layout.MARKET_KIND[e["kind"]] for e in new])
        received |= {e["recv_ns"] for e in new}
    assert kinds == [["tick"], ["book", "trade"], []]
    assert len(received) == 1, "all of it was received at one time"


def test_a_session_that_ends_after_a_tick_leaves_no_rest_to_read(ready: House) -> None:
    ready.venue.sendall(
        b"".join(frame(json.dumps(m).encode()) for m in (tick(1), delta(2, 100, 101))) + frame(b"\x03\xe8", CLOSE)
    )
    ready.memory.run(1)
    ready.memory.run(1)
    assert ready.close_code == "peer"
    ready.reconnect()
    ready.events()
    ready.send(tick(3))
    assert [layout.MARKET_KIND[e["kind"]] for e in ready.events()] == ["tick"]


def test_tick_and_trade_reach_ring_and_state(house: House) -> None:
    house.send(tick(0), trade(1))
    first, second = house.events()
    assert (first["kind"], first["bid_ticks"], first["ask_lots"], first["source_index"]) == (
        layout.MARKET_TICK,
        10000,
        200000,
        0,
    )
    assert (second["kind"], second["trade_lots"], second["source_index"]) == (layout.MARKET_TRADE, -50000, 1)
    state = house.state()
    assert (state["bid_ticks"], state["ask_ticks"], state["trade_lots"], state["tick_seq"]) == (10000, 10100, -50000, 7)
    assert (state["status"], state["source_index"], state["venue_ns"]) == (EMPTY, 1, 9000)
    assert house.counted() == {"ticks": 1, "trades": 1}


def test_session_start_and_end_are_told_per_instrument(house: House) -> None:
    house.venue.close()
    house.memory.run(1)
    events = house.events()
    assert [(e["kind"], e["instrument"]) for e in events] == [(layout.MARKET_DISCONNECTED, 0), (layout.MARKET_DISCONNECTED, 1)]
    assert house.close_code == "peer"
    house.reconnect()
    assert [e["kind"] for e in house.events()] == [layout.MARKET_CONNECTED] * 2
    house.send(tick(0))
    assert house.counter("ticks") == 1


def test_session_end_makes_ready_books_dirty_and_forgets_what_waits(ready: House) -> None:
    ready.send(delta(1, 105, 106))
    ready.reconnect()
    assert (ready.state()["status"], ready.levels()) == (DIRTY, [])
    ready.send(snapshot(2, 50))
    assert (ready.state()["status"], ready.state()["book_seq"]) == (READY, 50)


def test_message_in_pieces_is_one_message(house: House) -> None:
    data = frame(json.dumps(tick(0)).encode())
    for k in range(len(data)):
        house.venue.sendall(data[k : k + 1])
        house.memory.run(1)
    assert house.counted() == {"ticks": 1}


def test_book_event_carries_the_top_of_the_depth(ready: House) -> None:
    ready.send(delta(1, 100, 103, bids=[["100.00", "0"]], asks=[["100.50", "4"]]))
    (event,) = ready.events()
    assert (event["kind"], event["status"]) == (layout.MARKET_BOOK, READY)
    assert [event[k] for k in ("bid_ticks", "bid_lots", "ask_ticks", "ask_lots")] == [9900, 200000, 10050, 400000]
    assert ready.levels() == [[9900, 200000, 10050, 400000], [0, 0, 10100, 300000]]
    assert ready.state()["book_seq"] == 103


def test_deltas_ahead_of_the_first_snapshot_follow_it(house: House) -> None:
    house.send(delta(0, 90, 99), delta(1, 99, 104, bids=[["98.00", "1"]]), tick(2), snapshot(3, 100))
    assert house.state()["status"] == READY
    assert house.levels()[2][:2] == [9800, 100000]
    assert house.counted() == {"ticks": 1, "books": 3, "book_before_snapshot": 2, "book_stale_delta": 1}
    assert house.state()["book_seq"] == 104
    assert house.answers() == []


def test_gap_is_counted_dirty_and_asks_for_a_snapshot_which_repairs_it(ready: House) -> None:
    ready.send(delta(1, 105, 106, bids=[["99.50", "1"]]))
    (event,) = ready.events()
    assert (event["status"], event["bid_ticks"]) == (DIRTY, 0)
    assert ready.state()["book_seq"] == 100
    assert ready.answers() == RESYNC
    ready.memory.run(3)
    assert ready.answers() == []  # not at once again
    ready.send(snapshot(-1, 105))
    assert (ready.state()["status"], ready.state()["book_seq"], ready.levels()[1][0]) == (READY, 106, 9950)
    assert ready.counted() == {"books": 3, "book_gaps": 1, "book_resyncs": 1}


def test_crossed_book_is_counted_and_dirty(ready: House) -> None:
    ready.send(delta(1, 100, 101, bids=[["101.00", "1"]]))
    assert (ready.state()["status"], ready.levels()) == (DIRTY, [])
    assert ready.counted() == {"books": 2, "book_crossed": 1}
    assert ready.answers() == RESYNC


def test_book_that_lost_a_side_is_counted(ready: House) -> None:
    ready.send(delta(1, 100, 101, asks=[["101.00", "0"]]))
    assert ready.levels() == [[10000, 100000, 0, 0], [9900, 200000, 0, 0]]
    assert ready.counted() == {"books": 2, "book_empty": 1}


def test_empty_snapshot_is_counted(house: House) -> None:
    house.send(snapshot(0, 100, bids=[], asks=[]))
    assert (house.levels(), house.counted()) == ([], {"books": 1, "book_empty": 1})


def test_level_off_the_grid_is_counted_and_the_rest_applies(ready: House) -> None:
    ready.send(delta(1, 100, 101, bids=[["100.00", "0.000001"], ["99.00", "7"]], asks=[["100.999", "1"]]))
    assert ready.levels() == [[10000, 100000, 10100, 300000], [9900, 700000, 0, 0]]
    assert ready.counted() == {"books": 2, "off_grid": 2}


def test_levels_beyond_the_depth_are_counted(house: House) -> None:
    bids = [[f"{20000 - k}.00", "1"] for k in range(8200)]
    asks = [[f"{30000 + k}.00", "1"] for k in range(8192)]
    house.send(snapshot(0, 100, bids=bids, asks=asks))
    house.send(delta(1, 100, 101, asks=[["29999.00", "1"]]))
    assert house.counted() == {"books": 2, "depth_overflow": 9}


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (b'{"type":"tick"', "bad_json"),
        (b"not json", "bad_json"),
        (b"", "bad_json"),
        (tick(1, bid="x"), "bad_number"),
        (tick(1, bid="100.001"), "off_grid"),
        (trade(1, size="0.0000001"), "off_grid"),
        (tick(1, bid="1e2"), "cold_messages"),
        (delta(1, 100, 101, bids=[["99.00", "-1"]]), "bad_number"),
    ],
)
def test_message_that_cannot_be_read_changes_nothing_and_makes_books_dirty(
    ready: House, message: dict[str, Any] | bytes, counter: str
) -> None:
    before = ready.state()
    ready.send(message)
    assert ready.counted("books") == {counter: 1}
    after = ready.state()
    assert after.pop("status") == DIRTY
    assert after.items() <= before.items() | {("lock", after["lock"])}
    assert ready.levels() == []
    assert [(e["kind"], e["instrument"], e["status"]) for e in ready.events()] == [
        (layout.MARKET_STATUS, 0, DIRTY),
        (layout.MARKET_STATUS, 1, EMPTY),  # it waits for its first snapshot anyway
    ]
    assert ready.answers() == RESYNC
    assert ready.close_code is None


@pytest.mark.parametrize(
    ("message", "counter"),
    [(tick(1, symbol="DOGE"), "unknown_symbol"), ({"type": "gossip"}, "unknown_type"), ({"type": 1}, "unknown_type")],
)
def test_what_is_not_for_us_leaves_the_books_alone(ready: House, message: dict[str, Any], counter: str) -> None:
    ready.send(message)
    assert (ready.counted("books"), ready.state()["status"]) == ({counter: 1}, READY)
    assert (ready.events(), ready.answers()) == ([], [])


def test_answers_of_the_venue_are_no_market(ready: House) -> None:
    ready.send({"type": "subscribed", "channels": ["ticker"], "symbols": ["BTCUSDT"]}, {"type": "pong", "id": 1})
    assert (ready.events(), ready.counted("books")) == ([], {})


def test_halt_is_published_with_its_meaning(ready: House) -> None:
    ready.send({"type": "status", "symbol": "BTCUSDT", "status": "halted", "exchange_ts": 5})
    (event,) = ready.events()
    assert (event["kind"], event["trade_lots"], event["status"]) == (layout.MARKET_STATUS, 2, READY)


def test_duplicate_index_is_dropped_and_a_hole_counted(ready: House) -> None:
    ready.send(tick(1), tick(1, bid="99.00"), tick(0), tick(5))
    assert [e["source_index"] for e in ready.events()] == [1, 5]
    assert ready.counted("books") == {"ticks": 2, "duplicates": 2, "source_gaps": 3}
    assert (ready.counter("source_first"), ready.counter("source_last")) == (0, 5)


def test_books_of_two_symbols_are_apart(ready: House) -> None:
    ready.send(snapshot(1, 9, symbol="ETHUSDT", bids=[["5.00", "1"]], asks=[["6.00", "1"]]))
    assert ready.levels(1) == [[500, 10000, 600, 10000]]
    assert ready.levels(0)[0][0] == 10000
    ready.send(delta(2, 50, 51, symbol="ETHUSDT"))
    assert (ready.state(0)["status"], ready.state(1)["status"]) == (READY, DIRTY)
    assert ready.answers() == [(TEXT, b'{"action":"resync","symbol":"ETHUSDT"}')]


def test_ping_is_answered_with_its_payload(house: House) -> None:
    house.push(frame(b"are you there", PING))
    assert house.answers() == [(PONG, b"are you there")]
    house.push(frame(b"", PONG))
    assert house.counted() == {"pings": 1, "pongs": 1}


@pytest.mark.parametrize(
    ("data", "counter", "code"),
    [
        (b"\x83\x00", "bad_frame", "violation"),  # a reserved opcode
        (b"\xc1\x00", "bad_frame", "violation"),  # a reserved bit
        (b"\x81\x80\x00\x00\x00\x00", "bad_frame", "violation"),  # masked
        (frame(b"x", opcode=0), "bad_frame", "violation"),  # of nothing the continuation
        (frame(b"x", opcode=2), "bad_frame", "binary"),
        (frame(b"\xff"), "bad_utf8", "utf8"),
        (b"\x81\x7f" + (MESSAGE_MAX + 1).to_bytes(8), "oversize", "oversize"),
    ],
)
def test_malformed_frame_ends_the_session_and_the_venue_is_told_why(ready: House, data: bytes, counter: str, code: str) -> None:
    ready.push(data)
    assert (ready.counted("books"), ready.close_code) == ({counter: 1}, code)
    told = {"violation": 1002, "binary": 1003, "utf8": 1007, "oversize": 1009}
    assert ready.answers() == [(CLOSE, told[code].to_bytes(2))]
    assert ready.state()["status"] == DIRTY
    assert [e["kind"] for e in ready.events()] == [layout.MARKET_DISCONNECTED] * 2


def test_close_frame_ends_the_session_and_what_came_before_it_counts(house: House) -> None:
    house.push(frame(json.dumps(tick(0)).encode()) + frame(b"\x03\xe8bye", CLOSE))
    assert (house.counted(), house.close_code) == ({"ticks": 1}, "peer")
    assert house.answers() == [(CLOSE, b"\x03\xe8")]


def test_message_in_fragments_with_a_ping_between_is_one_message(house: House) -> None:
    text = json.dumps(tick(0)).encode()
    parts = frame(text[:20], fin=False) + frame(b"still there?", PING) + frame(text[20:90], 0, fin=False) + frame(text[90:], 0)
    house.push(parts + frame(json.dumps(tick(1)).encode()))
    house.push(parts[:100])
    house.push(parts[100:])
    assert house.counted() == {"ticks": 2, "pings": 2, "duplicates": 1}
    assert house.answers() == [(PONG, b"still there?")] * 2


def test_half_a_message_of_an_earlier_session_is_forgotten(house: House) -> None:
    house.push(frame(b'{"type":', fin=False))
    house.reconnect()
    house.send(tick(0))
    assert (house.counted(), house.close_code) == ({"ticks": 1}, None)


def test_more_pings_than_the_answers_have_room_for_are_all_answered(house: House) -> None:
    pings = [b"%03d" % k + b"." * 122 for k in range(400)]  # their pongs fill the send buffer three times
    house.push(b"".join(frame(one, PING) for one in pings))
    answers = house.answers()
    while len(answers) < len(pings):
        house.memory.run(1)
        answers += house.answers()
    assert answers == [(PONG, one) for one in pings]
    assert house.counted() == {"pings": 400}


def test_more_frames_than_one_pass_takes_are_read_without_another_byte(house: House) -> None:
    house.venue.sendall(frame(b"", PONG) * (FRAMES_PER_PASS * 2 + 5))
    house.memory.run(4)
    assert house.counted() == {"pongs": FRAMES_PER_PASS * 2 + 5}


def test_stop_word_ends_the_loop(house: House) -> None:
    house.memory.arrays["stop"][0] = 1
    assert house.memory.run(10) == 0
