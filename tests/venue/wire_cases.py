"""What a server may send and what an echo client has to answer: a case list over RFC 6455, sections 5 to 7.

A case is a name, the pieces that the server sends, and the frames that it must get back, the last of which is the close frame
unless the session is still good. The numbers follow the order of the Autobahn suite: framing, pings, reserved bits,
opcodes, fragments, UTF-8, closing, limits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MESSAGE_MAX = 1 << 20  # of the client that is tried
Answers = list[tuple[int, bytes]]


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    answers: Answers
    ends: bool  # the last answer is a close frame


def frame(
    payload: bytes | str = b"", opcode: int = TEXT, fin: bool = True, rsv: int = 0, form: int = 0, masked: bool = False
) -> bytes:
    """One frame; ``form`` 126 or 127 forces a longer length field than is needed."""
    body = payload.encode() if isinstance(payload, str) else payload
    size, mask = len(body), 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 127 or size > 65535:
        head += bytes([mask | 127]) + size.to_bytes(8)
    elif form == 126 or size > 125:
        head += bytes([mask | 126]) + size.to_bytes(2)
    else:
        head += bytes([mask | size])
    return head + (b"\0\0\0\0" if masked else b"") + body


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(code.to_bytes(2) + reason, CLOSE)


def good(name: str, data: bytes, *answers: tuple[int, bytes]) -> Case:
    """The session goes on."""
    return Case(name, data, list(answers), False)


def bad(name: str, data: bytes, code: int, *answers: tuple[int, bytes]) -> Case:
    """The client closes with ``code``; what comes behind is not looked at."""
    return Case(name, data + frame("too late"), [*answers, (CLOSE, code.to_bytes(2) if code else b"")], True)


def parts(payload: bytes, size: int, opcode: int = TEXT, between: bytes = b"") -> bytes:
    """A message in fragments of ``size`` bytes."""
    cuts = list(range(0, len(payload), size)) or [0]
    out = []
    for k, at in enumerate(cuts):
        out.append(frame(payload[at : at + size], opcode if k == 0 else CONTINUATION, fin=k == len(cuts) - 1))
    return between.join(out)


def framing() -> Iterator[Case]:
    for kind, opcode in (("text", TEXT), ("binary", BINARY)):
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 70001):
            body = (b"*" if opcode == TEXT else b"\xfe") * size
            yield good(f"1.{opcode} {kind} of {size}", frame(body, opcode), (opcode, body))
        yield bad(f"1.{opcode} {kind} length 5 in two bytes", frame(b"hello", opcode, form=126), 1002)
        yield bad(f"1.{opcode} {kind} length 5 in eight bytes", frame(b"hello", opcode, form=127), 1002)
        yield bad(f"1.{opcode} {kind} length 65535 in eight bytes", frame(b"x" * 65535, opcode, form=127), 1002)
        yield bad(f"1.{opcode} {kind} of a negative length", bytes([0x80 | opcode, 127]) + b"\x80" + bytes(7), 1002)
        yield bad(f"1.{opcode} {kind} masked by the server", frame(b"hello", opcode, masked=True), 1002)
    yield good("1.3 many in one piece", frame("a") * 300, *[(TEXT, b"a")] * 300)


def pings() -> Iterator[Case]:
    for name, body in (
        ("empty", b""),
        ("text", b"Hello, world!"),
        ("binary", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        ("125", b"\xfe" * 125),
    ):
        yield good(f"2.1 ping {name}", frame(body, PING), (PONG, body))
    yield bad("2.5 ping of 126", frame(b"\xfe" * 126, PING), 1002)
    yield good("2.7 pong unasked", frame(b"", PONG) + frame(b"payload", PONG) + frame("still here"), (TEXT, b"still here"))
    yield good("2.9 pong unasked, then a ping", frame(b"unasked", PONG) + frame(b"ping", PING), (PONG, b"ping"))
    ten = [b"payload-%d" % k for k in range(10)]
    yield good("2.10 ten pings", b"".join(frame(one, PING) for one in ten), *[(PONG, one) for one in ten])
    yield bad("2.12 pong of 126", frame(b"\xfe" * 126, PONG), 1002)
    yield bad("2.13 ping masked by the server", frame(b"", PING, masked=True), 1002)
    yield bad("2.14 ping length 5 in two bytes", frame(b"hello", PING, form=126), 1002)


def reserved() -> Iterator[Case]:
    for rsv in range(1, 8):
        yield bad(f"3.{rsv} reserved bits {rsv}", frame("Hello", rsv=rsv), 1002)
        yield bad(
            f"3.{rsv} reserved bits {rsv} behind a text", frame("first") + frame("Hello", rsv=rsv), 1002, (TEXT, b"first")
        )
        yield bad(f"3.{rsv} reserved bits {rsv} in a ping", frame("Hello", PING, rsv=rsv), 1002)
        yield bad(f"3.{rsv} reserved bits {rsv} in a close", frame(b"", CLOSE, rsv=rsv), 1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield bad(f"4 opcode {opcode} empty", frame(b"", opcode), 1002)
        yield bad(f"4 opcode {opcode}", frame("x" * 200, opcode), 1002)
        yield bad(f"4 opcode {opcode} behind a text", frame("first") + frame("x", opcode), 1002, (TEXT, b"first"))
        yield bad(f"4 opcode {opcode} between parts", frame("a", fin=False) + frame("x", opcode), 1002)


def fragments() -> Iterator[Case]:
    ping = frame("ping", PING)
    pong = (PONG, b"ping")
    yield bad("5.1 ping in parts", frame("a", PING, fin=False) + frame("b", CONTINUATION), 1002)
    yield bad("5.2 pong in parts", frame("a", PONG, fin=False) + frame("b", CONTINUATION), 1002)
    yield bad("5.2 close in parts", frame(b"\x03\xe8", CLOSE, fin=False), 1002)
    for opcode in (TEXT, BINARY):
        whole = b"fragment1fragment2"
        for size in (1, 9, 17):
            yield good(f"5.3 type {opcode} by {size}", parts(whole, size, opcode), (opcode, whole))
            count = len(range(0, len(whole), size)) - 1
            yield good(
                f"5.6 type {opcode} by {size} with pings", parts(whole, size, opcode, ping), *[pong] * count, (opcode, whole)
            )
        empty = frame(b"", opcode, fin=False) + frame(b"", CONTINUATION, fin=False)
        yield good(f"5.7 type {opcode} all parts empty", empty + frame(b"", CONTINUATION), (opcode, b""))
        yield good(
            f"5.7 type {opcode} only the middle",
            empty + frame("x", CONTINUATION, fin=False) + frame("", CONTINUATION),
            (opcode, b"x"),
        )
        begun = frame("fragment1", opcode, fin=False)
        for second in (TEXT, BINARY):
            yield bad(f"5.18 type {opcode} then {second}", begun + frame("fragment2", second), 1002)
            yield bad(f"5.18 type {opcode} then {second}, also in parts", begun + frame("f", second, fin=False), 1002)
        yield bad(f"5.5 type {opcode}, reserved bit in a part", begun + frame("x", CONTINUATION, rsv=4), 1002)
        yield good(
            f"5.19 type {opcode}, pings anywhere",
            begun + frame("2", CONTINUATION, fin=False) + ping + frame("3", CONTINUATION, fin=False) + ping * 2
            + frame("4", CONTINUATION),
            pong, pong, pong, (opcode, b"fragment1234"),
        )  # fmt: skip
        yield bad(f"5.20 type {opcode}, close between parts", begun + closing(1000), 1000)
        two = parts(whole, 5, opcode) + parts(whole[::-1], 4, opcode)
        yield good(f"5.21 type {opcode} twice", two, (opcode, whole), (opcode, whole[::-1]))
    for fin in (True, False):
        yield bad(f"5.9 continuation of nothing {fin}", frame("x", CONTINUATION, fin=fin), 1002)
        after = frame("first") + frame("x", CONTINUATION, fin=fin)
        yield bad(f"5.12 continuation behind a text {fin}", after, 1002, (TEXT, b"first"))


VALID = (
    "", "κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\ufffd",
    "\ufdd0", "\ufeff", "\U00010000", "\U0001f600\U0001f680", "\U0003ffff", "\U0010fffe", "\U0010ffff",
    "x" * 63 + "é" + "y" * 200,
)  # fmt: skip
INVALID = (
    "80", "bf", "80bf80", "c0", "c0 80", "c1 bf", "c2", "c2 41", "e0 9f bf", "e0 80 af", "e0 a0", "ed a0 80", "ed bf bf",
    "ed a0 80 ed b0 80", "ef bf", "f0 8f bf bf", "f0 80 80 af", "f0 90 80", "f4 90 80 80", "f5 80 80 80", "f8 88 80 80 80",
    "fc 84 80 80 80 80", "fe", "ff", "fe fe ff ff", "ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64", "e1 80 e2",
)  # fmt: skip


def texts() -> Iterator[Case]:
    for number, text in enumerate(VALID):
        body = text.encode()
        yield good(f"6.1 valid text {number}", frame(body), (TEXT, body))
        yield good(f"6.2 valid text {number} by the byte", parts(body, 1), (TEXT, body))
        mixed = parts(body, 1, TEXT, frame("é".encode()[:1], PING))
        yield good(
            f"6.2 valid text {number} by the byte, pings between",
            mixed,
            *[(PONG, b"\xc3")] * (max(len(body), 1) - 1),
            (TEXT, body),
        )
    for code in INVALID:
        body = bytes.fromhex(code)
        yield bad(f"6.3 invalid {code}", frame(body), 1007)
        yield bad(f"6.3 invalid {code} in a long text", frame(b"x" * 100 + body + b"y" * 70), 1007)
        yield bad(f"6.3 invalid {code} by the byte", parts(b"ab" + body + b"cd", 1), 1007)
        yield bad(f"6.3 invalid {code} behind a text", frame("first") + frame(body), 1007, (TEXT, b"first"))
        yield good(f"6.3 invalid {code} is good as binary", frame(body, BINARY), (BINARY, body))
    yield bad("6.4 wrong byte, the rest never comes", frame("κόσμε".encode() + b"\xf4\x90", fin=False), 1007)
    yield bad("6.4 wrong byte in a part of which more is to come", b"\x81\x7e\x10\x00" + b"abc\xff", 1007)
    yield bad("6.5 character cut off by the end", parts("κόσ".encode()[:-1], 2), 1007)
    for first in (1, 2, 3):
        mixed = frame("\U0001f600".encode()[:first], fin=False) + frame("", CONTINUATION, fin=False)
        mixed += frame("\U0001f600".encode()[first:], CONTINUATION)
        yield good(f"6.6 character over three parts, {first}", mixed, (TEXT, "\U0001f600".encode()))


def endings() -> Iterator[Case]:
    yield bad("7.1 close", frame("a") + closing(1000), 1000, (TEXT, b"a"))
    yield bad("7.1 close twice", closing(1000) * 2, 1000)
    yield bad("7.1 close, then a ping", closing(1000) + frame("late", PING), 1000)
    yield bad("7.3 close without a code", frame(b"", CLOSE), 0)
    yield bad("7.3 close of one byte", frame(b"\x03", CLOSE), 1002)
    for reason in (b"bye", "köln".encode(), b"x" * 123):
        yield bad(f"7.3 close with a reason of {len(reason)}", closing(1000, reason), 1000)
    yield bad("7.3 close with a reason of 124", closing(1000, b"x" * 124), 1002)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999):
        yield bad(f"7.7 close code {code}", closing(code), code)
    for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield bad(f"7.9 close code {code}", closing(code), 1002)
    for code in INVALID:
        yield bad(f"7.5 close reason {code}", closing(1000, b"why " + bytes.fromhex(code)), 1007)


def limits() -> Iterator[Case]:
    largest = b"L" * MESSAGE_MAX
    yield good("9.1 largest text", frame(largest), (TEXT, largest))
    yield good("9.1 largest text in parts", parts(largest, 65536), (TEXT, largest))
    for opcode in (TEXT, BINARY):
        head = bytes([0x80 | opcode, 127]) + (MESSAGE_MAX + 1).to_bytes(8)
        yield bad(f"9.2 type {opcode} one byte too long, by its header alone", head, 1009)
        yield bad(f"9.2 type {opcode} of 2^63 - 1", bytes([0x80 | opcode, 127, 0x7F]) + b"\xff" * 7, 1009)
        begun = frame(b"x" * (MESSAGE_MAX - 3), opcode, fin=False)
        yield good(
            f"9.3 type {opcode} in parts, just fits",
            begun + frame("abc", CONTINUATION),
            (opcode, b"x" * (MESSAGE_MAX - 3) + b"abc"),
        )
        yield bad(f"9.3 type {opcode} in parts, one too long", begun + frame("abcd", CONTINUATION), 1009)
        full = frame(b"x" * MESSAGE_MAX, opcode, fin=False)
        both = full + frame("p" * 125, PING) + frame("", CONTINUATION)
        yield good(f"9.4 type {opcode}, a ping beside the largest", both, (PONG, b"p" * 125), (opcode, b"x" * MESSAGE_MAX))
    small = bytes(range(128)) * 500
    yield good("9.5 thousand parts", parts(small, 64), (TEXT, small))


def every() -> list[Case]:
    return [*framing(), *pings(), *reserved(), *fragments(), *texts(), *endings(), *limits()]
