"""The publication of a segment as a scenario: the text of ``Segment.create``, ``_publish``, ``attach`` and ``_check``.

Files and paths are stand-ins: a generation's file is a range of words that are zero until stored, the symlink is one more
word (the generation it names, 0 for none). ``rename`` is a release store of it and ``resolve`` an acquire load: the
kernel's directory locks order what was stored before a rename for whoever finds the new name. Stores through a
``memoryview`` are relaxed. ``by_name`` attaches to a generation's file directly, past the symlink: then the magic alone
guards it, which holds where stores stay in order (SC, TSO) and not in the weak model.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from fabric import layout, segment
from model.explorer import Scenario, Word
from model.programs import demand
from model.source import Constant, Edit, Program, as_program, load, store

LINK, FILES, FILE_BYTES, KIND = 8, 4096, 2048, "control"
BODY, BODY_WORDS = 16, 2  # what ``fill`` writes, after the header
BOOT = 77
SIZE = layout.SIZE_OF_KIND[layout.SEGMENT_CONTROL]


class Words:
    """The mapped words of one generation."""

    def __init__(self, generation: int) -> None:
        self.base = FILES + generation * FILE_BYTES

    def at(self, index: int) -> int:
        return self.base + index * 8


class Path:
    """A name in the segment's folder. ``known``: the newest generation there; a file found without the symlink."""

    def __init__(self, name: str = "", known: int = 0) -> None:
        self.name, self.known, self.target = name, known, ""

    def __truediv__(self, name: str) -> Path:
        return Path(name, self.known)

    @property
    def parent(self) -> Path:
        return Path()

    def with_name(self, name: str) -> Path:
        return Path(name)

    def symlink_to(self, target: str) -> None:
        self.target = target

    def rename(self, link: Path) -> Program:
        yield store(LINK, int(self.target.rpartition(".")[2]), "release")

    def resolve(self, strict: bool) -> Program:
        generation = self.known or (yield load(LINK, "acquire"))
        if not generation:
            raise FileNotFoundError(2, "not there yet")
        return Path(f"{KIND}.{generation}")

    def unlink(self, missing_ok: bool) -> None:
        pass


class Mapped:
    """A segment as its own methods see it."""

    def __init__(self, kernels: Segments, path: Path) -> None:
        self.kernels, self.path, self.size = kernels, path, SIZE
        self.generation = int(path.name.rpartition(".")[2])
        self.words = Words(self.generation)

    def _publish(self, link: Path) -> Program:
        return self.kernels.publish(self, link)

    def _check(self, kind: int) -> Program:
        return self.kernels.check(self, kind)


def _nothing(*_: Any, **__: Any) -> int:
    return 0


class Segments(Constant):
    """The methods as programs, with a mutant's edits; called as the class is, it maps a file."""

    def __init__(self, edits: Sequence[tuple[str, Edit]] = ()) -> None:
        quiet = types.SimpleNamespace(
            open=_nothing, close=_nothing, posix_fallocate=_nothing, getpid=_nothing, flock=_nothing, monotonic_ns=_nothing,
            O_RDWR=0, O_CREAT=0, O_EXCL=0, O_CLOEXEC=0, O_RDONLY=0, LOCK_EX=0, LOCK_NB=0,
            fstat=lambda _: types.SimpleNamespace(st_size=SIZE), Path=lambda known: Path("", known),
        )  # fmt: skip
        names: dict[str, Any] = dict.fromkeys(("os", "fcntl", "time", "pathlib"), quiet)
        names |= {"process_start": lambda _: 1, "boot_id": lambda: BOOT, "generations": lambda *_: []}
        names |= {"newest_generation": lambda directory, _: directory.known}
        delegated = ("fill", "segment._publish", "segment._check", "temporary.rename", "link.resolve")
        self.create, self.attach, self.publish, self.check = (
            as_program(getattr(segment.Segment, name), names, [edit for method, edit in edits if method == name], delegated)
            for name in ("create", "attach", "_publish", "_check")
        )

    def __call__(self, path: Path, fd: int, size: int, writable: bool) -> Mapped:
        return Mapped(self, path)


def body(generation: int) -> list[int]:
    return [generation * 10 + word for word in range(BODY_WORDS)]


def fill(mapped: Mapped) -> Program:
    for word, value in enumerate(body(mapped.generation)):
        yield store(mapped.words.at(BODY + word), value)


def starter(k: Segments, generations: int) -> Program:
    """A writer that is started, and started again."""
    for generation in range(1, generations + 1):
        yield from k.create(k, generation - 1, KIND, "supervisor", fill=fill)


def attacher(k: Segments, known: int, attaches: int) -> Program:
    """Attaches as often as it takes: refused, or everything of that generation is there."""
    done = 0
    while done < attaches:
        try:
            mapped = yield from k.attach(k, known, KIND)
        except segment.SegmentError:
            yield "refused"
            continue
        header = yield load(mapped.words.at(layout.H_GENERATION))
        demand(header == mapped.generation, f"generation {mapped.generation} was attached with {header} in its header")
        for word, value in enumerate(body(mapped.generation)):
            found = yield load(mapped.words.at(BODY + word))
            demand(found == value, f"generation {mapped.generation} was attached with {found} for {value} in its body")
        yield f"generation {mapped.generation}"
        done += 1


def publication(k: Segments, generations: int = 2, by_name: bool = False, attaches: int = 2) -> Scenario:
    words = {LINK: Word("symlink", 0, "writer")}
    for generation in range(1, generations + 1):
        at = Words(generation).at
        words |= {at(index): Word(f"{generation}.{name}", 0, "writer") for index, name in enumerate(layout.HEADER)}
        words |= {at(BODY + word): Word(f"{generation}.body{word}", 0, "writer") for word in range(BODY_WORDS)}
    threads: dict[str, Callable[[], Program]] = {
        "writer": lambda: starter(k, generations),
        "reader": lambda: attacher(k, 1 if by_name else 0, attaches),
    }
    goals = {"refused", *(f"generation {number}" for number in ([1] if by_name else range(1, generations + 1)))}
    name = f"segment, {generations} generations" + (", its file found past the symlink" if by_name else "")
    return Scenario(name, words, threads, frozenset(goals), frozenset({"writer"}))
