"""The witness as a real process over loopback, against a stub exchange; the first host is a thread or a real watchdog."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.watchdog.conftest import Run
from tests.watchdog.far_host import BEAT_MS, SHARED, STOP_MS, Far, Host, free_port, secret_file
from tests.watchdog.stub import MANAGEMENT_KEY, ROOT, Exchange
from watchdog import telegram
from watchdog.telegram import BEAT_MAGIC, EXPOSED, IDLE, SharedSecret, Telegram


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    made = Exchange()
    yield made
    made.close()


@pytest.fixture
def far(tmp_path: Path, exchange: Exchange) -> Iterator[Far]:
    made = Far(tmp_path / "w", f"127.0.0.1:{free_port()}", exchange)
    yield made
    made.end()


def test_when_the_beat_stops_the_witness_kills_proves_and_latches(far: Far) -> None:
    row = far.watch()
    assert far.host is not None
    stopped = far.host.stop()
    far.wait(lambda: far.exchange.orders == {})
    took = far.exchange.cancelled_at - stopped
    assert (STOP_MS - 3 * BEAT_MS) / 1000 < took < STOP_MS / 1000 + 1.0
    latch = far.wait_proven()
    assert row["revoked"] is True
    assert (latch["cause"], [step["ok"] for step in latch["steps"]]) == ("host", [True] * 6)
    assert "listed as revoked" in latch["steps"][-1]["detail"]
    assert far.status()["state"] == "killed"


def test_forged_and_replayed_beats_do_not_keep_a_dead_host_alive(far: Far) -> None:
    """The test records the host's own packets, then plays them and forgeries faster than the host did."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))
        far.start()
        far.trade()
        tap = Tap(far)
        far.wait(lambda: far.status()["state"] == "watching")
        assert far.host is not None
        stopped = far.host.stop()
        port = int(far.listen.rpartition(":")[2])
        forged = telegram.pack(BEAT_MAGIC, Telegram(1, 1, 9, 0, 0, EXPOSED, 7), SharedSecret(b"not the shared secret"))
        while far.status()["state"] != "killed":
            assert time.monotonic() - stopped < STOP_MS / 1000 + 1.0
            for data in [*tap.recorded[-5:], forged]:
                wire.sendto(data, ("127.0.0.1", port))
            time.sleep(0.02)
    far.wait_proven()
    counts = far.status()["counts"]
    assert counts["replayed"] > 10
    assert counts["forged"] > 10


class Tap:
    """A host whose packets are kept."""

    def __init__(self, far: Far) -> None:
        self.recorded: list[bytes] = []
        far.host = Host(far.listen, far.secret)
        sock, tap = far.host.beacon.socket, self

        class Wire:
            def sendto(self, data: bytes, address: tuple[str, int]) -> None:
                tap.recorded.append(data)
                sock.sendto(data, address)

            def __getattr__(self, name: str) -> object:
                return getattr(sock, name)

        far.host.beacon.socket = Wire()  # type: ignore[assignment]


def test_a_witness_that_is_stopped_and_goes_on_does_not_kill_a_living_host(far: Far) -> None:
    row = far.watch()
    assert far.process is not None
    for _ in range(2):
        far.process.send_signal(signal.SIGSTOP)
        time.sleep(STOP_MS * 2 / 1000)
        far.process.send_signal(signal.SIGCONT)
        time.sleep(STOP_MS * 1.5 / 1000)
    status = far.status()
    assert (status["state"], status["latched"]) == ("watching", False)
    assert status["counts"]["own_gaps"] >= 2
    assert row["revoked"] is False


def test_a_host_that_dies_while_the_witness_is_paused_is_found_one_period_after_it_goes_on(far: Far) -> None:
    far.watch()
    assert far.process is not None
    assert far.host is not None
    far.process.send_signal(signal.SIGSTOP)
    far.host.stop()
    time.sleep(STOP_MS * 2 / 1000)
    far.process.send_signal(signal.SIGCONT)
    resumed = time.monotonic()
    far.wait(lambda: far.exchange.orders == {})
    assert STOP_MS / 1000 < far.exchange.cancelled_at - resumed < STOP_MS / 1000 + 1.0


@pytest.mark.parametrize("how", ["idle", "farewell"])
def test_a_host_with_nothing_open_may_go(far: Far, how: str) -> None:
    far.watch()
    assert far.host is not None
    if how == "idle":
        far.host.state = IDLE
        far.wait(lambda: far.status()["state"] == "waiting")
        far.host.stop()
    else:
        far.host.ended.set()
        far.host.thread.join()
        far.host.beacon.farewell()
        far.host.beacon.socket.close()
    time.sleep(STOP_MS * 2 / 1000)
    assert far.status()["state"] == "waiting"
    assert far.status()["latched"] is False


def test_the_latch_survives_a_restart_is_held_against_new_keys_and_needs_an_operator(far: Far) -> None:
    far.watch()
    assert far.host is not None
    far.host.stop()
    far.wait_proven()
    assert far.process is not None
    far.process.kill()
    far.process.wait()
    far.start()
    assert far.status()["state"] == "killed"
    again = far.trade()  # a first host that knows nothing of the kill, and goes on
    far.wait(lambda: again["revoked"] is True and far.exchange.orders == {})
    assert any("while latched" in text for text in far.status()["alarms"])
    late = Host(far.listen, far.secret)
    assert late.killed.wait(5)  # and is told so as soon as it can be reached
    late.stop()
    far.wait_proven()
    assert far.ask("resume", operator="", reason="x")["ok"] is False
    assert far.ask("resume", operator="ann", reason="the link is back")["ok"] is True
    assert not (far.path / "state/latch.json").exists()
    assert json.loads((far.path / "state/operator.log").read_text().splitlines()[-1])["operator"] == "ann"
    assert far.status()["state"] == "waiting"


def test_an_operators_kill_at_the_witness_works_without_any_beat(far: Far) -> None:
    far.start()
    row = far.trade()
    assert far.ask("kill", reason="the first host is lost")["ok"]
    far.wait_proven()
    assert row["revoked"] is True
    assert far.exchange.orders == {}


def test_a_failing_start_test_of_the_witness_is_seen(far: Far) -> None:
    far.exchange.revoke = "lie"
    far.start()
    far.wait(lambda: far.status()["kill_test"]["result"] == "fail")
    assert any("kill test: fail" in text for text in far.status()["alarms"])
    far.exchange.revoke = "normal"
    assert far.ask("drill")["result"] == "pass"


def test_a_start_test_that_did_not_reach_the_venue_is_tried_again(far: Far) -> None:
    far.exchange.scope = lambda _key: None  # type: ignore[method-assign]
    far.start()
    far.wait(lambda: far.status()["kill_test"]["result"] == "fail")
    del far.exchange.scope
    far.wait(lambda: far.status()["kill_test"]["result"] == "pass")


def test_where_one_key_does_both_cancel_comes_before_revoke_and_its_own_refusal_is_the_proof(
    tmp_path: Path, exchange: Exchange
) -> None:
    exchange.keys["key_one"] = {"key_id": "key_one", "api_key": MANAGEMENT_KEY, "revoked": False, "scope": "manage"}
    exchange.one_key = True
    far = Far(tmp_path / "w", f"127.0.0.1:{free_port()}", exchange, key_id="key_one")
    try:
        far.start()
        exchange.rest("1")
        far.host = Host(far.listen, far.secret)
        far.wait(lambda: far.status()["state"] == "watching")
        far.host.stop()
        latch = far.wait_proven()
    finally:
        far.end()
    done = {step["step"]: step["at_ms"] for step in latch["steps"]}
    assert done["cancel"] < done["revoke"] < done["prove"]
    assert exchange.orders == {}
    assert exchange.keys["key_one"]["revoked"] is True
    assert [status for _, status in exchange.probes] == [401]


def test_no_secret_is_in_a_file_of_the_witness_and_a_shared_file_is_refused(far: Far) -> None:
    far.watch()
    assert far.host is not None
    far.host.stop()
    far.wait_proven()
    secrets = [MANAGEMENT_KEY, SHARED] + [str(row["api_key"]) for row in far.exchange.keys.values()]
    for path in far.path.rglob("*"):
        if path.is_file() and path.name not in ("management.key", "witness.secret"):
            data = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in data], path
    far.end()
    far.secret.chmod(0o644)
    command = [sys.executable, "-m", "watchdog.witness", str(far.path)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr


class Pair:
    """A real watchdog with its fake execution, and a witness of it at the same exchange."""

    def __init__(self, run: Run, path: Path, stop_ms: int) -> None:
        port = free_port()
        self.run = run
        self.far = Far(path, f"127.0.0.1:{port}", run.exchange, stop_ms=stop_ms)
        own = {"send_to": f"127.0.0.1:{port}", "secret_file": str(secret_file(run.path / "shared.secret")), "beat_ms": BEAT_MS}
        run.config["witness"] = own
        run.configure()
        self.far.start()
        self.engine = run.trade()
        self.far.wait(lambda: self.far.status()["state"] == "watching")


@pytest.fixture
def pair(run: Run, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(run, tmp_path / "w", getattr(request, "param", STOP_MS))
    yield made
    made.far.end()


def test_when_the_first_host_is_lost_the_witness_ends_what_it_left(pair: Pair) -> None:
    run = pair.run
    assert run.dog is not None
    for pid in (run.dog.pid, pair.engine.pid):
        os.kill(pid, signal.SIGKILL)
    pair.far.wait_proven()
    assert run.exchange.orders == {}
    assert all(row["revoked"] for row in run.exchange.keys.values() if str(row["label"]).endswith("execution"))


def test_an_orderly_stop_of_the_first_host_is_no_kill(pair: Pair) -> None:
    run = pair.run
    assert run.ask("stop") == {"ok": True}
    assert run.dog is not None
    assert run.dog.wait() == 0
    time.sleep(STOP_MS * 2 / 1000)
    assert pair.far.status()["latched"] is False


@pytest.mark.parametrize("pair", [6000], indirect=True)
def test_a_watchdog_that_is_restarted_in_time_is_no_kill(pair: Pair) -> None:
    """Longer than a start of Python takes on a busy machine."""
    run = pair.run
    assert run.dog is not None
    run.dog.kill()
    run.dog.wait()
    pair.far.wait(lambda: pair.far.status()["silent_ms"] > 10 * BEAT_MS)
    run.start()
    pair.far.wait(lambda: (pair.far.status()["silent_ms"] or 0) < 5 * BEAT_MS)  # its successor is believed, or has nothing open
    assert pair.far.status()["latched"] is False
    assert pair.far.status()["counts"]["stale"] >= 2  # it had to find in anew


def test_a_kill_at_the_witness_latches_the_first_host_too(pair: Pair) -> None:
    assert pair.far.ask("kill", reason="drill")["ok"]
    pair.run.wait(lambda: bool((pair.run.ask("status")["kill"] or {}).get("proven")))
    assert pair.run.latch()["cause"] == "witness"
    assert pair.run.ask("resume", operator="ann", reason="on this host alone")["ok"] is True
    pair.run.wait(lambda: pair.run.latch().get("cause") == "witness")
