# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""``python -m bench.feed.tls``: what TLS adds to a message over loopback, and what OpenSSL alone takes for it, as JSON.

Two processes on two cpus, compiled loops on both ends (``venue.transport``): one message of a tick's size goes there and back,
``rounds`` times, plain and TLS interleaved. ``added_one_way`` is half the difference of the medians. ``openssl`` is one
message sealed and opened in memory, no socket (``SSL_write``, ``BIO_read``, ``BIO_write``, ``SSL_read``): what no client of
this library can avoid.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import pathlib
import socket
import statistics
import sys
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography import x509
from cryptography.hazmat.bindings._rust import _openssl
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from fabric.atomics import call_address
from fabric.clock import monotonic_ns
from fabric.jit import kernel
from venue import sockets, tls, transport
from venue import tables as t

MESSAGE_BYTES, ROUNDS, BLOCKS = 180, 4000, 5
_ffi, _lib = _openssl.ffi, _openssl.lib


@kernel
def _whole(s, address, size):
    """Receive one message; 1, or 0 when the connection is over."""
    have = 0
    while have < size:
        count = transport.receive(s, address + have, size - have)
        if count < 0:
            return 0
        have += count
    return 1


@kernel
def echo(s, address, size):
    """Send every message back until the other side closes; how many."""
    done = 0
    while _whole(s, address, size):
        if transport.transmit(s, address, size) != size:
            break
        done += 1
    return done


@kernel
def ping(s, address, size, times, scratch):
    """Round trips, each timed into ``times``; how many were made."""
    for k in range(len(times)):
        start = monotonic_ns(scratch)
        if transport.transmit(s, address, size) != size or not _whole(s, address, size):
            return k
        times[k] = monotonic_ns(scratch) - start
    return len(times)


@kernel
def seal_and_open(near, far, wire, address, size, times, scratch):
    """Messages from ``near`` to ``far`` through memory; ``wire``: BIO_read, its BIO, BIO_write, its BIO, buffer, room."""
    for k in range(len(times)):
        start = monotonic_ns(scratch)
        if transport.transmit(near, address, size) != size:
            return k
        count = np.int64(np.int32(call_address(wire[0], wire[1], wire[4], wire[5], 0)))
        call_address(wire[2], wire[3], wire[4], count, 0)
        if transport.receive(far, address, size) != size:
            return k
        times[k] = monotonic_ns(scratch) - start
    return len(times)


def _row(connection: SSL.Connection | None, fd: int) -> npt.NDArray[np.int64]:
    row: npt.NDArray[np.int64] = np.zeros(len(t.SESSION), np.int64)
    row[t.SE_FD] = fd
    if connection is not None:
        row[t.SE_SSL], row[t.SE_FUNCTIONS] = int(_ffi.cast("intptr_t", connection._ssl)), tls.FUNCTIONS.ctypes.data
    return row


def certificate(folder: str) -> str:
    """A certificate for localhost that is its own authority, with its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
    )
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False).sign(key, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = pathlib.Path(folder) / "localhost.pem"
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return str(file)


def _server(file: str, sock: socket.socket | None) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(file)
    context.use_privatekey_file(file)
    connection = SSL.Connection(context, sock)
    connection.set_accept_state()
    return connection


def _serve(listener: socket.socket, file: str, cpu: int) -> None:
    """The far end, in a process of its own: per block one plain session, then one over TLS."""
    os.sched_setaffinity(0, {cpu})
    data = np.zeros(MESSAGE_BYTES, np.uint8)
    while True:
        for secure in (False, True):
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _server(file, sock) if secure else None
            if connection is not None:
                connection.do_handshake()
            sock.setblocking(False)
            echo(_row(connection, sock.fileno()), data.ctypes.data, MESSAGE_BYTES)
            sock.close()


def round_trips(port: int, file: str | None, rounds: int) -> npt.NDArray[np.int64]:
    """ns of each round trip of one session; the first tenth warms and is left out."""
    sock = sockets.connect("127.0.0.1", port)
    channel = tls.TlsSocket(sock, "localhost", 5.0, file) if file else None
    sock.setblocking(False)
    row, data = _row(channel.connection if channel else None, sock.fileno()), np.zeros(MESSAGE_BYTES, np.uint8)
    times, scratch = np.zeros(rounds, np.int64), np.zeros(8, np.int64)
    made = ping(row, data.ctypes.data, MESSAGE_BYTES, times, scratch.ctypes.data)
    sockets.part(channel.farewell() if channel else sock, 1.0)
    if made != rounds:
        raise RuntimeError(f"the session ended after {made} of {rounds} round trips")
    return times[rounds // 10 :]


def openssl_alone(file: str, rounds: int) -> npt.NDArray[np.int64]:
    """ns to seal and open each message in memory."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    near, far = SSL.Connection(context, None), _server(file, None)
    near.set_connect_state()
    for _ in range(4):
        for one, other in ((near, far), (far, near)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    with contextlib.suppress(SSL.WantReadError):
        near.recv(1)  # the session tickets
    room, data = np.zeros(65536, np.uint8), np.zeros(MESSAGE_BYTES, np.uint8)
    pointers = (near._from_ssl, far._into_ssl)
    ends = [
        int(_ffi.cast("intptr_t", one))
        for one in (_ffi.addressof(_lib, "BIO_read"), _ffi.addressof(_lib, "BIO_write"), *pointers)
    ]
    wire = np.array([ends[0], ends[2], ends[1], ends[3], room.ctypes.data, len(room)], np.int64)
    times, scratch = np.zeros(rounds, np.int64), np.zeros(8, np.int64)
    rows = (_row(near, -1), _row(far, -1))
    made = seal_and_open(*rows, wire, data.ctypes.data, MESSAGE_BYTES, times, scratch.ctypes.data)
    if made != rounds:
        raise RuntimeError(f"OpenSSL stopped after {made} of {rounds} messages")
    return times[rounds // 10 :]


def measure(rounds: int, blocks: int) -> dict[str, Any]:
    """Medians over blocks of medians, in ns."""
    cpus = sorted(os.sched_getaffinity(0))
    found: dict[str, list[float]] = {"plain_round_trip": [], "tls_round_trip": [], "openssl_seal_and_open": []}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        file, port = certificate(folder), listener.getsockname()[1]
        far = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, file, cpus[0]), daemon=True)
        far.start()
        os.sched_setaffinity(0, {cpus[-1]})
        try:
            for _ in range(blocks + 1):
                found["plain_round_trip"].append(float(np.median(round_trips(port, None, rounds))))
                found["tls_round_trip"].append(float(np.median(round_trips(port, file, rounds))))
                found["openssl_seal_and_open"].append(float(np.median(openssl_alone(file, rounds))))
        finally:
            far.kill()
            far.join()
            os.sched_setaffinity(0, set(cpus))
    p50 = {f"{name}_p50_ns": statistics.median(values[1:]) for name, values in found.items()}  # the first block compiles
    added = (p50["tls_round_trip_p50_ns"] - p50["plain_round_trip_p50_ns"]) / 2
    return p50 | {
        "added_one_way_p50_ns": added,
        "message_bytes": MESSAGE_BYTES,
        "rounds": rounds,
        "blocks": blocks,
        "cpus": len(cpus),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.feed.tls", description="What TLS adds to a message")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    given = parser.parse_args()
    print(json.dumps(measure(given.rounds, given.blocks)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
