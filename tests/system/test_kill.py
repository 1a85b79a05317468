"""Ending trading, with real processes: every time and every order is read from the exchange's ledger.

Runs are dear, so each is made once by a fixture and asked several questions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import time
from collections.abc import Callable, Iterator
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


def soon(predicate: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """A finer wait than the house's, for a moment that must not be missed."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.001)


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


def wait_next_epoch(house: House, epochs: int) -> Ledger:
    """The ledger in which an order rests that a later key than the first ``epochs`` has sent."""

    def trades() -> bool:
        later = {key["key_id"] for key in trading_keys(house.ledger())[epochs:]}
        return any(order["key_id"] in later for order in resting(house.last_ledger))

    house.wait(trades, 60.0, "an order of the next epoch")
    return house.last_ledger


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


# --- the watchdog is killed, then the supervisor


@pytest.fixture(scope="module")
def orphaned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, int, Ledger, End]]:
    """The watchdog stopped, then killed, and the ledger once its successor trades; then kill -9 on the supervisor.

    It is stopped for a while first: a successor comes so soon that execution would have nothing left to do for itself.
    """
    with House(tmp_path_factory.mktemp("h")) as house:
        house.start()
        epochs = len(trading_keys(house.ledger()))
        lost_us, lost = now_us(), house.pid("watchdog")
        os.kill(lost, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(lost, signal.SIGKILL)
        again = wait_next_epoch(house, epochs)
        report("KILL watchdog", again, lost_us, epoch=epochs - 1)
        print(f"KILL watchdog: next epoch's key after {(trading_keys(again)[-1]['created_ts'] - lost_us) / 1000:.0f} ms")
        since_us = now_us()
        os.kill(house.pid("supervisor"), signal.SIGKILL)
        code, summary = house.end(timeout_s=20.0)
        report("KILL supervisor", house.last_ledger, since_us)
        print(f"KILL supervisor: all processes gone after {(now_us() - since_us) / 1000:.0f} ms")
        yield house, lost_us, again, End(since_us, code, summary, house.last_ledger)


def test_without_a_watchdog_no_order_is_accepted_once_the_lease_is_over(orphaned: tuple[House, int, Ledger, End]) -> None:
    _, lost_us, ledger, _ = orphaned
    old, new = trading_keys(ledger)[-2:]
    late = accepted_after(ledger, lost_us + LEASE_US)
    assert late
    assert [order for order in late if order["key_id"] != new["key_id"] or order["received_ts"] < new["created_ts"]] == []
    assert old["key_id"] != new["key_id"]


def test_without_a_watchdog_execution_cancels_its_own_orders_and_closes(orphaned: tuple[House, int, Ledger, End]) -> None:
    house, lost_us, ledger, _ = orphaned
    old = trading_keys(ledger)[-2]
    orders = resting(ledger, lost_us)
    assert orders
    assert all(order["ended_ts"] < old["revoked_ts"] for order in orders)
    assert {order["end_reason"] for order in orders} <= {"requested", ""}  # a fill has no reason
    assert "order session ended (lapse)" in (house.run_dir / "logs" / "execution.log").read_text()


def test_a_restarted_watchdog_takes_the_next_epoch_and_revokes_the_last(orphaned: tuple[House, int, Ledger, End]) -> None:
    _, _, ledger, _ = orphaned
    old, new = trading_keys(ledger)[-2:]
    assert epoch_of(new) == epoch_of(old) + 1
    assert old["revoked_ts"]
    assert old["revoked_ts"] <= new["created_ts"]


def test_a_dead_supervisor_is_a_kill_and_all_its_processes_end(orphaned: tuple[House, int, Ledger, End]) -> None:
    house, _, _, end = orphaned
    assert end.code == -signal.SIGKILL
    assert_dead(end.ledger, end.since_us)
    assert latch(house)["cause"] == "supervisor"
    assert latch(house)["proven"] is True
    assert house.survivors() == []


# --- execution is silent for a moment; frozen while the watchdog dies; both die at once


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, list[int], End]]:
    """The times at which execution was stopped for a moment, stopped with a dead watchdog, and killed with it."""
    with House(tmp_path_factory.mktemp("h")) as house:
        house.start()
        times = [now_us()]
        pid, epochs = house.pid("execution"), len(trading_keys(house.ledger()))
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.25)
        os.kill(pid, signal.SIGCONT)
        ledger = wait_next_epoch(house, epochs)
        report("STOP execution for 250 ms", ledger, times[0], epoch=epochs - 1)
        epochs = len(trading_keys(ledger))
        times.append(now_us())
        os.kill(pid, signal.SIGSTOP)
        os.kill(house.pid("watchdog"), signal.SIGKILL)
        house.wait(lambda: trading_keys(house.ledger())[-1]["revoked_ts"] is not None, 20.0, "the new watchdog's revoke")
        house.wait(lambda: not resting(house.ledger()), 20.0, "the new watchdog's cancel")
        report("STOP execution and KILL watchdog", house.last_ledger, times[1], epoch=epochs - 1)
        os.kill(pid, signal.SIGCONT)
        wait_next_epoch(house, epochs)
        times.append(now_us())
        os.kill(house.pid("watchdog"), signal.SIGKILL)
        os.kill(house.pid("execution"), signal.SIGKILL)
        code, summary = house.end()
        report("KILL execution and watchdog", house.last_ledger, times[2])
        yield house, times, End(times[2], code, summary, house.last_ledger)


def test_a_short_silence_costs_the_lease_and_trading_comes_back_by_itself(frozen: tuple[House, list[int], End]) -> None:
    _, times, end = frozen
    keys = trading_keys(end.ledger)
    assert keys[0]["revoked_ts"] < times[1]
    early = [order for order in accepted_after(end.ledger, times[0] + LEASE_US) if order["received_ts"] < keys[1]["created_ts"]]
    assert early == []


def test_a_new_watchdog_cancels_for_an_execution_that_cannot(frozen: tuple[House, list[int], End]) -> None:
    _, times, end = frozen
    old = next(key for key in trading_keys(end.ledger) if key["created_ts"] < times[1] < key["revoked_ts"])
    assert resting(end.ledger, times[1])
    assert [order for order in accepted_after(end.ledger, times[1] + LEASE_US) if order["key_id"] == old["key_id"]] == []


def test_when_execution_and_watchdog_die_together_a_new_watchdog_kills(frozen: tuple[House, list[int], End]) -> None:
    house, _, end = frozen
    assert end.code == HALTED
    assert end.summary["kill"]["proven"] is True
    assert latch(house)["proven"] is True
    assert resting(end.ledger, end.since_us)
    assert resting(end.ledger, end.since_us + 5_000_000) == []
    assert trading_keys(end.ledger)[-1]["revoked_ts"]
    assert accepted_after(end.ledger, end.since_us + LEASE_US) == []


# --- kills that are interrupted, prevented or refused


def test_a_restarted_watchdog_finishes_the_kill_of_a_dead_one(house: House) -> None:
    house.start()
    house.faults(revoke="fail")  # so that the first watchdog cannot finish
    since_us, first = now_us(), house.pid("watchdog")
    os.kill(house.pid("execution"), signal.SIGSTOP)
    soon(lambda: latch(house).get("kind") == "kill")
    os.kill(first, signal.SIGKILL)
    assert latch(house)["proven"] is False
    house.wait(lambda: house.pid("watchdog") != first, 20.0, "another watchdog")
    house.faults(revoke="normal")
    code, summary = house.end()
    report("KILL watchdog in the middle of a kill", house.last_ledger, since_us)
    key = trading_keys(house.last_ledger)[-1]
    assert code == HALTED
    assert summary["kill"]["proven"] is True
    assert latch(house)["proven"] is True
    assert key["revoked_ts"]
    assert resting(house.last_ledger, key["revoked_ts"] + 1_000_000) == []
    assert resting(house.last_ledger) == []
    assert accepted_after(house.last_ledger, since_us + LEASE_US) == []


def test_with_the_watchdog_stopped_the_same_kill_does_not_happen(house: House) -> None:
    """The control: what the tests above assert fails when nobody kills, and comes true when the watchdog runs again."""
    house.start()
    os.kill(house.pid("watchdog"), signal.SIGSTOP)
    since_us = now_us()
    os.kill(house.pid("execution"), signal.SIGSTOP)
    time.sleep(PROMISE_S + 0.1)
    ledger = house.ledger()
    assert resting(ledger, since_us + round(PROMISE_S * 1e6))
    assert trading_keys(ledger)[-1]["revoked_ts"] is None
    with pytest.raises(AssertionError):
        assert_dead(ledger, since_us)
    os.kill(house.pid("watchdog"), signal.SIGCONT)
    code, _ = house.end()
    assert code == HALTED
    assert resting(house.last_ledger) == []


def test_a_revoke_that_fails_fails_the_kill_test_and_blocks_arming(house: House) -> None:
    house.start({"paper": {"faults": {"revoke": "fail"}}}, until="")
    code, summary = house.end(timeout_s=300.0)
    assert code == KILL_TEST_FAILED
    assert summary["kill_test"]["result"] == "fail"
    assert trading_keys(house.last_ledger), "execution had no key: the test shows nothing"
    assert accepted_after(house.last_ledger, 0) == []  # rejected are the probes of a key that lives on
