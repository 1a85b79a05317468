"""What a model may say: one small object, validated, then clamped. Everything else is dropped and counted by reason.

A value somewhat outside its range is clamped (models overshoot), one far outside is not believed: ``BAD_OUT_OF_RANGE``.
Text of any length and kind is safe to pass in: pydantic's parser bounds depth and numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fabric import layout

MAX_SKEW_BPS = 20
SMALLEST_ASKED = 5
# name: (lowest, highest, lowest believed, highest believed)
RANGES = {
    "urgency": (1, 10, 0, 100),
    "size_percent": (0, 100, 0, 1000),
    "skew_bps": (-MAX_SKEW_BPS, MAX_SKEW_BPS, -10 * MAX_SKEW_BPS, 10 * MAX_SKEW_BPS),
}


class BadAnswer(Exception):
    """An answer that cannot be used. ``reason`` is one of layout.BAD_*; the text holds no part of what was said."""

    def __init__(self, reason: int, text: str) -> None:
        super().__init__(f"{layout.BAD_ANSWER[reason]}: {text}")
        self.reason = reason


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    symbol: str = Field(max_length=64)
    view: Literal["buy", "sell", "hold"]
    urgency: float
    size_percent: float
    skew_bps: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """A usable answer; ``clamped`` counts the values that were pulled into their range."""

    instrument: int
    view: Literal["buy", "sell", "hold"]
    urgency: int
    size_percent: int
    skew_bps_x100: int
    clamped: int = 0


def schema(symbols: list[str]) -> dict[str, Any]:
    """JSON schema of an answer about one of ``symbols``; short, since every token is time."""
    properties: dict[str, Any] = {"symbol": {"enum": symbols}, "view": {"enum": ["buy", "sell", "hold"]}}
    for name, (low, high, _, _) in RANGES.items():
        properties[name] = {"type": "integer", "minimum": low, "maximum": high}
    properties["size_percent"]["minimum"] = SMALLEST_ASKED  # no order is said by "hold", yet 0 is understood
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse(text: str, instruments: dict[str, int]) -> Answer:
    """The answer in ``text`` about one of ``instruments`` (symbol -> index). Raises BadAnswer."""
    try:
        said = _Said.model_validate_json(text)
    except ValidationError as error:
        kinds = {detail["type"] for detail in error.errors(include_input=False)}
        invalid_json = bool(kinds & {"json_invalid", "string_unicode"})
        reason = layout.BAD_NOT_JSON if invalid_json else layout.BAD_SCHEMA
        raise BadAnswer(reason, f"{error.error_count()} faults in {len(text)} characters") from None
    instrument = instruments.get(said.symbol)
    if instrument is None:
        raise BadAnswer(layout.BAD_UNKNOWN_SYMBOL, "it was not asked about that symbol")
    values: dict[str, float] = {}
    clamped = 0
    for name, (low, high, believed_low, believed_high) in RANGES.items():
        value = getattr(said, name)
        if not believed_low <= value <= believed_high:
            raise BadAnswer(layout.BAD_OUT_OF_RANGE, f"{name} must lie in {low}..{high}")
        values[name] = min(max(value, low), high)
        clamped += values[name] != value
    return Answer(
        instrument,
        said.view,
        int(values["urgency"]),
        int(values["size_percent"]),
        int(values["skew_bps"] * 100),
        clamped,
    )
