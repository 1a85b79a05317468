# mypy: disable-error-code="no-untyped-call"
"""A certificate authority of our own, servers that use it by Python's ``ssl`` (another OpenSSL), and a session to them."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import pathlib
import select
import socket
import ssl
import threading
from collections.abc import Callable

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fabric import layout
from venue import session, sockets, tls
from venue import tables as t

DAY = datetime.timedelta(days=1)
ROOM = 4 << 20


class Authority:
    """Writes ``ca.pem`` and, per ``issue``, one file with a certificate and its key."""

    def __init__(self, folder: pathlib.Path, name: str = "pulex test authority") -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(self._name, self._key, days=30).add_extension(x509.BasicConstraints(True, None), True)
        self.file = folder / f"{name.replace(' ', '_')}.pem"
        signed = certificate.sign(self._key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - 10 * DAY).not_valid_after(now + days * DAY)

    def issue(self, *names: str, days: int = 30) -> pathlib.Path:
        """For these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = self._build(subject, key, days).add_extension(x509.SubjectAlternativeName(alternatives), False)
        file = self._folder / f"{names[0]}{days}.pem"
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        signed = builder.sign(self._key, hashes.SHA256())
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
        return file


def server_context(file: pathlib.Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


class TlsServer:
    """Shakes hands with one client and lets ``talk`` have the connection; ``error`` is what the handshake said."""

    def __init__(self, context: ssl.SSLContext | None, talk: Callable[[socket.socket], None]) -> None:
        self._context, self._talk = context, talk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port: int = self._socket.getsockname()[1]
        self.error: str | None = None
        self.sni: list[str | None] = []
        if context is not None:
            context.sni_callback = lambda _sock, name, _context: self.sni.append(name)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        sock, _ = self._socket.accept()
        sock.settimeout(20)
        with sock:
            if self._context is None:
                self._talk(sock)
                return
            try:
                with self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False) as wrapped:
                    self._talk(wrapped)
            except (ssl.SSLError, OSError) as error:
                self.error = str(error)

    def close(self) -> None:
        """Wait until ``talk`` is done."""
        self._thread.join(20)
        self._socket.close()


class Session:
    """A row as ``venue.link`` fills it, over TLS or plain TCP, to a server that runs ``talk``."""

    def __init__(self, file: pathlib.Path | None, ca: pathlib.Path, talk: Callable[[socket.socket], None]) -> None:
        self.server = TlsServer(server_context(file) if file else None, talk)
        self._tcp = sockets.connect("127.0.0.1", self.server.port, 5.0)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.channel: socket.socket | tls.TlsSocket = self._tcp
        self.row, self.buffer = np.zeros(len(t.SESSION), np.int64), np.zeros(ROOM, np.uint8)
        if file:
            self.channel = tls.TlsSocket(self._tcp, "localhost", 5.0, str(ca))
            self.row[t.SE_SSL], self.row[t.SE_FUNCTIONS] = self.channel.address, self.channel.functions
        self._tcp.setblocking(False)
        self.row[t.SE_FD], self.row[t.SE_BUFFER] = self._tcp.fileno(), self.buffer.ctypes.data
        self.row[t.SE_CAPACITY], self.row[t.SE_STATE] = ROOM, layout.SESSION_LOOP

    def fill(self, until: int) -> int:
        """Fill until so many bytes lie there, or the session says that no more will; the last answer."""
        while (count := int(session.fill(self.row))) >= 0 and self.row[t.SE_END] < until:
            if count == 0:
                select.select([self._tcp], [], [], 5.0)
        return count

    @property
    def data(self) -> bytes:
        return self.buffer[: self.row[t.SE_END]].tobytes()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            sockets.part(self.channel.farewell() if isinstance(self.channel, tls.TlsSocket) else self.channel, 1.0)
        self.server.close()
