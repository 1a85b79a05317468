"""Figures: exact percentiles, nothing dropped without a count, ratios from the same run."""

from __future__ import annotations

from typing import Any

import pytest

from bench import figures


def result(inside: list[int], first: int = 5_000, gap: int = 100) -> dict[str, Any]:
    row = [first, *inside]
    return {"samples": [row], "gaps": [[gap] * len(row)], "strays": 0, "realtime": True}


def test_percentiles_are_those_of_the_samples_in_microseconds() -> None:
    found = figures.summary([result([k * 1000 for k in range(1, 102)])])
    assert found["n"] == 101
    assert (found["min_us"], found["p50_us"], found["p99_us"], found["max_us"]) == (1.0, 51.0, 100.0, 101.0)


def test_a_tick_without_order_is_counted_and_the_first_of_a_burst_stands_apart() -> None:
    found = figures.summary([result([10_000, -1, 10_000], first=900_000), result([10_000, 10_000, 10_000], first=-1)])
    assert (found["n"], found["unanswered"], found["max_us"]) == (5, 1, 10.0)
    assert (found["after_pause"]["n"], found["after_pause"]["p50_us"]) == (1, 900.0)


def test_p999_says_when_too_few_samples_lie_beyond_it() -> None:
    assert not figures.summary([result([1000] * 9_999)])["p999_has_10_beyond"]
    assert figures.summary([result([1000] * 10_000)])["p999_has_10_beyond"]


def test_a_round_without_realtime_or_with_a_blind_generator_shows() -> None:
    blind = result([1000, 1000], gap=figures.BLIND_NS + 1) | {"realtime": False}
    generator = figures.summary([result([1000, 1000]), blind])["generator"]
    assert not generator["realtime"]
    assert generator["blind_over_20us"] == 3


def test_ratios_and_spread() -> None:
    clients = {"floor": {"p50_us": 20.0}, "pulex_split": {"p50_us": 25.0}, "asyncio": {"p50_us": 100.0}}
    assert figures.ratios(clients, "p50_us") == {"pulex_to_floor": 1.25, "asyncio_to_pulex": 4.0}
    assert figures.spread_percent([{"p50_us": 9.0}, {"p50_us": 10.0}, {"p50_us": 12.0}], "p50_us") == pytest.approx(30.0)
