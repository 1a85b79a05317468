"""The warm-up meets a cache that was cut, overwritten or written by two at once."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable

import pytest

from fabric import jit
from ops import warm
from strategy.loader import StrategyError


class Gone(Exception):
    """In place of a process that takes our place."""


def failing(error: Exception) -> Callable[..., object]:
    def work() -> object:
        raise error

    return lambda config, shm_dir: ([("execution loop", work)], [])


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A cache with something of each kind in it, and a process that cannot be replaced."""
    for name in ("kernels", "strategies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "damaged").touch()

    def execv(program: str, arguments: list[str]) -> None:
        raise Gone(arguments)

    monkeypatch.setattr(jit, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(warm, "load_config", lambda run_dir: {})
    monkeypatch.setattr(os, "execv", execv)
    return tmp_path


def test_a_cache_that_cannot_be_read_is_cleared_and_compiled_anew(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "steps", failing(EOFError("Ran out of input")))
    with pytest.raises(Gone) as found:
        warm.main("RUN", check=False)
    assert found.value.args[0] == [sys.executable, "-m", "ops.warm", "RUN", "--cleared"]
    assert not (cache / "kernels").exists()
    assert not (cache / "strategies").exists()


def test_it_is_cleared_once(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "steps", failing(EOFError("Ran out of input")))
    with pytest.raises(EOFError):
        warm.main("RUN", check=False, cleared=True)
    assert (cache / "kernels" / "damaged").exists()


def test_a_strategy_that_cannot_be_used_costs_no_cache(cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "steps", failing(StrategyError("no such file")))
    with pytest.raises(StrategyError):
        warm.main("RUN", check=False)
    assert (cache / "kernels" / "damaged").exists()
