"""Ending trading by the product's own commands: every time and every order is read from the exchange's ledger.

The faults themselves, each by name, are ``tests/chaos``; here is what a user sees of an end. Runs are dear, so each is made
once by a fixture and asked several questions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.house import House, Ledger, accepted_after, now_us, resting

pytestmark = pytest.mark.timeout(900)  # the first run of a changed source compiles it

PROMISE_S = 1.0
LEASE_US = 250_000
SECRET = re.compile(rb"sk_(trade|ro|live)_[0-9A-Za-z]+")
ROLES = ("venue", "watchdog", "journal", "feed", "execution", "signal")
HALTED, KILL_TEST_FAILED = 6, 5


@dataclasses.dataclass
class End:
    """A run that was ended at ``since_us``, and what was left of it."""

    since_us: int
    code: int
    summary: dict[str, Any]
    ledger: Ledger


def trading_keys(ledger: Ledger) -> list[dict[str, Any]]:
    """The execution process's keys, one an epoch, oldest first."""
    return [key for key in ledger["keys"] if key["label"].endswith("-execution")]


def epoch_of(key: dict[str, Any]) -> int:
    return int(key["label"].split("-")[-2])


def assert_dead(ledger: Ledger, since_us: int, within_s: float = PROMISE_S) -> None:
    """That time after ``since_us``: empty book, the newest trading key revoked, its use refused, and nothing accepted."""
    limit_us = since_us + round(within_s * 1e6)
    assert resting(ledger, since_us), "nothing rested when trading was ended: the test shows nothing"
    assert resting(ledger, limit_us) == []
    key = trading_keys(ledger)[-1]
    assert key["revoked_ts"]
    assert key["revoked_ts"] <= limit_us
    probes = [use for use in key["refused"] if use["detail"] == "401 POST /v1/orders"]
    assert probes
    assert key["revoked_ts"] <= probes[0]["ts"] <= limit_us
    assert accepted_after(ledger, min(key["revoked_ts"], since_us + LEASE_US)) == []


def report(what: str, ledger: Ledger, since_us: int, epoch: int = -1) -> None:
    """The measured times, in the test's output; of the epoch-th trading key."""
    key = trading_keys(ledger)[epoch]
    probes = [use["ts"] for use in key["refused"] if use["ts"] >= key["revoked_ts"]]
    times = {"empty book": [order["ended_ts"] for order in resting(ledger, since_us)], "key revoked": [key["revoked_ts"]]}
    times["first probe refused"] = probes[:1]
    print(f"{what}: " + ", ".join(f"{name} after {(max(at) - since_us) / 1000:.0f} ms" for name, at in times.items() if at))


def gone(pid: int) -> bool:
    """Ended; a zombie counts."""
    try:
        return b") Z" in pathlib.Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def latch(house: House) -> dict[str, Any]:
    """The durable latch, empty while there is none."""
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads((house.state_dir / "latch.json").read_text())
        return found
    return {}


def files_with_secrets(*roots: pathlib.Path) -> list[str]:
    """Files below ``roots`` that show a key, but for the management key's own."""
    files = [file for root in roots for file in root.rglob("*") if file.is_file() and file.name != "management.key"]
    assert files
    return [str(file) for file in files if SECRET.search(file.read_bytes())]


def processes_with_secrets(pids: list[int]) -> list[str]:
    """What of the command lines and environments of living processes shows a key."""
    found = []
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(PermissionError):  # the watchdog lets nobody but root look
                if SECRET.search(pathlib.Path(f"/proc/{pid}/{name}").read_bytes()):
                    found.append(f"{pid} {name}")
    return found


# --- the execution process is stopped


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, End, list[str]]]:
    """kill -STOP on execution, -CONT when it is gone; beside it what the live system showed of its keys."""
    with House(tmp_path_factory.mktemp("h")) as house:
        house.start()
        shown = processes_with_secrets([house.pid(role) for role in (*ROLES, "supervisor")])
        shown += files_with_secrets(house.shm_dir)
        pid, since_us = house.pid("execution"), now_us()
        os.kill(pid, signal.SIGSTOP)
        house.wait(lambda: gone(pid), 10.0, "the end of the stopped process")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        code, summary = house.end()
        report("STOP execution", house.last_ledger, since_us)
        yield house, End(since_us, code, summary, house.last_ledger), shown


def test_a_stopped_execution_leaves_nothing_within_a_second(stopped: tuple[House, End, list[str]]) -> None:
    _, end, _ = stopped
    assert_dead(end.ledger, end.since_us)


def test_a_kill_is_proven_latched_and_ends_the_run_halted(stopped: tuple[House, End, list[str]]) -> None:
    house, end, _ = stopped
    assert end.code == HALTED
    assert end.summary["kill"]["proven"] is True
    assert latch(house)["cause"] == "silent"
    assert end.summary["orders"]["open_at_exit"] == 0


def test_no_key_is_seen_in_any_process_segment_log_journal_or_file(stopped: tuple[House, End, list[str]]) -> None:
    house, _, shown = stopped
    assert SECRET.search(house.management_key().encode()), "the pattern does not match the keys of this exchange"
    assert shown == []
    assert files_with_secrets(house.home) == []
    names = {file.name for file in house.home.rglob("*")}
    assert {"config.json", "execution.log", "watchdog.log", "output.txt", "summary.json", "latch.json"} <= names
    assert list((house.state_dir / "journal").iterdir())


# --- it is killed, and an operator ends trading


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, End, Ledger, End]]:
    """kill -9 on execution; a second run, its ledger while it is latched; resumed; ended by ``pulex kill``."""
    with House(tmp_path_factory.mktemp("h")) as house:
        house.start()
        since_us = now_us()
        os.kill(house.pid("execution"), signal.SIGKILL)
        code, summary = house.end()
        report("KILL execution", house.last_ledger, since_us)
        first = End(since_us, code, summary, house.last_ledger)
        house.start(until="venue")
        house.wait(lambda: "to go on: pulex resume" in house.output.read_text(), 30.0, "the word that a resume is needed")
        waiting = house.ledger()
        assert house.cli("resume", "--operator", "test", "--reason", "looked into it").returncode == 0
        house.wait_trading()
        asked = house.cli("kill", "--reason", "enough")
        assert asked.returncode == 0, asked.stderr
        code, summary = house.end()
        since_us = latch(house)["began_wall_ns"] // 1000
        report("pulex kill", house.last_ledger, since_us)
        yield house, first, waiting, End(since_us, code, summary, house.last_ledger)


def test_a_killed_execution_leaves_nothing_within_a_second(killed: tuple[House, End, Ledger, End]) -> None:
    _, end, _, _ = killed
    assert_dead(end.ledger, end.since_us)
    assert end.code == HALTED
    assert end.summary["kill"]["proven"] is True


def test_after_a_kill_a_new_run_waits_for_an_operator(killed: tuple[House, End, Ledger, End]) -> None:
    _, first, waiting, second = killed
    assert trading_keys(waiting) == []
    assert waiting["orders"] == []
    assert epoch_of(trading_keys(second.ledger)[0]) > epoch_of(trading_keys(first.ledger)[-1])


def test_the_kill_command_ends_trading_with_proof(killed: tuple[House, End, Ledger, End]) -> None:
    house, _, _, end = killed
    assert end.code == HALTED
    assert end.summary["kill"]["proven"] is True
    assert latch(house)["reason"] == "enough"
    assert_dead(end.ledger, end.since_us)


# --- a kill that could not be done


def test_a_revoke_that_fails_fails_the_kill_test_and_blocks_arming(house: House) -> None:
    house.start({"paper": {"faults": {"revoke": "fail"}}}, until="")
    code, summary = house.end(timeout_s=300.0)
    assert code == KILL_TEST_FAILED
    assert summary["kill_test"]["result"] == "fail"
    assert trading_keys(house.last_ledger), "execution had no key: the test shows nothing"
    assert accepted_after(house.last_ledger, 0) == []  # rejected are the probes of a key that lives on
