"""Segments: own files under ``/dev/shm``, one writer each, a new inode per generation.

The writer creates ``NAME.<generation>`` (0600, space reserved, so that a full tmpfs is an error at the start and never a
SIGBUS later), holds an exclusive ``flock`` for its whole life (released by the kernel on death: dead is not stalled), fills
the header, stores the magic last and then renames the symlink ``NAME`` to the new file. A restarted writer makes a new
file: a stopped one that wakes up scribbles on an orphan. Readers take the highest generation that is ready, not the link: a
writer that was stopped while it started, and superseded, may turn the link back for an instant, and may find that its file
was removed. Readers map read-only. Mappings live as long as the process.

``multiprocessing.shared_memory`` is not used: its tracker unlinks segments of other processes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

from fabric import layout


class SegmentError(RuntimeError):
    """A segment cannot be created or may not be read; the text says which step failed, both numbers and what to do."""


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
        self.path, self.fd, self.size = path, fd, size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self.address: int = self._bytes.ctypes.data
        self.words = memoryview(self._map)[: size // layout.WORD * layout.WORD].cast("q")

    @property
    def generation(self) -> int:
        return int(self.words[layout.H_GENERATION])

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
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SegmentError(f"cannot create {path}: {error.strerror}; check that {directory} exists and is yours") from None
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            os.close(fd)
            path.unlink(missing_ok=True)
            if error.errno == errno.ENOSPC:
                raise SegmentError(
                    f"{directory} is full: {name} needs {size >> 10} KiB; free space there or mount it larger"
                ) from None
            raise SegmentError(f"cannot reserve {size} bytes for {path}: {error.strerror}") from None
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment = cls(path, fd, size, writable=True)
        words = segment.words
        pid = os.getpid()
        for index, value in (
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
        if fill is not None:
            fill(segment)
        segment._publish(directory / name)
        return segment

    def _publish(self, link: pathlib.Path) -> None:
        self.words[layout.H_STATE] = layout.SEGMENT_STATE_READY
        self.words[layout.H_VERSION] = layout.VERSION
        self.words[layout.H_MAGIC] = layout.MAGIC  # last: readers take any other value for "not ready"
        temporary, linked = link.with_name(f".{link.name}.{os.getpid()}"), 0
        while (newest := newest_ready(link.parent, link.name)) != linked:  # again, should one have come in between
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(f"{link.name}.{newest}")
            temporary.rename(link)
            linked = newest
        if newest > int(self.path.suffix[1:]):
            self.unlink()
            raise SegmentError(f"{self.path}: a newer generation was made meanwhile: its writer goes on, this one must end")
        for old in generations(link.parent, link.name)[:-1]:
            _remove_if_dead(link.parent / f"{link.name}.{old}")

    @classmethod
    def attach(cls, shm_dir: str | pathlib.Path, name: str) -> Segment:
        """Map the newest generation read-only. Raises SegmentError, with one text for each step that can fail."""
        link = pathlib.Path(shm_dir) / name
        try:
            generation = newest_ready(link.parent, name)
            path = link.with_name(f"{name}.{generation}") if generation else link.resolve(strict=True)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SegmentError(f"{link}: {error.strerror}; its writer has not started") from None
        try:
            size = os.fstat(fd).st_size
            if size < layout.BODY_OFFSET:
                raise SegmentError(f"{path}: {size} bytes is less than a header ({layout.BODY_OFFSET})")
            segment = cls(path, fd, size, writable=False)
            segment._check(_kind(name))
        except SegmentError:
            os.close(fd)
            raise
        return segment

    def _check(self, kind: int) -> None:
        words = self.words
        for what, found, wanted in (
            ("magic", words[layout.H_MAGIC], layout.MAGIC),
            ("state", words[layout.H_STATE], layout.SEGMENT_STATE_READY),
            ("major version", words[layout.H_VERSION] >> 16, layout.VERSION_MAJOR),
            ("kind", words[layout.H_KIND], kind),
            ("schema hash", words[layout.H_SCHEMA_HASH], layout.schema_hash()),
            ("length", words[layout.H_TOTAL_BYTES], layout.SIZE_OF_KIND[kind]),
            ("file length", self.size, layout.SIZE_OF_KIND[kind]),
            ("boot", words[layout.H_BOOT_ID], boot_id()),
        ):
            if found != wanted:
                raise SegmentError(f"{self.path}: {what} is {found}, not {wanted}; restart all of Pulex from one version")


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


def newest_ready(directory: pathlib.Path, name: str) -> int:
    """The highest generation whose header is complete, 0 when there is none. Unlike the link, it never goes back."""
    for generation in reversed(generations(directory, name)):
        with contextlib.suppress(OSError), (directory / f"{name}.{generation}").open("rb") as file:
            if file.read(layout.WORD) == layout.MAGIC.to_bytes(layout.WORD, sys.byteorder):
                return generation
    return 0


def _remove_if_dead(path: pathlib.Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its writer lives, or is stopped: not ours to remove
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(fd)


def remove_dead(shm_dir: str | pathlib.Path) -> list[str]:
    """Remove segments whose writer is dead; returns their names, so that the start can say what it removed."""
    directory = pathlib.Path(shm_dir)
    removed = []
    for path in sorted(directory.glob("*.*")):
        if not path.is_symlink() and path.suffix[1:].isdecimal() and _remove_if_dead(path):
            removed.append(path.name)
    for link in directory.iterdir() if directory.is_dir() else ():
        if link.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)
    return removed
