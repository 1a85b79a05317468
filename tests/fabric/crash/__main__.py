"""``python -m crash``: the sweep as a program. Exits with 1 when a check did not hold."""

from __future__ import annotations

import argparse
import gc
import json
import os
import pathlib
import platform
import random
import sys

import numpy as np

from crash import kernels as k
from crash.play import Report
from crash.sweep import PATIENCE_S, Sweep
from fabric import layout, rings


def warm() -> None:
    """Load every kernel before the first fork: no child compiles."""
    memory, report = np.zeros(layout.MARKET_BYTES // layout.WORD + 4 * k.LEDGER_RECORDS, np.int64), np.zeros(64, np.int64)
    w, out, values = np.zeros(8, np.int64), np.zeros(rings.SLOT_WORDS, np.int64), np.zeros(k.ROW_WORDS, np.int64)
    w[k.W_SOURCE], w[k.W_LEDGER] = memory.ctypes.data, memory.ctypes.data + layout.MARKET_BYTES
    w[k.W_PROGRESS] = w[k.W_LEDGER] + 16 * k.LEDGER_RECORDS
    w[k.W_REPORT], w[k.W_WRONG] = report.ctypes.data, report.ctypes.data + 256
    k.write_some(w, np.zeros(1, np.int64), out, values)
    report[:] = 1
    k.read_some(w, out, values)
    rings.lossless_done(memory.ctypes.data, 0)
    gc.collect()
    gc.freeze()  # children share these pages


def table(report: Report) -> str:
    """What was done, what was met, and each check that did not hold."""
    blocks = [{**report.faults, "faults": report.faults.total()}, dict(sorted(report.met.items()))]
    lines = ["\n".join(f"  {name:<48} {count:>14,}" for name, count in block.items()) for block in blocks]
    took = (
        f"  seed {report.seed}: {report.seconds:.1f} s, {report.cpu_seconds:.1f} s of cpu, {len(report.broken)} checks broken"
    )
    return "\n\n".join([*lines, "\n".join([took, *report.broken])])


def main() -> int:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, printed")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--json", type=pathlib.Path, default=None, help="write the report there too")
    parser.add_argument("--flaw", choices=k.FLAWS, default=k.FLAWS[0], help="a control: the checks must break")
    parser.add_argument("--broken-max", type=int, default=10, help="end after so many broken checks")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds until a wait has failed")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"crash sweep: seed {seed}, {options.count} faults", flush=True)
    warm()
    report = Sweep(seed, k.FLAWS.index(options.flaw), options.patience).run(options.count, options.broken_max)
    print(table(report), flush=True)
    if options.json:
        machine = {"python": platform.python_version(), "kernel": platform.release(), "cpus": len(os.sched_getaffinity(0))}
        options.json.write_text(json.dumps({**vars(report), "machine": machine}, indent=2) + "\n")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
