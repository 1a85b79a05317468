"""Segments: who may attach, what survives a restart, what is removed, and a full tmpfs as an error in one line."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fabric import layout, segment
from fabric.segment import Segment, SegmentError, Step, boot_id, generations, process_start, remove_dead

ROOT = pathlib.Path(layout.__file__).resolve().parent.parent


def control(directory: pathlib.Path) -> Segment:
    return Segment.create(directory, "control", "supervisor", config_hash=11, code_hash=22)


def die(writer: Segment) -> None:
    """What the kernel does with the lock of a dead writer."""
    fcntl.flock(writer.fd, fcntl.LOCK_UN)


def test_a_reader_sees_what_the_writer_stores(tmp_path: pathlib.Path) -> None:
    writer = control(tmp_path)
    reader = Segment.attach(tmp_path, "control")
    assert reader.size == layout.CONTROL_BYTES
    writer.set_word(layout.CONTROL_OFFSET, 42)
    assert reader.word(layout.CONTROL_OFFSET) == 42


def test_a_segment_describes_itself(tmp_path: pathlib.Path) -> None:
    words = control(tmp_path).words
    assert words[layout.H_OWNER_PID] == os.getpid()
    assert words[layout.H_OWNER_START] == process_start(os.getpid()) > 0
    assert words[layout.H_ROLE] == layout.ROLE_SUPERVISOR
    assert (words[layout.H_CONFIG_HASH], words[layout.H_CODE_HASH]) == (11, 22)
    assert words[layout.H_BOOT_ID] == boot_id() > 0
    assert words[layout.H_CREATED_NS] > 0


def test_a_reader_cannot_write(tmp_path: pathlib.Path) -> None:
    control(tmp_path)
    reader = Segment.attach(tmp_path, "control")
    with pytest.raises(TypeError):
        reader.set_word(layout.CONTROL_OFFSET, 1)
    assert not reader._bytes.flags.writeable


def test_a_segment_is_for_its_user_alone_whatever_the_umask(tmp_path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        writer = control(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(writer.path.stat().st_mode) == 0o600


def test_space_is_reserved_when_the_segment_is_made(tmp_path: pathlib.Path) -> None:
    writer = control(tmp_path)
    assert writer.path.stat().st_blocks * 512 >= layout.CONTROL_BYTES


def test_a_heartbeat_that_never_was_has_no_age(tmp_path: pathlib.Path) -> None:
    writer = control(tmp_path)
    reader = Segment.attach(tmp_path, "control")
    assert reader.heartbeat_age_ns() is None
    writer.beat()
    age = reader.heartbeat_age_ns()
    assert age is not None
    assert 0 <= age < 10_000_000_000


# --- Generations -------------------------------------------------------------------------------------------------------
def test_a_restart_makes_a_new_inode_and_moves_the_link(tmp_path: pathlib.Path) -> None:
    first = control(tmp_path)
    old_reader = Segment.attach(tmp_path, "control")
    second = control(tmp_path)
    assert (first.generation, second.generation) == (1, 2)
    assert os.fstat(first.fd).st_ino != os.fstat(second.fd).st_ino
    assert (tmp_path / "control").resolve() == second.path
    first.set_word(layout.CONTROL_OFFSET, 99)  # a stopped writer wakes up
    assert Segment.attach(tmp_path, "control").word(layout.CONTROL_OFFSET) == 0
    assert old_reader.word(layout.CONTROL_OFFSET) == 99


def test_readers_stay_with_the_older_generation_until_the_new_one_is_ready(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "_publish", lambda *_: None)
        unready = control(tmp_path)
    assert unready.words[layout.H_MAGIC] == 0
    assert Segment.attach(tmp_path, "control").generation == 1


def test_the_magic_is_stored_after_everything_else(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[int] = []

    class Words(list[int]):
        def __setitem__(self, index: int, value: int) -> None:  # type: ignore[override]
            stores.append(index)

    class Recorded(Segment):
        def __init__(self, path: pathlib.Path, fd: int, size: int, writable: bool) -> None:
            super().__init__(path, fd, size, writable)
            self.words = Words(len(layout.HEADER) * [0])  # type: ignore[assignment]

    Recorded.create(tmp_path, "control", "supervisor")
    assert stores[-1] == layout.H_MAGIC
    assert layout.H_MAGIC not in stores[:-1]
    assert {layout.H_VERSION, layout.H_STATE, layout.H_SCHEMA_HASH, layout.H_TOTAL_BYTES, layout.H_CHECKSUM} < set(stores)


def test_a_live_writers_older_generation_stays(tmp_path: pathlib.Path) -> None:
    first = control(tmp_path)
    second = control(tmp_path)
    assert generations(tmp_path, "control") == [1, 2]
    assert first.owner_alive()
    assert second.owner_alive()


def test_a_dead_writers_older_generation_is_removed_by_its_successor(tmp_path: pathlib.Path) -> None:
    die(control(tmp_path))
    control(tmp_path)
    assert generations(tmp_path, "control") == [2]


def test_a_reader_learns_of_the_writers_death_even_when_the_file_is_gone(tmp_path: pathlib.Path) -> None:
    writer = control(tmp_path)
    reader = Segment.attach(tmp_path, "control")
    assert reader.owner_alive()
    die(writer)
    control(tmp_path)
    assert not writer.path.exists()
    assert not reader.owner_alive()


def test_asking_the_writer_itself_keeps_its_lock(tmp_path: pathlib.Path) -> None:
    writer = control(tmp_path)
    assert writer.owner_alive()
    assert Segment.attach(tmp_path, "control").owner_alive()


@pytest.mark.parametrize("locked", [True, False], ids=["its file is there", "its file was removed"])
def test_a_writer_superseded_while_it_started_is_told_and_turns_no_name_back(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "_publish", lambda *_: None)
        stopped = control(tmp_path)  # here: before it gave its file the name
    if not locked:
        die(stopped)  # as if it had been stopped before it took the lock
    newest = control(tmp_path)
    with pytest.raises(SegmentError, match="generation 2 was made meanwhile"):
        stopped._publish(tmp_path / "control")
    assert (tmp_path / "control").resolve() == newest.path
    assert generations(tmp_path, "control") == [2]
    assert Segment.attach(tmp_path, "control").generation == 2


def test_a_reader_takes_the_newest_generation_whatever_the_link_says(tmp_path: pathlib.Path) -> None:
    first, second = control(tmp_path), control(tmp_path)
    link = tmp_path / "control"
    for target in (first.path.name, "control.7"):  # turned back by a writer that was stopped before its rename; dangling
        link.unlink()
        link.symlink_to(target)
        assert Segment.attach(tmp_path, "control").words[layout.H_CREATED_NS] == second.words[layout.H_CREATED_NS]


def test_names_with_a_common_beginning_have_their_own_generations(tmp_path: pathlib.Path) -> None:
    Segment.create(tmp_path, "stats-feed", "feed")
    Segment.create(tmp_path, "stats-execution", "execution")
    assert generations(tmp_path, "stats-feed") == generations(tmp_path, "stats-execution") == [1]


def test_remove_dead_takes_dead_writers_files_and_their_links_and_nothing_else(tmp_path: pathlib.Path) -> None:
    alive = control(tmp_path)
    die(Segment.create(tmp_path, "journal", "journal"))
    for name in ("notes.txt", "notes.7"):
        (tmp_path / name).write_text("not a segment")
    assert remove_dead(tmp_path) == [("journal.1", f"journal, pid {os.getpid()}, is dead")]
    assert {path.name for path in tmp_path.iterdir()} == {"control", alive.path.name, "notes.txt", "notes.7"}
    assert remove_dead(tmp_path / "absent") == []


def test_every_removal_says_why(tmp_path: pathlib.Path) -> None:
    ended = control(tmp_path)
    ended.enter(layout.SEGMENT_STATE_CLOSED)
    earlier = Segment.create(tmp_path, "journal", "journal")
    earlier.words[layout.H_BOOT_ID] ^= 1
    unready = Segment.create(tmp_path, "signal", "signal")
    unready.words[layout.H_MAGIC] = 0
    strange = Segment.create(tmp_path, "stats-feed", "feed")
    strange.words[layout.H_ROLE] = -77
    for writer in (ended, earlier, unready, strange):
        die(writer)
    (tmp_path / "market.3").write_bytes(b"short")
    assert dict(remove_dead(tmp_path)) == {
        "control.1": f"supervisor, pid {os.getpid()}, closed it and ended",
        "journal.1": "it is of an earlier boot",
        "signal.1": "its writer died before it was ready",
        "stats-feed.1": f"writer, pid {os.getpid()}, is dead",
        "market.3": "its writer died while making it",
    }
    assert list(tmp_path.iterdir()) == []


def test_a_state_goes_forward_only_and_a_closed_segment_can_still_be_read(tmp_path: pathlib.Path) -> None:
    writer = control(tmp_path)
    reader = Segment.attach(tmp_path, "control")
    seen = [reader.state]
    for state in (layout.SEGMENT_STATE_DRAINING, layout.SEGMENT_STATE_CLOSED, layout.SEGMENT_STATE_READY):
        writer.enter(state)
        seen.append(reader.state)
    assert [layout.SEGMENT_STATE[state] for state in seen] == ["ready", "draining", "closed", "closed"]
    assert Segment.attach(tmp_path, "control").state == layout.SEGMENT_STATE_CLOSED


WRITER = """
import sys, time
from fabric.segment import Segment
writer = Segment.create(sys.argv[1], "control", "supervisor")
writer.beat()
print(writer.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_process(tmp_path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(tmp_path / "control.1")
        yield process
        process.kill()


def test_a_stopped_writer_is_alive_and_a_killed_one_dead(tmp_path: pathlib.Path, other_process: subprocess.Popen[str]) -> None:
    reader = Segment.attach(tmp_path, "control")
    assert reader.words[layout.H_OWNER_PID] == other_process.pid
    assert reader.words[layout.H_OWNER_START] == process_start(other_process.pid)
    reader.check_alive(60_000_000_000)
    os.kill(other_process.pid, signal.SIGSTOP)
    assert reader.owner_alive()
    with pytest.raises(SegmentError) as stalled:
        reader.check_alive(0)
    assert stalled.value.step is Step.HEARTBEAT
    assert remove_dead(tmp_path) == []
    other_process.kill()
    other_process.wait()
    assert not reader.owner_alive()
    with pytest.raises(SegmentError) as dead:
        reader.check_alive(60_000_000_000)
    assert dead.value.step is Step.OWNER
    assert process_start(other_process.pid) == 0
    assert remove_dead(tmp_path) == [("control.1", f"supervisor, pid {other_process.pid}, is dead")]
    assert not os.path.lexists(tmp_path / "control")


# --- Refusals at the start -----------------------------------------------------------------------------------------------
def creation_error(directory: pathlib.Path) -> str:
    with pytest.raises(SegmentError) as caught:
        control(directory)
    assert "\n" not in str(caught.value)
    assert caught.value.step is (Step.SPACE if "is full" in str(caught.value) else Step.CREATE)
    return str(caught.value)


@pytest.mark.parametrize(("code", "text"), [(errno.ENOSPC, "is full: control needs 8 KiB"), (errno.EIO, "cannot reserve 8192")])
def test_no_space_is_one_line_and_leaves_no_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    open_files = len(os.listdir("/proc/self/fd"))
    assert text in creation_error(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= open_files


def test_a_directory_that_is_not_there_is_one_line(tmp_path: pathlib.Path) -> None:
    assert "make its directory" in creation_error(tmp_path / "absent")


def test_a_clean_up_that_comes_between_leaves_no_writer_on_a_file_without_a_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, *_: (tmp_path / "control.1").unlink())
    with pytest.raises(SegmentError, match="cleaned up while it was being made") as caught:
        control(tmp_path)
    assert caught.value.step is Step.SUPERSEDED


def test_two_writers_of_one_generation_do_not_share_a_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winner = control(tmp_path)
    monkeypatch.setattr(segment, "newest_generation", lambda *_: 0)  # as the loser of the race saw it
    assert "File exists" in creation_error(tmp_path)
    assert Segment.attach(tmp_path, "control").words[layout.H_CREATED_NS] == winner.words[layout.H_CREATED_NS]


FULL = """
import pathlib, sys
from fabric.segment import Segment, SegmentError
try:
    Segment.create(sys.argv[1], "market", "feed")
except SegmentError as error:
    print(error)
print(len(list(pathlib.Path(sys.argv[1]).iterdir())))
"""


def test_a_tmpfs_that_is_really_too_small_is_one_line(tmp_path: pathlib.Path) -> None:
    """In a mount namespace of its own; needs root."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare to mount a tmpfs of 64 KiB")
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this host does not let root mount a tmpfs in a mount namespace")
    shell = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", shell, sys.executable, FULL], cwd=ROOT, capture_output=True, text=True, check=True
    )
    error, left = result.stdout.splitlines()
    assert error == f"{tmp_path} is full: market needs {layout.MARKET_BYTES >> 10} KiB; free space there or mount it larger"
    assert left == "0"
