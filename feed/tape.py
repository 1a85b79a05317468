"""A tape of raw frames: lines ``<local receive time, ns since epoch> <frame>``, compressed in blocks, in files that rotate.

Written by one recorder, read by anybody, also while it is written. A block is a whole gzip member or zstandard frame and
is handed to the kernel in one ``write``, so a recorder that is killed loses at most the block that it was still filling,
and the file reads to its last whole block (a power cut may tear that one; the reader says so). A line break inside a frame
becomes a blank: in JSON it can only stand between tokens. What the recorder itself has to say (connected, disconnected) is
a line whose frame is an object with the one key ``pulex``: a gap in a tape is visible in the tape.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import time
import zlib
from collections.abc import Iterator
from typing import IO

import zstandard

SUFFIXES = {"gz": ".gz", "zstd": ".zst"}
BLOCK_BYTES = 1 << 18
BLOCK_S = 1.0
ROTATE_BYTES = 1 << 28  # compressed
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
GZIP_LEVEL, ZSTD_LEVEL = 4, 3
Line = tuple[int, bytes]


class TapeError(ValueError):
    """The tape cannot be read, or written, from here on; one line."""


class Tape:
    """Writes into ``folder``: ``name-20261123T061500-0001.gz`` and so on. ``close`` it; TapeError when the disk refuses."""

    def __init__(self, folder: pathlib.Path, name: str, form: str = "gz", rotate_bytes: int = ROTATE_BYTES) -> None:
        if form not in SUFFIXES:
            raise ValueError(f"form {form!r} is none of {', '.join(SUFFIXES)}")
        self.folder, self.name, self.form, self.rotate_bytes = folder, name, form, rotate_bytes
        self.frames = self.bytes_written = self.files = 0
        self.file: pathlib.Path | None = None
        self._block: list[bytes] = []
        self._size, self._began_s = 0, 0.0
        self._fd = -1

    def append(self, local_ns: int, frame: bytes) -> None:
        """One frame; a block that is full or old enough is written."""
        self.frames += 1
        self._line(local_ns, frame.replace(b"\r", b" ").replace(b"\n", b" "))

    def note(self, local_ns: int, **said: object) -> None:
        """A line of the recorder's own."""
        self._line(local_ns, json.dumps({"pulex": said}).encode())

    def _line(self, local_ns: int, text: bytes) -> None:
        if not self._block:
            self._began_s = time.monotonic()
        line = b"%d %s\n" % (local_ns, text)
        self._block.append(line)
        self._size += len(line)
        if self._size >= BLOCK_BYTES:
            self.flush()
        self.flush_old()

    def flush_old(self) -> None:
        """Write a block that was begun a while ago; to be called now and then while nothing comes."""
        if self._block and time.monotonic() - self._began_s >= BLOCK_S:
            self.flush()

    def flush(self) -> None:
        """Write the block that is being filled."""
        if not self._block:
            return
        data = b"".join(self._block)
        self._block, self._size = [], 0
        packed = gzip.compress(data, GZIP_LEVEL) if self.form == "gz" else zstandard.ZstdCompressor(ZSTD_LEVEL).compress(data)
        try:
            if self._fd < 0 or os.fstat(self._fd).st_size >= self.rotate_bytes:
                self._next_file()
            while packed:
                written = os.write(self._fd, packed)
                self.bytes_written += written
                packed = packed[written:]
        except OSError as error:  # not an OSError any more: a recorder takes those for a lost venue, and goes on
            raise TapeError(f"{self.file or self.folder}: {error.strerror}; {len(data)} bytes are lost: make room") from None

    def _next_file(self) -> None:
        self._sync()
        self.files += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.file = self.folder / f"{self.name}-{stamp}-{self.files:04d}{SUFFIXES[self.form]}"
        self._fd = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def _sync(self) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Write what is left and make it durable."""
        self.flush()
        self._sync()


def read(path: str | os.PathLike[str]) -> Iterator[Line]:
    """(local ns, frame) of each line, the recorder's own lines included. Raises OSError, and TapeError where it is torn."""
    with open(path, "rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        number = 0
        try:
            for number, line in enumerate(_plain(raw, magic), 1):
                stamp, blank, frame = line.rstrip(b"\n").partition(b" ")
                if not blank or not stamp.isdigit():
                    raise TapeError(f"{os.fspath(path)}: line {number} does not begin with a time")
                yield int(stamp), frame
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise TapeError(f"{os.fspath(path)}: torn after line {number}: {error}") from None


def _plain(raw: IO[bytes], magic: bytes) -> Iterator[bytes]:
    """Lines of the file, unpacked."""
    if magic[:2] == GZIP_MAGIC:
        yield from gzip.GzipFile(fileobj=raw)
    elif magic == ZSTD_MAGIC:
        rest = b""
        for chunk in _unpacked(raw):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
        if rest:
            yield rest
    else:
        yield from raw


def _unpacked(raw: IO[bytes]) -> Iterator[bytes]:
    """The frames of a zstandard file one after the other; EOFError when the last one is not whole."""
    data, frame = raw.read(1 << 16), None
    while data:
        frame = frame or zstandard.ZstdDecompressor().decompressobj()
        yield frame.decompress(data)
        data = b""
        if frame.eof:
            data, frame = frame.unused_data, None
        data = data or raw.read(1 << 16)
    if frame is not None:
        raise EOFError("the last block is not whole")


def is_note(frame: bytes) -> bool:
    """Whether the line is the recorder's own and not the venue's."""
    return frame.startswith(b'{"pulex":')
