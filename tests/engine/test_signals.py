"""One-shot signals as parent orders and parameter records as newest-wins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import tables
from fabric import layout
from risk import limits
from risk import tables as risk
from tests.engine.corekit import MS, T0, Run


@pytest.fixture
def run():
    r = Run()
    r.tick(1_000_000, 1_000_010)
    return r


def state_of(run, row):
    return layout.SIGNAL_STATE[run.c.signals[row, tables.SG_STATE]]


def reason_of(run, **fields):
    return layout.REASON[run.oneshot(**fields)]


def places(run):
    return [row for kind, row, _ in run.commands() if kind == "place"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"instrument": 9}, "unknown_symbol"),
        ({"instrument": -1}, "unknown_symbol"),
        ({"side": 2}, "signal_invalid"),
        ({"lots": 0}, "signal_invalid"),
        ({"limit_ticks": -5}, "signal_invalid"),
        ({"urgency": 0}, "signal_invalid"),
        ({"urgency": 11}, "signal_invalid"),
        ({"id": 0}, "signal_invalid"),
        ({"kind": 0}, "signal_invalid"),
        ({"expires_ns": T0}, "signal_expired"),
        ({"lots": 10_001}, "fat_finger"),
        ({"limit_ticks": 1 << 60}, "fat_finger"),
        ({"stop_ticks": 0}, "signal_no_stop"),
        ({"holding_ns": 0}, "signal_no_stop"),
        ({"stop_ticks": 1_000_100}, "signal_invalid"),
    ],
)
def test_malformed_record_is_refused_with_its_reason(run, fields, reason):
    assert reason_of(run, **fields) == reason
    assert run.reason(reason) == 1
    assert run.commands() == []


def test_record_without_stop_or_holding_takes_the_defaults(run):
    run.c.scalars[tables.K_DEFAULT_STOP_BPS] = 50
    run.c.scalars[tables.K_DEFAULT_HOLDING_NS] = 77
    assert reason_of(run, stop_ticks=0, holding_ns=0, limit_ticks=1_000_000) == "none"
    s = run.c.signals[0]
    assert (s[tables.SG_STOP_TICKS], s[tables.SG_HOLDING_NS]) == (995_000, 77)


def test_same_id_is_taken_once(run):
    assert reason_of(run, id=5) == "none"
    assert reason_of(run, id=5) == "duplicate_id"


@settings(max_examples=20, deadline=None)
@given(
    ids=st.lists(st.integers(1, (1 << 63) - 1), min_size=2, max_size=60, unique=True),
    waiting=st.integers(0, 3),
    step_ns=st.sampled_from([1, 10_001 * MS]),
)
def test_an_ended_one_shot_never_fires_again_whatever_came_after_it(ids, waiting, step_ns):
    run = Run()
    for number in range(waiting):
        assert reason_of(run, id=number + (1 << 62), limit_ticks=1_000_000, expires_ns=1 << 62) in ("none", "duplicate_id")
    taken = []
    for signal_id in ids:
        if reason_of(run, id=signal_id) == "none":
            taken.append(signal_id)
        run.timer(step_ns)
        assert {reason_of(run, id=again) for again in taken} == {"duplicate_id"}
    assert set(ids) - set(taken) <= {number + (1 << 62) for number in range(waiting)}


@pytest.mark.parametrize("active", [0, tables.SIGNAL_ROWS - 1])
def test_the_last_ids_are_known_exactly_as_many_as_promised_also_when_nearly_every_row_is_in_use(active):
    run = Run(signal_count_per_h=10_000)
    for number in range(active):
        assert reason_of(run, id=10**6 + number, limit_ticks=1_000_000, expires_ns=1 << 62) == "none"
    for number in range(tables.SIGNAL_IDS + 1):
        assert reason_of(run, id=1 + number, expires_ns=run.now + 1) == "none"
        run.timer(1)
    known = [*range(2, tables.SIGNAL_IDS + 2), *range(10**6, 10**6 + active)]  # and those that wait since before
    assert {reason_of(run, id=number) for number in known} == {"duplicate_id"}
    assert reason_of(run, id=1) == "none"  # bounded: the oldest has made room


def test_all_that_any_profile_takes_within_an_hour_is_remembered():
    assert tables.SIGNAL_IDS >= 256
    assert max(limits.profile(name)["signal_count_per_h"] for name in limits.PROFILES) < tables.SIGNAL_IDS


def test_id_of_a_refused_record_may_come_again():
    run = Run(signal_count_per_h=1)
    assert reason_of(run, id=1) == "none"
    assert reason_of(run, id=2) == "signal_budget"
    run.now += 3_600_000 * MS
    assert reason_of(run, id=2) == "none"
    assert reason_of(run, id=2) == "duplicate_id"


def test_hourly_budget_blocks_and_a_missing_one_blocks_all():
    r = Run(signal_count_per_h=1)
    assert reason_of(r, limit_ticks=1) == "signal_invalid"
    assert reason_of(r) == "none"
    assert reason_of(r) == "signal_budget"
    r.now += 3_600_000 * MS
    assert reason_of(r) == "none"
    missing = Run(signal_count_per_h=-1)
    assert reason_of(missing) == "limit_missing"


def test_buy_waits_for_the_ask_and_the_order_carries_the_record(run):
    assert reason_of(run, limit_ticks=1_000_009) == "none"
    assert run.commands() == []
    run.tick(999_990, 1_000_009)
    (row,) = places(run)
    assert (run.get(row, "price_ticks"), run.get(row, "lots")) == (1_000_009, 10)
    assert (run.get(row, "signal_id"), run.get(row, "model_hash"), run.get(row, "prompt_hash")) == (101, 11, 12)
    assert run.count("signals_used") == 1


def test_many_waiting_signals_never_block_each_other(run):
    for _ in range(50):
        assert reason_of(run, limit_ticks=1_000_001) == "none"
    assert run.commands() == []
    assert reason_of(run, limit_ticks=1_000_010) == "none"
    assert len(places(run)) == 1
    assert reason_of(run, instrument=1, limit_ticks=500) == "signal_invalid"


def test_filled_and_working_never_exceed_the_signal(run):
    run.oneshot()
    (row,) = places(run)
    for _ in range(3):
        run.now += 200 * MS
        run.tick(1_000_000, 1_000_010)
    assert run.commands() == []
    run.ack(row)
    run.fill(row, 4)
    run.cancelled(row, cumulative=4)
    run.now += 200 * MS
    run.tick(1_000_000, 1_000_010)
    (second,) = places(run)
    assert run.get(second, "lots") == 6


def test_expiry_cancels_the_children(run):
    run.oneshot(urgency=4, limit_ticks=1_000_010)
    (row,) = places(run)
    run.ack(row)
    run.timer(9_999 * MS)
    run.commands()
    run.tick(1_000_000, 1_000_011)
    run.timer(1 * MS)
    assert ("cancel", row, 1_000_004) in run.commands()
    run.cancelled(row)
    run.timer(1)
    assert state_of(run, 0) == "expired"
    assert run.count("signals_expired") == 1


@pytest.mark.parametrize("how", ["stop", "holding"])
def test_position_of_a_signal_is_left_by_its_stop_or_its_holding_time(run, how):
    run.oneshot()
    (row,) = places(run)
    run.ack(row)
    run.fill(row, 10, price=1_000_010)
    run.tick(1_000_000, 1_000_010)
    assert run.commands() == []
    if how == "stop":
        run.now += 200 * MS
        run.tick(990_000, 990_010)
    else:
        run.now += 60_000 * MS
        run.tick(1_000_000, 1_000_010)
    (leaving,) = places(run)
    assert (run.get(leaving, "side"), run.get(leaving, "lots"), run.get(leaving, "is_exit")) == (1, 10, 1)
    assert run.get(leaving, "type") == layout.TYPE_IOC
    run.ack(leaving)
    run.fill(leaving, 10)
    run.timer(1)
    assert (run.position(), state_of(run, 0)) == (0, "done")


def test_late_fill_of_an_ended_signal_is_left_too(run):
    run.oneshot(expires_ns=T0 + 500 * MS, holding_ns=1000 * MS)
    (row,) = places(run)
    run.ack(row)
    run.cancelled(row)
    run.timer(600 * MS)
    assert state_of(run, 0) == "expired"
    run.fill(row, 3)
    run.now += 1000 * MS
    run.tick(1_000_000, 1_000_010)
    (leaving,) = places(run)
    assert (run.get(leaving, "lots"), run.get(leaving, "is_exit")) == (3, 1)


def test_parameter_is_newest_wins_bounded_and_expires(run):
    assert run.parameter(layout.PARAM_SKEW_BPS_X100, 50) == 0
    assert run.parameter(layout.PARAM_SKEW_BPS_X100, -70) == 0
    assert run.c.parameters[layout.PARAM_SKEW_BPS_X100, tables.PF_VALUE] == -70
    assert layout.REASON[run.parameter(layout.PARAM_SKEW_BPS_X100, 10**9)] == "signal_invalid"
    assert layout.REASON[run.parameter(77, 1)] == "signal_invalid"
    assert layout.REASON[run.parameter(1, 1, instrument=5)] == "unknown_symbol"
    assert layout.REASON[run.parameter(1, 1, expires_ns=T0)] == "signal_expired"


def test_rate_limit_queues_a_signal_once_and_sends_it_when_allowed():
    r = Run(order_rate_per_s=1)
    r.tick(1_000_000, 1_000_010)
    assert r.order(price=990_000) >= 0
    r.oneshot()
    assert r.kinds() == ["place"]
    for _ in range(3):
        r.now += 150 * MS
        r.tick(1_000_000, 1_000_010)
    assert r.c.scalars[tables.K_QUEUE_COUNT] == 1
    r.timer(600 * MS)
    rows = places(r)
    assert [r.get(row, "lots") for row in rows] == [10]
    assert r.c.signals[0, tables.SG_WORKING] == 10


def test_queued_order_that_waits_too_long_is_dropped():
    r = Run(order_rate_per_s=1, queue_ttl_ns=100 * MS)
    r.tick(1_000_000, 1_000_010)
    r.order(price=990_000)
    assert r.order(price=990_001) == -2
    r.commands()
    r.timer(150 * MS)
    assert (r.kinds(), r.reason("rate_queue_expired"), r.c.scalars[tables.K_QUEUE_COUNT]) == ([], 1, 0)


def test_halt_refuses_new_records(run):
    run.c.account[risk.AC_STATE] = layout.RISK_HALTED
    run.c.account[risk.AC_REASON] = layout.REASON_HALTED_OPERATOR
    assert reason_of(run) == "halted_operator"
