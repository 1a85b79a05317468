from __future__ import annotations

from sim.limits import RateLimit


def test_burst_passes_then_tokens_come_back_at_the_rate():
    rate = RateLimit(per_s=10, burst=3)
    assert [rate.admit("k", 0) for _ in range(4)] == [True, True, True, False]
    assert not rate.admit("k", 99_999)
    assert rate.admit("k", 100_000)
    assert rate.refused == 2


def test_keys_do_not_share_a_bucket():
    rate = RateLimit(per_s=1, burst=1)
    assert rate.admit("a", 0)
    assert rate.admit("b", 0)


def test_persistent_excess_brings_a_ban_that_ends():
    rate = RateLimit(per_s=1000, burst=1, ban_after=3, ban_us=1_000_000)
    assert [rate.admit("k", 0) for _ in range(4)] == [True, False, False, False]
    assert rate.bans == 1
    assert not rate.admit("k", 999_999)
    assert rate.admit("k", 1_000_000)


def test_clock_that_steps_back_gives_no_tokens_twice():
    rate = RateLimit(per_s=1, burst=1)
    assert rate.admit("k", 1_000_000)
    assert not rate.admit("k", 0)
    assert not rate.admit("k", 1_500_000)
