# mypy: disable-error-code="no-untyped-call"
"""The machine that a figure belongs to: cpu, kernel, versions, commit, cost of the clock, jitter of the hot cpu."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import time
from importlib.metadata import version
from typing import Any

import llvmlite
import numba
import numpy as np

from bench import spin
from fabric.child import place
from fabric.jit import ROOT
from ops.placement import Placement, read_host

CLOCK_READS = 1_000_000
JITTER_S = 2.0
JITTER_THRESHOLD_NS = 1_000


def _first(path: str, key: str) -> str:
    for line in pathlib.Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return ""


def _read(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ""


def commit() -> str:
    """Short commit of the sources, with + when files differ from it; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def clock_ns() -> float:
    """Cost of one read of CLOCK_MONOTONIC inside compiled code."""
    scratch = np.zeros(2, np.int64)
    spin.read_clock(1000, scratch.ctypes.data)
    return float(spin.read_clock(CLOCK_READS, scratch.ctypes.data)) / CLOCK_READS


def jitter(cpu: int) -> dict[str, Any]:
    """What the machine takes from a program that never stops on this cpu: gaps above 1 us, for two seconds."""
    before = os.sched_getaffinity(0)
    place([cpu])
    gaps, scratch = np.zeros(1 << 16, np.int64), np.zeros(2, np.int64)
    try:
        spin.watch_gaps(0, JITTER_THRESHOLD_NS, gaps, scratch.ctypes.data)
        found = int(spin.watch_gaps(int(JITTER_S * 1e9), JITTER_THRESHOLD_NS, gaps, scratch.ctypes.data))
    finally:
        os.sched_setaffinity(0, before)
    kept = gaps[: min(found, len(gaps))]
    worst = np.percentile(kept, [50, 99]) / 1e3 if found else (0.0, 0.0)
    return {
        "cpu": cpu,
        "seconds": JITTER_S,
        "gaps_over_1us_per_s": round(found / JITTER_S, 1),
        "gap_p50_us": round(float(worst[0]), 1),
        "gap_p99_us": round(float(worst[1]), 1),
        "gap_max_us": round(float(kept.max()) / 1e3, 1) if found else 0.0,
        "stolen_ppm": round(float(kept.sum()) / (JITTER_S * 1e9) * 1e6),
    }


def describe(placement: Placement) -> dict[str, Any]:
    """Everything a reader needs to judge the figures."""
    host = read_host()
    cpu = placement.execution[0]
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cpus": len(host.cpus),
        "virtual": "hypervisor" in _first("/proc/cpuinfo", "flags"),
        "isolated": list(host.isolated),
        "governor": host.governor,
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "kernel": platform.release(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "websockets": version("websockets"),
        "commit": commit(),
        "pinning": {"generator": placement.house[0], "client": cpu, "house": list(placement.house), "idle": placement.idle},
        "clock_ns": round(clock_ns(), 1),
        "jitter": jitter(cpu),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
