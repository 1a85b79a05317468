"""A disk that stalls or refuses holds nobody up for long, and loses nothing that it can still take."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable

import pytest

from watchdog import keeper as keeper_module
from watchdog.keeper import PATIENCE_S, Keeper


class Disk:
    """Takes what it is given while ``open`` is set; ``error`` is what it answers instead."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.error: OSError | None = None
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        self.entered.set()
        assert self.open.wait(10)
        if self.error is not None:
            raise self.error
        self.texts.append(text)


def wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_on_return_it_is_written() -> None:
    disk = Disk()
    keeper = Keeper(disk.write)
    for text in ("one", "two", "three"):
        keeper.keep(text)
        assert disk.texts[-1] == text


def test_a_disk_that_refuses_is_an_error_with_its_own_number() -> None:
    disk = Disk()
    disk.error = OSError(errno.ENOSPC, "no space")
    keeper = Keeper(disk.write)
    with pytest.raises(OSError, match="no space") as found:
        keeper.keep("one")
    assert found.value.errno == errno.ENOSPC
    disk.error = None
    keeper.keep("two")
    assert disk.texts[-1] == "two"


def test_what_a_disk_refused_is_written_when_it_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "RETRY_S", 0.01)
    disk = Disk()
    disk.error = OSError(errno.ENOSPC, "no space")
    keeper = Keeper(disk.write)
    with pytest.raises(OSError, match="no space"):
        keeper.keep("one")
    disk.error = None
    wait(lambda: disk.texts == ["one"])


def test_a_stalled_disk_costs_one_wait_and_gets_the_newest_text_when_it_answers() -> None:
    disk = Disk()
    disk.open.clear()
    keeper = Keeper(disk.write)
    began = time.monotonic()
    for text in ("one", "two", "three", "four"):
        with pytest.raises(OSError, match="does not answer"):
            keeper.keep(text)
    assert PATIENCE_S <= time.monotonic() - began < 2 * PATIENCE_S
    disk.open.set()
    wait(lambda: disk.texts[-1:] == ["four"])
    assert "two" not in disk.texts
    keeper.keep("five")
    assert disk.texts[-1] == "five"
