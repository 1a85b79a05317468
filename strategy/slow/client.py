"""One question to an OpenAI-compatible endpoint. The key lives in the header of this client and nowhere else.

No text of a response, and none of an exception that could quote a header, ever leaves this module in an error.
"""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from fabric import layout
from strategy.slow.answer import BadAnswer

MAX_BYTES = 64 * 1024
MAX_TOKENS = 96


class Client:
    """Keeps one connection; one caller at a time."""

    def __init__(self, base_url: str, model: str, key: str | None, timeout_s: float, local: bool = False) -> None:
        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.model, self.timeout_s = model, timeout_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(headers=headers, timeout=timeout_s, trust_env=not local, follow_redirects=False)
        self._extra: dict[str, Any] = {"cache_prompt": True} if local else {}

    def ask(self, messages: list[dict[str, str]], schema: dict[str, Any]) -> str:
        """The text of the first choice. Raises BadAnswer: timeout, http, refused, no_text."""
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": MAX_TOKENS,
            "temperature": 0.2,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "signal", "strict": True, "schema": schema},
            },
            **self._extra,
        }
        try:
            raw = self._post(body)
        except httpx.TimeoutException:
            raise BadAnswer(layout.BAD_TIMEOUT, f"no answer within {self.timeout_s} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, TypeError) as error:
            raise BadAnswer(layout.BAD_HTTP, type(error).__name__) from None
        return _text_of(raw)

    def _post(self, body: dict[str, Any]) -> bytes:
        deadline = time.monotonic() + self.timeout_s
        raw = bytearray()
        with self._http.stream("POST", self.url, json=body) as response:
            if response.status_code != 200:
                raise BadAnswer(layout.BAD_HTTP, f"status {response.status_code}")
            for chunk in response.iter_bytes():
                raw += chunk
                if len(raw) > MAX_BYTES:
                    raise BadAnswer(layout.BAD_REFUSED, f"more than {MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise BadAnswer(layout.BAD_TIMEOUT, f"no end within {self.timeout_s} s")
        return bytes(raw)

    def close(self) -> None:
        self._http.close()


def _text_of(raw: bytes) -> str:
    try:
        message = json.loads(raw)["choices"][0]["message"]
        refusal, text = message.get("refusal"), message.get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise BadAnswer(layout.BAD_HTTP, "the response is not a chat completion") from None
    if refusal:
        raise BadAnswer(layout.BAD_REFUSED, "the model refused")
    if not isinstance(text, str) or not text.strip():
        raise BadAnswer(layout.BAD_NO_TEXT, "the message has no text")
    return text
