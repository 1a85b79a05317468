"""The command ``pulex``. Exit codes: ``ops.exits``; an error is one line on standard error with what to do."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer

from ops import commands, exits, instance
from ops.commands import CommandError
from ops.instance import InstanceError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Trade by an LLM's wishes in microseconds, on a lease.")
Name = Annotated[str, typer.Option("--name", help="Which instance.")]


class Source(StrEnum):
    llm = "llm"
    rules = "rules"
    none = "none"


def _fail(text: str, code: int) -> NoReturn:
    print(f"pulex: {text}", file=sys.stderr)
    raise typer.Exit(code)


def _config(name: str) -> dict[str, Any]:
    try:
        return instance.read(name)
    except InstanceError as error:
        _fail(str(error), exits.ABSENT)


@app.command()
def run(
    headless: Annotated[bool, typer.Option(help="Status lines, no dashboard.")] = False,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds to trade; without it until Ctrl-C.")] = None,
    data: Annotated[str | None, typer.Option(help="Trade on this recorded market.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="Market time runs this many times faster.")] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="Write the final summary here.")] = None,
    config: Annotated[str | None, typer.Option(help="TOML file; all defaults without one.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the instance.")] = None,
    colo: Annotated[bool, typer.Option(help="Place by topology, spin on dedicated cores, lock memory.")] = False,
    signal: Annotated[Source | None, typer.Option(help="Who makes the signals.")] = None,
    live_confirm: Annotated[bool, typer.Option(help='The second step after mode = "live".')] = False,
) -> None:
    """Run the whole system until Ctrl-C. Exit 0 only when nothing is left open."""
    from ops.run import Options
    from ops.run import run as run_all

    source = signal.value if signal else None
    raise typer.Exit(run_all(Options(config, name, headless, duration, data, speed, json_file, colo, source, live_confirm)))


@app.command()
def top(
    name: Name = "paper",
    capture: Annotated[str | None, typer.Option(help="Write one screen as SVG and leave.")] = None,
    columns: Annotated[int, typer.Option(min=80, help="Width of the capture.")] = 120,
    rows: Annotated[int, typer.Option(min=24, help="Height of the capture.")] = 40,
) -> None:
    """Dashboard of a running system; reads only, any number at a time."""
    from ops.dashboard import capture as capture_screen
    from ops.dashboard import show

    run_dir = instance.paths(name).run_dir
    if capture:
        capture_screen(run_dir, capture, columns, rows)
    else:
        show(run_dir)


@app.command()
def stats(
    name: Name = "paper",
    once: Annotated[bool, typer.Option("--once", help="Print and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """All figures of a running system."""
    from ops.figures import Pages, snapshot
    from ops.summary import status_line

    config = _config(name)
    pages = Pages(config["shm_dir"])
    began = time.monotonic()
    while True:
        figures = snapshot(pages, config)
        armed = figures["account"].get("lease_state") == "granted"
        print(json.dumps(figures) if as_json else status_line(time.monotonic() - began, armed, figures), flush=True)
        if once:
            return
        time.sleep(1.0)


@app.command()
def status(name: Name = "paper") -> None:
    """The watchdog's word: lease, epoch, latch, kill test."""
    print(json.dumps(_ask(name, {"op": "status"}), indent=1))


@app.command()
def kill(
    reason: Annotated[str, typer.Option(help="Why; it is kept with the latch.")] = "",
    drill: Annotated[bool, typer.Option("--drill", help="Try it on a throwaway key; touches no epoch.")] = False,
    name: Name = "paper",
) -> None:
    """End trading now: lease withdrawn, sender killed, key revoked, orders cancelled, proven. Latched."""
    if not (reason or drill):
        _fail("kill needs --reason TEXT (or --drill)", exits.CONFIG)
    try:
        if drill:
            commands.drill(name, print)
            return
        commands.kill(name, reason, print)
    except CommandError as error:
        _fail(str(error), error.code)
    print("the next start waits for: pulex resume --operator NAME --reason TEXT")


@app.command()
def halt(reason: Annotated[str, typer.Option(help="Why.")] = "operator", name: Name = "paper") -> None:
    """Withdraw the lease: no new orders, own orders are cancelled, the processes stay."""
    _ask(name, {"op": "halt", "reason": reason})
    print("halted; go on with: pulex resume --operator NAME --reason TEXT")


@app.command()
def resume(
    operator: Annotated[str, typer.Option(help="Who answers for it.")],
    reason: Annotated[str, typer.Option(help="Why trading may go on.")],
    force: Annotated[bool, typer.Option("--force", help="Although the kill is not proven: look at the venue first.")] = False,
    name: Name = "paper",
) -> None:
    """Lift a latch."""
    _ask(name, {"op": "resume", "operator": operator, "reason": reason, "force": force})
    print("resumed; the supervisor arms again")


@app.command()
def record(
    url: Annotated[str, typer.Argument(help="ws:// or wss:// address of a venue's market data.")],
    out: Annotated[str, typer.Option(help="Folder for the tape.")] = "tapes",
    send: Annotated[
        list[str] | None, typer.Option(help="Text to send once connected, such as a subscription; repeatable.")
    ] = None,
    tape: Annotated[str, typer.Option("--tape", help="Name of the tape's files.")] = "tape",
    form: Annotated[str, typer.Option(help="gz or zstd.")] = "gz",
    rotate_mb: Annotated[int, typer.Option(min=1, help="A new file after so many MB.")] = 256,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds; without it until Ctrl-C.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Variable that holds the key; never the key itself.")] = None,
    key_header: Annotated[str, typer.Option(help="Header that takes it.")] = "X-API-Key",
) -> None:
    """Write a venue's raw frames with their time of arrival to a tape that survives everything but a torn last block."""
    from ops import record as recording

    try:
        recorded = recording.command(url, out, send or [], tape, form, rotate_mb, duration, key_env, key_header)
    except (ValueError, OSError) as error:
        _fail(str(error), exits.CONFIG)
    print(recorded)


@app.command()
def play(
    file: Annotated[str, typer.Argument(help="A tape, or any recording of the same form.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = a free one.")] = 0,
    speed: Annotated[float, typer.Option(min=0.001, help="Times faster than it was recorded.")] = 1.0,
) -> None:
    """Serve a tape as a venue: every session hears it from the beginning, at its pace."""
    from ops import record as recording

    try:
        recording.serve_tape(file, port, speed)
    except (ValueError, OSError) as error:
        _fail(str(error), exits.CONFIG)


@app.command()
def why(
    order_id: Annotated[int, typer.Argument(min=1, help="The client order id.")],
    as_json: Annotated[bool, typer.Option("--json", help="As data.")] = False,
    name: Name = "paper",
) -> None:
    """The chain behind one order: market, signal, decision, checks, fills. Reads the journal; nothing needs to run."""
    from ops.why import WhyError, chain, lines

    try:
        found = chain(instance.paths(name).state_dir, order_id)
    except WhyError as error:
        _fail(str(error), exits.ABSENT)
    print(json.dumps(found, indent=1) if as_json else "\n".join(lines(found)))


Operator = Annotated[str, typer.Option(help="Who answers for it.")]


@app.command()
def clear(
    operator: Operator,
    reason: Annotated[str, typer.Option(help="Why.")],
    peak: Annotated[bool, typer.Option("--peak", help="The high-water mark begins anew too.")] = False,
    name: Name = "paper",
) -> None:
    """Lift what survives a restart: halt, paused and latched owners, blocked instruments. From the next start on."""
    from ops import operator as operators

    print(_state(operators.clear, instance.paths(name), operator, reason, peak))


@app.command()
def forget(operator: Operator, reason: Annotated[str, typer.Option(help="Why.")], name: Name = "paper") -> None:
    """Set checkpoints and journal aside: the next start knows nothing of this account's past. Not while it runs."""
    from ops import operator as operators

    print(_state(operators.forget, instance.paths(name), operator, reason))


def _state(change: Callable[..., str], *arguments: Any) -> str:
    try:
        return change(*arguments)
    except InstanceError as error:
        _fail(str(error), exits.CONFIG)


@app.command()
def witness(
    config: Annotated[str, typer.Option(help="TOML file with [witness] listen, secret_file and this host's [venue].")],
    name: Annotated[str | None, typer.Option(help="Name of the witness; NAME-witness without one.")] = None,
) -> None:
    """Second host: kill when the first host's authenticated beat stops. Until SIGTERM; status, kill, resume by --name."""
    from ops.config import ConfigError
    from ops.witness import prepare

    try:
        run_dir, lock = prepare(config, name)
    except (ConfigError, InstanceError) as error:
        _fail(str(error), exits.CONFIG)
    os.set_inheritable(lock, True)  # the witness holds the instance in our place
    os.execv(sys.executable, [sys.executable, "-m", "watchdog.witness", str(run_dir)])


@app.command()
def venue(
    config: Annotated[str | None, typer.Option(help="TOML file; all defaults without one.")] = None,
    data: Annotated[str | None, typer.Option(help="Play this recorded market.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="Times faster.")] = None,
    name: Name = "venue",
) -> None:
    """The paper exchange alone, until Ctrl-C; prints its addresses and where its management key is."""
    from ops.config import ConfigError
    from ops.run import Options, Screen, prepare

    try:
        prepared = prepare(Options(config=config, name=name, data=data, speed=speed), Screen())
    except (ConfigError, InstanceError) as error:
        _fail(str(error), exits.CONFIG)
    address = prepared.config["venue"]
    print(f"{address['ws_url']}\n{address['rest_url']}\nkey file {address['management_key_file']}", flush=True)
    os.set_inheritable(prepared.lock, True)  # the exchange holds the instance in our place
    os.execv(sys.executable, [sys.executable, "-m", "sim", str(prepared.where.run_dir)])


def _ask(name: str, message: dict[str, Any]) -> dict[str, Any]:
    """One request to the watchdog of an instance; ends the command when it is refused."""
    try:
        return commands.ask(name, message)
    except CommandError as error:
        _fail(str(error), error.code)


def main() -> None:
    """Entry point of the script ``pulex``."""
    app()
