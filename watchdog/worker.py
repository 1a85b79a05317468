"""Threads that may block: jobs one after the other, the independent view (``watchdog.view``), and one ladder at a time.

Results come back through one queue that the main loop drains; the main loop itself never waits for any of them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from watchdog.processes import real_time

Done = Callable[[Any], None]


class Workers:
    """``submit`` from the main thread; ``drain`` there calls ``done(result)``, where a result may be an exception."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[Callable[[], Any], Done]] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[tuple[Done, Any]] = queue.SimpleQueue()
        self.start("jobs", self._run)

    def submit(self, job: Callable[[], Any], done: Done) -> None:
        """Queue a job behind the others."""
        self.jobs.put((job, done))

    def spawn(self, name: str, job: Callable[[], Any], done: Done) -> None:
        """Run a job at once in a thread of its own."""
        self.start(name, lambda: self._one(job, done))

    def tell(self, done: Done, result: Any) -> None:
        """Hand a result to the main thread; from any thread."""
        self.results.put((done, result))

    def drain(self) -> None:
        while not self.results.empty():
            done, result = self.results.get()
            done(result)

    def start(self, name: str, target: Callable[[], None]) -> None:
        def run() -> None:
            real_time()  # a thread does not inherit it, and the main loop may wait for one that holds the interpreter
            target()

        threading.Thread(target=run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._one(*self.jobs.get())

    def _one(self, job: Callable[[], Any], done: Done) -> None:
        try:
            self.results.put((done, job()))
        except Exception as error:
            self.results.put((done, error))
