"""Who watches the watchdog: the service manager, the kernel's device, a witness elsewhere; and how the host protects us.

``Guards`` is fed once a pass by the main loop, so that its signs of life mean that the loop runs. What the host refuses is
said in one line each and the watchdog runs all the same: the lease lapses by itself when it does not.

The device (``[watchdog] device``, off by default) resets the machine when nobody writes to it for its own timeout. It is
disarmed with ``V`` only after an end that was proven; after a crash it keeps running until a successor opens it again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fabric import layout
from watchdog import drill, telegram
from watchdog.beacon import Beacon
from watchdog.notify import Notifier

if TYPE_CHECKING:
    from watchdog.process import Watchdog

OOM_SCORE_ADJ = -900  # the kernel takes everybody else of this host first
DEVICE_PERIOD_NS = 2_000_000_000  # drivers time out after 10 s or more
STATUS_PERIOD_NS = 1_000_000_000


def protect(cpus: Iterable[int], oom_file: Path = Path("/proc/self/oom_score_adj")) -> list[str]:
    """Low OOM score and own cpus (none = stay where we are). Returns what the host refused, a line each."""
    refused = []
    try:
        if int(oom_file.read_text()) > OOM_SCORE_ADJ:  # a manager may have set it lower still
            oom_file.write_text(f"{OOM_SCORE_ADJ}\n")
    except (OSError, ValueError) as error:
        refused.append(f"oom_score_adj {OOM_SCORE_ADJ} ({_why(error)}): under memory pressure the watchdog may go first")
    wanted = set(cpus)
    try:
        if wanted:
            os.sched_setaffinity(0, wanted)
    except (OSError, ValueError) as error:
        refused.append(f"cpus {sorted(wanted)} ({_why(error)})")
    return refused


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else type(error).__name__


class Device:
    """The kernel's watchdog device, or a path that is not there. Raises nothing."""

    def __init__(self, path: str | None, alarm: Callable[[str], None]) -> None:
        self.path, self.alarm, self.fd = path, alarm, -1
        if not path:
            return
        try:
            self.fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            alarm(f"the watchdog device is not kept: {path}: {error.strerror}")

    def keep(self) -> None:
        """Put the reset off by one timeout of the driver."""
        self._write(b"\0")

    def close(self, disarm: bool) -> None:
        """Leave it; without ``disarm`` the machine is reset unless a successor comes in time."""
        if self.fd < 0:
            return
        if disarm:
            self._write(b"V")
        os.close(self.fd)
        self.fd = -1

    def _write(self, data: bytes) -> None:
        if self.fd < 0:
            return
        try:
            os.write(self.fd, data)
        except OSError as error:
            if error.errno != errno.EINTR:
                self.alarm(f"the watchdog device does not take a sign of life: {error.strerror}")


class Guards:
    """Signs of life and the status line; time is given. ``status`` is asked once a second at most."""

    def __init__(self, notifier: Notifier, device: Device, status: Callable[[], str], beacon: Beacon | None = None) -> None:
        self.notifier, self.device, self.status, self.beacon = notifier, device, status, beacon
        self.alive_ns = self.kept_ns = self.told_ns = 0
        self.told = ""

    def tick(self, now_ns: int) -> None:
        """Once a pass of the main loop."""
        if not self.told:
            self.told, self.told_ns = self.status(), now_ns
            self.notifier.ready(self.told)
            self.device.keep()
            self.alive_ns = self.kept_ns = now_ns
        if self.notifier.period_ns and now_ns - self.alive_ns >= self.notifier.period_ns:
            self.alive_ns = now_ns
            self.notifier.alive()
        if now_ns - self.kept_ns >= DEVICE_PERIOD_NS:
            self.kept_ns = now_ns
            self.device.keep()
        if self.beacon is not None:
            self.beacon.tick(now_ns)
        if now_ns - self.told_ns >= STATUS_PERIOD_NS:
            self.told_ns = now_ns
            if (text := self.status()) != self.told:
                self.told = text
                self.notifier.status(text)

    def stop(self, proven: bool, service_ends: bool) -> None:
        """The main loop is over. ``service_ends``: not only this process but the whole unit is on its way down."""
        if service_ends:
            self.notifier.stopping("ended, nothing left open" if proven else "ended, NOT PROVEN")
        if self.beacon is not None and proven:  # without it the witness hears silence, and kills
            self.beacon.farewell()
            self.beacon.socket.close()
        self.device.close(disarm=proven)
        self.notifier.close()


def of(dog: Watchdog) -> Guards:
    """The guards of a watchdog, by its configuration and environment. Raises OSError, ValueError."""
    drill.show(dog.stats, dog.operations.drill)
    config, own = dog.config, dog.config.get("witness", {})

    def status() -> str:
        latched = f", latched: {dog.reason}" if dog.latch is not None else ""
        return f"lease {layout.LEASE_STATE[dog.lease_state()]}, epoch {dog.epoch}{latched}"

    def state() -> tuple[int, int]:
        """Exposed: a key that trades, or orders of a kill or close that is not proven yet, may be alive at the venue."""
        unproven = dog.latch is not None and not dog.latch.get("proven")
        exposed = unproven or dog.registering or dog.ladder is not None or bool(dog.ring.ids("trade"))
        return int(exposed), dog.epoch

    beacon = None
    if own.get("send_to"):
        secret = telegram.read_secret(Path(own["secret_file"]))
        killed = "the witness on the second host has killed"
        beacon = Beacon(
            own["send_to"], secret, int(config["instance"]), int(own["beat_ms"]) * 1_000_000, state,
            dog.alarm, lambda: dog.kill("witness", killed), lambda word: dog.stats.set(layout.WC_WITNESS_STATE, word),
        )  # fmt: skip
    return Guards(Notifier(os.environ), Device(config.get("watchdog", {}).get("device"), dog.alarm), status, beacon)
