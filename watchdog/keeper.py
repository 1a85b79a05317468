"""Writes in a thread of its own what a kill wants durable, so that a disk that stalls does not hold the kill up.

``keep`` waits a moment, of which a healthy disk needs a small part; then the kill goes on and the write catches up with the
newest text. Until the disk answers again nobody waits a second time; what it refuses is tried until it takes it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

PATIENCE_S, RETRY_S = 0.1, 0.5


class Keeper:
    """``write`` may block and may raise OSError."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.changed = threading.Condition()
        self.text: str | None = None
        self.asked = self.done = 0
        self.writing = self.late = False
        self.error: OSError | None = None

    def keep(self, text: str) -> None:
        """Durable on return; OSError when the disk refuses it or does not answer in time, and then it is still tried."""
        with self.changed:
            self.text, self.asked = text, self.asked + 1
            mine = self.asked
            self.changed.notify_all()
            if not self.writing:
                self.writing = True
                threading.Thread(target=self._run, name="keeper", daemon=True).start()
            answered = self.changed.wait_for(lambda: self.done >= mine, 0.0 if self.late else PATIENCE_S)
            self.late = not answered
            if not answered:
                raise OSError(errno.ETIMEDOUT, "the disk does not answer")
            if self.error is not None:
                raise OSError(self.error.errno, self.error.strerror or os.strerror(self.error.errno or 0))

    def _run(self) -> None:
        while True:
            with self.changed:
                if self.text is None:
                    self.writing = False
                    return
                text, self.text, mine = self.text, None, self.asked
            error = None
            try:
                self.write(text)
            except OSError as refused:
                error = refused
            with self.changed:
                self.done, self.error, self.late = mine, error, False
                self.changed.notify_all()
                if error is not None and self.text is None:
                    self.text = text
                    self.changed.wait(RETRY_S)  # or until there is something newer
