# mypy: disable-error-code="no-untyped-call"
"""The bench of shared memory does the work that it times; nothing here judges a time."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bench.fabric import hop, meters, peers, readers, table, throughput
from bench.fabric.pair import Lost, both, shared
from fabric import layout
from fabric.jit import ROOT

CPUS = (max(os.sched_getaffinity(0)), min(os.sched_getaffinity(0)))
two_cpus = pytest.mark.skipif(CPUS[0] == CPUS[1], reason="two sides that spin need a cpu each")


def test_both_sides_share_memory_and_answer() -> None:
    words = shared(8)

    def far() -> int:
        words[3] = 7
        return 5

    assert both(lambda: 4, far, CPUS, [words]) == (4, 5)
    assert words[3] == 7


def test_a_far_side_that_dies_is_said() -> None:
    with pytest.raises(Lost, match="died"):
        both(lambda: 4, lambda: os._exit(1), CPUS)


@two_cpus
def test_every_round_trip_is_made_and_has_its_time_and_its_gaps() -> None:
    hop.warm(CPUS)
    line, rings = hop.Line(640), hop.Rings(640)
    for course in (line, rings):
        assert len(course.run(0, CPUS)) == 640 // hop.BLOCK
        assert (course.run(1, CPUS) > 0).all()
        assert (course.near_gaps[:640] > 0).all()
        assert (course.far_gaps[:640] > 0).all()
    assert line.line[0] == 2 * 640
    assert [int(ring[0]) for ring in rings.rings] == [1280, 1280], "two runs, one record each way per round trip"


def test_only_intervals_with_a_gap_are_dropped_and_their_share_is_said() -> None:
    trips, dropped = np.array([200] * 98 + [900, 90_000]), np.array([0] * 99 + [1])
    one = hop.summary([trips], [np.array([64 * 180])], [dropped])
    assert one["p50"] == 100
    assert one["max"] == 450
    assert one["dropped_share"] == 0.01
    assert one["without_clock"] == 90


@two_cpus
def test_every_record_arrives_whoever_copies_it() -> None:
    throughput.measure(CPUS, 3_000, 1)  # raises Lost when one is missing
    course = throughput.Course(70_000)
    assert course.rate(CPUS) > 0
    assert course.cursor[0] == course.consumed[0] == 70_000, "more than the ring has slots"


@two_cpus
def test_the_c_code_is_the_same_ring() -> None:
    library = throughput.build(16)
    if library is None:
        pytest.skip("no C compiler")
    course = throughput.Course(1_000, library)
    course.rate(CPUS)
    assert course.cursor[0] == course.consumed[0] == 1_000
    slots = course.ring.reshape(-1, 16)
    assert slots[1:1001, :2].tolist() == [[k, k] for k in range(1, 1001)]


def test_the_loops_of_the_meters_leave_their_traces() -> None:
    page = meters.Page()
    for loop in (page.counter, page.histogram, page.beat_and_lease):
        assert loop(10_000) > 0  # raises Idle when a call is missing
    counter = (layout.COUNTERS_OFFSET + meters.COUNTER * layout.COUNTER_STRIDE) // 8
    assert page.words[counter] == 10_000
    assert page.words[layout.HEARTBEAT_OFFSET // 8] == page.now_ns + 9_999
    assert len(set(page.values)) > 900


def test_a_lease_that_lapses_in_the_loop_is_seen() -> None:
    page = meters.Page()
    page.lease[layout.L_DEADLINE_NS] = page.now_ns + 100
    with pytest.raises(meters.Idle, match="100 of 1000"):
        page.beat_and_lease(1000)


@two_cpus
def test_pipe_and_queue_echo_what_was_sent() -> None:
    for name in ("pipe_hop_ns", "mp_queue_hop_ns"):
        one = peers.hop(name, 20, CPUS)
        assert one["n"] == 20
        assert 0 < one["p50"] <= one["p99"]


def test_a_peer_that_is_not_installed_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "PEERS", {"faster_fifo_hop_ns": peers.fifo_sides})
    monkeypatch.setitem(sys.modules, "faster_fifo", None)
    assert peers.measure(CPUS, 10) == {"faster_fifo_hop_ns": None}
    assert "FASTER_FIFO IS ABSENT" in capsys.readouterr().out


def test_a_peer_that_fails_loses_no_other_figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(times: int) -> Any:
        raise OSError("no room")

    monkeypatch.setattr(peers, "PEERS", {"pipe_hop_ns": broken})
    assert peers.measure(CPUS, 10) == {"pipe_hop_ns": None}
    assert "PIPE FAILED, not compared: OSError('no room')" in capsys.readouterr().out


def test_the_percentile_lies_between_whole_ns() -> None:
    counts = np.zeros(100, np.int64)
    counts[40], counts[50], counts[60] = 980, 15, 5
    assert readers.p99(counts) == pytest.approx(50 + 10 / 15)


def test_a_writer_does_every_turn() -> None:
    with readers.segments() as (_, market, stats):
        writer = readers.Writer(market, stats, 20_000)
        writer.phase()
        assert writer.counts.sum() == 20_000
        assert market.word(layout.MARKET_CURSOR_OFFSET) == 20_000
        assert stats.segment.words[stats._counter_word("events")] == 20_000


FIGURES = {
    "hop_ns": {"p50": 90.0, "p99": 170.0, "without_clock": 80.0},
    "pingpong_oneway_ns": {"p50": 50.0, "p99": 60.0, "without_clock": 30.0},
    "faster_fifo_hop_ns": {"p50": 9500},
    "mp_queue_hop_ns": None,
    "spsc_to_c": None,
    "counter_add_ns": 1.0,
    "hist_record_ns": 7.0,
    "beat_and_lease_ns": 5.0,
    "idle_pass_ns": 60.0,
    "readers50_p99_ratio": 1.1,
    "readers50_aa_spread": [0.9, 1.05],
}


def test_targets_are_judged_by_their_bounds_and_nothing_absent_is_met() -> None:
    met = {one["name"]: one["met"] for one in table.judge(FIGURES)}
    assert met == {
        "hop p50 / bare line p50": True,
        "hop / bare line, no clock inside": False,
        "hop p99 / hop p50": True,
        "faster_fifo p50 / hop p50": True,
        "mp_queue p50 / hop p50": None,
        "lossless ring / the same in C": None,
        "counter_add_ns": True,
        "hist_record_ns": False,
        "beat_and_lease_ns": True,
        "idle_pass_ns": True,
        "writer p99, 50 readers / none": False,
    }


@two_cpus
@pytest.mark.timeout(600)  # compiles the execution loop where nobody has done so
def test_a_short_run_writes_every_key(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "fabric.json"
    command = [sys.executable, "-m", "bench.fabric", "--short", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads(file.read_text())
    for key in ("hop_ns", "pingpong_oneway_ns"):
        assert value[key]["p50"] > 0
        assert value[key]["n"] == value["method"]["trips"]
    assert value["mp_queue_hop_ns"]["p50"] > 0
    for key in ("spsc_msgs_per_s", "counter_add_ns", "hist_record_ns", "idle_pass_ns", "empty_recv_ns", "readers50_p99_ratio"):
        assert value[key] > 0, key
    assert {"faster_fifo_hop_ns", "iceoryx2_hop_ns", "pipe_hop_ns", "spsc_c_msgs_per_s"} <= set(value)
    low, high = value["readers50_aa_spread"]
    assert low <= high
    assert value["readers50"]["stopped_reader_stayed_stopped"] is True
    assert len(value["targets"]) == len(table.judge(FIGURES))
    assert value["machine"]["commit"] in done.stdout
