"""The witness's judgement with given times, telegrams and clocks: no socket, no process."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog import telegram
from watchdog.telegram import ANSWER_MAGIC, BEAT_MAGIC, ENDED, EXPOSED, IDLE, KILLED, WATCHING, SharedSecret, Telegram
from watchdog.witness_judge import Judge

SECRET = SharedSecret(b"planted shared secret")
MS = 1_000_000
STOP_NS = 3000 * MS
START = 10**15


class Host:
    """A sender that echoes what it was last answered."""

    def __init__(self, judge: Judge, session: int = 5, instance: int = 1) -> None:
        self.judge, self.session, self.instance = judge, session, instance
        self.sequence = self.nonce = self.stamp_ns = 0

    def packet(self, state: int = EXPOSED) -> bytes:
        self.sequence += 1
        beat = Telegram(self.instance, self.session, self.sequence, self.nonce, self.stamp_ns, state, 7)
        return telegram.pack(BEAT_MAGIC, beat, SECRET)

    def beat(self, now_ns: int, state: int = EXPOSED) -> Telegram:
        answer = self.judge.hear(self.packet(state), now_ns, WATCHING)
        assert answer is not None
        read = telegram.unpack(ANSWER_MAGIC, answer, SECRET)
        assert read is not None
        self.nonce, self.stamp_ns = read.nonce, read.stamp_ns
        return read


@pytest.fixture
def judge() -> Judge:
    return Judge(SECRET, instance=1, stop_ns=STOP_NS, nonce=99, now_ns=START, slip_ns=0)


def run(judge: Judge, host: Host | None, from_ns: int, to_ns: int, pass_ns: int = 20 * MS) -> list[int]:
    """Passes of the witness, a beat of the host every 200 ms when there is one; the times at which it wanted to kill."""
    killed = []
    for now in range(from_ns, to_ns, pass_ns):
        if host is not None and (now - START) % (200 * MS) < pass_ns:
            host.beat(now)
        if judge.look(now, now):
            killed.append(now)
    return killed


def test_a_beat_that_stops_is_a_kill_after_the_configured_time_and_not_before(judge: Judge) -> None:
    host = Host(judge)
    last = START + 2000 * MS
    assert run(judge, host, START, last) == []
    killed = run(judge, None, last, last + 2 * STOP_NS)
    assert STOP_NS <= killed[0] - judge.alive_ns <= STOP_NS + 20 * MS
    assert killed[0] - last <= STOP_NS + 20 * MS


def test_a_host_that_was_never_heard_or_has_nothing_open_is_not_killed(judge: Judge) -> None:
    assert run(judge, None, START, START + 3 * STOP_NS) == []
    host = Host(judge)
    for state in (IDLE, ENDED):
        now = judge.now_ns
        host.beat(now, EXPOSED)
        host.beat(now, EXPOSED)
        assert judge.exposed
        host.beat(now, state)
        assert run(judge, None, now, now + 3 * STOP_NS) == []


def test_a_forged_foreign_or_malformed_beat_is_no_sign_of_life_and_gets_no_answer(judge: Judge) -> None:
    host = Host(judge)
    host.beat(START)
    good = host.packet()
    other = Host(judge, instance=2)
    forgeries = [good[:-1], good + b"x", b"", b"x" * 96, ANSWER_MAGIC + good[8:]]
    forgeries += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    for data in forgeries:
        assert judge.hear(data, START, WATCHING) is None
    assert judge.counts["forged"] == len(forgeries)
    assert judge.hear(other.packet(), START, WATCHING) is None
    assert judge.counts["foreign"] == 1
    assert judge.counts["beats"] == 0
    assert judge.hear(good, START, WATCHING) is not None  # and none of it has burnt the genuine one


def test_a_replayed_beat_is_refused_however_it_is_ordered(judge: Judge) -> None:
    host = Host(judge)
    host.beat(START)
    recorded = []
    for step in range(1, 10):
        data = host.packet()
        recorded.append(data)
        now = START + step * 200 * MS
        answer = judge.hear(data, now, WATCHING)
        assert answer is not None
        read = telegram.unpack(ANSWER_MAGIC, answer, SECRET)
        assert read is not None
        host.nonce, host.stamp_ns = read.nonce, read.stamp_ns
    for data in [*reversed(recorded), *recorded]:
        assert judge.hear(data, START + 2000 * MS, WATCHING) is None
    assert judge.counts["replayed"] == 18
    assert judge.counts["beats"] == 9


def test_beats_held_back_on_the_way_do_not_stretch_a_dead_hosts_life(judge: Judge) -> None:
    """An attacker records and lets the newest ones through late, one at a time."""
    host = Host(judge)
    host.beat(START)
    held = [host.packet() for _ in range(100)]  # all echo the answer of START
    killed = []
    for step, data in enumerate(held):
        now = START + step * 100 * MS
        judge.hear(data, now, WATCHING)
        killed += [now] if judge.look(now, now) else []
    assert killed
    assert killed[0] - START <= STOP_NS + 100 * MS
    assert judge.counts["stale"] > 50


def test_a_recording_of_an_earlier_witness_is_stale_for_this_one(judge: Judge) -> None:
    host = Host(judge)
    host.beat(START)
    recorded = host.packet()
    later = Judge(SECRET, instance=1, stop_ns=STOP_NS, nonce=100, now_ns=START, slip_ns=0)  # same uptime after a reboot
    assert later.hear(recorded, START, WATCHING) is not None
    assert (later.counts["beats"], later.counts["stale"], later.exposed) == (0, 1, False)


@pytest.mark.parametrize("pause_ns", [800 * MS, 10_000 * MS, 3_600_000 * MS])
def test_a_witness_that_was_paused_gives_the_host_the_whole_period_again(judge: Judge, pause_ns: int) -> None:
    host = Host(judge)
    before = START + 2000 * MS
    assert run(judge, host, START, before) == []
    resumed = before + pause_ns
    waiting = host.packet()  # what lay in its socket: it echoes an answer from before the pause
    judge.hear(waiting, resumed, WATCHING)
    assert judge.look(resumed, resumed) is False
    assert judge.counts["own_gaps"] == 1
    dead = run(judge, None, resumed, resumed + 2 * STOP_NS)
    assert dead[0] - resumed > STOP_NS  # a host that died meanwhile is found one period later
    assert dead[0] - resumed <= STOP_NS + 40 * MS


@pytest.mark.parametrize(("mono_jump", "boot_jump"), [(0, 60_000 * MS), (-5000 * MS, -5000 * MS), (60_000 * MS, 60_000 * MS)])
def test_a_jump_of_its_own_clocks_is_no_kill(judge: Judge, mono_jump: int, boot_jump: int) -> None:
    host = Host(judge)
    before = START + 2000 * MS
    run(judge, host, START, before)
    assert judge.look(before + mono_jump, before + boot_jump) is False
    assert judge.counts["own_gaps"] == 1
    assert judge.look(before + mono_jump + 20 * MS, before + boot_jump + 20 * MS) is False
    assert judge.counts["own_gaps"] == 1


def test_a_new_sender_is_answered_and_believed_from_its_second_beat_on(judge: Judge) -> None:
    host = Host(judge)
    host.beat(START)
    assert (judge.counts["stale"], judge.exposed) == (1, False)
    host.beat(START + 200 * MS)
    assert (judge.counts["beats"], judge.exposed) == (1, True)
    restarted = Host(judge, session=6)
    restarted.beat(START + 300 * MS)
    restarted.beat(START + 400 * MS)
    assert (judge.session, judge.rivals) == (6, 0)


def test_two_hosts_of_one_instance_are_noticed(judge: Judge) -> None:
    first, second = Host(judge, session=5), Host(judge, session=6)
    for step in range(4):
        first.beat(START + step * MS)
        second.beat(START + step * MS)
    assert judge.rivals > 0


def test_many_sessions_need_bounded_memory(judge: Judge) -> None:
    for session in range(1, 100):
        host = Host(judge, session=session)
        host.beat(START)
        host.beat(START)
    assert len(judge.sequences) == 16


def test_after_an_operators_resume_the_host_must_be_heard_anew(judge: Judge) -> None:
    host = Host(judge)
    host.beat(START)
    host.beat(START)
    assert judge.look(START + STOP_NS // 8, START + STOP_NS // 8) is False
    judge.forgive(START)
    assert run(judge, None, START + STOP_NS // 8, START + 3 * STOP_NS) == []


def test_the_state_in_an_answer_is_signed() -> None:
    answer = telegram.pack(ANSWER_MAGIC, Telegram(1, 2, 3, 4, 5, KILLED, 7), SECRET)
    assert len(answer) == telegram.BYTES == 96
    assert telegram.unpack(ANSWER_MAGIC, answer, SharedSecret(b"another shared secret")) is None
    assert telegram.unpack(BEAT_MAGIC, answer, SECRET) is None


def test_a_secret_is_read_from_a_private_file_only_and_shows_itself_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("planted shared secret\n")
    file.chmod(0o640)
    with pytest.raises(telegram.SecretError, match="chmod 600") as caught:
        telegram.read_secret(file)
    file.chmod(0o600)
    secret = telegram.read_secret(file)
    assert secret.sign(b"x") == SECRET.sign(b"x")
    assert "planted" not in f"{secret!r} {[secret]} {caught.value}"
    file.write_text("short\n")
    with pytest.raises(telegram.SecretError, match="16 bytes") as caught:
        telegram.read_secret(file)
    assert "short" not in str(caught.value)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(telegram.SecretError):
        telegram.read_secret(tmp_path / "link")


@pytest.mark.parametrize("text", ["host", ":1", "1.2.3.4:", "1.2.3.4:70000", "1.2.3.4:x"])
def test_an_address_needs_both_parts(text: str) -> None:
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        telegram.address(text)
    assert telegram.address("[::1]:7") == ("::1", 7)
