"""No second, wherever it begins, holds more orders or messages than its limit."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_house import NOW, World, interpreted

from risk import rate, tables

SECOND = 1_000_000_000
TIMES = st.lists(st.integers(0, 400_000_000), min_size=1, max_size=60)


@pytest.mark.parametrize("limit", [1, 10, 256])
def test_window_is_exact_at_its_edge(limit):
    w = World(order_rate_per_s=limit)
    for k in range(limit):
        assert rate.would_exceed(w.rate, w.limits, NOW + k) == 0
        rate.take(w.rate, NOW + k)
    assert rate.would_exceed(w.rate, w.limits, NOW + SECOND - 1) == 1
    assert rate.would_exceed(w.rate, w.limits, NOW + SECOND) == 0


def test_slots_that_were_never_taken_count_as_nothing_also_in_the_first_second_of_the_clock():
    w = World(order_rate_per_s=2)
    rate.take(w.rate, 1)
    assert rate.would_exceed(w.rate, w.limits, 2) == 0
    rate.take(w.rate, 2)
    assert rate.would_exceed(w.rate, w.limits, 3) == 1


def test_asking_takes_no_slot():
    w = World(order_rate_per_s=1)
    before = w.rate.copy()
    assert [rate.would_exceed(w.rate, w.limits, NOW) for _ in range(3)] == [0, 0, 0]
    assert (w.rate == before).all()


@pytest.mark.parametrize("limit", [0, tables.LIMIT_MISSING])
def test_no_limit_is_no_order(limit):
    w = World()
    w.limits[tables.LM_ORDER_RATE_PER_S] = w.limits[tables.LM_MESSAGE_RATE_PER_S] = limit
    assert rate.would_exceed(w.rate, w.limits, NOW) == rate.messages_exceed(w.rate, w.limits, NOW) == 1


def test_clock_that_steps_back_frees_nothing():
    w = World(order_rate_per_s=1)
    rate.take(w.rate, NOW)
    assert rate.would_exceed(w.rate, w.limits, NOW - 5 * SECOND) == 1


@settings(max_examples=50, deadline=None)
@given(TIMES, st.integers(1, 6))
def test_order_limiter_equals_a_plain_list_of_times(gaps, limit):
    w, now, sent = World(order_rate_per_s=limit), NOW, []
    for gap in gaps:
        now += gap
        full = len([t for t in sent if now - t < SECOND]) >= limit
        assert rate.would_exceed(w.rate, w.limits, now) == full
        if not full:
            rate.take(w.rate, now)
            sent.append(now)


@settings(max_examples=50, deadline=None)
@given(TIMES, st.integers(1, 6))
def test_messages_never_exceed_their_limit_and_old_ones_free_it(gaps, limit):
    w, now, sent = World(message_rate_per_s=limit), NOW, []
    for gap in gaps:
        now += gap
        full = rate.messages_exceed(w.rate, w.limits, now)
        assert full or len([t for t in sent if now - t < SECOND]) < limit
        assert not full or len([t for t in sent if now - t < SECOND + rate.BUCKET_NS]) >= limit
        with interpreted():
            assert rate.messages_exceed(w.rate, w.limits, now) == full
        if not full:
            rate.take_message(w.rate, now)
            sent.append(now)


@pytest.mark.parametrize("offset_ns", [0, -1])  # the first and the last nanosecond of a bucket
def test_a_message_counts_for_a_whole_second_and_never_for_more_than_a_quarter_longer(offset_ns):
    w = World(message_rate_per_s=1)
    sent_ns = 4_000 * rate.BUCKET_NS + offset_ns
    rate.take_message(w.rate, sent_ns)
    assert rate.messages_exceed(w.rate, w.limits, sent_ns + SECOND - 1) == 1
    assert rate.messages_exceed(w.rate, w.limits, sent_ns + 1_250_000_000) == 0


@pytest.mark.parametrize("early_ns", [0, 1])
def test_three_messages_at_any_distance_count_for_a_second_and_for_a_quarter_more_at_most(early_ns):
    w = World()
    for gaps in itertools.product(range(11), repeat=3):  # half buckets
        w.rate[:] = 0
        times = [4_000 * rate.BUCKET_NS - early_ns]
        times += [times[0] + gaps[0] * rate.BUCKET_NS // 2, times[0] + (gaps[0] + gaps[1]) * rate.BUCKET_NS // 2]
        for now in times:
            rate.take_message(w.rate, now)
        now = times[-1] + gaps[2] * rate.BUCKET_NS // 2
        counted = 0
        for w.limits[tables.LM_MESSAGE_RATE_PER_S] in range(1, 7):
            counted += rate.messages_exceed(w.rate, w.limits, now)
        ages = [now - sent for sent in times]
        assert sum(age < SECOND for age in ages) <= counted <= sum(age < SECOND + rate.BUCKET_NS for age in ages)


def test_a_message_in_the_bucket_after_another_ones_counts_for_a_whole_second_too():
    w, bucket = World(message_rate_per_s=1), 4_000 * rate.BUCKET_NS
    rate.take_message(w.rate, bucket)
    second_ns = bucket + 2 * rate.BUCKET_NS - 1
    rate.take_message(w.rate, second_ns)
    assert rate.messages_exceed(w.rate, w.limits, second_ns + SECOND - 1) == 1


def test_clock_that_steps_back_frees_no_message():
    w = World(message_rate_per_s=2)
    for now in (NOW, NOW - 5 * SECOND):
        rate.take_message(w.rate, now)
    assert rate.messages_exceed(w.rate, w.limits, NOW - 3 * SECOND) == 1


def test_clock_that_steps_back_counts_nothing_that_was_not_sent():
    w = World(message_rate_per_s=2)
    rate.take(w.rate, NOW)
    assert rate.messages_exceed(w.rate, w.limits, NOW - rate.BUCKET_NS) == 0


def test_cancels_use_message_room_but_no_order_slot():
    w = World(order_rate_per_s=5, message_rate_per_s=3)
    for _ in range(3):
        rate.take_message(w.rate, NOW)
    assert rate.messages_exceed(w.rate, w.limits, NOW) == 1
    assert rate.would_exceed(w.rate, w.limits, NOW) == 0
    assert w.rate[tables.RT_COUNT] == 0


def test_exits_count_within_the_second_that_the_first_of_them_began():
    w = World()
    for k in range(rate.EXITS_MAX):
        assert rate.exits_exceed(w.rate, NOW + k) == 0
        rate.take_exit(w.rate, NOW + k)
    assert w.rate[tables.RT_EXITS] == rate.EXITS_MAX
    assert [rate.exits_exceed(w.rate, NOW + later) for later in (rate.EXITS_MAX, SECOND - 1, SECOND)] == [1, 1, 0]
    rate.take_exit(w.rate, NOW + SECOND - 1)
    assert w.rate[tables.RT_EXITS] == rate.EXITS_MAX + 1
    rate.take_exit(w.rate, NOW + SECOND)
    assert (w.rate[tables.RT_EXIT_START_NS], w.rate[tables.RT_EXITS]) == (NOW + SECOND, 1)
    assert rate.EXITS_MAX == 256


def test_messages_move_on_over_any_time_and_exits_are_not_among_them():
    for later in range(7):
        w = World()
        rate.take_exit(w.rate, NOW)
        rate.take_message(w.rate, NOW)
        rate.take_message(w.rate, NOW + later * rate.BUCKET_NS)
        expected = [0] * rate.BUCKETS
        expected[0] = 1
        if later < rate.BUCKETS:
            expected[later] += 1
        assert w.rate[tables.RT_MESSAGES : tables.RT_MESSAGES + rate.BUCKETS].tolist() == expected
