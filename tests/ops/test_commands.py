"""What the operator's commands do when the engine, the watchdog or the shared pages are gone: real processes, stub exchange."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops import commands, exits, instance
from ops.cli import app
from ops.commands import CommandError
from ops.instance import Paths
from tests.watchdog.conftest import Run
from tests.watchdog.stub import ROOT
from watchdog import drill
from watchdog.processes import start_time


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    path = tmp_path / "r"
    path.mkdir()
    system = Run(path)
    system.config["mode"] = "live"  # nothing of the paper house is here
    system.configure()
    monkeypatch.setattr(instance, "paths", lambda name: Paths(path, path / "state", path / "shm"))
    yield system
    system.end()


def children(run: Run) -> None:
    """What the supervisor writes down."""
    assert run.dog is not None
    assert run.engine is not None
    pids = {"watchdog": run.dog.pid, "execution": run.engine.pid}
    rows = {role: [pid, start_time(pid)] for role, pid in pids.items()}
    (run.path / "children.json").write_text(json.dumps(rows))


def assert_dead(run: Run) -> None:
    trading = [row for row in run.exchange.keys.values() if str(row["label"]).endswith("execution")]
    assert run.exchange.orders == {}
    assert trading
    assert all(row["revoked"] for row in trading)
    assert run.latched()["proven"] is True


def test_kill_waits_for_the_proof(run: Run) -> None:
    run.trade()
    said: list[str] = []
    commands.kill("r", "drill", said.append)
    assert_dead(run)
    assert said[-1].startswith("kill proven after")


def test_kill_works_when_the_engine_is_gone(run: Run) -> None:
    run.start()
    run.exchange.rest("1")  # left by an engine of yesterday
    commands.kill("r", "leftovers", lambda _: None)
    assert run.exchange.orders == {}
    assert run.latched()["proven"] is True


@pytest.mark.parametrize("garbage", [b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\x80" * 8], ids=["-1", "max", "negative"])
def test_every_command_works_when_the_pages_are_corrupt(run: Run, garbage: bytes) -> None:
    engine = run.trade()
    for page in (run.path / "shm").iterdir():
        if page.name.startswith("stats-") and not page.is_symlink():
            with page.open("r+b") as file:
                file.write(garbage * (os.fstat(file.fileno()).st_size // 8))
    before = engine.ask("lease")["renewals"]
    run.wait(lambda: engine.ask("lease")["renewals"] > before + 3)
    commands.drill("r", lambda _: None)
    assert commands.ask("r", {"op": "halt", "reason": "look"})["ok"]
    assert commands.ask("r", {"op": "resume", "operator": "ann", "reason": "looked"})["ok"]
    commands.kill("r", "corrupt", lambda _: None)
    assert_dead(run)
    assert run.dog is not None
    assert run.dog.poll() is None


def test_kill_works_when_watchdog_and_engine_are_both_gone(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    engine = run.trade()
    children(run)
    assert run.dog is not None
    for process in (run.dog, engine.process):
        process.kill()
        process.wait()
    commands.kill("r", "the whole house is dead", lambda _: None)
    assert_dead(run)
    assert "kill proven" in capfd.readouterr().out
    assert run.latch()["steps"][-1]["detail"] == "401 unauthorized"  # of the sealed key itself
    assert "without a watchdog" in (run.state / "operator.log").read_text()
    run.start()
    assert run.ask("status")["latched"] is True  # the next start waits for an operator


def test_the_kill_without_a_watchdog_has_the_revokers_too(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "revoke.sh"
    program.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/told\n")
    program.chmod(0o700)
    run.config["kill"] = {"revokers": [{"kind": "executable", "path": str(program), "deadline_ms": 5000, "refresh_ms": 0}]}
    run.configure()
    run.trade()
    children(run)
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    commands.kill("r", "no watchdog", lambda _: None)
    assert_dead(run)
    assert (tmp_path / "told").read_text().split() == ["arm", "revoke", "prove"]
    (row,) = run.latch()["revokers"]
    assert row["ok"] is True
    assert "revoker executable" in capfd.readouterr().out


def test_a_watchdog_that_is_only_just_starting_is_waited_for_and_not_ended(run: Run) -> None:
    """As after a hung one was ended: the supervisor starts the next one at once, and it does not answer yet."""
    run.exchange.rest("1")
    run.dog = subprocess.Popen([sys.executable, "-m", "watchdog", str(run.path)], cwd=ROOT)
    (run.path / "children.json").write_text(json.dumps({"watchdog": [run.dog.pid, start_time(run.dog.pid)]}))
    said: list[str] = []
    commands.kill("r", "at once", said.append)
    assert run.dog.poll() is None
    assert run.exchange.orders == {}
    assert [line for line in said if not line.startswith("kill proven after")] == []


def test_kill_ends_a_watchdog_that_hangs_and_the_engine_it_cannot_kill(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ANSWER_S", 0.5)
    engine = run.trade()
    children(run)
    assert run.dog is not None
    run.dog.send_signal(signal.SIGSTOP)
    said: list[str] = []
    began = time.monotonic()
    commands.kill("r", "it hangs", said.append)
    assert time.monotonic() - began < 5.0
    assert_dead(run)
    assert engine.process.wait() == -signal.SIGKILL
    assert "hangs and is ended" in said[0]


def test_a_kill_that_is_not_proven_says_which_step_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PROOF_S", 1.0)
    run.trade()
    run.exchange.revoke = "fail"
    with pytest.raises(CommandError, match=r"NOT PROVEN.*revoke: .*503") as caught:
        commands.kill("r", "drill", lambda _: None)
    assert caught.value.code == exits.UNCLEAN


def test_the_proof_is_found_on_disk_when_the_run_ended_before_it_could_be_asked(run: Run) -> None:
    run.trade()
    run.ask("kill", reason="drill")
    run.wait(lambda: run.latch().get("proven") is True)
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    said: list[str] = []
    commands._wait_for_proof(instance.paths("r"), said.append)
    assert said[0].startswith("kill proven after")


def test_an_unproven_kill_is_resumed_by_force_alone(run: Run) -> None:
    run.trade()
    run.exchange.revoke = "fail"
    run.ask("kill", reason="drill")
    words = ["resume", "--operator", "ann", "--reason", "looked at the venue", "--name", "r"]
    refused = CliRunner().invoke(app, words)
    assert (refused.exit_code, "not proven" in refused.stderr) == (exits.HALTED, True)
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == exits.OK
    assert run.ask("status")["latched"] is False
    assert json.loads((run.state / "operator.log").read_text().splitlines()[-1])["operator"] == "ann"


def test_a_drill_times_each_step_is_kept_and_touches_nothing_of_the_running_epoch(run: Run) -> None:
    engine = run.trade()
    before = engine.ask("lease")
    said: list[str] = []
    commands.drill("r", said.append)
    assert [line.split()[0] for line in said] == ["create", "use", "revoke", "probe", "kill"]
    after = engine.ask("lease")
    assert (after["epoch"], after["state"]) == (before["epoch"], before["state"])
    assert after["renewals"] >= before["renewals"]
    assert run.ask("status")["state"] == "granted"
    trading = [row for row in run.exchange.keys.values() if str(row["label"]).endswith("execution")]
    assert [row["revoked"] for row in trading] == [False]
    assert list(run.exchange.orders) == ["1"]
    kept = drill.last(run.state)
    assert kept is not None
    assert list(kept["at_ms"]) == ["create", "use", "revoke", "probe"]
    assert sorted(kept["at_ms"].values()) == list(kept["at_ms"].values())
    assert abs(kept["wall_ns"] / 1e9 - time.time()) < 60


def test_the_last_drill_is_known_to_the_next_watchdog_and_a_torn_line_is_passed_over(run: Run) -> None:
    run.start()
    commands.drill("r", lambda _: None)
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    with (run.state / "drills.jsonl").open("a") as file:
        file.write('{"wall_ns": 17, "res')
    run.start()
    assert run.ask("status")["drill"]["result"] == "pass"


@pytest.mark.parametrize(("switch", "text"), [("lie", "kill drill fail"), ("absent", "kill drill NOT PROVEN")])
def test_a_drill_that_does_not_pass_ends_with_code_5_and_an_alarm(run: Run, switch: str, text: str) -> None:
    run.exchange.revoke, run.exchange.unsupported = switch, switch == "absent"
    run.start()
    with pytest.raises(CommandError, match=text) as caught:
        commands.drill("r", lambda _: None)
    assert caught.value.code == exits.KILL_TEST
    assert "kill drill" in (run.path / "logs/watchdog.log").read_text()


def test_a_drill_goes_on_while_latched(run: Run) -> None:
    run.trade()
    commands.kill("r", "end", lambda _: None)
    commands.drill("r", lambda _: None)
    assert run.ask("status")["latched"] is True


def test_kill_without_reason_and_without_drill_is_refused() -> None:
    result = CliRunner().invoke(app, ["kill", "--name", "absent"])
    assert result.exit_code == exits.CONFIG
    assert "--reason" in result.stderr
