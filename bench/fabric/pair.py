# mypy: disable-error-code="no-untyped-call"
"""Two processes on two cpus that share anonymous memory: where every hop and every throughput is measured.

The far side is forked from this process after its kernels were compiled, so neither side compiles while the other waits.
Every spin of the kernels ends after ``POLLS_MAX`` polls: a side that lost the other returns what it has done so far.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fabric.child import place

Words = npt.NDArray[np.int64]
POLLS_MAX = 2_000_000_000
WAIT_S = 60.0
_MADV_POPULATE_WRITE = 23  # Linux 5.14; Python has no name for it


class Lost(RuntimeError):
    """The other side did not answer; one line."""


def shared(words: int) -> Words:
    """Zeroed words that forked processes share, all pages present here."""
    array = np.frombuffer(mmap.mmap(-1, max(words, 512) * 8), np.int64)
    array[:] = 0
    return array


def populate(arrays: Iterable[Words]) -> None:
    """Make the pages of ``shared`` words present in this process too, as ``fabric.segment`` does: no fault while measuring."""
    for array in arrays:
        with contextlib.suppress(OSError):  # a kernel before 5.14: the first lap is slower
            cast(mmap.mmap, cast(memoryview, array.base).obj).madvise(_MADV_POPULATE_WRITE)


def fork(work: Callable[[], Any], cpus: Sequence[int], report: Callable[[Any], None] | None = None) -> Any:
    """Start ``work`` in a child of this process on these cpus."""

    def run() -> None:
        place(list(cpus))
        answer = work()
        if report:
            report(answer)

    child = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # idle threads of a linear algebra library hold no lock
        child.start()
    return child


def both(near: Callable[[], Any], far: Callable[[], Any], cpus: Sequence[int], memory: Iterable[Words] = ()) -> tuple[Any, Any]:
    """``near()`` here on ``cpus[0]`` and ``far()`` in a child on ``cpus[1]``, at once; both answers. Raises Lost.

    Neither begins before all ``memory`` is present in the child.
    """
    receiver, sender = multiprocessing.get_context("fork").Pipe(False)
    before = os.sched_getaffinity(0)

    def work() -> Any:
        populate(memory)
        sender.send("ready")
        return far()

    child = fork(work, cpus[1:2], sender.send)
    sender.close()
    place([cpus[0]])
    try:
        receiver.recv()
        answer = near()
        if not receiver.poll(WAIT_S):
            raise Lost("the far side did not end")
        return answer, receiver.recv()
    except EOFError:
        raise Lost("the far side died") from None
    finally:
        os.sched_setaffinity(0, before)
        if child.is_alive():
            child.join(1.0)
        if child.is_alive():
            child.kill()
        child.join()
        receiver.close()
