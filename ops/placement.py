"""Which process runs on which cpu, and how its loop waits when idle.

Default: the last cpu is hot and belongs to feed and execution, which yield to each other; everything else of ours stays
off it. One cpu: everybody backs off. Colo: the topology decides, a loop alone on a core spins, memory is locked; what the
host lacks is said in one line each, and the system runs all the same. ``waiting`` takes what a configuration chose instead
of ``auto``. ``place`` and ``waiting`` are pure, ``read_host`` asks the machine.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import resource
from collections.abc import Mapping
from typing import Any

LOCKED_BYTES_MIN = 1 << 30  # numba, its code and our segments
_CPU = pathlib.Path("/sys/devices/system/cpu")


@dataclasses.dataclass(frozen=True)
class Host:
    """What placement needs to know of a machine."""

    cpus: tuple[int, ...]
    siblings: Mapping[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    isolated: tuple[int, ...] = ()
    governor: str = ""
    memlock_bytes: int = -1  # -1 = unlimited


@dataclasses.dataclass(frozen=True)
class Placement:
    """cpus per process, the idle strategies of feed and execution (``fabric.duty``), and what the host lacks for colo."""

    feed: tuple[int, ...]
    execution: tuple[int, ...]
    house: tuple[int, ...]
    idle: tuple[str, str]
    lock_memory: bool = False
    lacks: tuple[str, ...] = ()

    def as_config(self) -> dict[str, Any]:
        """The ``placement`` table of config.json."""
        return {
            "feed": list(self.feed),
            "execution": list(self.execution),
            "house": list(self.house),
            "watchdog": list(self.house[-1:]),  # interrupts and everybody's favourite is the first
            "idle": dict(zip(("feed", "execution"), self.idle, strict=True)),
            "lock_memory": self.lock_memory,
        }


def place(host: Host, colo: bool = False) -> Placement:
    """Role to core. Pure."""
    cpus = tuple(sorted(host.cpus))
    if len(cpus) == 1:
        lacks = ("one cpu only: both loops back off; give the machine 4 cores",) if colo else ()
        return Placement(cpus, cpus, cpus, ("backoff", "backoff"), False, lacks)
    if not colo:
        return Placement(cpus[-1:], cpus[-1:], cpus[:-1], ("yield", "yield"))
    return _place_colo(host, cpus)


def _place_colo(host: Host, cpus: tuple[int, ...]) -> Placement:
    lacks = []
    isolated = tuple(cpu for cpu in cpus if cpu in host.isolated)
    if not isolated:
        lacks.append("no isolated cpus: other programs can run on the hot ones; boot with isolcpus= and nohz_full=")
    cores = _cores(isolated if len(isolated) >= 2 else cpus, host)
    hot = [core[-1] for core in cores][-2:]
    if len(cpus) < 3 or len(cores) < 2 or (not isolated and len(cores) < 3):
        hot = [cpus[-1]]
        lacks.append(f"{len(cores)} cores: feed and execution share cpu {hot[0]} and yield; spinning needs 3")
    taken = set(hot)
    for cpu in hot:
        taken |= set(host.siblings.get(cpu, (cpu,)))
    house = tuple(cpu for cpu in cpus if cpu not in taken and cpu not in host.isolated)
    if not house:
        house = tuple(cpu for cpu in cpus if cpu not in hot)
    if host.governor not in ("", "performance"):
        lacks.append(f"cpu governor is {host.governor}: clocks vary; set it to performance")
    lock = host.memlock_bytes < 0 or host.memlock_bytes >= LOCKED_BYTES_MIN
    if not lock:
        lacks.append(f"memory cannot be locked: the limit is {host.memlock_bytes >> 10} KiB; raise it with ulimit -l")
    idle = "spin" if len(hot) == 2 else "yield"
    return Placement((hot[0],), (hot[-1],), house, (idle, idle), lock, tuple(lacks))


def waiting(placement: Placement, feed: str, execution: str) -> Placement:
    """The placement with the idle strategies of a configuration; ``auto`` leaves what the topology gave.

    Raises ValueError for a loop that would spin on a cpu that others need.
    """
    chosen = tuple(was if wanted == "auto" else wanted for was, wanted in zip(placement.idle, (feed, execution), strict=True))
    shared = set(placement.feed) & set(placement.execution) or {*placement.feed, *placement.execution} & set(placement.house)
    if "spin" in chosen and shared:
        raise ValueError(
            f"spin needs a cpu of its own, and cpu {min(shared)} is shared; use auto, or --colo where there are 3 cores"
        )
    return dataclasses.replace(placement, idle=(chosen[0], chosen[1]))


def _cores(cpus: tuple[int, ...], host: Host) -> list[tuple[int, ...]]:
    """cpus grouped by physical core, ascending."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for cpu in cpus:
        groups.setdefault(tuple(sorted(host.siblings.get(cpu, (cpu,)))), []).append(cpu)
    return sorted(tuple(group) for group in groups.values())


def cpu_list(text: str) -> tuple[int, ...]:
    """``0-2,5`` as numbers."""
    found: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def read_host() -> Host:
    """This machine, as far as this process may use it."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return Host(
        cpus=cpus,
        siblings={cpu: cpu_list(_read(_CPU / f"cpu{cpu}/topology/thread_siblings_list")) or (cpu,) for cpu in cpus},
        isolated=cpu_list(_read(_CPU / "isolated")),
        governor=_read(_CPU / f"cpu{cpus[-1]}/cpufreq/scaling_governor"),
        memlock_bytes=-1 if soft == resource.RLIM_INFINITY else soft,
    )
