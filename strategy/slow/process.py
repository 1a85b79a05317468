"""The signal process: look, ask, check, publish; once per period, never two questions at a time.

Writes the segments ``signal`` and ``stats-signal``, reads ``market``, ``exec`` and ``control``. Questions run on a
thread of their own, so that the process beats and obeys a stop while a model thinks. Whatever a model says, at worst a
counter moves. Exit codes: 0 stopped, 1 cannot start, 4 the configured model is not there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import threading
import time
from decimal import Decimal
from typing import Any

from fabric import layout
from fabric.segment import Segment, SegmentError
from fabric.stats import StatsWriter
from strategy.slow import prompt, publish, source
from strategy.slow.answer import Answer, BadAnswer
from strategy.slow.market import Eyes, Instrument, Look
from strategy.slow.model import ModelMissing

POLL_S = 0.05
EXIT_CANNOT_START, EXIT_NO_MODEL = 1, 4
_BAD_COUNTER = {index: f"bad_{name}" for index, name in enumerate(layout.BAD_ANSWER) if index}


@dataclasses.dataclass
class Question:
    """One question on its way; the thread that asks fills in exactly one of answer and error, then ``done``."""

    looks: list[Look]
    prompt_hash: int
    asked_ns: int
    answer: Answer | None = None
    error: BadAnswer | None = None
    done: bool = False
    took_ns: int = 0

    def run(self, asked: source.Source, messages: list[dict[str, str]]) -> None:
        try:
            self.answer = asked.ask(self.looks, messages)
        except BadAnswer as error:
            self.error = error
        except Exception as error:  # whatever a model or its library does, this process goes on
            self.error = BadAnswer(layout.BAD_REFUSED, type(error).__name__)
        self.took_ns = time.monotonic_ns() - self.asked_ns
        self.done = True


class SignalProcess:
    """The state of the process; ``step`` does what is due now and is what tests drive."""

    def __init__(self, config: dict[str, Any], asked: source.Source | None) -> None:
        self.config, self.source = config["signal"], asked
        shm_dir, hashes = config["shm_dir"], (config.get("config_hash", 0), config.get("code_hash", 0))
        instruments = [Instrument.of(index, one) for index, one in enumerate(config["instruments"])]
        self.shm_dir = pathlib.Path(shm_dir)
        self.eyes = Eyes(shm_dir, instruments)
        self.stats = StatsWriter(shm_dir, "signal", *hashes)
        self.publisher = publish.Publisher(shm_dir, *hashes)
        self.question: Question | None = None
        self._max_notional_e8 = int(Decimal(str(self.config["max_notional"])) * 10**8)
        self._turn = 0
        self._due_ns = 0
        self._control: Segment | None = None
        self.stats.status(
            state=layout.PROCESS_RUNNING,
            generation=self.publisher.segment.generation,
            note=asked.kind if asked else layout.SOURCE_NONE,
        )

    def stop_wanted(self) -> bool:
        """The supervisor's stop word; without a control page there is nobody to say it."""
        if self._control is None:
            with contextlib.suppress(SegmentError):
                self._control = Segment.attach(self.shm_dir, "control")
        return self._control is not None and self._control.word(layout.CONTROL_OFFSET) != layout.STOP_RUN

    def step(self, now_ns: int) -> None:
        """Beat, take in an answer that has come, ask when a question is due."""
        self.stats.beat()
        self.publisher.segment.beat()
        if self.question and self.question.done:
            question, self.question = self.question, None
            self._take(question)
        if self.source and self.question is None and now_ns >= self._due_ns:
            self._due_ns = now_ns + self.config["period_ms"] * 1_000_000
            self._ask(self.source)

    def _ask(self, asked: source.Source) -> None:
        self.eyes.refresh()
        account = self.eyes.account()
        looks = self.eyes.look_all()
        if account is None or not looks:
            self.stats.add("held")
            return
        looks = (looks * 2)[self._turn % len(looks) :][: min(len(looks), prompt.LINES_MAX)]
        self._turn += len(looks)
        messages = source.messages_for(looks, account)
        self.stats.add("calls")
        self.question = Question(looks, prompt.prompt_hash(messages), time.monotonic_ns())
        threading.Thread(target=self.question.run, args=(asked, messages), daemon=True).start()

    def _take(self, question: Question) -> None:
        if self.source and self.source.kind == layout.SOURCE_LLM:
            self.stats.record("llm_latency", question.took_ns)
        if question.error:
            self.stats.add(_BAD_COUNTER[question.error.reason])
            self.stats.error(str(question.error))
        elif question.answer:
            self.stats.add("valid")
            self.stats.add("clamped", question.answer.clamped)
            self._publish(question.answer, question.prompt_hash)

    def _publish(self, answer: Answer, prompt_hash: int) -> None:
        """Prices come from the market as it is now, not as it was when the model was asked."""
        assert self.source
        self.eyes.refresh()
        look = self.eyes.look(answer.instrument)
        if look is None:
            self.stats.add("held")
            return
        issued_ns = time.monotonic_ns()
        stamp = {
            "source": self.source.kind,
            "issued_ns": issued_ns,
            "expires_ns": issued_ns + self.config["ttl_ms"] * 1_000_000,
            "model_hash": self.source.model_hash,
            "prompt_hash": prompt_hash,
        }
        self._write(publish.parameter(answer, stamp), "parameters")
        if answer.view == "hold" or not answer.size_percent:
            return
        record = publish.oneshot(
            answer,
            look,
            stamp,
            self._max_notional_e8,
            self.config["default_stop_bps"],
            self.config["default_holding_ms"] * 1_000_000,
        )
        if record is None:
            self.stats.add("too_small")
        else:
            self._write(record, "oneshots")

    def _write(self, record: publish.Record, counter: str) -> None:
        if self.publisher.publish(record, self.eyes.exec) == layout.RING_OK:
            self.stats.add("published")
            self.stats.add(counter)
        else:
            self.stats.add("ring_full")


def _place(config: dict[str, Any]) -> None:
    """Off the hot cpus, together with the model's own process; a refusal is not worth stopping for."""
    house = set(config.get("placement", {}).get("house", [])) & os.sched_getaffinity(0)
    if house:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, house)


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or the stop word; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m strategy.slow RUN_DIR", file=sys.stderr)
        return EXIT_CANNOT_START
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGINT, lambda number, _: stopping.append(number))
    try:
        config = json.loads(pathlib.Path(arguments[0], "config.json").read_text())
        _place(config)
        asked = source.choose(config["signal"])
        process = SignalProcess(config, asked)
    except ModelMissing as error:
        print(f"signal: {error}", file=sys.stderr)
        return EXIT_NO_MODEL
    except (OSError, ValueError, KeyError, ArithmeticError, SegmentError) as error:
        print(f"signal: cannot start: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_CANNOT_START
    print(f"signal: source {asked.name if asked else 'none'}, every {config['signal']['period_ms']} ms", flush=True)
    try:
        while not stopping and not process.stop_wanted():
            process.step(time.monotonic_ns())
            time.sleep(POLL_S)
    finally:
        process.stats.status(state=layout.PROCESS_STOPPING)
        if asked:
            asked.stop()
    process.stats.status(state=layout.PROCESS_STOPPED)
    print("signal: stopped", flush=True)
    return 0
