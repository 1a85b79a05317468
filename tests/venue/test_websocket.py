"""The codec on bytes alone: the case list at random cuts, and against ``websockets``' protocol object."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import CLOSE, CONTINUATION, PING, TEXT, Case, every, frame
from wire_client import oracle, play

from venue import tables as t

CASES = every()


def cuts_of(case: Case, chance: random.Random) -> list[list[int]]:
    """No cut; some; for a short case one at every byte."""
    size = len(case.data)
    some = [sorted(chance.randrange(size + 1) for _ in range(chance.randint(1, 6))) for _ in range(3)]
    return [[], *some, *([list(range(1, size))] if size < 1500 else [])]


@pytest.mark.parametrize("section", ["1", "2", "3", "4", "5", "6", "7", "9"])
def test_every_case_is_answered_rightly_however_its_bytes_are_cut(section: str) -> None:
    chance = random.Random(section)
    cases = [case for case in CASES if case.name.startswith(section)]
    assert cases
    for case in cases:
        for cuts in cuts_of(case, chance):
            answers, ended, code = play(case.data, cuts)
            assert answers == case.answers, (case.name, cuts)
            assert bool(ended) == case.ends, (case.name, cuts)
            if ended:
                said = int.from_bytes(case.answers[-1][1]) or 1005
                assert code == said, (case.name, cuts)


def test_cases_have_names_of_their_own_and_are_many() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 380


def test_a_wrong_byte_ends_the_session_before_its_frame_is_whole() -> None:
    answers, ended, code = play(b"\x81\x7e\x10\x00" + b"abc\xff", [])
    assert (answers, ended, code) == ([(CLOSE, b"\x03\xef")], t.MESSAGE_FAILED, 1007)


def test_websockets_says_the_same_of_every_case_with_the_shortest_lengths() -> None:
    """The oracle reads lengths that the RFC forbids (longer than they need be, negative), waits for whole frames, and
    counts a ping between parts against the size of the message."""
    told_apart = ("in two bytes", "in eight bytes", "negative length", "more is to come", "beside the largest")
    for case in CASES:
        if not case.name.endswith(told_apart):
            assert oracle(case.data, 1 << 20) == case.answers, case.name


BODY = st.one_of(
    st.text(max_size=12).map(str.encode),
    st.binary(max_size=12),
    st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8ok", b"\x03", b"\x03\xee", b"x" * 125, b"x" * 126, b"\xc3", b"\xa9"]),
)
USUAL = st.sampled_from([TEXT, TEXT, CONTINUATION, CONTINUATION, CONTINUATION, 2, PING, 10])
FRAME = st.builds(
    frame,
    BODY,
    st.one_of(USUAL, USUAL, USUAL, st.integers(0, 15)),
    st.booleans(),
    rsv=st.sampled_from([0] * 40 + [1, 4]),
    masked=st.sampled_from([False] * 40 + [True]),
)
TOO_LONG = st.sampled_from([frame(b"y" * 2001, opcode) for opcode in (CONTINUATION, TEXT)])  # one fault at a time


@settings(max_examples=500)
@given(st.lists(st.one_of(*[FRAME] * 20, TOO_LONG), max_size=9), st.lists(st.integers(0, 2600), max_size=6))
def test_any_frames_are_answered_as_websockets_does(made: list[bytes], cuts: list[int]) -> None:
    data = b"".join(made)
    answers, _, _ = play(data, sorted(min(cut, len(data)) for cut in cuts), message_max=2000)
    assert answers == oracle(data, 2000)
