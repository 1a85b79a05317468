"""Stands in for the watchdog: answers each request from RUN_DIR/answers.json (op -> answer) and writes it in the diary."""

from __future__ import annotations

import json
import pathlib
import socket
import sys

run_dir = pathlib.Path(sys.argv[1])
DEFAULTS = {
    "status": {"ok": True, "latched": False, "armed": True},
    "kill_test": {"ok": True, "result": "pass", "key_id": "key_1", "refusal": "401 revoked", "ms": 1.0},
    "arm": {"ok": True, "epoch": 7},
}


def note(text: str) -> None:
    with (run_dir / "diary.txt").open("a") as diary:
        diary.write(text + "\n")


path = run_dir / "watchdog.sock"
path.unlink(missing_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(path))
listener.listen()
note("start watchdog")
op = ""
while op != "stop":
    connection, _ = listener.accept()
    with connection:
        line = connection.makefile().readline()
        if not line:
            continue
        request = json.loads(line)
        op = request["op"]
        if op != "status":
            note(f"{op} {request.get('role', '')}".strip())
        answers = run_dir / "answers.json"
        given = json.loads(answers.read_text()) if answers.exists() else {}
        answer = given.get(op) or DEFAULTS.get(op) or {"ok": True}
        connection.sendall(json.dumps(answer).encode() + b"\n")
note("end watchdog")
