"""A tape reads back as it was written, also after a kill or a torn block, and says where it ends."""

from __future__ import annotations

import gzip
import pathlib
import time

import pytest

from feed import tape as tapes
from feed.tape import Tape, TapeError, is_note, read

FORMS = pytest.mark.parametrize("form", ["gz", "zstd"])


def written(folder: pathlib.Path, form: str, count: int = 1000, **options: int) -> Tape:
    tape = Tape(folder, "t", form, **options)
    for n in range(count):
        tape.append(10**18 + n, b'{"n":%d,"text":"\xc3\xa9"}' % n)
        if n % 100 == 99:
            tape.flush()
    return tape


@FORMS
def test_frames_read_back_in_order_with_their_times(tmp_path: pathlib.Path, form: str) -> None:
    tape = written(tmp_path, form)
    tape.close()
    assert tape.file
    assert list(read(tape.file)) == [(10**18 + n, b'{"n":%d,"text":"\xc3\xa9"}' % n) for n in range(1000)]
    assert (tape.frames, tape.files, tape.bytes_written) == (1000, 1, tape.file.stat().st_size)


@FORMS
def test_tape_is_whole_at_every_moment_but_for_the_block_that_is_being_filled(tmp_path: pathlib.Path, form: str) -> None:
    tape = written(tmp_path, form, 1050)
    assert tape.file
    assert len(list(read(tape.file))) == 1000
    tape.flush()
    assert len(list(read(tape.file))) == 1050


@FORMS
def test_torn_block_ends_the_tape_with_a_line_and_loses_no_block_before_it(tmp_path: pathlib.Path, form: str) -> None:
    tape = written(tmp_path, form)
    assert tape.file
    whole = tape.file.stat().st_size
    for _ in range(50):
        tape.append(1, b"{}" * 50)
    tape.close()
    raw = tape.file.read_bytes()
    for cut in {whole + 1, whole + 7, (whole + len(raw)) // 2, len(raw) - 1}:
        tape.file.write_bytes(raw[:cut])
        lines = read(tape.file)
        for _ in range(1000):
            next(lines)
        with pytest.raises(TapeError, match="torn after line"):
            list(lines)


def test_files_rotate_by_size_and_none_is_overwritten(tmp_path: pathlib.Path) -> None:
    tape = written(tmp_path, "gz", rotate_bytes=400)
    tape.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == tape.files > 2
    assert [line for file in files for line in read(file)] == [
        (10**18 + n, b'{"n":%d,"text":"\xc3\xa9"}' % n) for n in range(1000)
    ]


def test_line_break_in_a_frame_is_a_blank(tmp_path: pathlib.Path) -> None:
    tape = Tape(tmp_path, "t")
    tape.append(5, b'{\r\n "a": 1\n}')
    tape.close()
    assert tape.file
    assert list(read(tape.file)) == [(5, b'{   "a": 1 }')]


def test_notes_are_lines_that_can_be_told_from_frames(tmp_path: pathlib.Path) -> None:
    tape = Tape(tmp_path, "t")
    tape.note(1, event="connected")
    tape.append(2, b"{}")
    tape.close()
    assert tape.file
    assert [is_note(frame) for _, frame in read(tape.file)] == [True, False]
    assert tape.frames == 1


def test_old_block_is_written_though_nothing_comes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    tape = Tape(tmp_path, "t")
    tape.append(1, b"{}")
    now[0] += tapes.BLOCK_S * 0.9
    tape.flush_old()
    assert tape.file is None
    now[0] += tapes.BLOCK_S * 0.2
    tape.flush_old()
    assert tape.file
    assert list(read(tape.file)) == [(1, b"{}")]


def test_disk_that_refuses_is_no_lost_venue(tmp_path: pathlib.Path) -> None:
    (tmp_path / "folder").write_text("in the way")
    tape = Tape(tmp_path / "folder", "t")
    tape.append(1, b"{}")
    with pytest.raises(TapeError, match="File exists; 5 bytes are lost: make room"):
        tape.flush()


def test_plain_and_recorded_files_are_read_too(tmp_path: pathlib.Path) -> None:
    lines = b'1 {"a":1}\n2 {"b":2}\n'
    (tmp_path / "plain").write_bytes(lines)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(lines))
    for file in tmp_path.iterdir():
        assert list(read(file)) == [(1, b'{"a":1}'), (2, b'{"b":2}')]


def test_file_that_is_no_tape_is_refused_at_its_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "f").write_bytes(b"1 {}\nsoon {}\n")
    with pytest.raises(TapeError, match="line 2 does not begin with a time"):
        list(read(tmp_path / "f"))
    with pytest.raises(ValueError, match="none of gz, zstd"):
        Tape(tmp_path, "t", "lz4")


def test_recordings_at_hand_are_tapes(recordings: pathlib.Path) -> None:
    first = next(read(recordings / "binance" / "spot__btcusdt_20240808.gz"))
    assert first[0] > 10**18
    assert first[1].startswith(b"{")
