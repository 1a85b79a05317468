"""``python -m tests.lanes``: the whole suite in lanes side by side, so that no cpu is idle; what `make test` runs.

The watchdog's processes mostly wait and need no kernel of the loops: their lane starts while those are compiled, once, into
the one cache that all lanes read. Then whole systems and everything else. The chaos is not among them: it is judged by the
clock, and the suite is too long already (`pytest tests/chaos` is its short form). A lane's report is printed when it ends;
the exit code is 0 when every lane passed.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tempfile
import time

COMPILE = ["tests/fabric/test_whole_loops.py"]
AT_ONCE = {"watchdog-and-fabric": ["tests/watchdog", "tests/fabric"]}
COMPILED = {
    "systems": ["tests/system"],
    "everything-else": ["tests", *(f"--ignore=tests/{room}" for room in ("system", "watchdog", "fabric", "chaos"))],
}
LANES = AT_ONCE | COMPILED
TELL_S = 20.0
TAIL = 12  # lines of the report of a lane that passed


def start(lane: str, reports: pathlib.Path) -> subprocess.Popen[bytes]:
    with (reports / lane).open("wb") as report:
        return subprocess.Popen([sys.executable, "-m", "pytest", *LANES[lane]], stdout=report, stderr=subprocess.STDOUT)


def progress(report: pathlib.Path) -> str:
    """How far a lane is, as pytest last said."""
    said = re.findall(r"\[ *(\d+%)\]", report.read_text(errors="replace"))
    return str(said[-1]) if said else "begun"


def main() -> int:
    started = told = time.monotonic()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        reports = pathlib.Path(folder)
        print("Compiling the kernels, or finding them in the cache: a minute or two at the first time", flush=True)
        running = {lane: start(lane, reports) for lane in AT_ONCE}
        try:
            if code := subprocess.run([sys.executable, "-m", "pytest", *COMPILE], check=False).returncode:
                return code
            print(f"Testing in {len(LANES)} lanes: {', '.join(LANES)}", flush=True)
            running |= {lane: start(lane, reports) for lane in COMPILED}
            while running:
                time.sleep(0.5)
                if time.monotonic() - told > TELL_S:
                    told = time.monotonic()
                    print(", ".join(f"{lane} {progress(reports / lane)}" for lane in running), flush=True)
                for lane in [lane for lane, process in running.items() if process.poll() is not None]:
                    code = running.pop(lane).returncode
                    failed = failed or code
                    lines = (reports / lane).read_text(errors="replace").splitlines()
                    print(
                        f"\n{lane}: {'passed' if code == 0 else f'FAILED with {code}'} after {time.monotonic() - started:.0f} s"
                    )
                    print("\n".join(lines if code else lines[-TAIL:]), flush=True)
        finally:
            for process in running.values():
                process.terminate()
    return failed


if __name__ == "__main__":
    sys.exit(main())
