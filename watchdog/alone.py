"""The kill when no watchdog is left to ask: ``python -m watchdog.alone RUN_DIR REASON``, by ``pulex kill``.

Takes the state directory's lock, so it never runs beside a watchdog; kills the sender that ``children.json`` names, then
revokes, cancels and proves like any kill, with the configured revokers beside it, and latches: the next start waits for an
operator. Reads config.json, children.json, state/keys.json and the management key, no shared memory. Exit status: 0 proven,
1 NOT PROVEN after 60 s, 3 a watchdog has the lock.
"""

from __future__ import annotations

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

from watchdog import processes
from watchdog.credentials import CredentialError, KeyRing, probe_order
from watchdog.ending import way_of
from watchdog.kill import Ladder, Tools, new_record
from watchdog.latch import Durable, StateError
from watchdog.revokers.build import build
from watchdog.revokers.crew import Crew, Reports
from watchdog.sealing import Sealer
from watchdog.sources import management_key
from watchdog.venue import Venue

LIMIT_S = 60.0
PROVEN, UNPROVEN, BUSY = 0, 1, 3


def sender(run_dir: Path) -> processes.Process | None:
    """The execution process that the last supervisor recorded, when it is alive."""
    try:
        pid, start = json.loads((run_dir / "children.json").read_text("utf-8"))["execution"]
        return processes.Process(int(pid), int(start))
    except (OSError, ValueError, KeyError, TypeError, processes.ProcessError):
        return None


def latch_of(durable: Durable, ring: KeyRing, reason: str, process: processes.Process | None) -> dict[str, Any]:
    """An unproven kill is taken up where it stopped; else a new one begins."""
    latch = durable.latch()
    if latch is not None and latch.get("kind") == "kill" and not latch.get("proven"):
        return latch
    ids = ring.ids("trade")
    record = new_record("kill", "operator", reason, durable.epoch(), process, ids, time.time_ns())
    return record | {"sealed": ring.sealed(ids)}


def say(text: str) -> None:
    print(text, flush=True)


def main(run_dir: Path, reason: str) -> int:
    config = json.loads((run_dir / "config.json").read_text("utf-8"))
    state_dir = Path(config["state_dir"])
    with open(state_dir / "watchdog.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("a watchdog runs on this state directory")
            return BUSY
        processes.harden()
        durable = Durable(state_dir)
        key, way = management_key(config["venue"]), way_of(config)._replace(urgent=True)
        ring = KeyRing(state_dir, durable, int(config["instance"]), Sealer(key))
        process = sender(run_dir)
        record = latch_of(durable, ring, reason, process)
        if process is not None:
            process.close()
        ring.unseal(record.get("sealed") or {})
        deadline_ns = int(config["lease"]["ttl_ns"])

        def probe(epoch: int) -> dict[str, Any]:
            return probe_order(config, epoch, deadline_ns // 1_000_000)

        def new_venue() -> Venue:
            return Venue(config["venue"]["rest_url"], key, way=way)

        def tally(_name: str, _amount: int) -> None: ...

        crew = Crew(build(config, new_venue, lenient=True), Reports(say, tally))
        crew.revoke()
        tools = Tools(time.monotonic_ns, time.sleep, lambda: None, durable.save_latch, say, tally, probe, crew.rows)
        ladder = Ladder(record, new_venue(), ring, tools, deadline_ns)
        proven = ladder.run(lambda: False, LIMIT_S)
        durable.log({"wall_ns": time.time_ns(), "what": "kill without a watchdog", "reason": reason, "proven": proven})
    for step in record["steps"]:
        say(f"{step['step']:8} {'done' if step['ok'] else 'FAILED'} at {step['at_ms']} ms: {step['detail']}")
    for row in record["revokers"]:
        say(f"revoker {row['revoker']} {'done' if row['ok'] else 'FAILED'}: {row['detail']}")
    say(f"kill {'proven' if proven else 'NOT PROVEN'} after {record['ms']} ms")
    return PROVEN if proven else UNPROVEN


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m watchdog.alone RUN_DIR REASON")
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except (CredentialError, StateError, OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"kill: {error if str(error) else type(error).__name__}")
