# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Non-blocking TCP for the compiled loops: libc called by name (so the kernels cache), results as plain integers.

The loop thread owns the descriptor while its session is in the loop; ``connect`` is for the control thread.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time

from numba import types

from fabric.atomics import load_relaxed, store_relaxed
from fabric.jit import kernel
from venue.errors import VenueError

RECV_BUFFER_BYTES = 128 * 1024  # a slow reader gets back-pressure instead of megabytes of stale market
ORDER_SEND_BUFFER_BYTES = 16 * 1024  # what the kernel holds of ours is an order that cannot be recalled
ORDER_USER_TIMEOUT_MS = 2000

RECV_WOULD_BLOCK, RECV_CLOSED, RECV_ERROR = 0, -1, -2
SEND_WOULD_BLOCK, SEND_ERROR = 0, -2

_SO_BUSY_POLL = 46
_MSG_DONTWAIT, _MSG_NOSIGNAL, _SIOCOUTQ = 0x40, 0x4000, 0x5411
_EINTR, _EAGAIN = 4, 11

_recv = types.ExternalFunction("recv", types.int64(types.int32, types.int64, types.int64, types.int32))
_send = types.ExternalFunction("send", types.int64(types.int32, types.int64, types.int64, types.int32))
_ioctl = types.ExternalFunction("ioctl", types.int32(types.int32, types.int64, types.int64))
_errno_location = types.ExternalFunction("__errno_location", types.int64())


@kernel
def errno():
    """errno of this thread; to be read right after the failed call."""
    address = _errno_location()
    word = load_relaxed(address & -8)  # only 8-byte loads here; errno is 4 bytes, in either half
    return (word >> ((address & 4) << 3)) & 0xFFFFFFFF


@kernel
def receive(fd, address, capacity):
    """Bytes read to ``address`` (> 0), 0 nothing there now, -1 closed by the venue, -2 error."""
    count = _recv(types.int32(fd), address, capacity, types.int32(_MSG_DONTWAIT))
    if count > 0:
        return count
    if count == 0:
        return RECV_CLOSED
    code = errno()
    return RECV_WOULD_BLOCK if code in (_EAGAIN, _EINTR) else RECV_ERROR


@kernel
def transmit(fd, address, count):
    """Bytes taken by the kernel (> 0, may be fewer than ``count``), 0 its buffer is full, -2 error (connection dead)."""
    sent = _send(types.int32(fd), address, count, types.int32(_MSG_DONTWAIT | _MSG_NOSIGNAL))
    if sent >= 0:
        return sent
    code = errno()
    return SEND_WOULD_BLOCK if code in (_EAGAIN, _EINTR) else SEND_ERROR


@kernel
def unsent_bytes(fd, scratch):
    """Bytes that the peer has not acknowledged yet (SIOCOUTQ), -2 error; ``scratch`` is 8 private bytes."""
    store_relaxed(scratch, 0)
    if _ioctl(types.int32(fd), _SIOCOUTQ, scratch) < 0:
        return SEND_ERROR
    return load_relaxed(scratch) & 0xFFFFFFFF


def part(sock: socket.socket, timeout_s: float) -> None:
    """Close so that what we sent last still arrives: a close with bytes unread would be a reset, which overtakes it."""
    deadline = time.monotonic() + timeout_s
    with sock, contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not sock.recv(65536):
                return


def busy_poll(fd: int, budget_us: int) -> bool:
    """Let each receive poll the network device for so long before it waits for an interrupt; False when that is refused.

    More than the system's default needs CAP_NET_ADMIN; it has no effect where the driver cannot do it.
    """
    with socket.socket(fileno=os.dup(fd)) as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_BUSY_POLL, budget_us)
        return True
    return False


def connect(host: str, port: int, timeout_s: float = 5.0, for_orders: bool = False) -> socket.socket:
    """A blocking TCP socket (with the timeout) tuned for one of our sessions; raises VenueError.

    The addresses of the host are tried one after the other, within ``timeout_s`` in all. ``for_orders``: a close drops what
    was not sent (SO_LINGER 0), little fits in flight, a dead peer is noticed.
    """
    deadline = time.monotonic() + timeout_s
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise VenueError(f"cannot resolve {host}: {error.strerror or error}; check the venue's address") from None
    last: OSError | None = None
    for k, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            # The receive buffer before connect: the window scale is fixed in the first packet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECV_BUFFER_BYTES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if for_orders:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ORDER_SEND_BUFFER_BYTES)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ORDER_USER_TIMEOUT_MS)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            sock.settimeout(left_s / (len(found) - k))  # a dead first address leaves time for the others
            sock.connect(address)
            sock.settimeout(timeout_s)
            return sock
        except OSError as error:
            sock.close()
            last = error
    text = "timed out" if isinstance(last, TimeoutError) else (last and last.strerror) or "no address"
    raise VenueError(f"cannot connect to {host}:{port}: {text}; is the venue up?")
