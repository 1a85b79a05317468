"""The ``rules`` source: a fixed, deterministic judge without a model, for tests and for runs that want no model.

It follows a move that the book's imbalance agrees with and leans against one that it does not. Never a fallback for a
model that fails: it is used only when the configuration names it, and the stats page says so.
"""

from __future__ import annotations

from strategy.slow.answer import MAX_SKEW_BPS, Answer
from strategy.slow.hashing import hash63
from strategy.slow.market import Look

MOVE_BPS = 1.0
MODEL_HASH = hash63("rules 1")


def judge(looks: list[Look]) -> Answer:
    """The answer about the instrument that moved most."""
    look = max(looks, key=lambda one: abs(one.change_bps))
    move, imbalance = look.change_bps, look.imbalance
    skew = max(-MAX_SKEW_BPS * 100, min(MAX_SKEW_BPS * 100, round(imbalance * 500)))
    if abs(move) < MOVE_BPS:
        return Answer(look.instrument.index, "hold", 1, 0, skew)
    follow = move * imbalance > 0
    view = "buy" if (move > 0) == follow else "sell"
    return Answer(look.instrument.index, view, 6 if follow else 3, 20 if follow else 10, skew)  # type: ignore[arg-type]
