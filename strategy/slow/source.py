"""Where answers come from: a model behind an endpoint, the embedded model, or the rules. Chosen once, by configuration."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Protocol

from fabric import layout
from strategy.slow import answer, prompt, rules
from strategy.slow.answer import Answer, BadAnswer
from strategy.slow.client import Client
from strategy.slow.hashing import hash63
from strategy.slow.market import Account, Look
from strategy.slow.model import Embedded, ModelMissing, file_hash, model_file


class Source(Protocol):
    """``ask`` may take as long as its timeout and runs on a thread of its own; the rest is quick."""

    name: str
    kind: int  # layout.SOURCE_*
    model_hash: int

    def ask(self, looks: list[Look], messages: list[dict[str, str]]) -> Answer: ...

    def stop(self) -> None: ...


class Rules:
    """No model; see ``strategy.slow.rules``."""

    name, kind, model_hash = "rules", layout.SOURCE_RULES, rules.MODEL_HASH

    def ask(self, looks: list[Look], messages: list[dict[str, str]]) -> Answer:
        return rules.judge(looks)

    def stop(self) -> None:
        pass


class Llm:
    """A language model over HTTP: a configured endpoint, or our own child process when there is none."""

    kind = layout.SOURCE_LLM

    def __init__(self, config: dict[str, Any]) -> None:
        model, self._timeout_s = str(config["model"]), config["timeout_ms"] / 1000
        self._embedded: Embedded | None = None
        self._client: Client | None = None
        self._model = model
        if base_url := config.get("base_url"):
            self.name, self.model_hash = f"endpoint {model}", hash63(f"{base_url} {model}")
            self._client = Client(base_url, model, _key(config.get("key_env")), self._timeout_s)
        else:
            path = model_file(model)
            self.name, self.model_hash = f"embedded {path.name}", file_hash(model, path)
            self._embedded = Embedded(path)

    def ask(self, looks: list[Look], messages: list[dict[str, str]]) -> Answer:
        symbols = {look.instrument.symbol: look.instrument.index for look in looks}
        return answer.parse(self._ready().ask(messages, answer.schema(list(symbols))), symbols)

    def _ready(self) -> Client:
        if self._embedded and not self._embedded.alive:
            try:
                address = self._embedded.start()
            except (RuntimeError, OSError) as error:
                raise BadAnswer(layout.BAD_HTTP, str(error)) from None
            self._client = Client(address, self._model, self._embedded.key, self._timeout_s, local=True)
        assert self._client
        return self._client

    def stop(self) -> None:
        if self._embedded:
            self._embedded.stop()
        if self._client:
            with contextlib.suppress(Exception):  # a question may still be on its way; it fails, and nobody asks
                self._client.close()


def _key(variable: str | None) -> str | None:
    if not variable:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelMissing(f"signal.key_env names {variable}, which is not set: set it, or remove key_env")
    if not (key.isascii() and key.isprintable()):  # found here, since the HTTP library's error would quote it
        raise ModelMissing(f"the key in {variable} has characters that no HTTP header can carry: set it again")
    return key


def choose(config: dict[str, Any]) -> Source | None:
    """The source named by ``signal.source``; None for ``none``. Raises ModelMissing: there is no silent fallback."""
    match config["source"]:
        case "llm":
            return Llm(config)
        case "rules":
            return Rules()
        case "none":
            return None
    raise ModelMissing(f"signal.source is {config['source']!r}: give llm, rules or none")


def messages_for(looks: list[Look], account: Account) -> list[dict[str, str]]:
    """What the source is told; its hash is in every record."""
    return prompt.build(looks, account)
