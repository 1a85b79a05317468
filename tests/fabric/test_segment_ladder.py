"""The attach ladder: one error of its own for each step, and no damaged byte of a header is ever believed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import random
import time

import pytest

from fabric import layout
from fabric.segment import Segment, SegmentError, Step, boot_id

SECOND_NS = 1_000_000_000
HEADER_BYTES = len(layout.HEADER) * layout.WORD
HEADER_STEPS = {
    Step.MAGIC: (layout.H_MAGIC, "magic", layout.MAGIC ^ 1),
    Step.STATE: (layout.H_STATE, "state", layout.SEGMENT_STATE_BUILDING),
    Step.VERSION: (layout.H_VERSION, "major version", (layout.VERSION_MAJOR + 1) << 16),
    Step.KIND: (layout.H_KIND, "kind", layout.SEGMENT_JOURNAL),
    Step.SCHEMA: (layout.H_SCHEMA_HASH, "schema hash", layout.schema_hash() ^ 1),
    Step.LENGTH: (layout.H_TOTAL_BYTES, "length", layout.CONTROL_BYTES - 8),
    Step.BOOT: (layout.H_BOOT_ID, "boot", boot_id() ^ 1),
    Step.HEADER: (layout.H_CHECKSUM, "checksum", 0),
}
STEP_OF_WORD = {word: step for step, (word, _, _) in HEADER_STEPS.items()}


@pytest.fixture
def writer(tmp_path: pathlib.Path) -> Segment:
    return Segment.create(tmp_path, "control", "supervisor", config_hash=11, code_hash=22)


def refusal(directory: pathlib.Path, alive_within_ns: int | None = None) -> SegmentError:
    with pytest.raises(SegmentError) as caught:
        Segment.attach(directory, "control", alive_within_ns)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"; {caught.value.step.value}")
    return caught.value


def test_every_step_says_something_else_to_do() -> None:
    assert len({step.value for step in Step}) == len(Step)


@pytest.mark.parametrize("step", HEADER_STEPS, ids=lambda step: step.name)
def test_a_wrong_header_word_is_refused_with_its_name_and_both_numbers(
    tmp_path: pathlib.Path, writer: Segment, step: Step
) -> None:
    word, what, wrong = HEADER_STEPS[step]
    right, writer.words[word] = writer.words[word], wrong
    shift = 16 if step is Step.VERSION else 0
    error = refusal(tmp_path)
    assert error.step is step
    assert f": {what} is {wrong >> shift}, not {right >> shift}" in str(error)
    writer.words[word] = right
    Segment.attach(tmp_path, "control")


def expected_step(byte: int) -> Step:
    word, part = divmod(byte, layout.WORD)
    if word == layout.H_VERSION and part < 2:  # the minor version: a newer one is no error of its own
        return Step.HEADER
    return STEP_OF_WORD.get(word, Step.HEADER)


@pytest.mark.parametrize("pattern", [0x01, 0x10, 0x80, 0xFF], ids=hex)
def test_every_header_byte_that_is_flipped_is_found_and_by_the_right_step(
    tmp_path: pathlib.Path, writer: Segment, pattern: int
) -> None:
    raw = memoryview(writer.words).cast("B")
    for byte in range(HEADER_BYTES):
        raw[byte] ^= pattern
        assert refusal(tmp_path).step is expected_step(byte), f"byte {byte}"
        raw[byte] ^= pattern
    Segment.attach(tmp_path, "control")


def test_a_header_of_noise_is_refused(tmp_path: pathlib.Path, writer: Segment) -> None:
    raw, noise = memoryview(writer.words).cast("B"), random.Random(3)
    whole = bytes(raw[:HEADER_BYTES])
    for kept in range(0, HEADER_BYTES, layout.WORD):
        raw[:HEADER_BYTES] = whole[:kept] + noise.randbytes(HEADER_BYTES - kept)
        refusal(tmp_path)


def test_a_newer_minor_version_is_read(tmp_path: pathlib.Path, writer: Segment) -> None:
    writer.words[layout.H_VERSION] += 1
    writer.words[layout.H_CHECKSUM] = layout.header_checksum(writer.words)
    Segment.attach(tmp_path, "control")


def test_a_zeroed_file_is_not_ready(tmp_path: pathlib.Path) -> None:
    (tmp_path / "control.1").write_bytes(bytes(layout.CONTROL_BYTES))
    (tmp_path / "control").symlink_to("control.1")
    error = refusal(tmp_path)
    assert error.step is Step.MAGIC
    assert f"magic is 0, not {layout.MAGIC}" in str(error)


@pytest.mark.parametrize("size", [0, 1, layout.BODY_OFFSET - 1])
def test_a_file_shorter_than_a_header_is_refused_with_its_size(tmp_path: pathlib.Path, writer: Segment, size: int) -> None:
    os.truncate(writer.path, size)
    error = refusal(tmp_path)
    assert error.step is Step.SIZE
    assert f"{size} bytes is less than a header ({layout.BODY_OFFSET})" in str(error)


@pytest.mark.parametrize("size", [layout.BODY_OFFSET, layout.CONTROL_BYTES - 3, layout.CONTROL_BYTES + 8, 1 << 40])
def test_a_file_cut_short_or_grown_is_refused_with_both_lengths(tmp_path: pathlib.Path, writer: Segment, size: int) -> None:
    os.truncate(writer.path, size)
    error = refusal(tmp_path)
    assert error.step is Step.LENGTH
    assert f"file length is {size}, not {layout.CONTROL_BYTES}" in str(error)


def test_a_segment_that_is_not_there_has_no_writer_yet(tmp_path: pathlib.Path) -> None:
    assert refusal(tmp_path).step is Step.NAME
    (tmp_path / "control").symlink_to("control.7")
    assert refusal(tmp_path).step is Step.NAME


def test_a_refused_attach_keeps_no_descriptor(tmp_path: pathlib.Path, writer: Segment) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for word in (layout.H_MAGIC, layout.H_CHECKSUM):
        writer.words[word] = 0
        for _ in range(3):
            with contextlib.suppress(SegmentError):
                Segment.attach(tmp_path, "control")
    assert len(os.listdir("/proc/self/fd")) <= before


# --- Owner and heartbeat: dead is not stalled ------------------------------------------------------------------------------
def test_a_living_writer_that_beats_is_taken(tmp_path: pathlib.Path, writer: Segment) -> None:
    writer.beat()
    Segment.attach(tmp_path, "control", alive_within_ns=60 * SECOND_NS)


def test_a_dead_writer_is_dead_however_fresh_its_beat(tmp_path: pathlib.Path, writer: Segment) -> None:
    writer.beat()
    fcntl.flock(writer.fd, fcntl.LOCK_UN)
    error = refusal(tmp_path, alive_within_ns=60 * SECOND_NS)
    assert error.step is Step.OWNER
    assert f"pid {os.getpid()}) is dead" in str(error)
    Segment.attach(tmp_path, "control")  # who did not ask for a living one reads what it left


@pytest.mark.parametrize(
    ("beat_ns_ago", "text"), [(None, "has never beaten"), (5 * SECOND_NS, "ns ago, not within"), (-SECOND_NS, "ns ago, not")]
)
def test_a_living_writer_that_does_not_beat_is_stalled_and_not_dead(
    tmp_path: pathlib.Path, writer: Segment, beat_ns_ago: int | None, text: str
) -> None:
    if beat_ns_ago is not None:
        writer.set_word(layout.HEARTBEAT_OFFSET, time.monotonic_ns() - beat_ns_ago)
    error = refusal(tmp_path, alive_within_ns=SECOND_NS // 2)
    assert error.step is Step.HEARTBEAT
    assert text in str(error)
