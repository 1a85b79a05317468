"""No key is seen anywhere: one real run with revokers, a drill, and a search for every key that was ever minted.

Searched are all files of the run (logs, journal, state, output, summary), all pages of its shared memory and its lease, the
command line and environment of every process of the host, and what its commands print; each secret as it is, and as
hexadecimal, base64 of any alignment, UTF-16, and reversed.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system.house import House

pytestmark = pytest.mark.timeout(900)  # the first run of a changed source compiles it

PLANTED = pathlib.Path(__file__).parent / "planted"
PROGRAM = """#!/bin/sh
echo "$@" >> {told}
env >> {told}
echo "{said} $1"
"""


def forms(secret: str) -> dict[str, bytes]:
    """How a secret may look when somebody wrote it down."""
    raw = secret.encode()
    found = {"plain": raw, "hexadecimal": raw.hex().encode(), "utf-16": secret.encode("utf-16-le"), "reversed": raw[::-1]}
    for shift in range(3):  # of the base64 of a longer text only what the secret alone decides
        text = base64.b64encode(b"x" * shift + raw)
        found[f"base64 at {shift}"] = text[(0, 2, 3)[shift] : -4]
    return found


class Search:
    """Places in which a form of a secret was found, and how many were looked at."""

    def __init__(self, secrets: list[str]) -> None:
        self.forms = [(number, name, text) for number, one in enumerate(secrets) for name, text in forms(one).items()]
        self.found: list[str] = []
        self.places = 0

    def look(self, place: str, data: bytes) -> None:
        self.places += 1
        self.found += [f"{place}: secret {number} {name}" for number, name, text in self.forms if text in data]

    def files(self, root: pathlib.Path, *but: pathlib.Path) -> None:
        for file in root.rglob("*"):
            if file.is_file() and not file.is_symlink() and file not in but:
                self.look(str(file), file.read_bytes())

    def processes(self) -> None:
        """Of the whole host, threads' names and the lease's page included; what we may not read we cannot leak either."""
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                for name in ("cmdline", "environ", "comm"):
                    with contextlib.suppress(OSError):
                        self.look(str(entry / name), (entry / name).read_bytes())
                with contextlib.suppress(OSError):
                    for fd in (entry / "fd").iterdir():
                        if "memfd:pulex" in os.readlink(fd):
                            self.look(str(fd), fd.read_bytes())


class PlantedHouse(House):
    """A house whose exchange notes every secret it makes, outside of the house."""

    notes: pathlib.Path

    def env(self) -> dict[str, str]:
        return super().env() | {"PYTHONPATH": str(PLANTED), "PLANTED_NOTES": str(self.notes)}

    def minted(self) -> list[str]:
        return self.notes.read_text("ascii").split()


@dataclasses.dataclass
class Drill:
    """What is left of one run."""

    house: PlantedHouse
    code: int
    secrets: list[str]
    keys: int
    while_trading: Search
    after: Search
    told: pathlib.Path


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    home = tmp_path_factory.mktemp("h")
    aside = tmp_path_factory.mktemp("aside")
    program, told = home / "revoke.sh", home / "told"
    program.write_text(PROGRAM.format(told=told, said="the operator's program:"))
    program.chmod(0o700)
    revokers = [{"kind": "timer", "length_ms": 2000, "least_ms": 200}, {"kind": "executable", "path": str(program)}]
    with PlantedHouse(home) as house:
        house.notes = aside / "minted"
        house.start({"kill": {"revokers": revokers}, "venue": {"budget_messages": 500, "budget_window_ms": 1000}})
        house.wait(lambda: "armed" in [event["what"] for event in house.ledger()["timer"]], 20.0, "the venue's timer")
        management = house.management_key()
        secrets = [*house.minted(), management.removeprefix("sk_live_")]
        searching = Search(secrets)
        searching.processes()
        for root in (house.home, house.shm_dir):
            searching.files(root, house.run_dir / "management.key")
        for command in (("stats", "--once", "--json"), ("status",)):
            printed = house.cli(*command)
            searching.look(command[0], (printed.stdout + printed.stderr).encode())
        assert house.cli("kill", "--reason", "drill").returncode == 0
        code, _ = house.end()
        secrets = [*house.minted(), management.removeprefix("sk_live_")]
        after = Search(secrets)
        after.files(house.home, house.run_dir / "management.key")
        yield Drill(house, code, secrets, len(house.last_ledger["keys"]), searching, after, told)


def test_every_key_ever_minted_is_known_to_the_search(drill: Drill) -> None:
    assert len(drill.secrets) == drill.keys >= 4  # management, kill test, feed, execution
    assert all(len(secret) >= 32 for secret in drill.secrets)


def test_no_key_is_seen_while_it_trades(drill: Drill) -> None:
    assert drill.while_trading.found == []
    assert drill.while_trading.places > 50


def test_no_key_is_seen_in_what_a_kill_leaves_behind(drill: Drill) -> None:
    assert drill.after.found == []
    names = {file.name for file in drill.house.home.rglob("*")}
    assert {"latch.json", "keys.json", "summary.json", "output.txt", "watchdog.log", "execution.log", "operator.log"} <= names
    assert list((drill.house.state_dir / "journal").iterdir())


def test_the_revokers_of_the_run_did_their_part_and_the_record_says_so(drill: Drill) -> None:
    latch = drill.house.state_dir / "latch.json"
    text = latch.read_text()
    assert '"proven": true' in text
    assert "the venue says that it fired" in text
    assert "the operator's program: prove" in text
    told = drill.told.read_text()
    assert [line.split()[0] for line in told.splitlines() if "=" not in line] == ["arm", "revoke", "prove"]
    assert [event["what"] for event in drill.house.last_ledger["timer"]][-1] == "fired"
    assert drill.house.last_ledger["budget"] == {"refused": 0, "bans": 0}


@pytest.mark.parametrize("form", list(forms("x" * 32)))
def test_the_search_would_find_one_in_a_file_and_in_a_process(tmp_path: pathlib.Path, form: str) -> None:
    secret = "planted_0123456789abcdefghijklmnop"
    text = base64.b64encode(b"x" * int(form[-1]) + secret.encode()) if form.startswith("base64") else forms(secret)[form]
    (tmp_path / "log").write_bytes(b"before " + text + b" after")
    search = Search([secret])
    search.files(tmp_path)
    assert len(search.found) == 1
    if b"\0" in text:
        return
    environment = {"PLANTED": text.decode()}
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()", text.decode()]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        search.processes()
        assert sum(f"/proc/{child.pid}/" in place for place in search.found) == 2
