"""The order of starting and stopping, and who is started again, with small programs in place of the rooms."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops import exits
from ops.instance import Paths
from ops.supervisor import StartError, Supervisor

FAKES = {role: f"tests.ops.fakes.{role}" for role in ("watchdog", "journal", "feed", "execution", "signal")}
ALL = (("journal", "feed"), ("execution", "signal"))


@pytest.fixture
def build(where: Paths, config: dict[str, Any]) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*waves: tuple[str, ...]) -> Supervisor:
        supervisor = Supervisor(config | {"mode": "test"}, where, lambda text: None, FAKES, waves)
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.stop_all()


def diary(where: Paths) -> list[str]:
    return (where.run_dir / "diary.txt").read_text().splitlines()


def answer(where: Paths, **answers: Any) -> None:
    (where.run_dir / "answers.json").write_text(json.dumps(answers))


def tick_until(supervisor: Supervisor, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        supervisor.tick()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_starts_in_order_and_arms_last(build: Callable[..., Supervisor], where: Paths) -> None:
    supervisor = build(*ALL)
    warmed: list[list[str]] = []
    supervisor.start(lambda: warmed.append(diary(where)))
    lines = diary(where)
    assert warmed == [["start watchdog"]]
    assert lines[-2:] == ["kill_test", "arm"]
    waves = [{lines.index(f"start {role}") for role in wave} for wave in ALL]
    assert max(waves[0]) < min(waves[1])
    assert {"expect feed", "expect execution"} < set(lines)
    assert supervisor.armed
    assert supervisor.epoch == 7


def test_stops_execution_first_and_the_watchdog_last(build: Callable[..., Supervisor], where: Paths) -> None:
    supervisor = build(*ALL)
    supervisor.start(lambda: None)
    assert supervisor.stop_trading()
    assert supervisor.stop_house()
    ends = [line for line in diary(where) if line.startswith(("end", "stop"))]
    assert ends[0] == "end execution"
    assert set(ends[1:3]) == {"end feed", "end signal"}
    assert ends[3:] == ["end journal", "stop", "end watchdog"]


def test_failed_kill_test_stops_before_arming(build: Callable[..., Supervisor], where: Paths) -> None:
    answer(where, kill_test={"ok": True, "result": "fail", "key_id": "key_1", "refusal": ""})
    with pytest.raises(StartError, match="kill test failed") as caught:
        build().start(lambda: None)
    assert caught.value.code == exits.KILL_TEST
    assert "arm" not in diary(where)


def test_child_that_dies_at_start_is_named_with_its_last_words(build: Callable[..., Supervisor], where: Paths) -> None:
    (where.run_dir / "journal.fails").touch()
    with pytest.raises(StartError, match=r"journal ended with code 1: .*model file is missing.*journal\.log"):
        build(("journal",)).start(lambda: None)


def test_dead_feed_is_started_again_and_expected_again(build: Callable[..., Supervisor], where: Paths) -> None:
    supervisor = build(("feed",))
    supervisor.start(lambda: None)
    first = supervisor.running["feed"].pid
    os.kill(first, signal.SIGKILL)
    tick_until(supervisor, lambda: "feed" in supervisor.running and supervisor.running["feed"].pid != first)
    assert diary(where).count("expect feed") == 2
    assert not supervisor.halted


def test_dead_execution_halts_the_run(build: Callable[..., Supervisor]) -> None:
    supervisor = build(("execution",))
    supervisor.start(lambda: None)
    os.kill(supervisor.running["execution"].pid, signal.SIGKILL)
    tick_until(supervisor, lambda: bool(supervisor.halted))
    assert supervisor.halted == "execution was ended by SIGKILL"
    assert "execution" not in supervisor.running


def test_new_watchdog_expects_execution_and_proves_before_arming(build: Callable[..., Supervisor], where: Paths) -> None:
    supervisor = build(("execution",))
    supervisor.start(lambda: None)
    first = len(diary(where))
    os.kill(supervisor.running["watchdog"].pid, signal.SIGKILL)
    tick_until(supervisor, lambda: diary(where)[-1] == "arm" and len(diary(where)) > first)  # it may be all in one look
    assert diary(where)[first:] == ["start watchdog", "expect execution", "kill_test", "arm"]
    assert supervisor.armed


def test_latched_start_gives_up_after_its_patience(build: Callable[..., Supervisor], where: Paths) -> None:
    answer(where, status={"ok": True, "latched": True, "reason": "latched: operator"})
    with pytest.raises(StartError, match="pulex resume") as caught:
        build(("feed",)).start(lambda: None, patience_s=0.0)
    assert caught.value.code == exits.HALTED
    assert diary(where) == ["start watchdog"]
