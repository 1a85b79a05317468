"""sim.flow_figures: the synthetic market shows what TRADING-RULES §10 asks of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sim.flow_figures import Figures, measure


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(seed=1, seconds=300)


def test_a_seeded_run_is_within_every_bound(figures: Figures) -> None:
    assert figures.failures() == []


def test_quoting_at_the_touch_loses_before_and_after_fees(figures: Figures) -> None:
    assert figures.probe_fills > 300
    assert figures.maker_markout_bps < -0.2
    assert figures.maker_markout_after_fees_bps == pytest.approx(figures.maker_markout_bps - 2)


def test_spread_is_usually_tight_and_sometimes_over_20_bps(figures: Figures) -> None:
    assert 0.5 <= figures.spread_median_bps <= 3
    assert figures.spread_max_bps > 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inter_arrival_cv", 1.4),
        ("return_kurtosis", 5.0),
        ("abs_return_autocorrelation", 0.09),
        ("spread_values", 2),
        ("fano", 2.0),
        ("maker_markout_bps", 0.0),
        ("messages_per_s", 301.0),
        ("levels_min", 19),
    ],
)
def test_a_figure_out_of_bounds_is_named(figures: Figures, name: str, value: float) -> None:
    changed: dict[str, Any] = {name: value}
    [failure] = replace(figures, **changed).failures()
    assert name in failure
