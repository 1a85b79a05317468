"""Answers of a model: what is believed, what is clamped, what is dropped and why."""

import json
from typing import Any

import pytest

from fabric import layout
from strategy.slow import answer
from strategy.slow.answer import Answer, BadAnswer

GOOD: dict[str, Any] = {"symbol": "BTC-USDC", "view": "sell", "urgency": 6, "size_percent": 50, "skew_bps": -3}
KNOWN = {"BTC-USDC": 4}


def parse(**changes: Any) -> Answer:
    return answer.parse(json.dumps({**GOOD, **changes}), KNOWN)


def test_a_good_answer_becomes_integers() -> None:
    assert parse() == Answer(4, "sell", 6, 50, -300)
    assert parse(skew_bps=1.25).skew_bps_x100 == 125


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"urgency": 11}, Answer(4, "sell", 10, 50, -300, 1)),
        ({"urgency": 0, "size_percent": 101}, Answer(4, "sell", 1, 100, -300, 2)),
        ({"skew_bps": -200}, Answer(4, "sell", 6, 50, -2000, 1)),
    ],
)
def test_a_value_a_little_outside_is_clamped_and_counted(changes: dict[str, Any], want: Answer) -> None:
    assert parse(**changes) == want


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", layout.BAD_NOT_JSON),
        ("I would buy now!", layout.BAD_NOT_JSON),
        ('{"symbol": "BTC-US', layout.BAD_NOT_JSON),
        ("```json\n" + json.dumps(GOOD) + "\n```", layout.BAD_NOT_JSON),
        ("[" * 100_000, layout.BAD_NOT_JSON),
        ("\ud800", layout.BAD_NOT_JSON),
        ("null", layout.BAD_SCHEMA),
        ("[]", layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "order": {"side": "buy", "quantity": 1000}}), layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "view": "BUY EVERYTHING"}), layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "urgency": "10"}), layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "urgency": True}), layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "skew_bps": float("nan")}), layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "skew_bps": float("inf")}), layout.BAD_SCHEMA),
        (json.dumps(GOOD).replace("50", "1e999"), layout.BAD_SCHEMA),
        (json.dumps({k: v for k, v in GOOD.items() if k != "view"}), layout.BAD_SCHEMA),
        (json.dumps({**GOOD, "symbol": "DOGE-USDC"}), layout.BAD_UNKNOWN_SYMBOL),
        (json.dumps({**GOOD, "symbol": "BTC-USDC "}), layout.BAD_UNKNOWN_SYMBOL),
        (json.dumps({**GOOD, "size_percent": -1}), layout.BAD_OUT_OF_RANGE),
        (json.dumps({**GOOD, "urgency": 101}), layout.BAD_OUT_OF_RANGE),
        (json.dumps({**GOOD, "skew_bps": 201}), layout.BAD_OUT_OF_RANGE),
        (json.dumps({**GOOD, "size_percent": 10**300}), layout.BAD_OUT_OF_RANGE),
    ],
)
def test_everything_else_is_dropped_with_its_reason(text: str, reason: int) -> None:
    with pytest.raises(BadAnswer) as caught:
        answer.parse(text, KNOWN)
    assert layout.BAD_ANSWER[caught.value.reason] == layout.BAD_ANSWER[reason]


def test_an_errors_text_quotes_nothing_that_the_model_said() -> None:
    with pytest.raises(BadAnswer) as caught:
        parse(symbol="sk_live_secret", view="sk_live_secret")
    assert "sk_live" not in f"{caught.value!r} {caught.value.__cause__} {caught.value}"


def test_the_schema_allows_exactly_the_symbols_asked_about() -> None:
    schema = answer.schema(["BTC-USDC"])
    assert schema["properties"]["symbol"] == {"enum": ["BTC-USDC"]}
    assert set(schema["required"]) == set(GOOD)
    assert schema["additionalProperties"] is False
