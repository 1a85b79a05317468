"""``pulex witness``: the watchdog of a second host, with a management key of its own. ``python -m watchdog.witness RUN_DIR``.

It hears the first host's authenticated beat (``watchdog.telegram``) and runs the same kill ladder when
``watchdog.witness_judge`` says so: keys that carry the instance's label are revoked, everything is cancelled, and it is
proven. The latch is on this host's disk; while it is there, a trading key of the instance that appears is revoked again.
Standard library only, as the watchdog.

RUN_DIR/config.json needs: instance, state_dir, venue {rest_url, a source of the key}, instruments, lease {ttl_ns} and witness
{listen, secret_file, stop_ms, key_id}. With ``key_id`` the venue has one key for both: cancel comes before revoke.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from watchdog import guards, processes, telegram
from watchdog.credentials import CredentialError, KeyRing, kill_test, probe_order
from watchdog.ending import way_of
from watchdog.kill import Ladder, Tools, new_record
from watchdog.latch import Durable, StateError
from watchdog.notify import Notifier
from watchdog.server import Peer, Server
from watchdog.sources import management_key
from watchdog.venue import Venue
from watchdog.witness_judge import Judge
from watchdog.worker import Workers

POLL_S = 0.02
HOLD_NS = 1_000_000_000
RETEST_NS = 5_000_000_000
DATAGRAMS_PER_PASS = 256
ALARMS_MAX = 32
STATUS_FIELDS = ("kind", "cause", "reason", "steps", "proven", "ms", "positions")


class WitnessError(Exception):
    """The witness cannot start; one line with what to do."""


class Witness:
    """One witness of one instance. The main thread owns everything but the ladder's record."""

    def __init__(self, run_dir: Path) -> None:
        self.config = config = json.loads((run_dir / "config.json").read_text("utf-8"))
        own = config["witness"]
        state_dir = Path(config["state_dir"])
        self.lock = open(state_dir / "watchdog.lock", "w")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WitnessError("another witness runs on this state directory: stop it first") from None
        self.durable = Durable(state_dir)
        self.ring = KeyRing(state_dir, self.durable, int(config["instance"]))
        self.tests = KeyRing(state_dir, self.durable, int(config["instance"]))
        self.tests.label = f"pulex-witness-{config['instance']}-"  # the first host takes keys with its own label for strays
        self.key, self.key_id = management_key(config["venue"]), own.get("key_id")
        self.way = way_of(config)
        if self.key_id:
            self.ring.secrets[self.key_id] = self.key  # the refusal of this very key is the proof
        self.socket = listen(own["listen"])
        mono, boot = clocks()
        stop_ns = int(own["stop_ms"]) * 1_000_000
        secret = telegram.read_secret(Path(own["secret_file"]))
        self.judge = Judge(secret, int(config["instance"]), stop_ns, secrets.randbits(62) | 1, mono, boot - mono)
        self.latch = self.durable.latch()
        self.ladder: Ladder | None = None
        self.ladder_stop, self.latch_lock = threading.Event(), threading.Lock()
        self.alarms: list[str] = []
        self.tallies: dict[str, int] = {}
        self.test: dict[str, Any] = {"result": "", "key_id": "", "refusal": "", "ms": 0.0}
        self.rivals = self.hold_ns = self.test_ns = 0
        self.ended = self.holding = False
        self.workers, self.poller = Workers(), select.epoll()
        self.server = Server(run_dir / "watchdog.sock", self.poller, self.handle)
        self.guards = guards.Guards(
            Notifier(os.environ), guards.Device(config.get("watchdog", {}).get("device"), self.alarm), self.status_line
        )

    # --- Loop ------------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Until SIGTERM."""
        self.poller.register(self.socket.fileno(), select.EPOLLIN)
        if self.latch is not None and not self.latch.get("proven"):
            self.start_ladder()
        while not self.ended:
            for fd, _ in self.poller.poll(POLL_S):
                self.server.serve(fd)
            self.listen_all()
            mono, boot = clocks()
            if self.judge.look(mono, boot) and self.latch is None:
                silent_ms = (mono - self.judge.alive_ns) // 1_000_000
                self.kill("host", f"no beat of the first host for {silent_ms} ms")
            if self.judge.rivals != self.rivals:
                self.rivals = self.judge.rivals
                self.alarm("two hosts send the beat of one instance: end one of them")
            self.workers.drain()
            self.hold(mono)
            self.retest(mono)
            self.guards.tick(mono)
        self.guards.stop(proven=self.latch is None or bool(self.latch.get("proven")), service_ends=True)

    def listen_all(self) -> None:
        """Everything that waits, so that a witness that was paused hears first and judges then."""
        for _ in range(DATAGRAMS_PER_PASS):
            try:
                data, source = self.socket.recvfrom(telegram.BYTES + 1)
                if answer := self.judge.hear(data, time.monotonic_ns(), self.state()):
                    self.socket.sendto(answer, source)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer's port was closed

    def state(self) -> int:
        if self.latch is not None:
            return telegram.KILLED
        return telegram.WATCHING if self.judge.exposed else telegram.WAITING

    def hold(self, now_ns: int) -> None:
        """While latched, a new trading key of the instance is ended too: the first host may not know that it was killed."""
        if self.latch is None or self.ladder is not None or self.key_id or self.holding or now_ns - self.hold_ns < HOLD_NS:
            return
        self.hold_ns, self.holding = now_ns, True
        venue = self.new_venue()
        self.workers.submit(lambda: self.ring.strays(venue), self.held)

    def held(self, result: Any) -> None:
        self.holding = False
        if isinstance(result, list) and result and self.latch is not None and self.ladder is None:
            self.alarm("a trading key appeared while latched: it is ended too")
            self.latch.update(proven=False, steps=[], rounds=0)
            self.start_ladder()

    # --- Kill ------------------------------------------------------------------------------------------------------
    def new_venue(self, urgent: bool = False) -> Venue:
        return Venue(self.config["venue"]["rest_url"], self.key, way=self.way._replace(urgent=urgent))

    def probe_order(self, epoch: int) -> dict[str, Any]:
        return probe_order(self.config, epoch, int(self.config["lease"]["ttl_ns"]) // 1_000_000)

    def kill(self, cause: str, reason: str) -> None:
        """Latch and run the ladder; a second kill changes nothing."""
        if self.latch is not None:
            return
        key_ids = [self.key_id] if self.key_id else []
        self.latch = new_record("kill", cause, reason, self.judge.epoch, None, key_ids, time.time_ns())
        self.latch["one_key"] = bool(self.key_id)
        self.alarm(f"KILL {cause}: {reason}")
        self.start_ladder()

    def start_ladder(self) -> None:
        assert self.latch is not None
        stop = self.ladder_stop = threading.Event()

        def save(latch: dict[str, Any]) -> None:
            with self.latch_lock:  # a resume must not be undone by the ladder it stopped
                if not stop.is_set():
                    self.durable.save_latch(latch)

        def tally(name: str, amount: int) -> None:
            self.tallies[name] = self.tallies.get(name, 0) + amount

        tools = Tools(time.monotonic_ns, time.sleep, lambda: None, save, self.alarm, tally, self.probe_order)
        ladder = Ladder(self.latch, self.new_venue(urgent=True), self.ring, tools, int(self.config["lease"]["ttl_ns"]))
        self.ladder = ladder
        self.workers.spawn("ladder", lambda: ladder.run(stop.is_set), lambda result: self.ladder_done(ladder, result))

    def ladder_done(self, ladder: Ladder, result: Any) -> None:
        if ladder is not self.ladder:
            return
        self.ladder = None
        if result is True:
            print(f"witness: kill proven after {ladder.record['ms']} ms", flush=True)
        else:
            self.alarm("the kill ladder ended without proof: it starts again")
            self.start_ladder()

    # --- Socket ----------------------------------------------------------------------------------------------------
    def handle(self, peer: Peer, request: dict[str, Any]) -> None:
        method = {"status": self.op_status, "kill": self.op_kill, "resume": self.op_resume, "drill": self.op_drill}.get(
            request["op"]
        )
        if method is None:
            return peer.refuse(f"the witness does not know {request['op'][:40]!r}: ask the first host")
        try:
            method(peer, request)
        except (KeyError, TypeError, ValueError) as error:
            peer.refuse(f"{request['op']}: bad or missing field ({type(error).__name__})")

    def op_status(self, peer: Peer, _request: dict[str, Any]) -> None:
        latch, mono = self.latch, time.monotonic_ns()
        peer.reply(
            {
                "ok": True,
                "state": telegram.ANSWER_STATES[self.state()],
                "latched": latch is not None,
                "reason": str(latch.get("reason", "")) if latch else "",
                "silent_ms": (mono - self.judge.alive_ns) // 1_000_000 if self.judge.exposed else None,
                "stop_ms": self.judge.stop_ns // 1_000_000,
                "counts": self.judge.counts,
                "alarms": self.alarms,
                "tallies": self.tallies,
                "kill_test": self.test,
                "kill": {name: latch.get(name) for name in STATUS_FIELDS} if latch else None,
            }
        )

    def op_kill(self, peer: Peer, request: dict[str, Any]) -> None:
        reason = str(request["reason"])
        self.log("kill", reason, pid=peer.pid)
        self.kill("operator", reason)
        peer.reply({"ok": True})

    def op_resume(self, peer: Peer, request: dict[str, Any]) -> None:
        """Leave the latch: needs a name and a reason, and a proven kill unless ``"force": true``."""
        operator, reason = str(request["operator"]).strip(), str(request["reason"]).strip()
        if not operator or not reason:
            return peer.refuse("resume needs an operator and a reason")
        if self.latch is None:
            return peer.refuse("nothing is latched")
        if not self.latch.get("proven") and request.get("force") is not True:
            return peer.refuse("the kill is not proven: wait, or resume with force and answer for it")
        with self.latch_lock:
            self.ladder_stop.set()
        self.log("resume", reason, operator=operator, latch=self.latch)
        self.durable.clear_latch()
        self.latch = self.ladder = None
        self.judge.forgive(time.monotonic_ns())
        peer.reply({"ok": True})

    def op_drill(self, peer: Peer, _request: dict[str, Any]) -> None:
        def done(result: Any) -> None:
            self.tested(result)
            peer.reply({"ok": True, **self.test})

        self.workers.submit(lambda: kill_test(self.new_venue(), self.tests, self.probe_order(0)), done)

    # --- Small -----------------------------------------------------------------------------------------------------
    def retest(self, now_ns: int) -> None:
        """The start test, again while the venue is not even reached; where one key does both, it would end that key."""
        untried = self.test["result"] == "" or (self.test["result"] == "fail" and not self.test["key_id"])
        if untried and not self.key_id and now_ns >= self.test_ns:
            self.test_ns = now_ns + RETEST_NS
            self.workers.submit(lambda: kill_test(self.new_venue(), self.tests, self.probe_order(0)), self.tested)

    def tested(self, result: Any) -> None:
        if isinstance(result, Exception):
            result = {"result": "fail", "key_id": "", "refusal": type(result).__name__, "ms": 0.0}
        before, self.test = self.test, result
        if result["result"] != "pass" and result["refusal"] != before["refusal"]:
            self.alarm(f"the witness's kill test: {result['result']}: {result['refusal']}")

    def status_line(self) -> str:
        return f"{telegram.ANSWER_STATES[self.state()]}, kill test {self.test['result'] or 'not run'}"

    def log(self, what: str, reason: str, **more: Any) -> None:
        self.durable.log({"wall_ns": time.time_ns(), "what": what, "reason": reason, **more})

    def alarm(self, text: str) -> None:
        print(f"witness: {text}", file=sys.stderr, flush=True)
        self.alarms = [*self.alarms, text][-ALARMS_MAX:]


def clocks() -> tuple[int, int]:
    return time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def listen(text: str) -> socket.socket:
    """The UDP socket; raises OSError and ValueError."""
    address = telegram.address(text)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made.bind(address)
    return made


def main(run_dir: str) -> int:
    """Run the witness of ``run_dir``; raises WitnessError with one line."""
    refused = processes.harden()
    try:
        witness = Witness(Path(run_dir))
    except (CredentialError, StateError, telegram.SecretError) as error:
        raise WitnessError(str(error)) from None
    except KeyError as error:
        raise WitnessError(f"config.json lacks {error}") from None
    except (OSError, ValueError, TypeError) as error:
        raise WitnessError(f"{type(error).__name__}: {error}") from None
    for name in refused + guards.protect(()):
        witness.alarm(f"the host refused {name}")

    def on_sigterm(*_: object) -> None:
        witness.ended = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_sigterm)
    witness.run()
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m watchdog.witness RUN_DIR")
    try:
        sys.exit(main(sys.argv[1]))
    except WitnessError as error:
        sys.exit(f"witness: {error}")
