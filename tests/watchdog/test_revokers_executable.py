"""The operator's own program: real children, short shell scripts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from watchdog.revokers import RevokerError
from watchdog.revokers.executable import LINE_CHARACTERS, Executable


def program(tmp_path: Path, body: str, deadline_s: float = 5.0) -> Executable:
    path = tmp_path / "revoke.sh"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return Executable(str(path), 7, deadline_s, 0.0)


def test_it_is_told_the_verb_and_the_instance_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SK_PLANTED", "sk_live_planted")
    one = program(tmp_path, f'echo "$#" "$1" "$2" "$(pwd)" >> {tmp_path}/told; env >> {tmp_path}/told; cat >> {tmp_path}/told')
    for verb in ("arm", "refresh", "revoke", "prove", "release"):
        assert getattr(one, verb)(5.0).startswith(f"{verb}: done")
    told = (tmp_path / "told").read_text().splitlines()
    assert [line for line in told if "=" not in line] == [
        f"2 {v} 7 /" for v in ("arm", "refresh", "revoke", "prove", "release")
    ]
    assert {line.partition("=")[0] for line in told if "=" in line} <= {"PATH", "LANG", "PWD", "_", "SHLVL", "OLDPWD"}
    assert "planted" not in " ".join(told)


@pytest.mark.parametrize(
    ("body", "wanted"), [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9"), ("echo no; exit 1", "exit code 1: no")]
)
def test_another_exit_code_or_a_signal_is_a_failure_with_its_last_line(tmp_path: Path, body: str, wanted: str) -> None:
    with pytest.raises(RevokerError, match=wanted):
        program(tmp_path, body).revoke(5.0)


def test_a_verb_that_is_not_its_own_is_done_but_never_a_revoke_or_a_proof(tmp_path: Path) -> None:
    one = program(tmp_path, "exit 64")
    for verb in ("arm", "refresh", "release"):
        assert getattr(one, verb)(5.0) == f"{verb}: not needed"
    for verb in ("revoke", "prove"):
        with pytest.raises(RevokerError, match="exit code 64"):
            getattr(one, verb)(5.0)


def test_a_missed_deadline_kills_it_with_its_children(tmp_path: Path) -> None:
    one = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; echo waiting; wait")
    began = time.monotonic()
    with pytest.raises(RevokerError, match=r"not done within 0\.3 s, killed: waiting"):
        one.revoke(0.3)
    assert time.monotonic() - began < 2.0
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 2.0
    while Path(f"/proc/{child}").exists() and b") Z" not in Path(f"/proc/{child}/stat").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("left_behind", ["sleep 60 &", "yes &"])
def test_what_it_leaves_running_neither_delays_it_nor_survives(tmp_path: Path, left_behind: str) -> None:
    one = program(tmp_path, f"{left_behind}\necho $! > {tmp_path}/child\nexit 0")
    began = time.monotonic()
    assert one.revoke(5.0).startswith("revoke: done")
    assert time.monotonic() - began < 2.0
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 2.0
    while Path(f"/proc/{child}").exists() and b") Z" not in Path(f"/proc/{child}/stat").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_flood_of_output_is_cut_and_made_printable(tmp_path: Path) -> None:
    one = program(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' 'x'; printf '\\033[31m\\n'; exit 1")
    with pytest.raises(RevokerError) as caught:
        one.revoke(5.0)
    assert len(str(caught.value)) < LINE_CHARACTERS + 60
    assert str(caught.value).isprintable()


def test_a_program_that_others_could_change_or_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    one = program(tmp_path, "exit 0")
    path = Path(one.path)
    for mode, wanted in ((0o722, "writable by its owner alone"), (0o600, "executable file")):
        path.chmod(mode)
        if os.getuid() == 0 and mode == 0o600:
            assert not os.access(path, os.X_OK)
        with pytest.raises(RevokerError, match=wanted):
            Executable(str(path), 7, 5.0, 0.0)
        with pytest.raises(RevokerError, match=wanted):
            one.arm(5.0)  # looked at again before trading begins
    with pytest.raises(RevokerError, match="No such file"):
        Executable(str(tmp_path / "none"), 7, 5.0, 0.0)
    with pytest.raises(RevokerError, match="absolute path"):
        Executable(os.path.relpath(tmp_path), 7, 5.0, 0.0)
