"""The short form of the model check; the long one is ``make model-lease``. States explored are printed."""

from __future__ import annotations

import pytest

from tests.watchdog.model.lease_model import MUTANTS, SHORT, Model


@pytest.mark.parametrize("skew", [0, 1])
def test_nothing_is_accepted_after_the_epochs_end_and_the_order_deadline(skew: int) -> None:
    model = Model(*SHORT, skew=skew)
    states = model.explore()
    print(f"lease + deadline, venue's clock {skew} behind: {states} states")
    assert model.broken == set()
    assert states > 10_000


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_model_check_catches_a_mutant(mutant: str) -> None:
    model = Model(*SHORT, mutant=mutant)
    states = model.explore()
    print(f"mutant {mutant}: {sorted(model.broken)} after {states} states")
    assert model.broken
