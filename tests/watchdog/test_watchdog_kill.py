"""The ladder as a state machine: fake clock, fake venue, no process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from watchdog import kill as kill_module
from watchdog.credentials import KeyRing
from watchdog.kill import STEPS, Ladder, Tools, new_record
from watchdog.latch import Durable, StateError, write_durable
from watchdog.page import bucket
from watchdog.venue import Answer, Secret, Unreachable

TTL_NS = 200_000_000


class FakeVenue:
    """Answers from memory; ``down`` calls fail first; ``late`` orders appear after that many empty reads."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.down = 0
        self.orders: list[dict[str, Any]] = []
        self.late = 0
        self.revoked: set[str] = set()
        self.deadline_s = 0.0
        self.clock = [0]

    def _call(self, name: str) -> None:
        self.clock[0] += 1_000_000
        self.calls.append((name, self.clock[0]))
        if self.down > 0:
            self.down -= 1
            raise Unreachable(name)

    def revoke_key(self, key_id: str) -> Answer:
        self._call("revoke")
        self.revoked.add(key_id)
        return Answer(200, {})

    def keys(self) -> Answer:
        self._call("keys")
        return Answer(200, {"keys": [{"key_id": key_id, "revoked": True} for key_id in self.revoked]})

    def cancel_all(self) -> int:
        self._call("cancel_all")
        count, self.orders = len(self.orders), []
        return count

    def open_orders(self) -> list[dict[str, Any]]:
        self._call("open")
        found = list(self.orders)
        if self.late:
            self.late -= 1
            self.orders = [{"client_order_id": "late"}]
        return found

    def positions(self) -> list[dict[str, Any]]:
        self._call("positions")
        return []

    def cancel(self, client_order_id: str) -> Answer:
        self._call(f"cancel {client_order_id}")
        return Answer(200, {})


class Bench:
    """A ladder over fakes; ``saved`` holds the durable records in order."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.venue = FakeVenue()
        self.ring = KeyRing(tmp_path, Durable(tmp_path), 1)
        self.ring.secrets["key_1"] = Secret("sk_trade_planted")
        self.saved: list[dict[str, Any]] = []
        self.alarms: list[str] = []
        self.tallies: dict[str, int] = {}
        self.probe_status = [401]
        self.record = new_record("kill", "operator", "drill", 7, None, ["key_1"], 0)

        def probe(*_: Any) -> Answer:
            self.venue._call("probe")
            return Answer(self.probe_status.pop(0) if len(self.probe_status) > 1 else self.probe_status[0], {})

        monkeypatch.setattr(kill_module, "probe", probe)

    def sleep(self, seconds: float) -> None:
        self.venue.clock[0] += int(seconds * 1e9)

    def ladder(self, record: dict[str, Any] | None = None) -> Ladder:
        tools = Tools(
            now_ns=lambda: self.venue.clock[0],
            sleep_s=self.sleep,
            withdraw=lambda: self.venue.calls.append(("withdraw", self.venue.clock[0])),
            save=lambda record: self.saved.append({**record, "steps": [dict(step) for step in record["steps"]]}),
            alarm=self.alarms.append,
            tally=lambda name, amount: self.tallies.update({name: self.tallies.get(name, 0) + amount}),
            probe_order=lambda _epoch: {"client_order_id": "9"},
        )
        return Ladder(record or self.record, self.venue, self.ring, tools, TTL_NS)  # type: ignore[arg-type]

    def run(self, ladder: Ladder, limit_s: float = 60.0) -> bool:
        return ladder.run(lambda: False, limit_s)

    def names(self) -> list[str]:
        return [name for name, _ in self.venue.calls]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_the_record_is_durable_before_the_first_step_and_after_each(bench: Bench) -> None:
    assert bench.run(bench.ladder())
    assert [step["tries"] for step in bench.saved[0]["steps"]] == [0] * 6
    done = [sum(step["ok"] for step in record["steps"]) for record in bench.saved]
    assert done == [0, 1, 2, 3, 4, 5, 6, 6]
    assert bench.saved[-1]["proven"] is True


def test_steps_come_in_order_and_the_empty_reads_lie_one_order_deadline_apart(bench: Bench) -> None:
    assert bench.run(bench.ladder())
    assert bench.names() == ["withdraw", "revoke", "keys", "cancel_all", "open", "open", "positions", "probe"]
    reads = [at for name, at in bench.venue.calls if name == "open"]
    assert reads[1] - reads[0] >= TTL_NS


def test_an_order_that_appears_between_the_reads_is_cancelled_and_reading_starts_over(bench: Bench) -> None:
    bench.venue.late = 1
    assert bench.run(bench.ladder())
    assert bench.names().count("cancel_all") == 2
    assert bench.names().count("open") == 4


def test_a_successor_does_not_wait_as_long_as_its_dead_watchdog_had_come_to(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(bench, "sleep", lambda seconds: waits.append(seconds) or Bench.sleep(bench, seconds))
    bench.record["rounds"] = 6
    bench.venue.down = 9  # the cancel before the steps, and two tries of each of the four steps that need the venue
    assert bench.run(bench.ladder())
    assert bench.record["rounds"] == 8
    assert max(waits) <= 0.3


def test_an_unreachable_venue_is_unproven_then_cancelled_first_when_it_is_back(bench: Bench) -> None:
    bench.venue.down = 8  # two tries of each of the four steps that need it
    ladder = bench.ladder()
    assert ladder.round() is False
    assert bench.record["proven"] is False
    assert [step["ok"] for step in bench.record["steps"]] == [True, True, False, False, False, False]
    assert bench.tallies["kill_steps_failed"] == 4
    bench.venue.calls.clear()
    assert ladder.round() is True
    assert bench.names()[0] == "cancel_all"


@pytest.mark.parametrize("status", [400, 403, 503])
def test_a_refusal_for_another_cause_proves_nothing(bench: Bench, status: int) -> None:
    bench.probe_status = [status]
    assert bench.run(bench.ladder(), limit_s=2.0) is False


def test_an_accepted_probe_is_cancelled_and_the_key_revoked_again(bench: Bench) -> None:
    bench.probe_status = [201, 201, 401]
    assert bench.run(bench.ladder())
    assert bench.names().count("cancel 9") == 2
    assert bench.names().count("revoke") == 2
    assert bench.tallies["probes_accepted"] == 2
    assert any("alive" in text for text in bench.alarms)


@pytest.mark.parametrize("done", range(len(STEPS)))
def test_a_ladder_broken_off_after_any_step_is_finished_by_the_next(bench: Bench, done: int) -> None:
    assert bench.run(bench.ladder())
    broken = bench.saved[done]
    bench.venue.calls.clear()
    assert bench.run(bench.ladder(broken))
    assert ("revoke" in bench.names()) == (done < 3)
    assert bench.names()[-1] == "probe"


def test_a_disk_that_fails_does_not_stop_the_kill(bench: Bench) -> None:
    ladder = bench.ladder()

    def broken(_record: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    ladder.tools = ladder.tools._replace(save=broken)
    assert bench.run(ladder)
    assert any("No space left" in text for text in bench.alarms)


def test_an_answer_of_unforeseen_shape_is_a_failed_step_and_not_a_broken_ladder(bench: Bench) -> None:
    bench.venue.positions = lambda: [][1]  # type: ignore[method-assign]
    assert bench.run(bench.ladder(), limit_s=2.0) is False
    assert bench.record["steps"][4]["detail"] == "unexpected IndexError"
    assert bench.record["steps"][5]["ok"] is True


def test_a_close_writes_no_latch(bench: Bench) -> None:
    bench.record["kind"] = "close"
    assert bench.run(bench.ladder())
    assert bench.saved == []


def test_the_epoch_only_grows_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    durable = Durable(tmp_path)
    assert [durable.take_epoch(0), durable.take_epoch(0), durable.take_epoch(9)] == [1, 2, 9]
    write_durable(tmp_path / "epoch", "nine")
    with pytest.raises(StateError, match="damaged"):
        durable.take_epoch(0)


def test_a_damaged_latch_is_a_latch(tmp_path: Path, bench: Bench) -> None:
    durable = Durable(tmp_path)
    assert durable.latch() is None
    (tmp_path / "latch.json").write_text('{"kind": "ki')
    record = durable.latch()
    assert record is not None
    assert bench.run(bench.ladder(record))


def test_histogram_buckets_hold_two_digits_up_to_a_minute() -> None:
    assert [bucket(value) for value in (0, 1, 255, 256, 257)] == [0, 1, 255, 256, 256]
    assert bucket(60_000_000_000) < 3840


@pytest.mark.parametrize(("late", "rounds"), [(0, 1), (10**6, kill_module.ONE_KEY_PATIENCE + 1)])
def test_where_one_key_does_both_the_book_is_emptied_first_but_not_waited_for_for_ever(
    bench: Bench, late: int, rounds: int
) -> None:
    """A sender that cannot be reached may place orders as fast as they are cancelled: then its key goes all the same."""
    bench.record["one_key"], bench.venue.late = True, late
    ladder = bench.ladder()
    while "revoke" not in bench.names():
        ladder.round()
    assert bench.record["rounds"] == rounds
    assert "keys" not in bench.names()  # the key that could read the list is the one that was revoked
    assert bench.names().index("cancel_all") < bench.names().index("revoke")
    assert bench.record["proven"] is (late == 0)
