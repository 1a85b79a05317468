"""Every fault of the catalogue once, and the controls, on whole systems, judged by the exchange's ledger.

Houses stand side by side here. A fault that failed is therefore played once more, alone; what
fails twice fails. The long form is ``make chaos``.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.controls import CONTROLS, play_controls
from tests.chaos.run import Chaos, Result, round_of
from tests.chaos.scene import ChaosError

pytestmark = pytest.mark.timeout(900)  # the first run of a changed source compiles it

SEED = "short"
LANES = 3  # one of them waits a minute for a revocation


class Played:
    """What became of each fault and each control."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.controls: dict[str, dict[str, Any]] = {}

    def take(self, result: Result) -> None:
        self.results[result.fault] = result

    def control(self, chaos: Chaos) -> None:
        """All controls; a house that failed its own leaves what was found before it."""
        with contextlib.suppress(ChaosError):
            self.controls |= play_controls(chaos, SEED)


@pytest.fixture(scope="module")
def played() -> Played:
    found = Played()
    with Chaos() as chaos:
        round_of(chaos, FAULTS, SEED, LANES, found.take, lambda: found.control(chaos))
        again = [result.fault for result in found.results.values() if result.failed]
        print("\n".join(f"played again: {name}: {found.results[name].failed}" for name in again))
        round_of(chaos, again, f"{SEED} again", 1, found.take)
        if not found.controls:
            found.controls = play_controls(chaos, SEED)
    return found


def test_the_catalogue_has_forty_faults() -> None:
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_as_it_must(played: Played, name: str) -> None:
    result = played.results[name]
    if "skipped" in result.figures:
        pytest.skip(result.figures["skipped"])
    assert result.failed == ""


@pytest.mark.parametrize("name", CONTROLS)
def test_without_a_watchdog_the_same_fault_fails_every_figure(played: Played, name: str) -> None:
    found = played.controls[name]
    assert found["still"] > 0
    assert found["key_dead_ms"] is None
    assert found["late"] > 0 or not CONTROLS[name]
