"""Signs of life to a real datagram socket, a device that is a file, and what the host may refuse."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.watchdog.stub import ROOT
from watchdog.guards import Device, Guards
from watchdog.notify import Notifier

S = 1_000_000_000


class Manager:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[dict[str, str]]:
        found = []
        while True:
            try:
                lines = self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in lines))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, str]]:
    path = str(tmp_path / "notify")
    abstract = f"pulex-test-{os.getpid()}"
    bind, name = (path, path) if request.param == "path" else ("\0" + abstract, "@" + abstract)
    made = Manager(bind)
    yield made, name
    made.socket.close()


MADE: list[Guards] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    for own in MADE:
        own.notifier.close()
    MADE.clear()


def guards(
    environ: dict[str, str], device: Path | None = None, status: Callable[[], str] = lambda: "withheld"
) -> tuple[Guards, list[str]]:
    alarms: list[str] = []
    kept = Device(str(device) if device else None, alarms.append)
    MADE.append(Guards(Notifier(environ), kept, status))
    return MADE[-1], alarms


def test_the_manager_hears_ready_then_a_sign_of_life_at_half_its_patience(manager: tuple[Manager, str]) -> None:
    made, name = manager
    own, _ = guards({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    own.tick(100 * S)
    assert made.heard() == [{"READY": "1", "STATUS": "withheld"}]
    own.tick(114 * S)
    assert made.heard() == []
    own.tick(115 * S)
    assert made.heard() == [{"WATCHDOG": "1"}]
    own.tick(116 * S)
    assert made.heard() == []


def test_a_loop_that_stands_gives_no_sign_of_life(manager: tuple[Manager, str]) -> None:
    made, name = manager
    own, _ = guards({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"})
    own.tick(S)
    made.heard()
    assert select.select([made.socket], [], [], 0.05) == ([], [], [])  # no thread, no timer: only a pass of the loop speaks


def test_the_status_is_told_when_it_changes_and_is_one_line(manager: tuple[Manager, str]) -> None:
    made, name = manager
    text = ["lease granted"]
    own, _ = guards({"NOTIFY_SOCKET": name}, status=lambda: text[0])
    own.tick(0)
    made.heard()
    own.tick(2 * S)
    assert made.heard() == []
    text[0] = "latched: a\nMAINPID=1"
    own.tick(4 * S)
    assert made.heard() == [{"STATUS": "latched: a MAINPID=1"}]


@pytest.mark.parametrize(("service_ends", "heard"), [(True, ["1"]), (False, [])])
def test_stopping_is_said_when_the_whole_service_ends(
    manager: tuple[Manager, str], service_ends: bool, heard: list[str]
) -> None:
    made, name = manager
    own, _ = guards({"NOTIFY_SOCKET": name})
    own.stop(proven=False, service_ends=service_ends)
    assert [one["STOPPING"] for one in made.heard()] == heard


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "1000"}, {"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "x"}])
def test_without_a_manager_nothing_is_sent_and_nothing_fails(environ: dict[str, str]) -> None:
    own, alarms = guards(environ)
    own.tick(S)
    own.tick(100 * S)
    own.stop(proven=True, service_ends=True)
    assert alarms == []


def test_a_socket_is_made_for_a_manager_only() -> None:
    assert guards({})[0].notifier.socket is None
    assert guards({"NOTIFY_SOCKET": "@x"})[0].notifier.socket is not None


def test_a_manager_that_is_gone_or_does_not_read_never_holds_the_loop_up(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    made = Manager(path)
    own, _ = guards({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2"})
    for pass_number in range(2000):  # far more than a datagram queue holds; a blocking send would hang here
        own.tick(pass_number * S)
    assert own.notifier.lost > 0
    made.socket.close()
    os.unlink(path)
    lost = own.notifier.lost
    own.tick(10_000 * S)
    assert own.notifier.lost == lost + 1


def test_the_device_is_kept_every_two_seconds_and_closed_with_v_after_a_proven_end(tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    own, alarms = guards({}, device)
    for second in range(1, 8):
        own.tick(second * S)
    own.stop(proven=True, service_ends=True)
    assert device.read_bytes() == b"\0\0\0\0V"
    assert alarms == []


def test_an_end_that_is_not_proven_leaves_the_device_armed(tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    own, _ = guards({}, device)
    own.tick(S)
    own.stop(proven=False, service_ends=True)
    assert device.read_bytes() == b"\0"
    assert own.device.fd == -1


def test_a_configured_device_that_is_absent_or_fails_is_an_alarm(tmp_path: Path) -> None:
    own, alarms = guards({}, tmp_path / "none")
    own.tick(S)
    own.stop(proven=True, service_ends=True)
    assert alarms == [f"the watchdog device is not kept: {tmp_path / 'none'}: No such file or directory"]
    full, alarms = guards({}, Path("/dev/full"))
    full.tick(S)
    assert alarms == ["the watchdog device does not take a sign of life: No space left on device"]


def protected(preparation: str, call: str) -> list[str]:
    """``protect`` in a process of its own: nothing of it may stick to the test."""
    imports = "import ctypes, pathlib, resource\nfrom watchdog import processes\nfrom watchdog.guards import protect"
    code = f"{imports}\n{preparation}\nprint(*{call}, sep='\\n')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_what_the_host_refuses_is_said() -> None:
    no_rights = "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); ctypes.CDLL(None).setuid(65534)"
    lines = protected(no_rights, "protect([10 ** 4])")
    assert [line.split(" ")[0] for line in lines] == ["oom_score_adj", "cpus"]
    assert "mlockall" in protected(no_rights, "processes.harden()")
    assert "the watchdog may go first" in lines[0]


def test_the_oom_score_is_lowered_and_a_lower_one_is_kept(tmp_path: Path) -> None:
    score = tmp_path / "oom_score_adj"
    for before, after in (("0\n", "-900\n"), ("-1000\n", "-1000\n")):
        score.write_text(before)
        assert protected("", f"protect((), pathlib.Path({str(score)!r}))") == [""]
        assert score.read_text() == after


def test_memory_is_locked_and_the_cpu_is_our_own_where_the_host_allows_it() -> None:
    cpu = min(os.sched_getaffinity(0))
    show = "[l for l in open('/proc/self/status') if l.startswith(('VmLck', 'Cpus_allowed_list'))]"
    lines = protected("", f"(processes.harden() + protect([{cpu}]) + {show})")
    words = dict(line.split(":") for line in lines if line.startswith(("VmLck:", "Cpus_allowed_list:")))
    assert words["Cpus_allowed_list"].strip() == str(cpu)
    if any(line.startswith("mlockall") for line in lines):
        pytest.skip("NOT TESTED: this host does not let us lock memory")
    assert int(words["VmLck"].split()[0]) > 1000
