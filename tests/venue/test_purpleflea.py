# mypy: disable-error-code="no-untyped-call"
"""The compiled dialect against its plain twin: the same answer, or declined; never another one."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import layout
from venue import purpleflea as pf
from venue import purpleflea_cold as cold
from venue import tables as t

SYMBOLS = ["BTC-USDC", "ETH-USDC"]
GRIDS = [[2, 1, 5, 1], [2, 5, 4, 10]]  # ETH: tick 0.05, lot 0.0010
_TABLE = np.zeros((len(SYMBOLS), t.SYMBOL_BYTES), np.uint8)
for _i, _s in enumerate(SYMBOLS):
    _TABLE[_i, : len(_s)] = list(_s.encode())
_GRIDS = np.array(GRIDS, np.int64)
_SLOTS = np.zeros(t.SLOTS, np.int64)
_LEVELS = np.zeros((t.LEVELS_CAPACITY, len(t.LEVEL)), np.int64)

TICK = {
    "type": "tick", "symbol": "BTC-USDC", "price": "64000.00", "bid": "63999.99", "bid_size": "1.50000",
    "ask": "64000.01", "ask_size": "0.75000", "sequence": 17, "exchange_ts": 1772600000000123, "index": 12,
}  # fmt: skip
TRADE = {
    "type": "trade", "symbol": "ETH-USDC", "price": "3000.05", "size": "0.0100", "side": "sell", "trade_id": 991,
    "exchange_ts": 1772600000000123, "index": 13,
}  # fmt: skip
SNAPSHOT = {
    "type": "book_snapshot", "symbol": "BTC-USDC", "sequence": 100, "bids": [["63999.99", "1.5"], ["63999.00", "2"]],
    "asks": [["64000.01", "0.00001"]], "exchange_ts": 1, "index": -1,
}  # fmt: skip
DELTA = {
    "type": "book_delta", "symbol": "BTC-USDC", "prev_sequence": 100, "sequence": 103, "bids": [["63999.99", "0"]],
    "asks": [], "exchange_ts": 1, "index": 15,
}  # fmt: skip
STATUS = {"type": "status", "symbol": "BTC-USDC", "status": "halted", "exchange_ts": 5}
ACK = {"type": "ack", "client_order_id": "9007203549708289", "order_id": 55, "symbol": "BTC-USDC", "status": "open"}
FILL = {
    "type": "fill", "client_order_id": "9007203549708289", "order_id": 55, "trade_id": 991, "symbol": "BTC-USDC",
    "side": "buy", "price": "64000.00", "quantity": "0.00500", "cumulative": "0.00500", "leaves": "0.00500",
    "fee": "-0.06400000", "fee_currency": "USDC", "liquidity": "maker", "exchange_ts": 1772600000000123,
}  # fmt: skip
REJECT = {"type": "reject", "client_order_id": "7", "symbol": "BTC-USDC", "reason": "post_only_would_cross"}
CANCELLED = {
    "type": "cancelled", "client_order_id": "7", "order_id": 5, "symbol": "BTC-USDC", "cumulative": "0.00500",
    "reason": "expired", "exchange_ts": 3,
}  # fmt: skip
CANCEL_REJECT = {"type": "cancel_reject", "client_order_id": "7", "reason": "already_closed", "exchange_ts": 3}
AMENDED = {
    "type": "amended", "client_order_id": "7", "order_id": 5, "symbol": "BTC-USDC", "quantity": "0.00700",
    "cumulative": "0.00500", "leaves": "0.00200", "exchange_ts": 3,
}  # fmt: skip
AMEND_REJECT = {"type": "amend_reject", "client_order_id": "7", "reason": "already_closed", "exchange_ts": 3}
CANCEL_ALL_ACK = {"type": "cancel_all_ack", "count": 3, "exchange_ts": 1}
ERROR = {"type": "error", "reason": "rate_limited", "detail": 'a "quoted" text', "exchange_ts": 1}
SUBSCRIBED = {"type": "subscribed", "channels": ["ticker"], "symbols": ["BTC-USDC"], "extra": {"a": [1, {}, []]}}
MARKET: list[dict[str, Any]] = [TICK, TRADE, SNAPSHOT, DELTA, STATUS]
PRIVATE: list[dict[str, Any]] = [ACK, FILL, REJECT, CANCELLED, CANCEL_REJECT, AMENDED, AMEND_REJECT, CANCEL_ALL_ACK, ERROR]
ALL: list[dict[str, Any]] = [*MARKET, *PRIVATE, SUBSCRIBED]


def market(payload: bytes) -> tuple[int, list[int], list[tuple[int, ...]]]:
    out = np.zeros(len(t.DECODED), np.int64)
    buf = np.frombuffer(b"\xff" * 3 + payload + b'}]"', np.uint8).copy()  # what lies around it must not matter
    status = int(pf.decode_market(buf, 3, 3 + len(payload), _TABLE, _GRIDS, _SLOTS, out, _LEVELS))
    return status, out.tolist(), [tuple(row) for row in _LEVELS[: out[t.DC_LEVELS]].tolist()]


def private(payload: bytes) -> tuple[int, list[int]]:
    event = np.zeros(len(t.EVENT), np.int64)
    buf = np.frombuffer(b"\xff" * 3 + payload + b'}]"', np.uint8).copy()
    status = int(pf.decode_private(buf, 3, 3 + len(payload), _TABLE, _GRIDS, _SLOTS, event))
    return status, event.tolist()


def agree(payload: bytes) -> tuple[int, int]:
    """Both decoders on one payload; (market status, private status)."""
    hot, twin = market(payload), cold.decode_market(payload, SYMBOLS, GRIDS)
    if hot[0] != t.SCAN_DECLINED:
        assert hot[0] == twin[0], payload
        if hot[0] == t.SCAN_OK:
            assert hot == (twin[0], twin[1], twin[2]), payload
    hot2, twin2 = private(payload), cold.decode_private(payload, SYMBOLS, GRIDS)
    if hot2[0] != t.SCAN_DECLINED:
        assert hot2[0] == twin2[0], payload
        if hot2[0] == t.SCAN_OK:
            assert hot2 == twin2, payload
    return hot[0], hot2[0]


def named(record: list[int], names: tuple[str, ...]) -> dict[str, int]:
    return {name: value for name, value in zip(names, record, strict=True) if value}


def test_tick_becomes_ticks_lots_and_nanoseconds() -> None:
    status, out, _ = market(json.dumps(TICK).encode())
    assert status == t.SCAN_OK
    assert named(out, t.DECODED) == {
        "kind": layout.MARKET_TICK, "bid_ticks": 6399999, "bid_lots": 150000, "ask_ticks": 6400001,
        "ask_lots": 75000, "trade_ticks": 6400000, "venue_seq": 17, "venue_ns": 1772600000000123000, "source_index": 12,
    }  # fmt: skip


def test_trade_is_signed_by_its_aggressor_on_a_grid_of_five_cents() -> None:
    status, out, _ = market(json.dumps(TRADE).encode())
    assert status == t.SCAN_OK
    assert (out[t.DC_INSTRUMENT], out[t.DC_TRADE_TICKS], out[t.DC_TRADE_LOTS]) == (1, 60001, -10)


def test_books_fill_the_levels() -> None:
    status, out, levels = market(json.dumps(SNAPSHOT).encode())
    assert (status, out[t.DC_KIND], out[t.DC_IS_SNAPSHOT], out[t.DC_VENUE_SEQ]) == (0, layout.MARKET_BOOK, 1, 100)
    assert out[t.DC_SOURCE_INDEX] == -1
    assert levels == [(0, 6399999, 150000), (0, 6399900, 200000), (1, 6400001, 1)]
    status, out, levels = market(json.dumps(DELTA).encode())
    assert (status, out[t.DC_IS_SNAPSHOT], out[t.DC_PREV_SEQ], out[t.DC_VENUE_SEQ]) == (0, 0, 100, 103)
    assert levels == [(0, 6399999, 0)]


@pytest.mark.parametrize("message", [SNAPSHOT, DELTA])
@pytest.mark.parametrize("odd", [["63999.999", "1"], ["63999.98", "0.000001"], ["0.001", "0.000001"]])
def test_level_off_the_grid_is_left_out_and_counted(message: dict[str, Any], odd: list[str]) -> None:
    payload = json.dumps(message | {"bids": [["63999.97", "1"], odd, ["63999.96", "2"]]}).encode()
    status, out, levels = market(payload)
    assert (status, out[t.DC_OFF_GRID]) == (t.SCAN_OK, 1)
    assert levels[:2] == [(0, 6399997, 100000), (0, 6399996, 200000)]
    agree(payload)


@pytest.mark.parametrize("bad", [["63999.999", "x"], ["63999.999", "-1"], ["63999.999"], ["63999.999", "1", "1"]])
def test_level_off_the_grid_hides_no_worse_fault(bad: list[str]) -> None:
    assert agree(json.dumps(DELTA | {"bids": [bad]}).encode())[0] in (t.SCAN_BAD, t.SCAN_BAD_NUMBER)


def test_fill_becomes_an_event() -> None:
    status, event = private(json.dumps(FILL).encode())
    assert status == t.SCAN_OK
    assert named(event, t.EVENT) == {
        "kind": layout.EVENT_FILL, "order_id": 9007203549708289, "venue_id": 55, "trade_id": 991,
        "price_ticks": 6400000, "lots": 500, "cumulative": 500, "leaves": 500, "fee_e8": -6400000,
        "liquidity": layout.LIQUIDITY_MAKER, "venue_ns": 1772600000000123000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "kind", "reason", "extra"),
    [
        (ACK, layout.EVENT_ACK, 0, 0),
        (REJECT, layout.EVENT_REJECT, layout.REASON_POST_ONLY_WOULD_CROSS, 0),
        (REJECT | {"reason": "because"}, layout.EVENT_REJECT, layout.REASON_VENUE_REJECT, 0),
        (CANCELLED, layout.EVENT_EXPIRED, layout.REASON_VENUE_REJECT, 0),
        (CANCELLED | {"reason": "unfilled"}, layout.EVENT_CANCELLED, layout.REASON_UNFILLED, 0),
        (CANCEL_REJECT, layout.EVENT_CANCEL_REJECT, layout.REASON_VENUE_REJECT, 1),
        (CANCEL_REJECT | {"reason": "not_found"}, layout.EVENT_CANCEL_REJECT, layout.REASON_NOT_FOUND, 0),
        (CANCEL_ALL_ACK, layout.EVENT_CANCEL_ALL_ACK, 0, 3),
        (ERROR, layout.EVENT_ERROR, layout.REASON_MESSAGE_RATE, 0),
        (SUBSCRIBED, layout.EVENT_OTHER, 0, 0),
        (TICK, layout.EVENT_OTHER, 0, 0),
    ],
)
def test_own_order_messages_say_their_kind_and_reason(message: dict[str, Any], kind: int, reason: int, extra: int) -> None:
    status, event = private(json.dumps(message).encode())
    assert (status, event[t.EV_KIND], event[t.EV_REASON], event[t.EV_EXTRA]) == (t.SCAN_OK, kind, reason, extra)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"bid": "63999.995"}, t.SCAN_OFF_GRID),
        ({"bid": "x"}, t.SCAN_BAD_NUMBER),
        ({"bid": None}, t.SCAN_BAD_NUMBER),
        ({"bid_size": "-1"}, t.SCAN_BAD_NUMBER),
        ({"bid_size": "-0.0000001"}, t.SCAN_OFF_GRID),
        ({"sequence": 1.5}, t.SCAN_BAD_NUMBER),
        ({"exchange_ts": 10**17}, t.SCAN_BAD_NUMBER),
        ({"symbol": "DOGE-USDC"}, t.SCAN_UNKNOWN_SYMBOL),
        ({"symbol": "BTC-USD"}, t.SCAN_UNKNOWN_SYMBOL),
        ({"symbol": 5}, t.SCAN_BAD),
        ({"type": "gossip"}, t.SCAN_UNKNOWN_TYPE),
        ({"type": 3}, t.SCAN_UNKNOWN_TYPE),
        ({"bid": "6e4"}, t.SCAN_DECLINED),
        ({"price": "64000.005"}, t.SCAN_OK),  # a mid, no trade: left unsaid
        ({"note": "naïve"}, t.SCAN_OK),  # json.dumps escapes it: \u is declined below
    ],
)
def test_tick_that_is_not_usable_says_why(change: dict[str, Any], status: int) -> None:
    payload = json.dumps(TICK | change).encode()
    if "note" in change:
        status = t.SCAN_DECLINED
    assert agree(payload)[0] == status


@pytest.mark.parametrize(
    "bad", [b"", b"{", b"[]", b'{"type":"tick"', b'{"type":"tick",}', b'{"type":tick}', b"{}x", b'{"a":01}']
)
def test_broken_json_is_bad(bad: bytes) -> None:
    assert agree(bad) == (t.SCAN_BAD, t.SCAN_BAD)


def test_known_key_twice_is_left_to_the_cold_twin_who_refuses_it() -> None:
    payload = b'{"type":"tick","symbol":"BTC-USDC","bid":"1","bid":"2"}'
    assert market(payload)[0] == t.SCAN_DECLINED
    assert cold.decode_market(payload, SYMBOLS, GRIDS)[0] == t.SCAN_BAD


def test_snapshot_deeper_than_the_buffer_keeps_the_best_and_counts_the_rest() -> None:
    room = t.LEVELS_CAPACITY // 2
    rows = [[f"{k // 100}.{k % 100:02}", "1"] for k in range(100_000, 100_000 - room - 3, -1)]
    message = SNAPSHOT | {"bids": rows}
    status, out, levels = market(json.dumps(message).encode())
    assert (status, out[t.DC_LEVELS], out[t.DC_OVERFLOW]) == (t.SCAN_OK, room + 1, 3)
    assert (levels[0][1], levels[room - 1][1]) == (100_000, 100_000 - room + 1)
    worst_first = json.dumps(message | {"bids": rows[::-1]}).encode()
    assert market(worst_first)[0] == t.SCAN_DECLINED
    assert cold.decode_market(worst_first, SYMBOLS, GRIDS)[2] == levels


_NUMBERS = st.one_of(
    st.decimals(-10, 10**7, places=3).map(str),
    st.integers(-5, 10**19),
    st.floats(0, 1e9, allow_nan=False),
    st.sampled_from(
        [
            "0",
            "-0",
            "00.10",
            "1.",
            ".5",
            "+1",
            "1e3",
            "",
            " 1",
            "1 ",
            "999999999999999999",
            "64000.010000",
            "123456789.12345678",
            "0000000000000000000001.5",
            "1.50000000000000000000",
            "1.500000000000000000001",
        ]
    ),
)
_ODD = st.one_of(_NUMBERS, st.none(), st.booleans(), st.text(max_size=3), st.lists(_NUMBERS, max_size=3))
_BOOK_ROWS = st.lists(st.lists(_NUMBERS, min_size=1, max_size=3), max_size=3)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message with some fields changed, dropped, added, shuffled, spaced; sometimes with a byte broken."""
    message = dict(draw(st.sampled_from(ALL)))
    for key in draw(st.lists(st.sampled_from(sorted(message)), max_size=2)):
        message[key] = draw(_BOOK_ROWS if key in ("bids", "asks") else _ODD)
    for key in draw(st.lists(st.sampled_from(sorted(message)), max_size=1)):
        del message[key]
    if draw(st.booleans()):
        message[draw(st.text(max_size=10))] = draw(st.recursive(_ODD, lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
    items = draw(st.permutations(list(message.items())))
    indent = draw(st.sampled_from([None, 1]))
    payload = bytearray(json.dumps(dict(items), indent=indent, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace"))
    if draw(st.integers(0, 3)) == 0 and payload:
        at = draw(st.integers(0, len(payload) - 1))
        payload[at] = draw(st.sampled_from(b'{}[],:"\\0-.eE \n\x01\xc3t9'))
    return bytes(payload)


@settings(max_examples=150, deadline=None)
@given(messages())
def test_compiled_decoders_agree_with_the_cold_twin_or_decline(payload: bytes) -> None:
    agree(payload)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 2**63 - 1), st.integers(0, 1), st.integers(0, 1), st.integers(1, 5), st.integers(1, 10**9),
    st.integers(1, 10**9), st.integers(0, 1),
)  # fmt: skip
def test_place_order_reads_back_as_said(
    order_id: int, instrument: int, side: int, order_type: int, ticks: int, lots: int, reduce_only: int
) -> None:
    out = np.zeros(1024, np.uint8)
    end = pf.encode_place(
        out, 8, order_id, instrument, side, order_type, ticks, lots, _TABLE, _GRIDS, 1772600000000, 200, reduce_only
    )
    message = json.loads(bytes(out[8:end]), parse_float=str)
    grid = GRIDS[instrument]
    assert (message.pop("quantity"), message.pop("price")) == (
        f"{lots * grid[3] // 10 ** grid[2]}.{lots * grid[3] % 10 ** grid[2]:0{grid[2]}}",
        f"{ticks * grid[1] // 100}.{ticks * grid[1] % 100:02}",
    )
    assert message == {
        "action": "place_order", "client_order_id": str(order_id), "symbol": SYMBOLS[instrument],
        "side": layout.SIDE[side], "type": layout.ORDER_TYPE[order_type], "reduce_only": bool(reduce_only),
        "timestamp": 1772600000000, "recv_window": 200,
    }  # fmt: skip


def test_amended_says_how_large_the_order_is_in_all() -> None:
    status, event = private(json.dumps(AMENDED).encode())
    assert status == t.SCAN_OK
    assert (event[t.EV_KIND], event[t.EV_ORDER_ID], event[t.EV_LOTS]) == (layout.EVENT_AMENDED, 7, 700)
    assert event[t.EV_CUMULATIVE] == 500
    silent = {key: value for key, value in AMENDED.items() if key != "quantity"}
    assert private(json.dumps(silent).encode())[0] == t.SCAN_BAD
    status, event = private(json.dumps(AMEND_REJECT).encode())
    assert (status, event[t.EV_KIND], event[t.EV_EXTRA]) == (t.SCAN_OK, layout.EVENT_AMEND_REJECT, 1)


def test_encoders_write_the_bytes_of_the_protocol() -> None:
    out = np.zeros(1024, np.uint8)
    end = pf.encode_place(out, 0, 9007203549708289, 0, 0, 1, 6400000, 1000, _TABLE, _GRIDS, 1772600000000, 200, 0)
    assert bytes(out[:end]) == (
        b'{"action":"place_order","client_order_id":"9007203549708289","symbol":"BTC-USDC","side":"buy",'
        b'"quantity":0.01000,"price":64000.00,"type":"limit","reduce_only":false,"timestamp":1772600000000,'
        b'"recv_window":200}'
    )
    end = pf.encode_cancel(out, 0, 7, 1772600000000, 200)
    assert bytes(out[:end]) == b'{"action":"cancel_order","client_order_id":"7","timestamp":1772600000000,"recv_window":200}'
    end = pf.encode_amend(out, 0, 7, 0, 1000, _GRIDS, 1772600000000, 200)
    assert bytes(out[:end]) == (
        b'{"action":"amend_order","client_order_id":"7","quantity":0.01000,"timestamp":1772600000000,"recv_window":200}'
    )
    assert [
        pf.encode_amend(out, *bad, _GRIDS, 5, 200) for bad in ((0, 0, 0, 1), (0, 7, 9, 1), (0, 7, 0, 0), (700, 7, 0, 1))
    ] == [-1] * 4
    end = pf.encode_cancel_all(out, 0, 1, _TABLE, 5)
    assert bytes(out[:end]) == b'{"action":"cancel_all","symbol":"ETH-USDC","timestamp":5}'
    end = pf.encode_cancel_all(out, 0, -1, _TABLE, 5)
    assert bytes(out[:end]) == b'{"action":"cancel_all","timestamp":5}'
    assert json.loads(pf.resync_text("BTC-USDC")) == {"action": "resync", "symbol": "BTC-USDC"}


@pytest.mark.parametrize(
    "change", [{"lots": 0}, {"ticks": 0}, {"ticks": -1}, {"side": 2}, {"kind": 0}, {"kind": 6}, {"at": 700}]
)
def test_what_is_no_order_is_not_encoded(change: dict[str, int]) -> None:
    out = np.zeros(1024, np.uint8)
    v = {"at": 0, "side": 0, "kind": 1, "ticks": 1, "lots": 1} | change
    args = (v["at"], 1, 0, v["side"], v["kind"], v["ticks"], v["lots"])
    assert pf.encode_place(out, *args, _TABLE, _GRIDS, 1, 1, 0) == -1
    assert not out.any()


def test_market_order_without_a_price_says_none() -> None:
    out = np.zeros(1024, np.uint8)
    end = pf.encode_place(out, 0, 1, 0, 1, layout.TYPE_MARKET, 0, 1, _TABLE, _GRIDS, 1, 1, 0)
    assert "price" not in json.loads(bytes(out[:end]))
    assert end > 0


def test_decoding_cost_is_shown() -> None:
    payload = json.dumps(TICK, separators=(",", ":")).encode()
    buf, out = np.frombuffer(payload, np.uint8).copy(), np.zeros(len(t.DECODED), np.int64)
    rounds = 2000
    started = time.perf_counter_ns()
    for _ in range(rounds):
        status = pf.decode_market(buf, 0, len(payload), _TABLE, _GRIDS, _SLOTS, out, _LEVELS)
    print(f"decode of {len(payload)} bytes, call from Python included: {(time.perf_counter_ns() - started) / rounds:.0f} ns")
    assert status == t.SCAN_OK
