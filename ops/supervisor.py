"""Starts the house in order, keeps it standing, and ends it so that nothing is left open.

Writes ``control`` and ``stats-supervisor``; reads every stats page. The order of starting, of stopping and who is
restarted is docs/processes.md and nothing else. Restarted: feed, signal, journal (with backoff) and the watchdog (a new
epoch). Not restarted: execution; its death is a kill by the watchdog, and the run ends halted.

Raises StartError with the exit code and one line that names the log file.
"""

from __future__ import annotations

import json
import os
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fabric import layout
from fabric.segment import Segment
from fabric.stats import StatsWriter
from ops import arming, children, exits, paper
from ops.children import Backoff, Child
from ops.figures import Pages, account_row
from ops.instance import Paths
from watchdog.client import WatchdogError, request

MODULES = {
    "venue": "sim",
    "watchdog": "watchdog",
    "journal": "engine.journal",
    "feed": "feed",
    "execution": "engine",
    "signal": "strategy.slow",
}
WAVES = (("journal", "feed"), ("execution", "signal"))  # after venue, watchdog and the compiled kernels
READY_S = {"venue": 20.0, "watchdog": 15.0, "journal": 30.0, "feed": 60.0, "execution": 90.0, "signal": 90.0}
STOP_S = {"execution": 15.0, "signal": 5.0, "feed": 5.0, "journal": 10.0, "watchdog": 20.0, "venue": 5.0}
RESTARTED = ("feed", "signal", "journal", "watchdog")
GENERATIONS = {"market": "market_generation", "signal": "signal_generation", "journal": "journal_generation"}
REGISTERED = ("execution", "feed")
ARM_S, ARM_EVERY_S, KILL_S, TICK_S, LOOK_EVERY_S = 30.0, 0.05, 15.0, 0.03, 1.0
RESUME = "pulex resume --operator NAME --reason TEXT"
_ALIVE = (layout.PROCESS_READY, layout.PROCESS_RUNNING)


class StartError(RuntimeError):
    """A step of the start failed; ``code`` is the exit code of ``pulex run``."""

    def __init__(self, text: str, code: int = exits.START) -> None:
        super().__init__(text)
        self.code = code


class Supervisor:
    """One run of one instance. ``say`` prints a line for the operator."""

    def __init__(
        self,
        config: dict[str, Any],
        where: Paths,
        say: Callable[[str], None],
        modules: dict[str, str] = MODULES,
        waves: Sequence[Sequence[str]] = WAVES,
    ) -> None:
        self.config, self.where, self.say, self.modules, self.waves = config, where, say, modules, waves
        self.stop_asked, self.kill_asked = threading.Event(), threading.Event()
        self.control = Segment.create(where.shm_dir, "control", "supervisor", config["config_hash"], config["code_hash"])
        self.stats = StatsWriter(where.shm_dir, "supervisor", config["config_hash"], config["code_hash"])
        self.pages = Pages(where.shm_dir)
        self.running: dict[str, Child] = {}
        self.due: dict[str, float] = {}  # role -> when it starts again
        self.backoff: dict[str, Backoff] = {role: Backoff() for role in RESTARTED}
        self.backoff["watchdog"] = Backoff(0.0)  # it may have died in the middle of a kill: the next one at once
        self.kill_test: dict[str, Any] = {}
        self.armed, self.epoch, self.halted = False, 0, ""
        self._look_next_s, self._arm_said, self._sized = 0.0, "", False

    # --- starting

    def start(self, warm: Callable[[], None], patience_s: float | None = None) -> None:
        """All of the start up to armed. Latched by an earlier kill: waits ``patience_s`` (None = for ever) for a resume."""
        self.stats.status(state=layout.PROCESS_STARTING)
        if self.config["mode"] == "paper":
            self.spawn("venue")
            self._wait("venue", lambda: paper.answers(self.config))
        self.spawn("watchdog")
        self._wait("watchdog", self._watchdog_answers)
        self._await_resume(patience_s)
        warm()
        for wave in self.waves:
            for role in wave:
                self.spawn(role)
            for role in wave:
                self._wait(role, lambda role=role: self.ready(role))  # type: ignore[misc]
        if execution := self.running.get("execution"):
            for line in execution.log.read_text(errors="replace").splitlines():
                if line.startswith("restart: "):  # what is in force from the life before
                    self.say(line)
        self.publish_generations()
        self.run_kill_test()
        deadline = time.monotonic() + ARM_S
        while not self.try_arm():
            if time.monotonic() > deadline:
                raise StartError(f"not armed after {ARM_S:.0f} s: {self._arm_said}")
            self._pause()
            self._all_alive()
        self.stats.status(state=layout.PROCESS_RUNNING)

    def spawn(self, role: str) -> Child:
        """Start one role and tell the watchdog whom to expect."""
        command = ["-m", self.modules[role], str(self.where.run_dir)]
        child = children.spawn(role, command, self.where.log(role))
        self.running[role] = child
        self.stats.add("starts")
        pids = {name: [one.pid, one.start] for name, one in self.running.items()}
        self.where.children.write_text(json.dumps(pids))
        if role in REGISTERED:
            self.expect(child)
        return child

    def expect(self, child: Child) -> None:
        """This pid, and no other, may ask the watchdog for the key of its role."""
        hashes = {key: self.config[key] for key in ("code_hash", "config_hash")}
        answer = self.ask({"op": "expect", "role": child.role, "pid": child.pid, "start": child.start, **hashes})
        if not answer.get("ok"):
            raise StartError(f"the watchdog refuses {child.role}: {answer.get('reason')}")

    def ready(self, role: str) -> bool:
        """The role's own stats page says so, and it is this process's page."""
        reader = self.pages.stats(role)
        if reader is None:
            return False
        row = reader.status()
        return row["pid"] == self.running[role].pid and row["state"] in _ALIVE

    def run_kill_test(self) -> None:
        """Create, use, revoke and probe a throwaway key. A failed test forbids arming."""
        self.kill_test = self.ask({"op": "kill_test"}, timeout_s=150.0)
        result = self.kill_test.get("result", "fail")
        if not self.kill_test.get("ok") or result == "fail":
            reason = self.kill_test.get("refusal") or self.kill_test.get("reason") or "the key still worked"
            raise StartError(f"kill test failed ({reason}): not armed, because trading could not be ended", exits.KILL_TEST)
        self.say(f"kill test {'NOT PROVEN' if result == 'not_proven' else result}: {self.kill_test.get('refusal', '')}")

    def try_arm(self) -> bool:
        """Ask for the lease once. Kernels that a hot process had to compile itself forbid it: they would do so while armed."""
        for role in REGISTERED:
            reader = self.pages.stats(role)
            if reader is not None and (misses := reader.status()["cache_misses"]):
                raise StartError(f"{role} compiled {misses} kernels itself after the warm-up; start again", exits.WARM)
        self.stats.add("arm_attempts")
        answer = self.ask({"op": "arm"})
        if answer.get("ok"):
            self.armed, self.epoch, self._arm_said = True, int(answer["epoch"]), ""
            self.set_control("armed", 1)
            self.say(f"armed, epoch {self.epoch}")
        else:
            self._arm_said = str(answer.get("reason", "no reason given"))
        return self.armed

    def _await_resume(self, patience_s: float | None) -> None:
        deadline = None if patience_s is None else time.monotonic() + patience_s
        status = self.ask({"op": "status"})
        if status.get("latched"):
            self.say(f"{status.get('reason')}; to go on: {RESUME}")
        while status.get("latched"):
            if deadline is not None and time.monotonic() > deadline:
                raise StartError(f"still latched ({status.get('reason')}); lift it with: {RESUME}", exits.HALTED)
            self._pause()
            status = self.ask({"op": "status"})

    def _all_alive(self) -> None:
        for role, child in self.running.items():
            if not child.alive():
                raise StartError(f"{role} {child.ended()}: {child.last_words() or 'it said nothing'} (log: {child.log})")

    def _watchdog_answers(self) -> bool:
        return self.where.socket.exists() and bool(self.ask({"op": "status"}).get("ok"))

    def _wait(self, role: str, ready: Callable[[], bool]) -> None:
        child, deadline = self.running[role], time.monotonic() + READY_S[role]
        while not ready():
            if not child.alive():
                raise StartError(f"{role} {child.ended()}: {child.last_words() or 'it said nothing'} (log: {child.log})")
            if time.monotonic() > deadline:
                raise StartError(f"{role} is not ready after {READY_S[role]:.0f} s: {child.last_words()} (log: {child.log})")
            self._pause(0.02)

    def _pause(self, seconds: float = ARM_EVERY_S) -> None:
        if self.stop_asked.wait(seconds):
            raise StartError("stopped before arming", exits.OK)
        self.beat()

    # --- running

    def tick(self) -> None:
        """One look at everything; returns soon. Sets ``halted`` when the run has to end."""
        self.beat()
        self.publish_generations()
        now = time.monotonic()
        for role, child in list(self.running.items()):
            if not child.alive():
                del self.running[role]
                self._died(role, child, now)
        for role in [role for role, due in self.due.items() if due <= now]:
            del self.due[role]
            self._restart(role)
        if now >= self._look_next_s and "watchdog" in self.running and not self.halted:
            self._look_next_s = now + LOOK_EVERY_S
            self._look_at_lease()

    def _look_at_lease(self) -> None:
        """A halt or a new watchdog disarms; without a latch the supervisor arms again."""
        status = self.ask({"op": "status"})
        if not status.get("ok"):
            return
        if self.armed and not status.get("armed"):
            self.armed = False
            self.set_control("armed", 0)
            self.say(f"disarmed: {status.get('reason')}{'; to go on: ' + RESUME if status.get('latched') else ''}")
        if self.armed and not self._sized:
            self._look_at_size()
        if not self.armed and not status.get("latched"):
            if not self.kill_test:
                self.run_kill_test()
            self.try_arm()

    def _look_at_size(self) -> None:
        """Once, as soon as the account is known: an account too small for any order ends the run."""
        row = account_row(self.pages)
        found = arming.needs(self.config, row) if row else None
        if found is None:
            return
        self._sized = True
        for symbol, why in found.items():
            self.say(f"{symbol} cannot be traded: {why}")
        if why := arming.refusal(self.config, found):
            self.armed, self.halted = False, why
            self.set_control("armed", 0)

    def _died(self, role: str, child: Child, now: float) -> None:
        self.stats.add("children_died")
        text = f"{role} {child.ended()}: {child.last_words() or 'it said nothing'} (log: {child.log})"
        self.stats.error(text)
        self.say(text)
        if role not in RESTARTED:
            self.halted = f"{role} {child.ended()}"
            return
        if role == "watchdog":
            self.armed, self.kill_test = False, {}  # a new watchdog proves and arms again, with a new epoch
            self.set_control("armed", 0)
        self.due[role] = self.backoff[role].next_start(child.spawned_s, now)

    def _restart(self, role: str) -> None:
        try:
            self.stats.add("restarts")
            if role in REGISTERED and "watchdog" not in self.running:
                self.due[role] = time.monotonic() + children.BACKOFF_FIRST_S
                return
            self.spawn(role)
            if role == "watchdog":
                self._wait("watchdog", self._watchdog_answers)
                for name in REGISTERED:
                    if name in self.running:
                        self.expect(self.running[name])
            self.say(f"{role} started again")
        except StartError as error:  # tried again with a longer wait: the death of the child is seen by tick
            self.say(f"restart: {error}")

    def publish_generations(self) -> None:
        """Execution maps a new file when its generation word moves."""
        for segment, word in GENERATIONS.items():
            if generation := self.pages.generation(segment):
                self.set_control(word, generation)

    def beat(self) -> None:
        self.stats.beat()
        self.control.beat()

    def set_control(self, word: str, value: int) -> None:
        self.control.set_word(layout.CONTROL_OFFSET + layout.CONTROL.index(word) * layout.WORD, value)

    def ask(self, message: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
        """One question to the watchdog; an unreachable one answers ``ok`` false."""
        try:
            answer, descriptors = request(self.where.run_dir, message, timeout_s)
        except WatchdogError as error:
            return {"ok": False, "reason": str(error)}
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    # --- ending

    def kill(self, reason: str) -> dict[str, Any]:
        """The kill ladder, by the watchdog; returns its account of it."""
        self.say(f"KILL: {reason}")
        self.ask({"op": "kill", "reason": reason}, timeout_s=KILL_S)
        return self.wait_for_kill()

    def wait_for_kill(self) -> dict[str, Any]:
        """Wait until the watchdog has proven its kill, or is out of time; one that dies meanwhile gets a successor."""
        deadline = time.monotonic() + KILL_S
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            watchdog = self.running.get("watchdog")
            if watchdog is None or not watchdog.alive():
                self.say("the watchdog died too: its successor takes up the kill")
                due = self.backoff["watchdog"].next_start(watchdog.spawned_s if watchdog else 0.0, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
                self.spawn("watchdog")
            status = self.ask({"op": "status"})
            if (status.get("kill") or {}).get("proven"):
                break
            if status.get("ok") and not status.get("latched"):  # it died before it could latch
                self.ask({"op": "kill", "reason": self.halted or "the watchdog died"})
            self.beat()
            self.running["watchdog"].lives_for(0.05)
        kill = dict(status.get("kill") or {})
        self.say(f"kill {'proven' if kill.get('proven') else 'NOT PROVEN'}")
        return kill

    def stop_trading(self) -> bool:
        """Execution cancels everything and verifies; True when it said so in time."""
        self.stats.status(state=layout.PROCESS_STOPPING)
        self.set_control("stop", layout.STOP_CANCEL_AND_VERIFY)
        self.due.clear()
        child = self.running.get("execution")
        if child is None:
            return False
        deadline = time.monotonic() + STOP_S["execution"]
        while child.alive() and not self._stopped("execution"):
            if time.monotonic() > deadline:
                self.say(f"execution did not stop in {STOP_S['execution']:.0f} s (log: {child.log})")
                return False
            if self.kill_asked.wait(0.02):
                self.kill("second interrupt")
                return False
            self.beat()
        return child.alive() or child.process.returncode == 0

    def _stopped(self, role: str) -> bool:
        reader = self.pages.stats(role)
        return reader is not None and reader.status()["state"] == layout.PROCESS_STOPPED

    def stop_house(self) -> bool:
        """Feed and signal, then the drained journal, then the watchdog; the venue is left for the ledger. True when clean."""
        clean = self._end("feed", "signal")
        self._drain_journal()
        clean &= self._end("journal")
        if child := self.running.get("watchdog"):
            self.ask({"op": "stop"}, timeout_s=STOP_S["watchdog"])
            clean &= child.finish(STOP_S["watchdog"]) and child.process.returncode == 0
            del self.running["watchdog"]
        return clean & self._end("execution")

    def _drain_journal(self) -> None:
        execution, journal = self.pages.segment("exec"), self.pages.segment("journal")
        deadline = time.monotonic() + STOP_S["journal"]
        while execution and journal and "journal" in self.running and time.monotonic() < deadline:
            written = execution.word(layout.EXEC_JOURNAL_CURSOR_OFFSET)
            if journal.word(layout.JOURNAL_PROGRESS_OFFSET + layout.JP_CONSUMED * layout.WORD) >= written:
                return
            self.beat()
            time.sleep(0.01)

    def stop_all(self) -> None:
        """Whatever still lives ends now; the venue last, so that a watchdog can still prove its end."""
        self._end("feed", "signal", "execution", "journal", "watchdog")
        self._end("venue")
        self.where.children.unlink(missing_ok=True)
        self.stats.status(state=layout.PROCESS_STOPPED)

    def _end(self, *roles: str) -> bool:
        ending = [self.running.pop(role) for role in roles if role in self.running]
        for child in ending:
            child.terminate()
        clean = True
        for child in ending:
            if not child.finish(STOP_S[child.role]):
                clean = False
                self.say(f"{child.role} did not end in {STOP_S[child.role]:.0f} s and was killed (log: {child.log})")
        return clean


def remove_segments(shm_dir: pathlib.Path) -> None:
    """Everything of this instance in shared memory, once all writers have ended."""
    for path in sorted(shm_dir.iterdir()):
        path.unlink(missing_ok=True)
    shm_dir.rmdir()
