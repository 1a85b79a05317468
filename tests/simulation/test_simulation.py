"""The simulation's short form: many seeds hold every rule, a seed is always the same run, and planted bugs are found."""

from __future__ import annotations

import collections

import pytest

from tests.simulation import bugs, episode
from tests.simulation.weather import FAULTS
from tests.simulation.world import MS, S

SEEDS = 500
SAFETY = 3 * S // 2
NEVER_COUNTED = {"half_cut", "cancel_on_disconnect", "disk_slow"}  # ways in which others happen, not events


@pytest.mark.timeout(1200)
def test_five_hundred_seeds_break_no_rule_and_every_fault_strikes() -> None:
    struck: collections.Counter[str] = collections.Counter()
    ends: collections.Counter[str] = collections.Counter()
    broken, trades = [], 0
    for seed in range(1, SEEDS + 1):
        result = episode.run(seed, SAFETY)
        struck.update(result.faults)
        ends[result.end] += 1
        trades += result.trades
        if result.violation:
            broken.append(f"seed {seed}, step {result.step}: {result.violation}")
    assert not broken, f"{len(broken)} seeds, see python -m tests.simulation --safety 2 --seed N: {broken[:5]}"
    assert set(struck) >= set(FAULTS) - NEVER_COUNTED
    assert ends["trading"] > SEEDS // 3  # most come back to trade, the others say why not
    assert trades > SEEDS


@pytest.mark.parametrize("seed", [1, 14, 19])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    one, other = episode.run(seed, S), episode.run(seed, S)
    assert (one.digest, one.lines, one.steps) == (other.digest, other.lines, other.steps)
    assert one.digest != episode.run(seed + 100, S).digest


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", bugs.PLANTED)
def test_planted_bug_is_found(name: str) -> None:
    planted, rule, first, seeds = bugs.PLANTED[name]
    found = []
    for seed in range(first, first + seeds):
        violation = episode.run(seed, SAFETY, planted).violation
        found.append(violation[:80])
        if violation.startswith(rule):
            return
    pytest.fail(f"{name} breaks no rule {rule!r} within {seeds} seeds from {first} on: {[one for one in found if one][:5]}")


def test_a_failing_seed_names_the_rule_the_step_and_the_last_events() -> None:
    results = (episode.run(seed, 500 * MS, bugs.PLANTED["fill_booked_twice"][0]) for seed in range(1, 20))
    result = next(one for one in results if one.violation)
    assert result.violation[0].isdigit()
    assert 0 < result.step <= result.steps
    assert result.lines[-1].endswith(f"VIOLATION {result.violation}")
