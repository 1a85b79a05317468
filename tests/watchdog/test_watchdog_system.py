"""The watchdog as a real process against a stub exchange and a fake execution process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fabric import layout
from tests.watchdog.conftest import Run
from tests.watchdog.stub import MANAGEMENT_KEY, ROOT, Engine
from watchdog import page
from watchdog.processes import start_time


def ended(pid: int) -> bool:
    """Gone, or a zombie that nobody collects."""
    try:
        return b") Z" in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def trading_key(run: Run) -> dict[str, object]:
    return [row for row in run.exchange.keys.values() if str(row["label"]).endswith("execution")][-1]


def assert_dead(run: Run) -> None:
    """What a finished kill must leave at the exchange."""
    assert run.exchange.orders == {}
    assert trading_key(run)["revoked"] is True
    assert run.exchange.probes
    assert {status for _, status in run.exchange.probes} == {401}


def test_a_key_goes_once_and_only_to_the_expected_process(run: Run) -> None:
    run.start()
    request = {"role": "execution", **run.own_hashes()}
    assert "not the expected" in run.ask("register", **request)["reason"]
    engine = run.engine = Engine(run.path)
    assert run.expect(engine.pid, start_time(engine.pid) + 1)["ok"] is False
    assert "not the expected" in engine.ask("register")["reason"]
    assert run.expect(engine.pid)["ok"] is True
    answer = engine.ask("register")
    assert answer["epoch"] == 1
    assert (run.state / "epoch").read_text() == "1\n"
    assert "kill test" in run.ask("arm")["reason"]
    run.ask("kill_test")
    run.wait(lambda: bool(run.ask("arm")["ok"]))
    run.wait(lambda: run.ask("status")["state"] == "granted")
    assert engine.ask("lease")["deadline_ns"] > 0
    assert len(engine.ask("forge")["refused"]) == 5
    # no secret in any file of the run
    secrets = [MANAGEMENT_KEY] + [str(row["api_key"]) for row in run.exchange.keys.values()]
    run.ask("kill", reason="end of test")
    run.wait(lambda: bool(run.ask("status")["kill"]["proven"]))
    for path in run.path.rglob("*"):
        if path.is_file() and path.name != "management.key":
            data = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in data], path


def test_only_the_parent_may_give_supervisor_orders(run: Run) -> None:
    run.start()
    code = (
        "import sys,pathlib; from tests.watchdog.stub import exchange_line; "
        "print(exchange_line(pathlib.Path(sys.argv[1]), {'op': 'arm'})[0]['reason'])"
    )
    result = subprocess.run([sys.executable, "-c", code, run.path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "only the supervisor" in result.stdout


def test_a_short_silence_lapses_and_a_new_epoch_brings_the_lease_back(run: Run) -> None:
    engine = run.trade()
    engine.ask("hush")
    run.wait(lambda: run.ask("status")["state"] == "lapsed")
    assert engine.ask("lease")["deadline_ns"] == 0
    engine.ask("beat")
    old = trading_key(run)
    answer = engine.ask("register")
    assert answer["epoch"] == 2
    assert old["revoked"] is True
    run.wait(lambda: run.ask("status")["state"] == "granted")
    assert run.ask("status")["latched"] is False


def test_an_execution_that_lapsed_unseen_gets_the_next_epoch_and_loses_the_old_key(run: Run) -> None:
    engine = run.trade()
    assert run.ask("status")["state"] == "granted"
    old = trading_key(run)
    assert engine.ask("register")["epoch"] == 2
    assert old["revoked"] is True
    assert trading_key(run)["revoked"] is False
    run.wait(lambda: run.ask("status")["state"] == "granted")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_stopped_or_killed_execution_leaves_nothing_within_a_second(run: Run, number: int) -> None:
    engine = run.trade()
    began = time.monotonic()
    os.kill(engine.pid, number)
    took = run.wait(lambda: bool((run.ask("status")["kill"] or {}).get("proven")))
    assert took < 1.0
    assert 0 < run.exchange.cancelled_at - began < 1.0
    assert_dead(run)
    assert engine.process.wait() == -signal.SIGKILL
    latch = run.latch()
    assert [step["ok"] for step in latch["steps"]] == [True] * 6
    assert latch["positions"][0]["position"] == "0.01000"
    assert "latched" in run.ask("arm")["reason"]
    assert run.ask("resume", operator="", reason="x")["ok"] is False
    assert run.ask("resume", operator="ann", reason="looked at it")["ok"] is True
    assert not (run.state / "latch.json").exists()
    assert json.loads((run.state / "operator.log").read_text().splitlines()[-1])["operator"] == "ann"


def test_a_runaway_is_killed_at_once(run: Run) -> None:
    engine = run.trade()
    assert engine.process.stdin is not None
    engine.process.stdin.write("runaway\n")
    engine.process.stdin.flush()
    run.wait(lambda: bool((run.ask("status")["kill"] or {}).get("proven")))
    assert run.latch()["cause"] == "runaway"
    assert_dead(run)


def test_a_restarted_watchdog_finishes_the_kill_of_a_dead_one(run: Run) -> None:
    engine = run.trade()
    run.exchange.revoke = "fail"
    run.ask("kill", reason="drill")
    run.wait(lambda: any(step["step"] == "revoke" and step["tries"] for step in run.latch()["steps"]))
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    assert engine.process.wait() == -signal.SIGKILL
    run.exchange.rest("2")
    run.exchange.revoke = "normal"
    run.start()
    run.wait(lambda: bool(run.ask("status")["kill"]["proven"]))
    assert run.exchange.orders == {}
    assert trading_key(run)["revoked"] is True
    assert run.ask("status")["latched"] is True
    assert run.latch()["steps"][-1]["detail"] == "401 unauthorized"
    assert {status for _, status in run.exchange.probes} == {401}


def test_a_kill_after_both_died_is_proven_by_the_key_that_the_first_watchdog_minted(run: Run) -> None:
    engine = run.trade()
    assert run.dog is not None
    for process in (run.dog, engine.process):
        process.kill()
        process.wait()
    run.start()
    run.ask("kill", reason="both died")
    run.wait(lambda: bool(run.ask("status")["kill"]["proven"]))
    assert run.latched()["steps"][-1]["detail"] == "401 unauthorized"
    assert_dead(run)


def test_a_revoke_that_lies_is_found_by_the_probe_and_escalated(run: Run) -> None:
    run.trade()
    run.exchange.revoke = "lie"
    run.ask("kill", reason="drill")
    run.wait(lambda: any(step["step"] == "prove" and step["tries"] for step in run.latch()["steps"]))
    assert run.latch()["proven"] is False
    assert "not proven" in run.ask("resume", operator="ann", reason="x")["reason"]
    assert "probe accepted" in (run.path / "logs/watchdog.log").read_text()
    run.exchange.revoke = "normal"
    run.wait(lambda: bool(run.ask("status")["kill"]["proven"]))


def test_a_watchdog_killed_alone_lets_the_lease_run_out(run: Run) -> None:
    engine = run.trade()
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    lease = engine.ask("lease")
    assert lease["deadline_ns"] - lease["now"] <= 200_000_000
    old = trading_key(run)
    run.exchange.rest("7")
    run.start()
    run.wait(lambda: old["revoked"] is True)
    run.wait(lambda: run.exchange.orders == {})  # execution may not be able to cancel them any more
    assert run.expect(engine.pid)["ok"]
    assert engine.ask("register")["epoch"] == 2
    assert run.ask("status")["state"] == "withheld"


@pytest.mark.parametrize(
    ("switch", "result"), [("fail", "fail"), ("lie", "fail"), ("absent", "not_proven"), ("normal", "pass")]
)
def test_the_kill_test_says_what_it_saw(run: Run, switch: str, result: str) -> None:
    run.exchange.revoke, run.exchange.unsupported = switch, switch == "absent"
    run.start()
    answer = run.ask("kill_test")
    assert answer["result"] == result
    assert run.ask("status")["kill_test"]["result"] == result
    if result == "pass":
        assert answer["refusal"] == "401 unauthorized"


def test_a_failed_kill_test_blocks_arming(run: Run) -> None:
    run.start()
    assert run.register()["ok"]
    run.exchange.revoke = "fail"
    run.ask("kill_test")
    assert "kill test" in run.ask("arm")["reason"]


def test_renewals_go_on_while_the_venue_is_slow(run: Run) -> None:
    engine = run.trade()
    run.exchange.revoke = "slow"
    before = engine.ask("lease")["renewals"]
    run.ask("kill_test")
    assert engine.ask("lease")["renewals"] - before >= 10
    assert run.ask("status")["state"] == "granted"


def test_stop_cancels_revokes_and_ends_with_zero(run: Run) -> None:
    run.trade()
    assert run.ask("stop") == {"ok": True}
    assert run.dog is not None
    assert run.dog.wait() == 0
    assert_dead(run)
    assert not (run.state / "latch.json").exists()


def test_halt_withdraws_until_an_operator_resumes(run: Run) -> None:
    engine = run.trade()
    run.ask("halt", reason="lunch")
    assert run.ask("status")["state"] == "withdrawn"
    assert engine.ask("lease")["deadline_ns"] == 0
    assert "latched" in engine.ask("register")["reason"]
    assert run.ask("resume", operator="ann", reason="back")["ok"] is True
    assert engine.ask("register")["epoch"] == 2


def test_sigterm_with_an_execution_is_a_kill(run: Run) -> None:
    run.trade()
    assert run.dog is not None
    run.dog.terminate()
    assert run.dog.wait() == 0
    assert_dead(run)
    assert run.latch()["proven"] is True


def test_garbage_on_the_socket_is_refused_and_harms_nobody(run: Run) -> None:
    run.start()
    for request in ({"op": "nonsense"}, {"op": "register"}, {"op": "kill"}, {"op": "expect", "role": "execution"}, {}):
        assert run.try_ask(request)["ok"] is False
    assert run.ask("status")["latched"] is False


def test_a_readable_key_file_and_a_second_watchdog_are_refused_with_a_line(run: Run) -> None:
    run.start()
    command = [sys.executable, "-m", "watchdog", str(run.path)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 1
    assert "another watchdog" in second.stderr
    run.end()
    (run.path / "management.key").chmod(0o644)
    third = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert third.returncode == 1
    assert "chmod 600" in third.stderr


def test_the_death_of_the_supervisor_ends_trading_and_the_watchdog(run: Run) -> None:
    """A process in between is the supervisor here; it starts the watchdog, brings it to trading, and is killed."""
    code = """
import json, os, pathlib, subprocess, sys
from tests.watchdog.conftest import Run
from tests.watchdog.stub import Engine
run = Run.__new__(Run)
run.path = pathlib.Path(sys.argv[1]); run.state = run.path / "state"
run.config = json.loads((run.path / "config.json").read_text())
run.dog = run.engine = run.feed = None
class Nothing:
    probes = []
    def rest(self, _): pass
run.exchange = Nothing()
engine = run.trade()
print(run.dog.pid, engine.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", code, str(run.path)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    dog, engine = (int(word) for word in result.stdout.split())
    run.wait(lambda: bool(run.latch().get("proven")))
    for pid in (dog, engine):
        run.wait(lambda pid=pid: ended(pid))  # type: ignore[misc]
    assert trading_key(run)["revoked"] is True
    assert {status for _, status in run.exchange.probes} == {401}
    assert run.latch()["cause"] == "supervisor"


def test_the_stats_segment_is_complete_and_beats(run: Run) -> None:
    run.trade()
    data = (run.path / "shm/stats-watchdog").read_bytes()
    words = memoryview(data).cast("q")
    assert words[layout.H_MAGIC] == layout.MAGIC
    assert words[layout.H_SCHEMA_HASH] == layout.schema_hash()
    assert 0 <= time.monotonic_ns() - words[layout.HEARTBEAT_OFFSET // 8] < 1_000_000_000
    for index, name in enumerate(layout.WATCHDOG_COUNTERS):
        at = layout.LABELS_OFFSET + index * layout.LABEL_BYTES
        assert data[at : at + layout.LABEL_BYTES].rstrip(b"\0").decode() == name
    for index, least in ((layout.WC_RENEWALS, 1), (layout.WC_KEYS_MINTED, 1), (layout.WC_KILL_TEST_RESULT, 1)):
        assert words[(layout.COUNTERS_OFFSET + index * layout.COUNTER_STRIDE) // 8] >= least
    assert os.stat(run.path / "shm/stats-watchdog").st_mode & 0o777 == 0o600


def test_an_execution_that_ends_as_asked_is_closed_and_not_latched(run: Run) -> None:
    engine = run.trade()
    path, control, _ = page.create_segment(run.path / "shm", "control", layout.CONTROL_BYTES)
    words = memoryview(control).cast("q")
    for word, value in {
        layout.H_KIND: layout.SEGMENT_CONTROL,
        layout.H_SCHEMA_HASH: layout.schema_hash(),
        layout.H_OWNER_PID: os.getpid(),
        layout.H_OWNER_START: start_time(os.getpid()),
        layout.H_MAGIC: layout.MAGIC,
        layout.CONTROL_OFFSET // 8 + layout.C_STOP: layout.STOP_CANCEL_AND_VERIFY,
    }.items():
        words[word] = value
    page.publish_link(path, "control")
    engine.end()
    run.wait(lambda: trading_key(run)["revoked"] is True)
    assert run.ask("stop") == {"ok": True}
    assert_dead(run)
    assert run.latch() == {"steps": []}


def test_the_feed_gets_a_read_key_that_lives_through_a_restart_of_the_watchdog(run: Run) -> None:
    run.start()
    register = {"role": "feed", **run.own_hashes()}
    assert run.expect(os.getpid(), role="feed")["ok"]
    answer = run.ask("register", **register)
    assert answer["api_key"].startswith("sk_ro_")
    assert "already" in run.ask("register", **register)["reason"]
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    run.start()
    assert run.exchange.keys[answer["key_id"]]["revoked"] is False
    assert run.ask("stop")["ok"]
    assert run.exchange.keys[answer["key_id"]]["revoked"] is True


def test_a_registration_with_other_code_or_configuration_is_refused(run: Run) -> None:
    run.start()
    assert run.expect(os.getpid())["ok"]
    answer = run.ask("register", role="execution", code_hash=run.config["code_hash"], config_hash=99)
    assert "differs" in answer["reason"]
    assert run.exchange.keys == {}
