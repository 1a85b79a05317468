"""Segments: own files under ``/dev/shm``, one writer each, a new inode per generation.

The writer creates ``NAME.<generation>`` (0600, space reserved, so that a full tmpfs is an error at the start and never a
SIGBUS later), holds an exclusive ``flock`` for its whole life (released by the kernel on death: dead is not stalled), fills
the header, stores the magic last and then renames the symlink ``NAME`` to the new file. A restarted writer makes a new
file: a stopped one that wakes up scribbles on an orphan. Readers take the highest generation that is ready, not the link: a
writer that was stopped while it started, and superseded, may turn the link back for an instant, and may find that its file
was removed. Readers map read-only. A mapping lives as long as its Segment: keep that while a kernel has the address. All
pages are present from the start: a first touch inside a hot loop would cost microseconds.

Whoever attaches climbs a ladder, and each step that fails has an error of its own (``Step``)::

    name > size > magic > state > version > kind > schema > length > boot > header [> owner > heartbeat, where asked for]

``multiprocessing.shared_memory`` is not used: its tracker unlinks segments of other processes.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import mmap
import os
import pathlib
import struct
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fabric import layout

_MADV_POPULATE_READ, _MADV_POPULATE_WRITE = 22, 23  # Linux 5.14; Python has no names for them
_HEADER_BYTES = len(layout.HEADER) * layout.WORD


class Step(enum.Enum):
    """Where it failed: making a segment, or one step of the ladder, each with what to do about it."""

    CREATE = "make its directory, owned by this user"
    SPACE = "free space there or mount it larger"
    SUPERSEDED = "the newer one goes on, this process must end"
    NAME = "its writer has not started"
    SIZE = "its writer died while making it, or something else wrote it; restart its writer"
    MAGIC = "its writer has not finished it, or it is no segment; try again, then restart its writer"
    STATE = "its writer has not finished it; try again, then restart its writer"
    VERSION = "restart all of Pulex from one version"
    KIND = "the name leads to another segment; restart its writer"
    SCHEMA = "reader and writer have different layouts; restart all of Pulex from one version"
    LENGTH = "it was cut or grown; restart its writer"
    HEADER = "its header was overwritten; restart its writer"
    BOOT = "it was left by an earlier boot; start Pulex again"
    OWNER = "attach again when a new writer has started"
    HEARTBEAT = "its writer is alive but stopped or stuck: do not start another beside it"


class SegmentError(RuntimeError):
    """A segment cannot be created or may not be read; ``step`` says where it failed, the text has numbers and what to do."""

    def __init__(self, step: Step, text: str) -> None:
        super().__init__(f"{text}; {step.value}")
        self.step = step


class Removed(NamedTuple):
    """A file that a clean-up took away."""

    name: str
    reason: str


def process_start(pid: int) -> int:
    """Start time of a process in clock ticks (field 22 of /proc/PID/stat); 0 when there is none."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def boot_id() -> int:
    """63 bits of this boot's id, so that a file of an earlier boot is never taken for a live one."""
    try:
        text = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return 0
    return int(text.replace("-", "").strip()[:16], 16) >> 1


def _kind(name: str) -> int:
    return layout.SEGMENT.index(name.split("-")[0])


class Segment:
    """One mapped segment. ``address`` is for kernels, ``words`` (64-bit signed) for Python."""

    def __init__(self, path: pathlib.Path, fd: int, size: int, writable: bool) -> None:
        self.path, self.fd, self.size, self.writable = path, fd, size, writable
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self.address: int = self._bytes.ctypes.data
        self.words = memoryview(self._map)[: size // layout.WORD * layout.WORD].cast("q")

    def _populate(self) -> None:
        """Make every page present in this process now."""
        try:
            self._map.madvise(_MADV_POPULATE_WRITE if self.writable else _MADV_POPULATE_READ)
        except OSError:  # an older kernel
            for word in range(0, self.size // layout.WORD, layout.PAGE // layout.WORD):
                value = self.words[word]
                if self.writable:  # being created: nobody else writes here yet
                    self.words[word] = value

    @property
    def generation(self) -> int:
        return int(self.words[layout.H_GENERATION])

    @property
    def state(self) -> int:
        """SEGMENT_STATE_READY, DRAINING (the writer takes nothing new) or CLOSED (nothing more will ever be written)."""
        return int(self.words[layout.H_STATE])

    def enter(self, state: int) -> None:
        """The writer goes on to that state, after its last record; never back."""
        self.words[layout.H_STATE] = max(self.state, state)

    def word(self, offset: int) -> int:
        """The word at a byte offset; one aligned 8-byte load."""
        return int(self.words[offset // layout.WORD])

    def set_word(self, offset: int, value: int) -> None:
        """Store one word; only the segment's writer may."""
        self.words[offset // layout.WORD] = value

    def beat(self) -> None:
        """The writer is alive now."""
        self.words[layout.HEARTBEAT_OFFSET // layout.WORD] = time.monotonic_ns()

    def heartbeat_age_ns(self) -> int | None:
        """Age of the last beat, None when there never was one."""
        beat = self.word(layout.HEARTBEAT_OFFSET)
        return time.monotonic_ns() - beat if beat else None

    def owner_alive(self) -> bool:
        """The writer still holds its lock. Exact: the kernel drops it on death, and keeps it for a stopped process."""
        fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY)  # by inode: a newer generation has taken the name away
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(fd)

    def check_alive(self, within_ns: int) -> None:
        """Raises SegmentError: OWNER when the writer is dead, HEARTBEAT when it lives but did not beat ``within_ns``."""
        writer = f"{self.path}: its writer (pid {self.words[layout.H_OWNER_PID]})"
        if not self.owner_alive():
            raise SegmentError(Step.OWNER, f"{writer} is dead: nobody holds its lock")
        age = self.heartbeat_age_ns()
        if age is None:
            raise SegmentError(Step.HEARTBEAT, f"{writer} has never beaten")
        if not 0 <= age <= within_ns:
            raise SegmentError(Step.HEARTBEAT, f"{writer} beat {age} ns ago, not within {within_ns}")

    def unlink(self) -> None:
        """Remove the file; mappings stay valid."""
        self.path.unlink(missing_ok=True)

    @classmethod
    def create(
        cls,
        shm_dir: str | pathlib.Path,
        name: str,
        role: str,
        config_hash: int = 0,
        code_hash: int = 0,
        fill: Callable[[Segment], None] | None = None,
    ) -> Segment:
        """A new generation of ``name``, ready to be written; ``fill`` writes what must be there before any reader comes.

        Raises SegmentError.
        """
        directory = pathlib.Path(shm_dir)
        size = layout.SIZE_OF_KIND[_kind(name)]
        generation = newest_generation(directory, name) + 1
        path = directory / f"{name}.{generation}"
        segment = cls(path, _reserve(path, size), size, writable=True)
        segment._populate()
        words = segment.words
        pid = os.getpid()
        for index, value in (
            (layout.H_VERSION, layout.VERSION),
            (layout.H_KIND, _kind(name)),
            (layout.H_SCHEMA_HASH, layout.schema_hash()),
            (layout.H_TOTAL_BYTES, size),
            (layout.H_BODY_OFFSET, layout.BODY_OFFSET),
            (layout.H_GENERATION, generation),
            (layout.H_OWNER_PID, pid),
            (layout.H_OWNER_START, process_start(pid)),
            (layout.H_CREATED_NS, time.monotonic_ns()),
            (layout.H_BOOT_ID, boot_id()),
            (layout.H_CONFIG_HASH, config_hash),
            (layout.H_CODE_HASH, code_hash),
            (layout.H_ROLE, layout.ROLE.index(role)),
        ):
            words[index] = value
        words[layout.H_CHECKSUM] = layout.header_checksum(words)
        if fill is not None:
            fill(segment)
        segment._publish(directory / name)
        return segment

    def _publish(self, link: pathlib.Path) -> None:
        self.words[layout.H_STATE] = layout.SEGMENT_STATE_READY
        self.words[layout.H_MAGIC] = layout.MAGIC  # last: readers take any other value for "not ready"
        temporary, linked = link.with_name(f".{link.name}.{os.getpid()}"), 0
        while (newest := newest_ready(link.parent, link.name)) != linked:  # again, should one have come in between
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(f"{link.name}.{newest}")
            temporary.rename(link)
            linked = newest
        if newest > int(self.path.suffix[1:]):
            self.unlink()
            raise SegmentError(Step.SUPERSEDED, f"{self.path}: generation {newest} was made meanwhile")
        for old in generations(link.parent, link.name)[:-1]:
            _remove_if_dead(link.parent / f"{link.name}.{old}")

    @classmethod
    def attach(cls, shm_dir: str | pathlib.Path, name: str, alive_within_ns: int | None = None) -> Segment:
        """Map the newest generation read-only, also of a dead writer, unless ``alive_within_ns`` asks for a living one.

        Raises SegmentError with the step of the ladder that failed.
        """
        link = pathlib.Path(shm_dir) / name
        try:
            generation = newest_ready(link.parent, name)
            path = link.with_name(f"{name}.{generation}") if generation else link.resolve(strict=True)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SegmentError(Step.NAME, f"{link}: {error.strerror}") from None
        try:
            size = os.fstat(fd).st_size
            if size < layout.BODY_OFFSET:
                raise SegmentError(Step.SIZE, f"{path}: {size} bytes is less than a header ({layout.BODY_OFFSET})")
            segment = cls(path, fd, size, writable=False)
            segment._check(_kind(name))
            if alive_within_ns is not None:
                segment.check_alive(alive_within_ns)
        except SegmentError:
            os.close(fd)
            raise
        segment._populate()
        return segment

    def _check(self, kind: int) -> None:
        header = list(self.words[: len(layout.HEADER)])  # one copy: what was checked is what was read
        ready = layout.SEGMENT_STATE_READY
        unfinished = not ready <= header[layout.H_STATE] <= layout.SEGMENT_STATE_CLOSED
        for step, what, found, wanted in (
            (Step.MAGIC, "magic", header[layout.H_MAGIC], layout.MAGIC),
            (Step.STATE, "state", header[layout.H_STATE] if unfinished else ready, ready),
            (Step.VERSION, "major version", header[layout.H_VERSION] >> 16, layout.VERSION_MAJOR),
            (Step.KIND, "kind", header[layout.H_KIND], kind),
            (Step.SCHEMA, "schema hash", header[layout.H_SCHEMA_HASH], layout.schema_hash()),
            (Step.LENGTH, "length", header[layout.H_TOTAL_BYTES], layout.SIZE_OF_KIND[kind]),
            (Step.LENGTH, "file length", self.size, layout.SIZE_OF_KIND[kind]),
            (Step.BOOT, "boot", header[layout.H_BOOT_ID], boot_id()),
            (Step.HEADER, "checksum", header[layout.H_CHECKSUM], layout.header_checksum(header)),
        ):
            if found != wanted:
                raise SegmentError(step, f"{self.path}: {what} is {found}, not {wanted}")


def _reserve(path: pathlib.Path, size: int) -> int:
    """A new file with all its space and our lock. Raises SegmentError and leaves nothing behind."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SegmentError(Step.CREATE, f"cannot create {path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(fd, 0, size)
        if not os.fstat(fd).st_nlink:
            raise BlockingIOError(errno.EAGAIN, "a clean-up took it")
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):  # the name is the clean-up's to remove, or already another's
            raise SegmentError(Step.SUPERSEDED, f"{path} was cleaned up while it was being made") from None
        path.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise SegmentError(Step.SPACE, f"{path.parent} is full: {path.stem} needs {size >> 10} KiB") from None
        raise SegmentError(Step.CREATE, f"cannot reserve {size} bytes for {path}: {error.strerror}") from None
    return fd


def generations(directory: pathlib.Path, name: str) -> list[int]:
    """Generations of ``name`` on disk, ascending."""
    found = []
    for path in directory.glob(f"{name}.*"):
        suffix = path.name[len(name) + 1 :]
        if suffix.isdecimal():
            found.append(int(suffix))
    return sorted(found)


def newest_generation(directory: pathlib.Path, name: str) -> int:
    return max(generations(directory, name), default=0)


def _reason(fd: int) -> str:
    """Why a file whose lock nobody holds may go."""
    raw = os.pread(fd, _HEADER_BYTES, 0)
    if len(raw) < _HEADER_BYTES:
        return "its writer died while making it"
    header = struct.unpack(f"={len(layout.HEADER)}q", raw)
    if header[layout.H_MAGIC] != layout.MAGIC:
        return "its writer died before it was ready"
    if header[layout.H_BOOT_ID] != boot_id():
        return "it is of an earlier boot"
    role = header[layout.H_ROLE]
    writer = f"{layout.ROLE[role] if 0 <= role < len(layout.ROLE) else 'writer'}, pid {header[layout.H_OWNER_PID]},"
    closed = header[layout.H_STATE] == layout.SEGMENT_STATE_CLOSED
    return f"{writer} closed it and ended" if closed else f"{writer} is dead"


def newest_ready(directory: pathlib.Path, name: str) -> int:
    """The highest generation whose header is complete, 0 when there is none. Unlike the link, it never goes back."""
    for generation in reversed(generations(directory, name)):
        with contextlib.suppress(OSError), (directory / f"{name}.{generation}").open("rb") as file:
            if file.read(layout.WORD) == layout.MAGIC.to_bytes(layout.WORD, sys.byteorder):
                return generation
    return 0


def _remove_if_dead(path: pathlib.Path) -> str:
    """Remove a file whose writer is dead; returns why, or nothing when it stays."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return ""  # its writer lives, or is stopped: not ours to remove
    else:
        reason = _reason(fd)
        path.unlink(missing_ok=True)
        return reason
    finally:
        os.close(fd)


def remove_dead(shm_dir: str | pathlib.Path) -> list[Removed]:
    """Remove segments whose writer is dead, and their links; returns what was removed and why, for the start to say."""
    directory = pathlib.Path(shm_dir)
    removed = []
    for path in sorted(directory.glob("*.*")):
        kind = path.name.partition(".")[0].partition("-")[0]
        if kind in layout.SEGMENT and path.suffix[1:].isdecimal() and not path.is_symlink():
            if reason := _remove_if_dead(path):
                removed.append(Removed(path.name, reason))
    for link in directory.iterdir() if directory.is_dir() else ():
        if link.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)
    return removed
