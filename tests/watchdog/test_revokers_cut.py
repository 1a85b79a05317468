"""The local cut in a network namespace of its own: a child enters one and does what the body of a test says.

Needs the nft binary and the right to make namespaces; without them the tests are skipped and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.watchdog.stub import ROOT
from watchdog.revokers import RevokerError
from watchdog.revokers.cut import SEARCH, Cut, peer_of

PRELUDE = """
import ctypes, os, socket, subprocess, threading
from watchdog.revokers import RevokerError
from watchdog.revokers.cut import MARK, Cut
from watchdog.venue import Secret, Unreachable, Venue, Way

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "address", "add", "127.0.0.2/8", "dev", "lo"], check=True)

def listener(address, family=socket.AF_INET):
    sock = socket.socket(family)
    sock.bind((address, 0))
    sock.listen()
    return sock

def opens(address, port, mark=0):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(0.3)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        try:
            sock.connect((address, port))
            return True
        except OSError:
            return False

def refused(call):
    try:
        call()
    except RevokerError as error:
        return str(error)
    raise AssertionError("not refused")

venue, other = listener("127.0.0.2"), listener("127.0.0.1")
port, other_port = venue.getsockname()[1], other.getsockname()[1]
cut = Cut([f"127.0.0.2:{port}"], 7)
"""


def nft_lacks() -> str:
    """Why the cut cannot be tried here; empty when it can."""
    if shutil.which("nft") is None and shutil.which("nft", path=SEARCH) is None:
        return "there is no nft binary (Debian: nftables)"
    done = subprocess.run(["unshare", "--map-root-user", "--net", "nft", "list", "ruleset"], capture_output=True, text=True)
    return done.stderr.strip()[:100] if done.returncode else ""


LACKS = nft_lacks()
in_namespace = pytest.mark.skipif(bool(LACKS), reason=f"THE LOCAL CUT IS NOT TESTED HERE: {LACKS}")


def inside(body: str) -> None:
    """Run PRELUDE and body as root of a new network namespace."""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-W", "ignore", "-c", PRELUDE + body]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@in_namespace
def test_a_cut_stops_a_running_session_and_new_ones_but_not_the_marked_ones_and_no_other_peer() -> None:
    inside("""
cut.arm(2.0)
session = socket.create_connection(("127.0.0.2", port))
server, _ = venue.accept()
session.send(b"order 1")
assert server.recv(100) == b"order 1"
assert cut.revoke(2.0) == "1 peer addresses cut"
assert "the kernel lists the drops" in cut.prove(2.0)
server.settimeout(0.3)
try:
    session.send(b"order 2")
    assert server.recv(100) == b"", "an order passed the cut"
except (TimeoutError, PermissionError):
    pass
assert not opens("127.0.0.2", port)
assert opens("127.0.0.2", port, MARK)
assert opens("127.0.0.1", other_port)
""")


@in_namespace
def test_to_arm_lifts_an_earlier_cut_also_of_a_dead_watchdog_and_all_verbs_may_come_twice() -> None:
    inside("""
cut.arm(2.0); cut.arm(2.0)
cut.revoke(2.0); cut.revoke(2.0); cut.prove(2.0)
assert not opens("127.0.0.2", port)
next_one = Cut([f"127.0.0.2:{port}"], 7)
next_one.revoke(2.0)
next_one.prove(2.0)
next_one.arm(2.0)
assert opens("127.0.0.2", port)
assert "No such" in refused(lambda: next_one.prove(2.0)) 
neighbour = Cut([f"127.0.0.2:{port}"], 8)
neighbour.revoke(2.0)
next_one.arm(2.0)
neighbour.prove(2.0)
""")


@in_namespace
def test_a_proof_fails_when_somebody_took_the_rules_or_an_address_away() -> None:
    inside("""
cut.arm(2.0); cut.revoke(2.0)
subprocess.run(["nft", "flush", "chain", "inet", "pulex_7", "out"], check=True)
assert "lacks rules" in refused(lambda: cut.prove(2.0))
cut.revoke(2.0)
cut.prove(2.0)
subprocess.run(["nft", "flush", "set", "inet", "pulex_7", "peers4"], check=True)
assert "lacks 127.0.0.2" in refused(lambda: cut.prove(2.0))
subprocess.run(["nft", "delete", "table", "inet", "pulex_7"], check=True)
assert refused(lambda: cut.prove(2.0))
""")


@in_namespace
def test_a_second_address_of_the_peer_is_added_and_the_first_is_kept() -> None:
    inside("""
six = listener("::1", socket.AF_INET6)
both = Cut([f"127.0.0.2:{port}", f"[::1]:{six.getsockname()[1]}"], 7)
both.arm(2.0)
assert both.revoke(2.0) == "2 peer addresses cut"
both.prove(2.0)
assert not opens("::1", six.getsockname()[1])
assert not opens("127.0.0.2", port)
""")


@in_namespace
def test_the_watchdogs_own_calls_pass_the_cut_and_unmarked_ones_do_not() -> None:
    inside("""
def answer():
    while True:
        sock, _ = venue.accept()
        if sock.recv(4096):
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 13\\r\\n\\r\\n" + b'{"orders":[]}')
threading.Thread(target=answer, daemon=True).start()
url = f"http://127.0.0.2:{port}"
cut.arm(2.0); cut.revoke(2.0)
marked = Venue(url, Secret("sk_live_planted"), way=Way(mark=MARK))
assert marked.open_orders() == []
assert marked.with_key(Secret("sk_trade_planted")).open_orders() == []
try:
    Venue(url, Secret("sk_live_planted"), 0.3).open_orders()
    raise AssertionError("an unmarked call passed")
except Unreachable:
    pass
""")


@in_namespace
def test_a_real_kill_goes_through_its_own_cut_is_proven_and_an_operator_lifts_it(tmp_path: Path) -> None:
    """Both ports of the exchange are cut for everybody on the host but the watchdog."""
    inside(f"""
import json, pathlib
from tests.watchdog.paper import PaperRun, order
run = PaperRun(pathlib.Path({os.fspath(tmp_path)!r}), revokers=[{{"kind": "cut", "peers": []}}])
try:
    run.config["kill"]["revokers"][0]["peers"] = [f"127.0.0.1:{{run.port}}"]
    run.configure()
    ws = int(run.config["venue"]["ws_url"].partition("//")[2].partition("/")[0].rpartition(":")[2])
    run.start()
    run.trade_started()
    assert run.manage("POST", "/v1/orders", order(1))[0] == 201
    assert opens("127.0.0.1", ws) and opens("127.0.0.1", run.port)
    run.ask("kill", reason="drill")
    run.wait(lambda: bool(run.latch().get("proven")))
    (row,) = run.latch()["revokers"]
    assert row["ok"] and "does not open" in row["detail"], row
    assert not opens("127.0.0.1", ws) and not opens("127.0.0.1", run.port)
    assert run.ask("resume", operator="ann", reason="looked at it")["ok"]
    run.wait(lambda: opens("127.0.0.1", run.port))
    run.manage.close()
    assert run.open_orders() == 0
    assert opens("127.0.0.1", ws)
finally:
    run.end()
""")


@in_namespace
def test_without_the_right_the_start_is_refused() -> None:
    """A user namespace without a network of its own: root there, and nobody in the host's network."""
    code = "from watchdog.revokers.cut import Cut; Cut(['127.0.0.1:1'], 7)"
    done = subprocess.run(["unshare", "--map-root-user", sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "the watchdog needs CAP_NET_ADMIN" in done.stderr


def test_without_the_binary_the_start_is_refused_with_the_remedy() -> None:
    with pytest.raises(RevokerError, match=r"no nft binary: install nftables, or take kind = .cut. out"):
        Cut(["127.0.0.1:1"], 7, nft="nft-that-does-not-exist")


def test_an_nft_that_fails_is_a_refusal_with_its_first_line(tmp_path: Path) -> None:
    fake = tmp_path / "nft"
    fake.write_text("#!/bin/sh\necho 'Operation not permitted (you must be root)' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(RevokerError, match=r"CAP_NET_ADMIN \(nft: Operation not permitted"):
        Cut(["127.0.0.1:1"], 7, nft=os.fspath(fake))


@pytest.mark.parametrize("peer", ["", "host", "host:", "host:0", "host:99999", ":1"])
def test_a_peer_is_a_host_and_a_port(peer: str) -> None:
    with pytest.raises(RevokerError, match="HOST:PORT"):
        Cut([peer], 7)


@pytest.mark.parametrize(
    ("url", "peer"),
    [("wss://v.example/ws", "v.example:443"), ("ws://v:8801/x", "v:8801"), ("ws://[::1]:9/x", "::1:9"), ("https://v", "v:443")],
)
def test_the_peer_of_the_order_session_is_read_from_its_address(url: str, peer: str) -> None:
    assert peer_of(url) == peer
