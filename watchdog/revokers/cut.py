"""A local cut: nftables drops what leaves this host for the order session's peer, but for the watchdog's own packets.

It stops bytes that are in the kernel already, a sender that cannot be killed, and anybody else here who holds the key. One
table, ``inet pulex_INSTANCE``: address and port of each peer in a set, a drop for them without our mark. The watchdog marks its
own connections (``SO_MARK``), so that it still cancels and proves. A host name is resolved when armed and again every minute;
addresses are only ever added, since an old connection stays with an old address.

Needs the ``nft`` binary and CAP_NET_ADMIN; without either the watchdog does not start. A new table without peers is made and
removed when it is built, to know.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from urllib.parse import urlsplit

from watchdog.revokers import RevokerError

MARK = 0x70756C78  # "pulx"
RESOLVE_S = 60.0
DEFAULT_PORT = {"ws": 80, "wss": 443, "http": 80, "https": 443}
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"


def peer_of(url: str) -> str:
    """HOST:PORT of an address like wss://HOST/path."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or DEFAULT_PORT[parts.scheme]}"


class Cut:
    """The table of one instance; ``peers`` as HOST:PORT."""

    name = "cut"
    refresh_s = RESOLVE_S
    deadline_s = 1.0

    def __init__(self, peers: list[str], instance: int, nft: str = "nft") -> None:
        self.peers = [_split(peer) for peer in peers]
        self.table = f"pulex_{instance}"
        self.known: set[tuple[int, str, int]] = set()  # (4 or 6, address, port)
        self.resolver: threading.Thread | None = None
        found = shutil.which(nft) or shutil.which(nft, path=SEARCH)
        if found is None:
            raise RevokerError('cut: there is no nft binary: install nftables, or take kind = "cut" out of kill.revokers')
        self.nft = found
        try:
            self._run(f"add table inet {self.table}_try\ndelete table inet {self.table}_try\n", self.deadline_s)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        except (RevokerError, OSError) as error:
            raise RevokerError(f"cut: no right to change nftables: the watchdog needs CAP_NET_ADMIN ({error})") from None

    def arm(self, deadline_s: float) -> str:
        self._run(f"add table inet {self.table}\ndelete table inet {self.table}\n", deadline_s)
        return self.refresh(deadline_s)

    def refresh(self, deadline_s: float) -> str:
        self._resolve(deadline_s)
        self._run(self._rules(), deadline_s, check=True)
        return f"{len(self.known)} peer addresses"

    def revoke(self, deadline_s: float) -> str:
        if not self.known:
            self._resolve(deadline_s)
        self._run(self._rules(), deadline_s)
        return f"{len(self.known)} peer addresses cut"

    def prove(self, deadline_s: float) -> str:
        """The kernel lists both drops and every address, and an unmarked connection does not open."""
        listed = json.loads(self._run("", deadline_s, "-j", "list", "table", "inet", self.table))["nftables"]
        drops = [item["rule"] for item in listed if "rule" in item and {"drop": None} in item["rule"]["expr"]]
        text = json.dumps([item["set"] for item in listed if "set" in item])
        missing = [address for _, address, port in self.known if json.dumps({"concat": [address, port]}) not in text]
        if len(drops) != 2 or missing:
            raise RevokerError(f"the kernel's table {self.table} lacks {'rules' if not missing else missing[0]}")
        _, address, port = min(self.known)
        try:
            socket.create_connection((address, port), timeout=0.1).close()
        except OSError:
            return "the kernel lists the drops, and a connection without mark does not open"
        raise RevokerError(f"a connection to {address} still opens")

    def release(self, deadline_s: float) -> str:
        return "nothing was cut"

    def _resolve(self, deadline_s: float) -> None:
        """In a thread: a resolver keeps no deadline, and a kill must not wait for it."""
        if self.resolver is None or not self.resolver.is_alive():
            self.resolver = threading.Thread(target=self._look_up, name="revoker-cut-resolver", daemon=True)
            self.resolver.start()
        self.resolver.join(deadline_s)
        if not self.known:
            raise RevokerError(
                f"no address of {', '.join(host for host, _ in self.peers)} is known: check the name and the resolver"
            )

    def _look_up(self) -> None:
        for host, port in self.peers:
            with contextlib.suppress(OSError):  # what is known stays known
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                self.known |= {(4 if one[0] == socket.AF_INET else 6, str(one[4][0]), port) for one in found}

    def _rules(self) -> str:
        """The whole table, replacing the old one in one transaction."""
        lines = [f"add table inet {self.table}", f"flush table inet {self.table}", f"delete table inet {self.table}"]
        lines += [f"add table inet {self.table}"]
        for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
            pairs = sorted(f"{address} . {port}" for known, address, port in self.known if known == version)
            elements = f" elements = {{ {', '.join(pairs)} }} ;" if pairs else ""
            lines.append(f"add set inet {self.table} peers{version} {{ type {kind} . inet_service ;{elements} }}")
        chain = f"inet {self.table} out"
        lines.append(f"add chain {chain} {{ type filter hook output priority 0 ; policy accept ; }}")
        for version, field in ((4, "ip"), (6, "ip6")):
            lines.append(f"add rule {chain} meta mark != {MARK} {field} daddr . tcp dport @peers{version} counter drop")
        return "\n".join(lines) + "\n"

    def _run(self, script: str, deadline_s: float, *arguments: str, check: bool = False) -> str:
        command = [self.nft, *(arguments or (*(("-c",) if check else ()), "-f", "-"))]
        try:
            done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=deadline_s, env={})
        except subprocess.TimeoutExpired:
            raise RevokerError(f"nft did not end within {deadline_s} s") from None
        if done.returncode != 0:
            first = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise RevokerError(f"nft: {first[:160]}")
        return done.stdout


def _split(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise RevokerError(f"cut: a peer is HOST:PORT, not {peer[:60]!r}")
    return host.strip("[]"), int(port)
