"""docs/risk.md says what is so: every test it names exists, and its tables are what the code gives."""

import pathlib
import re

import first_pause

from risk import limits

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "risk.md").read_text()
RULE = re.compile(r"^\| (?P<rule>[^|]+) \| (?P<tests>missing|`[^|]+`) \|$", re.MULTILINE)


def profile_table():
    """Every limit by profile, as it stands in the document."""
    values = [limits.profile(name) for name in limits.PROFILES]
    lines = ["| limit | " + " | ".join(limits.PROFILES) + " |", "|---" * (1 + len(values)) + "|"]
    lines += [f"| `{key}` | " + " | ".join(f"{one[key]:,}" for one in values) + " |" for key in values[0] if key != "profile"]
    return "\n".join(lines) + "\n"


def test_every_test_that_the_document_names_exists():
    named = [name for row in RULE.finditer(TEXT) for name in re.findall(r"`([^`]+)::(\w+)`", row["tests"])]
    assert len(named) > 70
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), (file, test)


def test_every_section_of_the_rules_is_there_with_its_rules():
    sections = re.findall(r"^## (§\d)", TEXT, re.MULTILINE)
    assert sections == ["§1", "§3", "§4", "§5", "§6"]
    assert all(len(RULE.findall(part)) >= 4 for part in re.split(r"^## ", TEXT, flags=re.MULTILINE) if part.startswith("§"))


def test_limits_of_the_profiles_are_those_of_the_code():
    assert profile_table() in TEXT


def test_trips_to_the_first_pause_are_what_the_simulation_gives():
    assert first_pause.table() in TEXT
