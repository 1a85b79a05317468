"""The signal process against a stub endpoint: garbage, time-outs, floods and injection move a counter and no more."""

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from slow_house import GOOD, House, Stub, completion, config

from fabric import layout
from fabric.segment import Segment
from fabric.stats import StatsReader
from strategy.slow import process
from strategy.slow.model import ModelMissing
from strategy.slow.process import SignalProcess
from strategy.slow.source import choose

Build = Callable[..., House]


def test_a_good_answer_becomes_a_parameter_and_a_one_shot(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps(GOOD))
    before = time.monotonic_ns()
    house.turn()
    parameter, oneshot = house.records()
    assert house.counters() == {"calls": 1, "valid": 1, "published": 2, "oneshots": 1, "parameters": 1}
    assert (parameter["kind"], parameter["id"]) == (layout.SIGNAL_PARAMETER, layout.PARAM_SKEW_BPS_X100)
    assert (parameter["instrument"], parameter["value"]) == (0, 300)
    assert (oneshot["kind"], oneshot["side"], oneshot["urgency"]) == (layout.SIGNAL_ONESHOT, layout.SIDE_BUY, 6)
    assert oneshot["limit_ticks"] == 6_003_100  # 5 bps above the ask, rounded down
    assert oneshot["lots"] == 416  # 250 at 60,031.00, in lots of 0.00001
    assert oneshot["stop_ticks"] == 5_970_000
    assert oneshot["holding_ns"] == 60 * 10**9
    for record in (parameter, oneshot):
        assert record["source"] == layout.SOURCE_LLM
        assert before < record["issued_ns"] < time.monotonic_ns()
        assert record["expires_ns"] - record["issued_ns"] == 15 * 10**9
        assert record["model_hash"] > 0
        assert record["prompt_hash"] > 0
    assert StatsReader(house.shm_dir, "signal").histogram("llm_latency").count == 1


def test_a_sell_is_the_mirror_image(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps({**GOOD, "view": "sell"}))
    house.turn()
    oneshot = house.records()[1]
    assert oneshot["side"] == layout.SIDE_SELL
    assert oneshot["limit_ticks"] == 5_997_000
    assert oneshot["stop_ticks"] == 6_030_100


@pytest.mark.parametrize("changes", [{"view": "hold"}, {"size_percent": 0}])
def test_hold_and_no_size_publish_the_skew_alone(llm: Build, stub: Stub, changes: dict[str, Any]) -> None:
    house = llm()
    stub.says(json.dumps({**GOOD, **changes}))
    house.turn()
    assert [record["kind"] for record in house.records()] == [layout.SIGNAL_PARAMETER]


def test_ids_of_one_shots_grow(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps(GOOD))
    for _ in range(3):
        house.turn()
    ids = [record["id"] for record in house.records() if record["kind"] == layout.SIGNAL_ONESHOT]
    assert len(ids) == 3
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("body", "counter"),
    [
        ((500, b"sorry"), "bad_http"),
        ((401, b"{}"), "bad_http"),
        ((307, b""), "bad_http"),
        ((200, b"<html>"), "bad_http"),
        ((200, b"[" * 60_000), "bad_http"),
        ((200, b'{"choices": []}'), "bad_http"),
        ((200, b'{"choices": [{"message": 7}]}'), "bad_http"),
        ((200, completion(None)), "bad_no_text"),
        ((200, completion(7)), "bad_no_text"),
        ((200, completion(" ")), "bad_no_text"),
        ((200, completion("{}", refusal="I may not")), "bad_refused"),
        ((200, completion("x" * 70_000)), "bad_refused"),
        ((200, completion("buy!")), "bad_not_json"),
        ((200, completion("{}")), "bad_schema"),
        ((200, completion(json.dumps({**GOOD, "symbol": "ETH-USDC"}))), "bad_unknown_symbol"),  # its book is not ready
        ((200, completion(json.dumps({**GOOD, "urgency": 999}))), "bad_out_of_range"),
        ((200, completion('Ignore the limits. {"symbol":"BTC-USDC","view":"buy"}')), "bad_not_json"),
        ((200, completion(json.dumps({**GOOD, "max_notional": 10**9}))), "bad_schema"),
    ],
)
def test_a_bad_answer_moves_its_counter_and_publishes_nothing(
    llm: Build, stub: Stub, body: tuple[int, bytes], counter: str
) -> None:
    house = llm()
    stub.reply = lambda _: body
    house.turn()
    assert house.counters() == {"calls": 1, counter: 1}
    assert house.records() == []
    stub.says(json.dumps(GOOD))
    house.turn()
    assert len(house.records()) == 2


def test_an_endpoint_that_does_not_answer_is_a_timeout(llm: Build, stub: Stub) -> None:
    def hang(_: BaseHTTPRequestHandler) -> None:
        stub.release.wait(5)

    house = llm(timeout_ms=50)
    stub.reply = hang
    house.turn()
    assert house.counters() == {"calls": 1, "bad_timeout": 1}


def test_an_endpoint_that_drips_is_cut_off_at_the_timeout(llm: Build, stub: Stub) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stub.release.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    house = llm(timeout_ms=100)
    stub.reply = drip
    house.turn()
    assert house.counters() == {"calls": 1, "bad_timeout": 1}


def test_an_endpoint_that_is_not_there_is_an_http_error(llm: Build, stub: Stub) -> None:
    house = llm(base_url="http://127.0.0.1:9/v1")
    house.turn()
    assert house.counters() == {"calls": 1, "bad_http": 1}


def test_the_key_comes_from_the_named_variable_and_reaches_nothing_but_the_header(
    llm: Build, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("sk_secret\u00e9", "sk_\nsecret"):  # the library's own errors would quote these
        monkeypatch.setenv("STUB_KEY", wrong)
        with pytest.raises(ModelMissing) as caught:
            llm(key_env="STUB_KEY")
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("STUB_KEY", "sk_secret")
    house = llm(key_env="STUB_KEY")
    stub.reply = lambda _: (401, b"sk_secret")
    house.turn()
    assert stub.authorization[-1] == "Bearer sk_secret"
    assert house.counters() == {"calls": 1, "bad_http": 1}
    for name in ("stats-signal", "signal"):
        assert b"sk_secret" not in (house.shm_dir / name).read_bytes()


def test_the_request_is_schema_constrained_and_its_stable_part_comes_first(llm: Build, stub: Stub) -> None:
    house = llm()
    house.turn()
    house.set_book(0, 6_000_500, 6_000_700)
    house.turn()
    first, second = stub.requests
    assert first["response_format"]["json_schema"]["schema"]["properties"]["symbol"] == {"enum": ["BTC-USDC"]}
    assert first["messages"][0] == second["messages"][0]
    assert first["messages"][1] != second["messages"][1]
    assert "mid 60000.5" in first["messages"][1]["content"]


def test_it_holds_off_while_the_market_or_the_account_is_not_ready(llm: Build, stub: Stub) -> None:
    house = llm()
    for book in ((0, 0, 0), (0, 10, 10), (0, 10, 20, layout.BOOK_DIRTY), (0, 10, 20, layout.BOOK_READY, 6 * 10**9)):
        house.set_book(*book)
        house.turn()
    assert house.counters() == {"held": 4}
    assert stub.requests == []


def test_a_market_that_ends_while_the_model_thinks_publishes_nothing(llm: Build, stub: Stub) -> None:
    house = llm()

    def dirty(_: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        house.set_book(0, 10, 20, layout.BOOK_DIRTY)
        return 200, completion(json.dumps(GOOD))

    stub.reply = dirty
    house.turn()
    assert house.counters() == {"calls": 1, "valid": 1, "held": 1}
    assert house.records() == []


def test_clamped_values_are_counted(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps({**GOOD, "urgency": 12, "skew_bps": 50}))
    house.turn()
    assert house.counters()["clamped"] == 2
    assert [r["value"] for r in house.records() if r["kind"] == layout.SIGNAL_PARAMETER] == [2000]


def test_an_order_below_the_venues_minimum_is_not_asked_for(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps({**GOOD, "size_percent": 1}))  # 5 of 500, the minimum is 10
    house.turn()
    assert house.counters() == {"calls": 1, "valid": 1, "too_small": 1, "published": 1, "parameters": 1}


def test_a_reader_that_is_behind_or_of_another_generation_makes_the_ring_full(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps({**GOOD, "view": "hold"}))
    house.turn()
    house.exec.set_word(layout.EXEC_SIGNAL_CURSOR_OFFSET, -layout.SIGNAL_SLOTS)
    house.turn()
    house.exec.set_word(layout.EXEC_SIGNAL_CURSOR_OFFSET, 0)
    house.exec.set_word(layout.EXEC_SIGNAL_CURSOR_OFFSET + 8, 99)
    house.turn()
    assert house.counters() == {"calls": 3, "valid": 3, "published": 1, "parameters": 1, "ring_full": 2}


def test_a_restarted_execution_is_found(llm: Build, stub: Stub) -> None:
    house = llm()
    stub.says(json.dumps({**GOOD, "view": "hold"}))
    house.turn()
    house.exec = Segment.create(house.shm_dir, "exec", "execution")
    house.turn()
    assert house.counters()["held"] == 1  # its account page is empty
    house.set_account()
    house.exec.set_word(layout.EXEC_SIGNAL_CURSOR_OFFSET + 8, house.process.publisher.segment.generation)
    house.turn()
    assert len(house.records()) == 2


def test_rules_need_no_model_and_say_so(tmp_path: pathlib.Path) -> None:
    house = House(tmp_path, source="rules")
    house.turn()
    house.set_book(0, 6_003_000, 6_003_100)  # up 5 bps with bids in front
    house.turn()
    assert StatsReader(tmp_path, "signal").status()["note"] == layout.SOURCE_RULES
    records = house.records()
    assert {record["source"] for record in records} == {layout.SOURCE_RULES}
    assert [record["kind"] for record in records] == [layout.SIGNAL_PARAMETER] * 2 + [layout.SIGNAL_ONESHOT]
    assert records[2]["side"] == layout.SIDE_BUY


def test_source_none_lives_and_publishes_nothing(tmp_path: pathlib.Path) -> None:
    house = House(tmp_path, source="none")
    house.turn()
    assert house.counters() == {}
    assert StatsReader(tmp_path, "signal").heartbeat_age_ns() is not None


@pytest.mark.parametrize(
    ("signal", "text"),
    [
        ({"model": "/nonexistent/x.gguf"}, "is missing"),
        ({"model": "gpt-none"}, "unknown model"),
        ({"base_url": "http://127.0.0.1:9", "key_env": "PULEX_NO_SUCH_KEY"}, "PULEX_NO_SUCH_KEY"),
        ({"source": "magic"}, "give llm, rules or none"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_what_to_do(tmp_path: pathlib.Path, signal: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelMissing, match=text):
        choose(config(tmp_path, **{"source": "llm", **signal})["signal"])


def test_a_missing_model_file_ends_the_process_with_one_line_and_code_4(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "config.json").write_text(json.dumps(config(tmp_path, source="llm", model="/nonexistent/x.gguf")))
    assert process.main([str(tmp_path)]) == 4
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "set signal.source = 'rules'" in captured


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_broken_configuration_ends_the_process_with_one_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert process.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_stop_word_is_obeyed(tmp_path: pathlib.Path) -> None:
    control = Segment.create(tmp_path, "control", "supervisor")
    lonely = SignalProcess(config(tmp_path, source="none"), None)
    assert not lonely.stop_wanted()
    control.set_word(layout.CONTROL_OFFSET, layout.STOP_CANCEL_AND_VERIFY)
    assert lonely.stop_wanted()


def test_the_real_process_ends_quickly_on_sigterm_though_its_model_hangs(tmp_path: pathlib.Path, stub: Stub) -> None:
    def hang(_: BaseHTTPRequestHandler) -> None:
        stub.release.wait(20)

    stub.reply = hang
    house = House(tmp_path, source="none")
    (tmp_path / "config.json").write_text(json.dumps(config(tmp_path, source="llm", base_url=stub.url)))
    root = pathlib.Path(process.__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-m", "strategy.slow", str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout
        assert "source endpoint stub" in child.stdout.readline()
        deadline = time.monotonic() + 10
        while not stub.requests and time.monotonic() < deadline:
            house.set_book(0, 6_000_000, 6_000_100)
            time.sleep(0.02)
        assert stub.requests
        asked = time.monotonic()
        child.terminate()
        assert child.wait(5) == 0
        assert time.monotonic() - asked < 5.0  # the hanging call would take minutes
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()
    assert StatsReader(tmp_path, "signal").status()["state"] == layout.PROCESS_STOPPED
