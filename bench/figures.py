"""From samples to figures. Samples are ns; a tick without an order is -1. Percentiles are exact, nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PERCENTILES = {"p50_us": 50.0, "p90_us": 90.0, "p99_us": 99.0, "p999_us": 99.9}
BEYOND = 10  # samples that must lie beyond a percentile before it says anything
BLIND_NS = 20_000

Samples = npt.NDArray[np.int64]


def percentiles(samples: Samples) -> dict[str, float]:
    """min, p50 .. p99.9, max in us."""
    values = samples / 1e3
    found = {key: float(np.percentile(values, at)) for key, at in PERCENTILES.items()}
    return {k: round(v, 2) for k, v in {"min_us": float(values.min()), **found, "max_us": float(values.max())}.items()}


def split(results: Sequence[dict[str, Any]]) -> tuple[Samples, Samples, Samples]:
    """(samples inside the bursts, first samples of the bursts, gaps) of these phases, unanswered ticks included."""
    inside = [np.array(r["samples"], np.int64)[:, 1:].ravel() for r in results]
    first = [np.array(r["samples"], np.int64)[:, 0] for r in results]
    gaps = [np.array(r["gaps"], np.int64).ravel() for r in results]
    return np.concatenate(inside), np.concatenate(first), np.concatenate(gaps)


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one client over all its rounds."""
    inside, first, gaps = split(results)
    answered, first = inside[inside >= 0], first[first >= 0]
    return {
        **percentiles(answered),
        "n": len(answered),
        "unanswered": int((inside < 0).sum()),
        "strays": sum(int(r["strays"]) for r in results),
        "p999_has_10_beyond": len(answered) >= BEYOND * 1000,
        "after_pause": {"n": len(first), **percentiles(first)} if len(first) else {"n": 0},
        "generator": {
            "realtime": all(bool(r["realtime"]) for r in results),
            "blind_p99_us": round(float(np.percentile(gaps, 99)) / 1e3, 1),
            "blind_max_us": round(float(gaps.max()) / 1e3, 1),
            "blind_over_20us": int((gaps > BLIND_NS).sum()),
        },
        "rounds": [percentiles(values[values >= 0]) for values in (split([r])[0] for r in results)],
    }


def spread_percent(rounds: Sequence[dict[str, float]], key: str) -> float:
    """How far the rounds are apart: (max - min) / median."""
    values = sorted(r[key] for r in rounds)
    return round((values[-1] - values[0]) / values[len(values) // 2] * 100, 1)


def ratios(clients: dict[str, dict[str, Any]], key: str) -> dict[str, float]:
    """Pulex against the floor and against the baseline, by one percentile."""
    ours = clients["pulex_split"][key]
    return {
        "pulex_to_floor": round(ours / clients["floor"][key], 3),
        "asyncio_to_pulex": round(clients["asyncio"][key] / ours, 3),
    }
