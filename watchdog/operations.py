"""What may be asked over the socket, by whom, and the answers. Runs in the main loop; slow parts go to a worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fabric import layout
from watchdog import drill, faults, hashes, processes
from watchdog.credentials import CredentialError, KeysUnsupported, Minted, kill_test, probe_order
from watchdog.processes import Process, ProcessError
from watchdog.server import Peer

if TYPE_CHECKING:
    from watchdog.process import Watchdog

ROLES = ("execution", "feed")
SUPERVISOR_OPS = ("expect", "kill_test", "arm", "stop")


class RevokedElsewhere(CredentialError):
    """Somebody else has revoked the epoch's key at the venue."""


class Expected:
    """A child the supervisor announced: held by pidfd, given a key when it registers."""

    def __init__(self, process: Process, code_hash: int, config_hash: int) -> None:
        self.process, self.code_hash, self.config_hash = process, code_hash, config_hash
        self.key_given = False


class Operations:
    """One method per ``op``."""

    def __init__(self, dog: Watchdog) -> None:
        self.dog = dog
        self.expected: dict[str, Expected] = {}
        self.drill = drill.last(dog.state_dir)

    def handle(self, peer: Peer, request: dict[str, Any]) -> None:
        """Answer, now or later; a request that makes no sense is refused and changes nothing."""
        op = request["op"]
        method = getattr(self, f"op_{op}", None) if op.isidentifier() else None
        supervisor = self.dog.supervisor
        if method is None:
            peer.refuse(f"unknown op {op[:40]!r}")
        elif op in SUPERVISOR_OPS and (peer.pid, peer.start) != (supervisor.pid, supervisor.start):
            peer.refuse(f"only the supervisor may {op}")
        else:
            try:
                method(peer, request)
            except (KeyError, TypeError, ValueError) as error:
                peer.refuse(f"{op}: bad or missing field ({type(error).__name__})")

    def feed(self) -> Process | None:
        """The feed process that the supervisor announced last."""
        expected = self.expected.get("feed")
        return expected.process if expected else None

    # --- Supervisor ----------------------------------------------------------------------------------------------
    def op_expect(self, peer: Peer, request: dict[str, Any]) -> None:
        role = request["role"]
        if role not in ROLES:
            return peer.refuse(f"role must be one of {', '.join(ROLES)}")
        hashes = int(request["code_hash"]), int(request["config_hash"])
        current = self.expected.get(role)
        if role == "execution" and self.dog.execution is not None and not self.dog.execution.dead():
            return peer.refuse("an execution process is registered and alive")
        try:
            process = Process(int(request["pid"]), int(request["start"]))
        except ProcessError as error:
            return peer.refuse(str(error))
        strange = processes.stranger(process.pid)
        if strange:
            process.close()
            return peer.refuse(strange)
        if current is not None and current.process is not self.dog.execution:
            current.process.close()
        self.expected[role] = Expected(process, *hashes)
        peer.reply({"ok": True})

    def op_kill_test(self, peer: Peer, _request: dict[str, Any]) -> None:
        dog = self.dog
        order = probe_order(dog.config, dog.durable.epoch(), dog.rules.ttl_ns // 1_000_000)

        def done(result: Any) -> None:
            if isinstance(result, Exception):
                result = {"result": "fail", "key_id": "", "refusal": type(result).__name__, "ms": 0.0}
            dog.kill_test = result
            dog.stats.set(layout.WC_LAST_KILL_TEST_NS, time.monotonic_ns())
            dog.stats.set(layout.WC_LAST_KILL_TEST_MS, round(result["ms"]))
            dog.stats.set(layout.WC_KILL_TEST_RESULT, drill.RESULTS.index(result["result"]))
            peer.reply({"ok": True, **result})

        dog.workers.submit(lambda: kill_test(dog.venue, dog.ring, order), done)

    def op_drill(self, peer: Peer, _request: dict[str, Any]) -> None:
        """The start test at any time, by an operator, also while latched; it is recorded, and decides nothing."""
        dog = self.dog
        order = probe_order(dog.config, dog.durable.epoch(), dog.rules.ttl_ns // 1_000_000)

        def done(result: Any) -> None:
            if isinstance(result, Exception):
                return peer.refuse(f"the drill broke: {type(result).__name__}")
            self.drill = result
            drill.show(dog.stats, result)
            if result["result"] != "pass":
                dog.alarm(f"kill drill {result['result']}: {result['refusal']}")
            peer.reply({"ok": True, **result})

        dog.workers.submit(lambda: drill.run(dog.new_venue(), dog.ring, order, dog.state_dir), done)

    def op_arm(self, peer: Peer, _request: dict[str, Any]) -> None:
        dog = self.dog
        reason = self._arm_refusal()
        if reason:
            return peer.refuse(reason)
        dog.armed = True
        peer.reply({"ok": True, "epoch": dog.epoch})

    def _arm_refusal(self) -> str:
        dog = self.dog
        now = time.monotonic_ns()
        if dog.latch is not None:
            return "latched: an operator must resume first"
        if dog.execution is None or dog.watch is None or dog.execution.dead():
            return "no execution process is registered"
        if dog.kill_test["result"] not in ("pass", "not_proven"):
            return f"the kill test did not pass: {dog.kill_test['result'] or 'not run yet'}"
        if reason := dog.crew.not_armed():
            return reason
        feed = self.feed()
        if feed is None or feed.dead():
            return "no feed process is registered"
        differ = hashes.pages_differ(dog.shm_dir, dog.config)
        if differ:
            return differ
        seen = dog.see()
        if seen.beat is None:
            return f"no beat: {dog.sentry.exec.error}"
        if seen.beat.epoch != dog.epoch or now - seen.beat.mono_ns > dog.rules.suspect_ns:
            return f"the beat is stale: epoch {seen.beat.epoch} of {dog.epoch}, {(now - seen.beat.mono_ns) // 1_000_000} ms old"
        return f"{seen.standing}: {seen.why}" if seen.standing else ""

    def op_stop(self, peer: Peer, _request: dict[str, Any]) -> None:
        def ended(proven: bool) -> None:
            if proven:
                peer.reply({"ok": True})
            else:
                peer.refuse("the end is not proven: see state/latch.json")

        self.dog.finish("stop", ended)

    # --- Children ------------------------------------------------------------------------------------------------
    def op_register(self, peer: Peer, request: dict[str, Any]) -> None:
        dog, role = self.dog, request["role"]
        expected = self.expected.get(role)
        if expected is None or (peer.pid, peer.start) != (expected.process.pid, expected.process.start):
            return peer.refuse(f"pid {peer.pid} is not the expected {role} process")
        hashes = int(request["code_hash"]), int(request["config_hash"])
        if hashes != (expected.code_hash, expected.config_hash):
            return peer.refuse("code or configuration differs from the supervisor's: restart everything")
        if dog.latch is not None or dog.ending:
            return peer.refuse("latched: an operator must resume first" if dog.latch else "the watchdog is stopping")
        if dog.registering:
            return peer.refuse("another registration is under way: try again")
        if role == "feed" and expected.key_given:
            return peer.refuse("the key was handed out already")
        if role == "execution":
            dog.begin_registration()
        dog.registering = True

        def done(result: Any) -> None:
            dog.registering = False
            self._registered(peer, role, expected, result)

        dog.workers.submit(lambda: self._mint(role, expected.process), done)

    def _mint(self, role: str, process: Process) -> Minted:
        """In a worker: the key, unless the code is another than at the start or somebody else has taken the last key away."""
        dog = self.dog
        changed = hashes.sources_changed(dog.config)
        if changed:
            raise CredentialError(changed)
        if role == "execution" and dog.rules.tiers["key_revoked_elsewhere"] == faults.KILL:
            key_id = dog.ring.revoked_elsewhere(dog.venue)
            if key_id:
                raise RevokedElsewhere(f"{key_id} was revoked at the venue, and not by us")
        return dog.ring.mint(dog.venue, role, process.pid, process.start)

    def _registered(self, peer: Peer, role: str, expected: Expected, result: Any) -> None:
        """A key is minted: hand it out, unless trading was latched or the process died meanwhile."""
        dog = self.dog
        if not isinstance(result, Minted):
            unsupported = isinstance(result, KeysUnsupported)
            reason = str(result) if result.args else type(result).__name__
            dog.alarm(f"no key for {role}: {reason}")
            if isinstance(result, RevokedElsewhere):
                dog.kill("key_revoked_elsewhere", reason)
            return peer.refuse(reason if unsupported else f"no key: {reason}; try again")
        dog.stats.count(layout.WC_KEYS_MINTED)
        if dog.latch is not None or dog.ending or expected.process.dead() or peer.sock.fileno() < 0:
            dog.workers.submit(lambda: dog.ring.retire(dog.venue, [result.key_id]), dog.ignore)
            return peer.refuse("registration came too late")
        expected.key_given = True
        answer = {"ok": True, "epoch": result.epoch, "api_key": result.secret.reveal(), "key_id": result.key_id}
        if role == "feed":
            return peer.reply(answer)
        page = dog.adopt(expected.process, result.epoch)
        peer.reply(answer, page.fd)

    # --- Anybody of this user --------------------------------------------------------------------------------------
    def op_status(self, peer: Peer, _request: dict[str, Any]) -> None:
        dog = self.dog
        record = dog.ladder.record if dog.ladder else dog.latch
        fields = ("kind", "cause", "reason", "steps", "proven", "ms", "positions", "revokers")
        peer.reply(
            {
                "ok": True,
                "state": layout.LEASE_STATE[dog.lease_state()],
                "epoch": dog.epoch,
                "armed": dog.armed,
                "latched": dog.latch is not None,
                "reason": dog.reason,
                "kill_test": dog.kill_test,
                "revokers": dog.crew.rows(),
                "drill": self.drill,
                "kill": {name: record.get(name) for name in fields} if record else None,
            }
        )

    def op_kill(self, peer: Peer, request: dict[str, Any]) -> None:
        self.dog.log_operator("kill", peer.pid, str(request["reason"]))
        self.dog.kill("operator", str(request["reason"]))
        peer.reply({"ok": True})

    def op_halt(self, peer: Peer, request: dict[str, Any]) -> None:
        self.dog.log_operator("halt", peer.pid, str(request["reason"]))
        self.dog.halt(str(request["reason"]))
        peer.reply({"ok": True})

    def op_resume(self, peer: Peer, request: dict[str, Any]) -> None:
        """Leave the latch: needs a name and a reason, and a proven kill unless ``"force": true``."""
        dog = self.dog
        operator, reason = str(request["operator"]).strip(), str(request["reason"]).strip()
        if not operator or not reason:
            return peer.refuse("resume needs an operator and a reason")
        if dog.latch is None:
            return peer.refuse("nothing is latched")
        if not dog.latch.get("proven") and request.get("force") is not True:
            return peer.refuse("the kill is not proven: wait, or resume with force and answer for it")
        dog.resume(operator, reason)
        peer.reply({"ok": True})
