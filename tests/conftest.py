"""Fixtures for every room."""

from __future__ import annotations

import pathlib

import pytest

RECORDINGS = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> pathlib.Path:
    """The folder of recorded market data; its tests are skipped, by name, where it is absent."""
    if not RECORDINGS.is_dir():
        pytest.skip("no recorded market data: ../shared/data is absent")
    return RECORDINGS
