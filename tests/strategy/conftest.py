"""Fixtures of the slow path."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from slow_house import House, Stub


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.close()


@pytest.fixture
def llm(stub: Stub, tmp_path: pathlib.Path) -> Iterator[Callable[..., House]]:
    """A house whose model is the stub."""

    houses: list[House] = []

    def build(**signal: Any) -> House:
        houses.append(House(tmp_path, **{"source": "llm", "base_url": stub.url, **signal}))
        return houses[-1]

    yield build
    for house in houses:
        house.close()
