"""A program of the operator's own: told a verb, judged by its exit code. The contract for its author: ``docs/revokers.md``.

``PATH VERB INSTANCE`` with VERB one of arm, refresh, revoke, prove, release; no secret in it, an empty environment but for
PATH and LANG, working directory ``/``, no standard input, a session of its own. Exit code 0: done (for ``prove``: proven);
64: "this verb is not mine", which counts as done except for ``revoke`` and ``prove``; anything else, a signal, or a deadline
missed (then its whole process group is killed): failed, and tried again. Of what it prints the first OUTPUT_BYTES are kept,
the rest is thrown away, and one line of it goes to the log and the latch record.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import stat
import subprocess
import time

from watchdog.revokers import RevokerError

OUTPUT_BYTES, LINE_CHARACTERS = 4096, 200
NOT_MINE = 64
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}


class Executable:
    """One program. It must be ours or root's, and writable by nobody else."""

    def __init__(self, path: str, instance: int, deadline_s: float, refresh_s: float) -> None:
        self.path, self.instance = path, instance
        self.deadline_s, self.refresh_s = deadline_s, refresh_s
        self.name = f"executable {os.path.basename(path)}"
        self._check()

    def arm(self, deadline_s: float) -> str:
        self._check()
        return self._run("arm", deadline_s)

    def refresh(self, deadline_s: float) -> str:
        return self._run("refresh", deadline_s)

    def revoke(self, deadline_s: float) -> str:
        return self._run("revoke", deadline_s)

    def prove(self, deadline_s: float) -> str:
        return self._run("prove", deadline_s)

    def release(self, deadline_s: float) -> str:
        return self._run("release", deadline_s)

    def _check(self) -> None:
        try:
            info = os.stat(self.path)
        except OSError as error:
            raise RevokerError(f"{self.path}: {error.strerror}; name an existing program") from None
        if not os.path.isabs(self.path) or not stat.S_ISREG(info.st_mode) or not os.access(self.path, os.X_OK):
            raise RevokerError(f"{self.path} must be the absolute path of an executable file")
        if info.st_uid not in (0, os.getuid()) or info.st_mode & 0o022:
            raise RevokerError(f"{self.path} must be yours or root's, and writable by its owner alone: chmod go-w it")

    def _run(self, verb: str, deadline_s: float) -> str:
        end = time.monotonic() + deadline_s
        process = subprocess.Popen(
            [self.path, verb, str(self.instance)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        try:
            output, ended = self._collect(process, end)
        finally:
            with contextlib.suppress(ProcessLookupError):  # before it is collected: its pid is still its own
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            assert process.stdout is not None
            process.stdout.close()
        said = _one_line(output)
        if not ended:
            raise RevokerError(f"not done within {deadline_s:g} s, killed{said}")
        if code == NOT_MINE and verb not in ("revoke", "prove"):
            return f"{verb}: not needed"
        if code != 0:
            how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
            raise RevokerError(f"{how}{said}")
        return f"{verb}: done{said}"

    def _collect(self, process: subprocess.Popen[bytes], end: float) -> tuple[bytes, bool]:
        """What it printed, cut, and whether it ended in time. What it leaves running does not delay this."""
        assert process.stdout is not None
        kept, fd = b"", process.stdout.fileno()
        pidfd = os.pidfd_open(process.pid)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        try:
            while (left := end - time.monotonic()) > 0:
                ready = {one for one, _ in poller.poll(left * 1e3)}
                data = os.read(fd, 65536) if fd in ready else b""
                kept = (kept + data)[:OUTPUT_BYTES]
                if fd in ready and not data:
                    poller.unregister(fd)
                if pidfd in ready and (not data or len(kept) == OUTPUT_BYTES):
                    return kept, True
            return kept, False
        finally:
            os.close(pidfd)


def _one_line(output: bytes) -> str:
    """Its last line, printable and short, for people."""
    lines = [line.strip() for line in output.decode("ascii", "replace").splitlines() if line.strip()]
    return f": {re.sub('[^ -~]', '?', lines[-1])[:LINE_CHARACTERS]}" if lines else ""
