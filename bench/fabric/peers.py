# mypy: disable-error-code="no-untyped-call"
"""The same hop by other means: half a round trip of a 120-byte message between two processes on the same two cpus.

``faster_fifo`` and ``multiprocessing.Queue`` (both pickle and wake a sleeper), a pair of pipes (blocking, raw bytes) and
``iceoryx2`` (busy polling through its Python binding, raw bytes). All are driven from Python, which is in their figures: that
is how a Python program uses them. What is not installed is said aloud and left out, never estimated.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.fabric.pair import Lost, both

BYTES = 120  # 15 words, what a market slot carries
WAIT_S = 5.0
Side = tuple[Callable[[bytes], Any], Callable[[], Any]]  # send, receive


def trips(side: Side, times: int) -> list[int]:
    """Round trips in ns."""
    send, receive = side
    message, found = bytes(range(BYTES)), []
    for _ in range(times):
        started = time.perf_counter_ns()
        send(message)
        back = receive()
        found.append(time.perf_counter_ns() - started)
        if back != message:
            raise Lost(f"an echo of {len(back)} bytes is not what was sent")
    return found


def echo(side: Side, times: int) -> int:
    """The other end of it."""
    send, receive = side
    for _ in range(times):
        send(receive())
    return times


def fifo_sides(times: int) -> tuple[Callable[[], Side], Callable[[], Side]]:
    import faster_fifo

    there, back = faster_fifo.Queue(1 << 20), faster_fifo.Queue(1 << 20)
    return (lambda: (there.put, lambda: back.get(timeout=WAIT_S))), (lambda: (back.put, lambda: there.get(timeout=WAIT_S)))


def queue_sides(times: int) -> tuple[Callable[[], Side], Callable[[], Side]]:
    there, back = multiprocessing.get_context("fork").Queue(), multiprocessing.get_context("fork").Queue()
    return (lambda: (there.put, lambda: back.get(timeout=WAIT_S))), (lambda: (back.put, lambda: there.get(timeout=WAIT_S)))


def pipe_sides(times: int) -> tuple[Callable[[], Side], Callable[[], Side]]:
    (to_far, from_near), (to_near, from_far) = os.pipe()[::-1], os.pipe()[::-1]

    def side(out: int, into: int) -> Side:
        return (lambda message: os.write(out, message)), (lambda: os.read(into, BYTES))

    return (lambda: side(to_far, from_far)), (lambda: side(to_near, from_near))


def iceoryx2_sides(times: int) -> tuple[Callable[[], Side], Callable[[], Side]]:
    import iceoryx2 as iox

    iox.set_log_level(iox.LogLevel.Fatal)
    tag = os.getpid()

    class Message(ctypes.Structure):
        _fields_ = [("data", ctypes.c_uint8 * BYTES)]

        @staticmethod
        def type_name() -> str:
            return "PulexBenchMessage"

    def side(out: str, into: str) -> Side:
        node = iox.NodeBuilder.new().signal_handling_mode(iox.SignalHandlingMode.Disabled).create(iox.ServiceType.Ipc)

        def service(name: str) -> Any:
            text = iox.ServiceName.new(f"pulex-bench-{tag}-{name}")
            return node.service_builder(text).publish_subscribe(Message).open_or_create()

        outward = service(out)
        publisher, subscriber = outward.publisher_builder().create(), service(into).subscriber_builder().create()
        kept, limit = [node], time.monotonic() + WAIT_S
        while outward.dynamic_config.number_of_subscribers == 0:  # what is sent to nobody is lost
            if time.monotonic() > limit:
                raise Lost("iceoryx2: the other side did not come")

        def send(message: bytes) -> None:
            assert kept
            publisher.send_copy(Message.from_buffer_copy(message))

        def receive() -> bytes:
            limit = time.monotonic() + WAIT_S
            while (sample := subscriber.receive()) is None:
                if time.monotonic() > limit:
                    raise Lost("iceoryx2: no message in time")
            return bytes(sample.payload().contents)

        return send, receive

    return (lambda: side("there", "back")), (lambda: side("back", "there"))


PEERS: dict[str, Callable[[int], tuple[Callable[[], Side], Callable[[], Side]]]] = {
    "faster_fifo_hop_ns": fifo_sides,
    "mp_queue_hop_ns": queue_sides,
    "pipe_hop_ns": pipe_sides,
    "iceoryx2_hop_ns": iceoryx2_sides,
}


def hop(name: str, times: int, cpus: tuple[int, int]) -> dict[str, Any]:
    """Half round trips in ns of one peer; raises Lost, and ImportError when it is not installed."""
    near, far = PEERS[name](times)
    warmup = max(times // 10, 1)

    def near_run() -> list[int]:
        side = near()
        return trips(side, times + warmup)[warmup:]

    found, echoed = both(near_run, lambda: echo(far(), times + warmup), cpus)
    if echoed != times + warmup:
        raise Lost(f"{name}: {echoed} of {times + warmup} echoes")
    halves = np.array(found) / 2
    return {"p50": round(float(np.percentile(halves, 50))), "p99": round(float(np.percentile(halves, 99))), "n": len(halves)}


def measure(cpus: tuple[int, int], times: int) -> dict[str, Any]:
    """Every peer that is installed and works; the others are None, which is said."""
    found: dict[str, Any] = {}
    for name in PEERS:
        try:
            found[name] = hop(name, times, cpus)
        except ImportError as error:
            print(f"bench: {name[:-7].upper()} IS ABSENT, not compared ({error}); make bench-fabric installs it", flush=True)
            found[name] = None
        except Exception as error:  # whatever a foreign library raises must not lose our own figures
            print(f"bench: {name[:-7].upper()} FAILED, not compared: {error!r}"[:300], flush=True)
            found[name] = None
    return found
