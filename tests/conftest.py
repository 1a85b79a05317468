"""Fixtures for every room, and how far properties are searched.

The suite draws the same examples every time, so that what was green stays green; ``make properties`` looks for new ones.
"""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import settings

settings.register_profile("suite", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("PULEX_PROPERTIES", "suite"))

RECORDINGS = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> pathlib.Path:
    """The folder of recorded market data; its tests are skipped, by name, where it is absent."""
    if not RECORDINGS.is_dir():
        pytest.skip("no recorded market data: ../shared/data is absent")
    return RECORDINGS
