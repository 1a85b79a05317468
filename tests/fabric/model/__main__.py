"""``python -m model [--trace NAME]``: the long form with a table of states, then every mutant; 1 when anything is wrong.

``--trace`` shows, instead, the shortest way to what a mutant (any part of its name) does wrong, in each memory model.
"""

from __future__ import annotations

import argparse
import sys
import time

from model.checks import long, short, table
from model.explorer import explore
from model.memory import MODELS
from model.mutants import MUTANTS


def check() -> int:
    results, failed = [], 0
    for scenario in [*short(), *long()]:
        for memory in MODELS:
            result = explore(scenario, memory)
            results.append(result)
            failed += bool(result.violation)
            print(explore(scenario, memory, shortest=True) if result.violation else result, flush=True)
    print(table(results), flush=True)
    for mutant in MUTANTS:
        caught = {memory.name for memory in MODELS if explore(mutant.scenario(), memory).violation}
        wrong = caught != mutant.caught_in
        failed += wrong
        where = ", ".join(memory.name for memory in MODELS if memory.name in caught) or "none"
        print(f"mutant caught in {where:14} {mutant.name}" + (f"  WRONG: expected {sorted(mutant.caught_in)}" if wrong else ""))
    print(f"{len(results)} checks, {len(MUTANTS)} mutants, {failed} wrong, {time.process_time():.0f} s of processor time")
    return int(failed > 0)


def trace(name: str) -> int:
    found = [mutant for mutant in MUTANTS if name in mutant.name]
    for mutant in found:
        for memory in MODELS:
            print(mutant.name, "|", explore(mutant.scenario(), memory, shortest=True))
    return int(not found)


parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
parser.add_argument("--trace", metavar="NAME")
arguments = parser.parse_args()
sys.exit(trace(arguments.trace) if arguments.trace else check())
