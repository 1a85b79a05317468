"""Every reason code has its line, and no line is without a code."""

from fabric import layout
from risk import reasons


def test_every_reason_has_one_line_of_text():
    assert set(reasons.TEXT) == set(layout.REASON)
    assert all(line and "\n" not in line and len(line) <= 100 for line in reasons.TEXT.values())
    assert len(set(reasons.TEXT.values())) == len(layout.REASON)


def test_number_of_another_version_still_has_a_text():
    assert reasons.text(layout.REASON_KILLED) == reasons.TEXT["killed"]
    assert reasons.text(999) == "unknown reason 999"
    assert reasons.text(-1) == "unknown reason -1"
