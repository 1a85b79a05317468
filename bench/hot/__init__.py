"""The hot processes with Python threads that burn: for ``bench.interpreter`` alone, no product code knows of it.

``python -m bench.hot.feed RUN_DIR`` is ``python -m feed RUN_DIR`` plus one watching thread. When ``RUN_DIR/burn.json``
changes, it starts so many threads of pure Python for so many seconds. They inherit the cpus of the control thread, which
is pinned off the hot one.
"""

from __future__ import annotations

import json
import pathlib
import threading
import time

WATCH_S = 0.02


def burn(seconds: float) -> int:
    """Pure Python without a pause; returns the rounds made."""
    until, rounds, value = time.monotonic() + seconds, 0, 1
    while time.monotonic() < until:
        for k in range(1000):
            value = (value * 31 + k) % 1_000_003
        rounds += 1
    return rounds + (value < 0)


def watch(run_dir: str) -> None:
    """Wait for orders to burn, for ever."""
    file, seen = pathlib.Path(run_dir) / "burn.json", ""
    while True:
        time.sleep(WATCH_S)
        try:
            text = file.read_text()
        except OSError:
            continue
        if text != seen:
            seen = text
            order = json.loads(text)
            for _ in range(order["threads"]):
                threading.Thread(target=burn, args=(order["seconds"],), daemon=True).start()


def start_watching(run_dir: str) -> None:
    threading.Thread(target=watch, args=(run_dir,), name="burn-watch", daemon=True).start()
