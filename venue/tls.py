"""TLS for one session: the verified handshake in Python (pyOpenSSL), and what the compiled loop needs to go on with it.

The certificate must chain to a root of the system (or of ``SSL_CERT_FILE``, or ``ca_file``) and name the host; TLS 1.2 at
least. There is no switch to leave that out. Why pyOpenSSL, and where its functions' addresses come from:
``docs/adr/0009-tls-from-compiled-code.md``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from venue import tables
from venue.errors import VenueError

_ffi, _lib = _openssl.ffi, _openssl.lib
_NO_PARTIAL_WILDCARDS = 0x4
_VERIFIED = 0

# Addresses of the C functions, in the order of tables.TLS; lives as long as the process.
FUNCTIONS: npt.NDArray[np.int64] = np.array(
    [int(_ffi.cast("intptr_t", _ffi.addressof(_lib, name))) for name in tables.TLS_NAMES], np.int64
)


def reason(code: int) -> str:
    """OpenSSL's words for one of its error numbers (0 = the connection broke below TLS)."""
    text = _ffi.string(_lib.ERR_reason_error_string(code)).decode() if code and _lib.ERR_reason_error_string(code) else ""
    return text or "connection broken off"


class TlsSocket:
    """As much of a socket as the handshake and the link use; the descriptor is non-blocking, waits end at the timeout."""

    def __init__(self, sock: socket.socket, host: str, timeout_s: float, ca_file: str | None = None) -> None:
        """Shake hands on a connected socket. Raises VenueError or TimeoutError; the socket stays the caller's."""
        self._socket = sock
        self._timeout_s: float = timeout_s
        self._host = host
        sock.setblocking(False)
        self.connection = _connection(sock, host, ca_file)
        try:
            self._retry(self.connection.do_handshake)
        except SSL.Error as error:
            raise VenueError(f"{host}: TLS refused: {self._why(error)}") from None

    @property
    def address(self) -> int:
        """The ``SSL *``, good until ``close``."""
        return int(_ffi.cast("intptr_t", self.connection._ssl))

    @property
    def functions(self) -> int:
        return int(FUNCTIONS.ctypes.data)

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, _: bool) -> None:
        """Always non-blocking underneath."""

    def settimeout(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def recv(self, count: int) -> bytes:
        try:
            return bytes(self._retry(self.connection.recv, count))
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            raise VenueError(f"{self._host}: TLS ended: {self._why(error)}") from None

    def sendall(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._retry(self.connection.send, data) :]
        except SSL.Error as error:
            raise VenueError(f"{self._host}: TLS ended: {self._why(error)}") from None

    def farewell(self) -> socket.socket:
        """Send close_notify if that is still possible; the TCP socket, to be closed by the caller."""
        with contextlib.suppress(SSL.Error):
            self.connection.shutdown()
        return self._socket

    def close(self) -> None:
        self._socket.close()

    def _retry(self, call: Any, *arguments: Any) -> Any:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return call(*arguments)
            except SSL.WantReadError:
                wanted: tuple[list[Any], list[Any]] = ([self._socket], [])
            except SSL.WantWriteError:
                wanted = ([], [self._socket])
            left = deadline - time.monotonic()
            if left <= 0 or not any(select.select(*wanted, [], left)):
                raise TimeoutError

    def _why(self, error: SSL.Error) -> str:
        verdict = _lib.SSL_get_verify_result(self.connection._ssl)
        if verdict != _VERIFIED:
            text = _ffi.string(_lib.X509_verify_cert_error_string(verdict)).decode()
            return f"the certificate does not hold: {text}"
        told = [one[-1] for one in error.args[0] if one[-1]] if error.args and isinstance(error.args[0], list) else []
        return "; ".join(told) or "connection broken off"


def _connection(sock: socket.socket, host: str, ca_file: str | None) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER)
    context.set_alpn_protos([b"http/1.1"])
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.set_default_verify_paths()
    except SSL.Error:
        raise VenueError(f"{ca_file}: no certificates of authorities can be read from it") from None
    connection = SSL.Connection(context, sock)
    parameters = _lib.SSL_get0_param(connection._ssl)
    try:
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        name = host.encode("idna")
        _lib.X509_VERIFY_PARAM_set_hostflags(parameters, _NO_PARTIAL_WILDCARDS)
        named = _lib.X509_VERIFY_PARAM_set1_host(parameters, name, len(name))
        connection.set_tlsext_host_name(name)
    else:
        named = _lib.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed))
    if named != 1:
        raise VenueError(f"{host}: this name cannot be checked against a certificate")
    connection.set_connect_state()
    return connection
