"""``pulex run``: one run from the options to the exit code and the final summary.

Screen: a dashboard when there is a terminal, else a status line every few seconds. The same lines always go to
RUN_DIR/logs/supervisor.log. First Ctrl-C or SIGTERM ends the run in order, the second one is the kill ladder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fabric.jit import ROOT
from fabric.segment import SegmentError
from ops import config as configuration
from ops import exits, instance, paper, recorded, summary
from ops.config import Config, ConfigError
from ops.figures import snapshot
from ops.instance import InstanceError, Paths
from ops.placement import place, read_host, waiting
from ops.supervisor import RESUME, TICK_S, StartError, Supervisor, remove_segments

STATUS_EVERY_S = 5.0
WARM = ["-m", "ops.warm"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says; None = as configured."""

    config: str | None = None
    name: str | None = None
    headless: bool = False
    duration_s: float | None = None
    data: str | None = None
    speed: float | None = None
    json: str | None = None
    colo: bool = False
    signal: str | None = None
    live_confirm: bool = False


class Screen:
    """Lines for the operator: standard output unless the dashboard has it, and the supervisor's log."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.quiet = False
        self.log: pathlib.Path | None = None

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False)
        self._write(text)

    def fail(self, text: str) -> None:
        """Why the run ends early."""
        print(f"pulex: {text}", file=sys.stderr)
        self._write(text)

    def _write(self, text: str) -> None:
        if self.log:
            with self.log.open("a") as stream:
                stream.write(f"{time.strftime('%H:%M:%S')} {text}\n")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Everything that was decided before the first process starts. ``lock`` holds the instance."""

    config: dict[str, Any]
    where: Paths
    lock: int
    cpus: frozenset[int]


def run(options: Options) -> int:
    """The whole run; returns the exit code."""
    began = time.monotonic()
    screen = Screen()
    try:
        prepared = prepare(options, screen)
        supervisor = Supervisor(prepared.config, prepared.where, screen.say)
    except (ConfigError, InstanceError, SegmentError) as error:
        print(f"pulex: {error}", file=sys.stderr)
        return exits.CONFIG
    _catch_signals(supervisor)
    code, startup_s = exits.OK, None
    try:
        supervisor.start(lambda: warm(prepared, supervisor, screen), options.duration_s)
        startup_s = time.monotonic() - began
        screen.say(f"trading after {startup_s:.1f} s; Ctrl-C ends it in order")
        watch(options, supervisor, screen)
        if supervisor.halted or not supervisor.armed:
            code = exits.HALTED
    except StartError as error:
        screen.fail(str(error))
        code = error.code
    return finish(options, prepared, supervisor, screen, code, startup_s)


def prepare(options: Options, screen: Screen) -> Prepared:
    """Check everything, take the instance, clean it, write config.json. Raises ConfigError, InstanceError."""
    config = with_options(configuration.load(options.config), options)
    live = config.live(options.live_confirm)
    if config.mode == "live" and not live:
        screen.say('mode = "live" without --live-confirm: this is paper')
    where = instance.paths(config.name)
    lock = instance.lock(where)
    for line in instance.clean(where):
        screen.say(line)
    screen.log = where.log("supervisor")
    instance.check_shm(where)
    host = read_host()
    source = pathlib.Path(options.config).name if options.config else "defaults"
    try:
        placement = waiting(place(host, options.colo), config.idle.feed, config.idle.execution)
    except ValueError as error:
        raise configuration.ConfigError(f"{source}: idle: {error}") from None
    for lack in placement.lacks:
        screen.say(f"colo: {lack}")
    values = instance.compose(config, where, placement, live=live, data=options.data, source=source)
    instance.write(where, values)
    os.sched_setaffinity(0, placement.house)  # children inherit it; the two loops move to their own cpus
    screen.say(
        f"{config.name}: {values['mode']}, {', '.join(i['symbol'] for i in values['instruments'])}, "
        f"signals by {values['signal']['source']}, feed on cpu {placement.feed[0]}, execution on {placement.execution[0]} "
        f"({' and '.join(dict.fromkeys(placement.idle))})"
    )
    return Prepared(values, where, lock, frozenset(host.cpus))


def with_options(config: Config, options: Options) -> Config:
    """The configuration with what the command line changes."""
    changes: dict[str, Any] = {}
    if options.name:
        changes["name"] = options.name
    if options.signal:
        changes["signal"] = config.signal.model_dump() | {"source": options.signal}
    if options.speed is not None:
        changes["paper"] = config.paper.model_dump() | {"speed": options.speed}
    if options.data:
        changes["instruments"] = [recorded.instrument(options.data).model_dump()]
        changes["strategies"] = [s.model_dump() | {"symbols": ()} for s in config.strategies]
    if options.colo and config.lease == configuration.Lease():
        changes["lease"] = configuration.COLO_LEASE.model_dump() if read_host().isolated else config.lease.model_dump()
    return configuration.parse(config.model_dump() | changes, "command line")


def _catch_signals(supervisor: Supervisor) -> None:
    def caught(number: int, frame: FrameType | None) -> None:
        (supervisor.kill_asked if supervisor.stop_asked.is_set() else supervisor.stop_asked).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, caught)


def warm(prepared: Prepared, supervisor: Supervisor, screen: Screen) -> None:
    """Compile all kernels in one process on all cpus, or find them in the cache. Raises StartError."""
    log = prepared.where.log("warm")
    began, last = time.monotonic(), ""
    bar = Progress(
        TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[kernel]}"), TimeElapsedColumn(),
        console=screen.console, transient=True, disable=not screen.console.is_terminal,
    )  # fmt: skip
    with log.open("w") as output, bar:
        task = bar.add_task("", total=None, kernel="")
        process = subprocess.Popen(
            [sys.executable, *WARM, str(prepared.where.run_dir)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
            start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        os.sched_setaffinity(process.pid, prepared.cpus)
        for line in _lines(process, supervisor):
            output.write(line + "\n")
            last = line.strip() or last
            words = line.split()
            if len(words) >= 4 and words[0] == "warm" and "/" in words[1]:
                done, total = words[1].split("/")
                name, seconds = " ".join(words[2:-1]), float(words[-1])
                bar.update(task, completed=int(done), total=int(total), kernel=name)
                if not screen.console.is_terminal and seconds >= 1.0:
                    screen.say(f"compiled {done} of {total}: {name} in {seconds:.1f} s")
        if code := process.wait():
            if supervisor.stop_asked.is_set():
                raise StartError("stopped while compiling", exits.OK)
            raise StartError(f"the kernels did not compile: {last[:300] or f'code {code}'} (log: {log})", exits.WARM)
    screen.say(f"kernels ready in {time.monotonic() - began:.1f} s")


def _lines(process: subprocess.Popen[bytes], supervisor: Supervisor) -> Iterator[str]:
    """Its output line by line; meanwhile the supervisor beats, and a wish to stop ends the process at once."""
    assert process.stdout
    pending = b""
    with process.stdout as output:
        while True:
            readable, _, _ = select.select([output], [], [], TICK_S)
            supervisor.beat()
            if supervisor.stop_asked.is_set():
                process.terminate()
            if readable:
                data = os.read(output.fileno(), 65536)
                *lines, pending = (pending + data).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
                if not data:
                    return


def watch(options: Options, supervisor: Supervisor, screen: Screen) -> None:
    """Until the duration is over, somebody asks to stop, the dashboard is left, or the run is halted."""
    began = time.monotonic()
    dashboard = None
    if not options.headless and sys.stdout.isatty() and sys.stdin.isatty():
        dashboard = subprocess.Popen([sys.executable, "-m", "ops.dashboard", str(supervisor.where.run_dir)], cwd=ROOT)
        screen.quiet = True
    next_status = began + STATUS_EVERY_S
    try:
        while not (supervisor.halted or supervisor.stop_asked.wait(TICK_S)):
            supervisor.tick()
            now = time.monotonic()
            if options.duration_s is not None and now - began >= options.duration_s:
                break
            if dashboard and dashboard.poll() is not None:
                break
            if now >= next_status:
                next_status += STATUS_EVERY_S
                screen.say(summary.status_line(now - began, supervisor.armed, snapshot(supervisor.pages, supervisor.config)))
    finally:
        if dashboard:
            dashboard.terminate()
            dashboard.wait()
            screen.quiet = False
    supervisor.stop_asked.set()  # from here on an interrupt means: kill


def finish(
    options: Options,
    prepared: Prepared,
    supervisor: Supervisor,
    screen: Screen,
    code: int,
    startup_s: float | None,
) -> int:
    """The orderly end and the summary; returns the exit code."""
    where, config = prepared.where, prepared.config
    supervisor.stop_asked.set()
    if supervisor.halted:
        screen.say(f"HALTED: {supervisor.halted}")
        kill = supervisor.wait_for_kill()
    else:
        kill = {}
        if not supervisor.stop_trading() and supervisor.epoch:
            code = code or exits.UNCLEAN
    figures = snapshot(supervisor.pages, config)
    clean = supervisor.stop_house()
    if code in (exits.OK, exits.UNCLEAN) and (why := latched(where)):
        screen.say(f"KILLED while stopping: {why}; the next start needs: {RESUME}")
        code = exits.HALTED
    ledger = paper.ledger(config) if config["mode"] == "paper" else None
    if code == exits.OK and not (clean and (ledger is None or paper.open_orders(ledger) == 0)):
        code = exits.UNCLEAN
    final = summary.final(figures, config, ledger, supervisor.kill_test, kill, code, startup_s)
    if config["feed"]["hash_every"]:
        final["market"]["book_hashes"] = recorded.compare_books(config)
    supervisor.stop_all()
    screen.console.print()
    screen.console.print(summary.table(final))
    if options.json:
        summary.write(options.json, final)
    remove_segments(where.shm_dir)
    return code


def latched(where: Paths) -> str:
    """Why the next start will wait for an operator; empty when it will not."""
    try:
        return str(json.loads((where.state_dir / "latch.json").read_text()).get("reason") or "no reason given")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return "the latch is damaged"
