"""What an operator may do to an instance, also to one that is half dead. One request to the watchdog's socket each.

Nothing here reads shared memory. ``kill`` works while anything of the three is left: a watchdog that answers does it; one that
hangs is ended and its successor or ``watchdog.alone`` does it; with nobody there ``watchdog.alone`` does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from fabric.jit import ROOT
from ops import exits, instance, paper
from ops.instance import Paths
from watchdog import alone
from watchdog.client import WatchdogError, request
from watchdog.processes import Process, ProcessError

ANSWER_S, PROOF_S, ATTEMPTS = 3.0, 15.0, 5
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
Say = Callable[[str], None]


class CommandError(RuntimeError):
    """It was not done; ``code`` is the exit code, the text says what to do."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def ask(name: str, message: dict[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
    """One request to the watchdog or witness of an instance. Raises CommandError."""
    where = instance.paths(name)
    try:
        answer, _ = request(where.run_dir, message, timeout_s)
    except WatchdogError as error:
        if not instance.running(where):
            raise CommandError(f"{name} is not running; start it with pulex run", exits.ABSENT) from None
        raise CommandError(str(error), exits.ABSENT) from None
    if not answer.get("ok"):
        raise CommandError(str(answer.get("reason", "refused")), exits.HALTED)
    return answer


def kill(name: str, reason: str, say: Say) -> None:
    """End trading and wait for the proof. Raises CommandError when there is none."""
    where = instance.paths(name)
    for _ in range(ATTEMPTS):
        try:
            answer, _ = request(where.run_dir, {"op": "kill", "reason": reason}, ANSWER_S)
        except WatchdogError:
            if _kill_alone(where, reason, say):
                return
            continue
        if not answer.get("ok"):
            raise CommandError(str(answer.get("reason", "refused")), exits.HALTED)
        return _wait_for_proof(where, say)
    raise CommandError(f"no watchdog of {name} answers, and one holds {where.state_dir}: end it, then again", exits.UNCLEAN)


def _wait_for_proof(where: Paths, say: Say) -> None:
    deadline = time.monotonic() + PROOF_S
    record: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            status, _ = request(where.run_dir, {"op": "status"}, ANSWER_S)
        except WatchdogError:
            status = {"kill": _latch(where)}  # the run is over, or a successor takes the kill up
        record = status.get("kill") or record
        if record.get("proven"):
            return say(f"kill proven after {record['ms']} ms")
        time.sleep(0.05)
    failed = [f"{step['step']}: {step['detail']}" for step in record.get("steps", ()) if not step["ok"]]
    raise CommandError(f"kill NOT PROVEN yet, it goes on: {'; '.join(failed) or 'no account of it'}", exits.UNCLEAN)


def _latch(where: Paths) -> dict[str, Any]:
    try:
        return dict(json.loads((where.state_dir / "latch.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _kill_alone(where: Paths, reason: str, say: Say) -> bool:
    """Without a watchdog that answers; False when one holds the state directory all the same."""
    try:
        config = json.loads(where.config.read_text())
    except (OSError, ValueError):
        config = {"mode": ""}
    ended = config.get("mode") == "paper" and not instance.running(where) and not paper.answers(config)
    if not config["mode"] or ended:
        raise CommandError(f"{where.run_dir.name} is not running; start it with pulex run", exits.ABSENT)
    if not _end_hung_watchdog(where, say):
        return False
    say("no watchdog answers: the kill is done from here")
    done = subprocess.run([sys.executable, "-m", "watchdog.alone", str(where.run_dir), reason], cwd=ROOT)
    if done.returncode == alone.BUSY:
        return False
    if done.returncode != alone.PROVEN:
        raise CommandError("kill NOT PROVEN: see the lines above, and cancel at the venue by hand", exits.UNCLEAN)
    return True


def _end_hung_watchdog(where: Paths, say: Say) -> bool:
    """False when it has begun to answer: one that the supervisor has only just started again is no hung one."""
    try:
        pid, start = json.loads(where.children.read_text())["watchdog"]
        process = Process(int(pid), int(start))
    except (OSError, ValueError, KeyError, TypeError, ProcessError):
        return True
    while process.start / TICKS_PER_S + ANSWER_S > time.clock_gettime(time.CLOCK_BOOTTIME) and not process.dead(wait_ms=50):
        with contextlib.suppress(WatchdogError):
            request(where.run_dir, {"op": "status"}, ANSWER_S)
            process.close()
            return False
    if process.dead():
        process.close()
        return True
    say(f"the watchdog (pid {pid}) hangs and is ended")
    process.kill()
    process.dead(wait_ms=2000)
    process.close()
    return True


def drill(name: str, say: Say) -> None:
    """The kill drill: a throwaway key, each step timed. Raises CommandError when it did not pass."""
    answer = ask(name, {"op": "drill"})
    for step, at_ms in answer.get("at_ms", {}).items():
        say(f"{step:8} done at {at_ms} ms")
    result = answer["result"]
    text = f"kill drill {'NOT PROVEN' if result == 'not_proven' else result}: {answer['refusal']}, {answer['ms']} ms"
    if result != "pass":
        raise CommandError(text, exits.KILL_TEST)
    say(text)
