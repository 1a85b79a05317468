"""Houses for the tests of the whole system; each is torn down whatever happened in it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.system.house import House


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A home of its own, nothing started yet."""
    home: pathlib.Path = tmp_path_factory.mktemp("h")
    with House(home) as one:
        yield one
