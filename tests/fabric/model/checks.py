"""Which scenarios the two forms of the model check go through: the short one in the test suite, the long one by hand."""

from __future__ import annotations

from collections.abc import Sequence

from model.explorer import Result, Scenario
from model.programs import Kernels, lossless, market, resync, state_table


def short() -> list[Scenario]:
    """Seconds: every structure, every path through its kernels, full and wrapped rings."""
    k = Kernels()
    return [
        market(k, slots=2, records=4),
        market(k, slots=4, records=6),
        market(k, slots=2, records=3, readers=2),
        market(k, slots=2, records=3, late=1),
        resync(k, slots=2, records=4),
        lossless(k, slots=2, records=4),
        lossless(k, slots=4, records=6),
        lossless(k, slots=4, records=6, batch=2),
        lossless(k, slots=8, records=2, unread=7, urgent="last"),
        state_table(k, versions=3, reads=3),
        state_table(k, versions=1, readers=2, reads=2),
    ]


def long() -> list[Scenario]:
    """Minutes: more records, more readers."""
    k = Kernels()
    return [
        market(k, slots=2, records=8),
        market(k, slots=4, records=12),
        market(k, slots=2, records=4, late=2),
        market(k, slots=4, records=6, readers=2),
        resync(k, slots=2, records=6),
        resync(k, slots=4, records=8),
        lossless(k, slots=2, records=8),
        lossless(k, slots=4, records=8),
        lossless(k, slots=4, records=8, batch=3),
        lossless(k, slots=8, records=3, unread=6, urgent="last"),
        lossless(k, slots=8, records=2, unread=7, urgent="all"),
        state_table(k, versions=4, reads=4),
        state_table(k, versions=2, readers=2, reads=2),
    ]


def table(results: Sequence[Result]) -> str:
    """States by scenario and memory model, as text."""
    models = list(dict.fromkeys(result.model for result in results))
    states = {(result.scenario, result.model): result.states for result in results}
    scenarios = list(dict.fromkeys(result.scenario for result in results))
    wide = max(len(name) for name in scenarios)
    lines = [f"{'states explored':{wide}}" + "".join(f"{model:>12}" for model in models)]
    for name in scenarios:
        lines.append(f"{name:{wide}}" + "".join(f"{states.get((name, model), 0):12,}" for model in models))
    totals = [sum(count for (_, of), count in states.items() if of == model) for model in models]
    return "\n".join([*lines, f"{'all':{wide}}" + "".join(f"{total:12,}" for total in totals)])
