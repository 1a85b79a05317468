# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""The cycle counter inside compiled code, how long one of its ticks is, and samples to figures.

``cycles`` waits for every earlier instruction to finish, reads the counter, and lets no later one begin before: what stands
between two reads is between them in the machine, too. A pair of reads with nothing between is measured and reported as
``empty``; it is contained in every sample and nothing is subtracted.
"""

from __future__ import annotations

import platform
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fabric.jit import kernel

Words = npt.NDArray[np.int64]
AVAILABLE = platform.machine() in ("x86_64", "AMD64")
CALIBRATION_S = 0.2
BEYOND = 10  # samples that must lie beyond a percentile before it says anything
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}


class Idle(RuntimeError):
    """A loop did not do the work that it was timed for."""


@intrinsic
def cycles(typingctx: Any) -> Any:
    """The time stamp counter, between two fences."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nothing, word = ir.FunctionType(ir.VoidType(), []), ir.FunctionType(ir.IntType(64), [])
        fence = cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.lfence")
        counter = cgutils.get_or_insert_function(builder.module, word, "llvm.readcyclecounter")
        builder.call(fence, [])
        now = builder.call(counter, [])
        builder.call(fence, [])
        return now

    return types.int64(), codegen


@kernel
def read_cycles():
    """One read."""
    return cycles()


@kernel
def empty_loop(samples):
    """Pairs of reads with nothing between."""
    for k in range(len(samples)):
        before = cycles()
        samples[k] = cycles() - before
    return len(samples)


def tick_ns() -> float:
    """Length of one tick, against CLOCK_MONOTONIC."""
    read_cycles()
    started, first = time.perf_counter_ns(), int(read_cycles())
    while time.perf_counter_ns() - started < CALIBRATION_S * 1e9:
        pass
    ended, last = time.perf_counter_ns(), int(read_cycles())
    return (ended - started) / (last - first)


def summary(samples: Words, tick: float) -> dict[str, float]:
    """ns: min, percentiles, max and mean of samples in ticks; all of them, none left out."""
    values = samples * tick
    found = {name: float(np.percentile(values, at)) for name, at in PERCENTILES.items()}
    found = {"min": float(values.min()), **found, "max": float(values.max()), "mean": float(values.mean())}
    return {name: round(value, 1) for name, value in found.items()} | {"n": len(samples)}


def empty(count: int, tick: float) -> dict[str, float]:
    """What a pair of reads costs."""
    samples = np.zeros(count, np.int64)
    empty_loop(samples[:100])
    empty_loop(samples)
    return summary(samples, tick)
