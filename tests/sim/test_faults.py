from __future__ import annotations

import pytest

from sim.faults import Faults


@pytest.mark.parametrize(
    "body",
    [
        {"revoke": "maybe"},
        {"revoke": []},
        {"drop": 1.5},
        {"drop": float("nan")},
        {"delay_ms": -1},
        {"delay_ms": True},
        {"reject_all": 1},
        {"_random": 1},
        {"no_such": 1},
    ],
)
def test_malformed_switch_is_refused_and_nothing_is_set(body):
    faults = Faults()
    with pytest.raises(ValueError, match="fault switch"):
        faults.update({"cancel_on_disconnect": True} | body)
    assert faults.as_dict() == Faults().as_dict()


def test_drop_and_duplicate_decide_the_copies():
    faults = Faults()
    assert faults.copies() == 1
    faults.update({"drop": 1.0})
    assert faults.copies() == 0
    faults.update({"drop": 0, "duplicate": 1})
    assert faults.copies() == 2


def test_chances_are_seeded():
    def draw():
        faults = Faults(drop=0.5)
        return [faults.copies() for _ in range(50)]

    assert draw() == draw()
    assert set(draw()) == {0, 1}
