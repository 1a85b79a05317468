"""A warm stand: one process with every kernel loaded, which forks supervisors, which fork their feed, execution and journal.

``python -m tests.chaos.warm`` reads lines of JSON: {"run_dir", "planted"} starts a house whose config.json lies there and
answers {"pid"}. A house is the real supervisor with the real processes; only *how* the three Python processes with numba come
to life differs (a fork instead of two seconds of imports), so that a house that was killed stands again at once. Watchdog
and exchange are started as always. A supervisor whose run is halted waits for ``again`` on RUN_DIR/stand.sock, where the
product would end.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from fabric import jit
from fabric.segment import process_start
from ops import children, instance, supervisor, warm
from ops.children import Backoff, Child
from ops.instance import Paths
from ops.supervisor import ARM_S, REGISTERED, RESTARTED, TICK_S, StartError, Supervisor
from tests.chaos import planted

FORKED: dict[str, Callable[[str], Any]] = {}


class Forked:
    """What ``subprocess.Popen`` is to ``children.Child``, for a forked child."""

    def __init__(self, pid: int, gate: int) -> None:
        self.pid, self.gate = pid, gate
        self.returncode: int | None = None

    def go(self) -> None:
        """The watchdog expects it now: a fork would ask for its key before."""
        os.close(self.gate)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("fork", timeout or 0.0)
            time.sleep(0.002)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(work: Callable[[], int], log: pathlib.Path, own_session: bool, gate: tuple[int, int] | None = None) -> int:
    """A child that does the work and ends with its answer; output in ``log``, no descriptor but the first three.

    With a ``gate``, a pipe, it begins when the other end is closed.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if gate is not None:
            os.close(gate[1])
            os.read(gate[0], 1)
        if own_session:
            os.setsid()
        else:
            os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 4096)
        code = work()
    except BaseException as error:  # the child must never go on as a copy of its parent
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(code)


def spawn(role: str, command: list[str], log: pathlib.Path, real: Callable[..., Child] = children.spawn) -> Child:
    """As ``children.spawn``, but forks what has numba in it."""
    run_dir = command[2]
    if role in FORKED:
        begin = FORKED[role]
        gate = os.pipe()
        pid = fork(lambda: int(begin(run_dir).run()), log, role not in children.SHARE_A_CPU, gate)
        os.close(gate[0])
        children._yield_memory(pathlib.Path(f"/proc/{pid}/oom_score_adj"))
        child = Child(role, Forked(pid, gate[1]), log, process_start(pid), time.monotonic())  # type: ignore[arg-type]
    else:
        child = real(role, command, log)
    with open(pathlib.Path(run_dir) / "spawned", "a") as file:
        file.write(f"{child.pid} {child.start}\n")
    return child


class Stand(Supervisor):
    """The supervisor of one house, told what to do over a socket."""

    def spawn(self, role: str) -> Child:
        child = super().spawn(role)
        if isinstance(child.process, Forked):
            child.process.go()
        return child

    def listen(self) -> None:
        self.parent = os.getppid()
        path = self.where.run_dir / "stand.sock"
        path.unlink(missing_ok=True)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(4)
        self.server.setblocking(False)
        self.ended: dict[str, Any] = {}

    def serve(self) -> int:
        """Keep the house standing until told to leave."""
        self.listen()
        self.start(lambda: None, None)
        while not self.stop_asked.is_set() and os.getppid() == self.parent:
            if self.halted and not self.ended:
                self.ended = self.wait_for_kill()
            elif self.halted:
                self.beat()
                time.sleep(TICK_S)
            else:
                self.tick()
                time.sleep(TICK_S)
            self.hear()
        self.stop_all()
        return 0

    def hear(self) -> None:
        """Answer what was asked since the last time."""
        with contextlib.suppress(BlockingIOError):
            connection, _ = self.server.accept()
            with connection:
                connection.settimeout(2.0)
                asked = json.loads(connection.recv(4096))
                with contextlib.suppress(OSError):
                    connection.sendall(json.dumps(getattr(self, f"do_{asked['op']}")()).encode())

    def do_state(self) -> dict[str, Any]:
        pids = {role: child.pid for role, child in self.running.items() if child.alive()}
        return {"pids": pids, "armed": self.armed, "epoch": self.epoch, "halted": self.halted, "kill": self.ended}

    def do_leave(self) -> dict[str, Any]:
        self.stop_asked.set()
        return {}

    def do_calm(self) -> dict[str, Any]:
        """As after thirty healthy seconds: a restart waits no longer than its first wait."""
        self.backoff = {role: Backoff() for role in RESTARTED}
        self.backoff["watchdog"] = Backoff(0.0)
        return {}

    def do_again(self) -> dict[str, Any]:
        """After a proven kill: an operator resumes, and what is missing is started, proven and armed."""
        self.do_calm()
        began = time.monotonic()
        self.ask({"op": "resume", "operator": "chaos", "reason": "the fault was looked at"})
        self.halted, self.ended, self.armed, self.kill_test = "", {}, False, {}
        self.due.clear()
        self.set_control("armed", 0)
        for role in REGISTERED:  # the watchdog may be another one than before
            if role in self.running and self.running[role].alive():
                self.expect(self.running[role])
        for role, child in list(self.running.items()):
            if not child.alive() or role == "journal":  # the journal of the life before writes its last, and ends
                child.finish(5.0)
                del self.running[role]
        try:
            for wave in self.waves:
                for role in wave:
                    if role not in self.running:
                        self.spawn(role)
                for role in wave:
                    self._wait(role, lambda role=role: self.ready(role))  # type: ignore[misc]
            self.publish_generations()
            self.run_kill_test()
            while not self.try_arm() and time.monotonic() - began < ARM_S:
                self._pause(0.02)
        except StartError as error:
            return {"ok": False, "reason": str(error)}
        since = self.running["execution"].spawned_s
        return {"ok": self.armed, "reason": self._arm_said, "execution_s": time.monotonic() - since}


def house(run_dir: str, kind: str) -> int:
    """One supervisor, from its config.json to its end."""
    from engine.journal import Journal
    from feed.process import Feed

    if kind != "real":
        FORKED.update(journal=Journal, feed=Feed, execution=planted.KINDS[kind])
    config: dict[str, Any] = json.loads((pathlib.Path(run_dir) / "config.json").read_text())
    where = Paths(pathlib.Path(run_dir), pathlib.Path(config["state_dir"]), pathlib.Path(config["shm_dir"]))
    supervisor.children.spawn = spawn
    os.sched_setaffinity(0, config["placement"]["house"])
    waves = (("journal", "feed"), ("execution",))

    def say(text: str) -> None:
        print(text, flush=True)

    held = instance.lock(where)
    try:
        return Stand(config, where, say, waves=waves).serve()
    except StartError as error:
        say(f"start failed: {error}")
        return error.code
    finally:
        os.close(held)


def second(run_dir: str) -> int:
    """One more execution process of a run that has one."""
    return int(planted.KINDS["plain"](run_dir).run())


def preload(run_dir: str) -> None:
    """Load every kernel, as ``ops.warm`` does; what had to be compiled is loaded by a fresh process instead."""
    import tempfile

    config = json.loads((pathlib.Path(run_dir) / "config.json").read_text())
    with tempfile.TemporaryDirectory(dir=warm.SHM, prefix=warm.PREFIX) as shm_dir:
        todo, mapped = warm.steps(config, shm_dir)
        for _, work in todo:
            work()
        del mapped
    if jit.cache_misses():
        os.execv(sys.executable, [sys.executable, "-m", "tests.chaos.warm", *sys.argv[1:]])
    gc.collect()
    gc.freeze()


def main() -> int:
    preload(sys.argv[1])
    print(json.dumps({"ready": True}), flush=True)
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], 0.05)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if ready:
            line = sys.stdin.readline()
            if not line:
                return 0
            asked = json.loads(line)
            log = pathlib.Path(asked["run_dir"]) / "logs" / "supervisor.log"
            if asked.get("second"):
                log = log.with_name("second.log")
                work = functools.partial(second, asked["run_dir"])
            else:
                work = functools.partial(house, asked["run_dir"], asked["planted"])
            pid = fork(work, log, own_session=True)
            print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
