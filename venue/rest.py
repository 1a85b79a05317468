"""The REST side of the venue for a control thread: few calls, short deadlines, exact numbers, no key in any text."""

from __future__ import annotations

from typing import Any

import httpx

from venue.errors import VenueError

TIMEOUT_S = 2.0


class Rest:
    """One keep-alive connection with one key. Every call raises VenueError with one line."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._client = httpx.Client(base_url=base_url, headers={"X-API-Key": api_key}, timeout=TIMEOUT_S, trust_env=False)

    def call(self, method: str, path: str) -> tuple[int, Any]:
        """(HTTP status, decoded body); 404 is an answer, other refusals raise."""
        try:
            answer = self._client.request(method, path)
        except httpx.HTTPError as error:
            raise VenueError(f"{method} {path}: {type(error).__name__}; is the venue up?") from None
        if answer.status_code >= 400 and answer.status_code != 404:
            raise VenueError(f"{method} {path}: the venue answered {answer.status_code}")
        try:
            return answer.status_code, answer.json()
        except ValueError:
            raise VenueError(f"{method} {path}: the answer is not JSON") from None

    def get(self, path: str) -> Any:
        """Body of a GET; raises VenueError also on 404."""
        status, body = self.call("GET", path)
        if status == 404:
            raise VenueError(f"GET {path}: not found")
        return body

    def close(self) -> None:
        self._client.close()
