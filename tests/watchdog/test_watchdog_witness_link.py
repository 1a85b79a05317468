"""Witness and first host in two network namespaces, joined by a veth pair whose cable can be pulled.

Needs the right to make namespaces (root, or CAP_SYS_ADMIN and CAP_NET_ADMIN) and ``ip``; elsewhere it is skipped, and says so.
The sockets of the first host and of the exchange are opened inside the namespaces by this process: a socket stays where it was
made. The exchange is on the witness's own loopback, so that cutting the link between the hosts leaves it reachable.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.watchdog.far_host import STOP_MS, Far, Host
from tests.watchdog.stub import Exchange

CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Link:
    """Two namespaces and a cable: the host is 192.0.2.1, the witness 192.0.2.2 (addresses kept for documentation)."""

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.host, self.witness = f"pulex-h-{tag}", f"pulex-w-{tag}"
        self.cable = (f"ph{tag}", f"pw{tag}")

    def make(self) -> None:
        ends = ((self.host, self.cable[0], "192.0.2.1/24"), (self.witness, self.cable[1], "192.0.2.2/24"))
        for name, _, _ in ends:
            ip("netns", "add", name)
        first, second = self.cable
        ip("link", "add", first, "netns", self.host, "type", "veth", "peer", "name", second, "netns", self.witness)
        for name, device, address in ends:
            ip("-n", name, "addr", "add", address, "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")

    def pull(self, plugged: bool = False) -> None:
        ip("-n", self.host, "link", "set", self.cable[0], "up" if plugged else "down")

    def remove(self) -> None:
        for name in (self.host, self.witness):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def inside(namespace: str, make: Callable[[], T]) -> T:
    """Run ``make`` with this thread in the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return make()
        finally:
            assert libc.setns(home, CLONE_NEWNET) == 0
    finally:
        os.close(home)
        os.close(there)


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    try:
        if shutil.which("ip") is None:
            raise OSError("there is no ip command: install iproute2")
        made.make()
        inside(made.witness, lambda: None)
    except OSError as error:
        made.remove()
        pytest.skip(f"NOT TESTED: no network namespaces on this host ({error}); the loopback tests ran instead")
    yield made
    made.remove()


@pytest.fixture
def far(link: Link, tmp_path: Path) -> Iterator[Far]:
    exchange = inside(link.witness, Exchange)
    made = Far(tmp_path / "w", "192.0.2.2:7331", exchange, prefix=("ip", "netns", "exec", link.witness))
    made.start()
    made.wait(lambda: made.status()["kill_test"]["result"] == "pass")
    yield made
    made.end()
    exchange.close()


def watched(link: Link, far: Far) -> dict[str, object]:
    row = far.trade()
    far.host = inside(link.host, lambda: Host(far.listen, far.secret))
    far.wait(lambda: far.status()["state"] == "watching")
    return row


def test_a_beat_crosses_the_link_and_its_end_is_a_kill(link: Link, far: Far) -> None:
    row = watched(link, far)
    assert far.host is not None
    stopped = far.host.stop()
    far.wait_proven()
    assert STOP_MS / 1000 - 0.2 < far.exchange.cancelled_at - stopped < STOP_MS / 1000 + 1.0
    assert row["revoked"] is True
    assert far.exchange.orders == {}


def test_a_cut_link_is_a_kill_and_the_first_host_is_told_when_it_is_back(link: Link, far: Far) -> None:
    row = watched(link, far)
    assert far.host is not None
    cut = time.monotonic()
    link.pull()
    far.wait_proven()
    assert far.exchange.cancelled_at - cut < STOP_MS / 1000 + 1.0
    assert row["revoked"] is True
    assert not far.host.killed.is_set()  # it lives, and cannot know
    link.pull(plugged=True)
    assert far.host.killed.wait(5)


def test_a_short_interruption_is_no_kill(link: Link, far: Far) -> None:
    row = watched(link, far)
    for _ in range(3):
        link.pull()
        time.sleep(STOP_MS / 4000)
        link.pull(plugged=True)
        time.sleep(STOP_MS / 1000)
    assert far.status()["state"] == "watching"
    assert row["revoked"] is False
