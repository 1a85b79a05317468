"""Profiles are the published figures, monotone, and complete; a row says what is missing."""

import itertools

import pytest

from risk import limits, tables

PUBLISHED = {
    "day_loss_ppm": (10_000, 30_000, 50_000),
    "position_ppm": (50_000, 150_000, 300_000),
    "order_rate_per_s": (10, 50, 200),
    "losses_in_row": (3, 7, 15),
    "slippage_ppm": (1_000, 3_000, 5_000),
    "drawdown_ppm": (50_000, 100_000, 200_000),
    "pause_ns": (300_000_000_000,) * 3,
}


def test_breakers_of_each_profile_are_the_published_ones():
    for name, values in PUBLISHED.items():
        assert tuple(limits.profile(p)[name] for p in limits.PROFILES) == values
    assert limits.DEFAULT_PROFILE == "conservative"


def test_profiles_only_widen():
    for tight, loose in itertools.pairwise(map(limits.profile, limits.PROFILES)):
        for name in tight:
            assert tight[name] >= loose[name] if name in limits.LONGER_IS_TIGHTER else tight[name] <= loose[name], name


def test_each_profile_sets_every_limit():
    names = {name for name in tables.LIMIT if name != "_"}
    for name in limits.PROFILES:
        values = limits.profile(name)
        assert set(values) == names
        row = limits.limits_row(values)
        assert {n: int(v) for n, v in zip(tables.LIMIT, row, strict=True) if n != "_"} == values


def test_what_is_not_given_is_missing():
    row = limits.limits_row({"collar_ppm": 7})
    assert row[tables.LM_COLLAR_PPM] == 7
    assert sorted(set(row)) == [tables.LIMIT_MISSING, 7]


@pytest.mark.parametrize(
    "values",
    [
        {"colar_ppm": 1},
        {"_": 1},
        {"collar_ppm": -1},
        {"collar_ppm": 1.5},
        {"collar_ppm": True},
        {"collar_ppm": 10_000_001},
        {"order_rate_per_s": 257},
        {"queue_slots": 65},
    ],
)
def test_unknown_or_impossible_limits_are_refused_by_name(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        limits.limits_row(values)


def test_unknown_profile_names_the_choices():
    with pytest.raises(ValueError, match="conservative, standard, aggressive"):
        limits.profile("reckless")
