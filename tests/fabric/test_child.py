"""The first and last steps of a child process: configuration, stop requests, placement."""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import signal
from collections.abc import Iterator

import pytest

from fabric import child, layout
from fabric.segment import Segment


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the signal handlers of the test run back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def cpus() -> Iterator[set[int]]:
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_the_configuration_is_what_the_supervisor_wrote(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text('{"instruments": []}')
    assert child.load_config(str(tmp_path)) == {"instruments": []}


@pytest.mark.usefixtures("handlers")
def test_sigterm_asks_to_stop_and_ctrl_c_does_not(tmp_path: pathlib.Path) -> None:
    stop = child.StopRequest(str(tmp_path))
    os.kill(os.getpid(), signal.SIGINT)
    assert not stop.requested
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.terminated
    assert stop.requested


@pytest.mark.usefixtures("handlers")
def test_without_a_supervisors_page_every_word_is_zero(tmp_path: pathlib.Path) -> None:
    stop = child.StopRequest(str(tmp_path))
    assert stop.control is None
    assert stop.word(layout.C_ARMED) == 0
    assert not stop.requested


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("request_word", [layout.STOP_CANCEL_AND_VERIFY, layout.STOP_NOW])
def test_the_supervisors_stop_word_asks_to_stop(tmp_path: pathlib.Path, request_word: int) -> None:
    stop = child.StopRequest(str(tmp_path))
    assert not stop.requested  # asked before there is a page
    page = Segment.create(tmp_path, "control", "supervisor")
    page.set_word(layout.CONTROL_OFFSET + layout.C_ARMED * layout.WORD, 5)
    assert stop.word(layout.C_ARMED) == 5
    assert not stop.requested
    page.set_word(layout.CONTROL_OFFSET + layout.C_STOP * layout.WORD, request_word)
    assert stop.requested
    assert not stop.terminated


def test_a_thread_is_pinned_to_the_cpus_that_exist(cpus: set[int]) -> None:
    wanted = min(cpus)
    assert child.place([wanted, 100_000]) == ""
    assert os.sched_getaffinity(0) == {wanted}


def test_cpus_that_do_not_exist_pin_nothing(cpus: set[int]) -> None:
    assert child.place([100_000]) == child.place([]) == ""
    assert os.sched_getaffinity(0) == cpus


def test_what_the_host_refuses_is_said_and_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def mlockall(self, flags: int) -> int:
            ctypes.set_errno(errno.ENOMEM)
            return -1

    def refuse(pid: int, wanted: set[int]) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc())
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    note = child.place([0], lock_memory=True)
    assert note == "cannot pin to [0]: Invalid argument; cannot lock memory: Cannot allocate memory; raise RLIMIT_MEMLOCK"
    assert child.place([], lock_memory=False) == ""
