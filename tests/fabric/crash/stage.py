"""Starting, stopping and killing the two processes, and waiting for what they report.

The parent attaches each writer's segment, so that it can look at it after both the writer and the file are gone. A wait that
ends without what it waited for is a ``Failed``, as is an actor that ends by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable

from crash import actors
from crash.shared import Shared
from fabric.segment import SegmentError, Step

SUPERSEDED = 3  # exit status of a writer that was told so
_PR_SET_PDEATHSIG = 1


class Failed(AssertionError):
    """A check did not hold."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise Failed(text)


Role = Callable[[pathlib.Path, Shared, int], None]


class Actor:
    """One child process."""

    def __init__(self, run: Role, directory: pathlib.Path, shared: Shared, flaw: int) -> None:
        self.name = run.__name__
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _child(lambda: run(directory, shared, flaw))
        self.running = True

    def stop(self) -> None:
        """Returns when it is stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        require(os.WIFSTOPPED(status), f"{self.name} ended by itself, wait status {status}")

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Returns when the kernel has closed all that it had open."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            self.running = False
            _, status = os.waitpid(self.pid, 0)
            require(os.WIFSIGNALED(status), f"{self.name} ended by itself, wait status {status}")

    def ended(self) -> int | None:
        """The exit status, once it has ended by itself."""
        if self.running:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.running, self.code = False, os.waitstatus_to_exitcode(status)
        return self.code


def _child(run: Callable[[], None]) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        run()
    except SegmentError as error:
        code = SUPERSEDED if error.step is Step.SUPERSEDED or "File exists" in str(error) else 1
        if code == 1:
            print(error, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class Stage:
    """A folder of segments, the actors on it, and what the parent knows about each generation."""

    def __init__(self, flaw: int, patience_s: float) -> None:
        base = pathlib.Path("/dev/shm")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="pulex-crash-", dir=base if base.is_dir() else None))
        self.shared, self.flaw, self.patience_s = Shared(), flaw, patience_s
        self.actors: list[Actor] = []
        self.writers = actors.Follower(self.directory, "market")

    def start(self, run: Role) -> Actor:
        actor = Actor(run, self.directory, self.shared, self.flaw)
        self.actors = [*(one for one in self.actors if one.running), actor]
        return actor

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds; every actor must live meanwhile."""
        deadline = time.monotonic() + self.patience_s
        while not condition():
            for actor in self.actors:
                code = actor.ended()
                require(code in (None, SUPERSEDED), f"{actor.name} ended by itself with {code}")
            require(time.monotonic() < deadline, f"waited {self.patience_s:.0f} s in vain for {what}")
            time.sleep(actors.WAIT_S)

    def close(self) -> None:
        for actor in self.actors:
            with contextlib.suppress(Failed, OSError):
                actor.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
