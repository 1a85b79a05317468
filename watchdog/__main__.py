"""``python -m watchdog RUN_DIR``: one watchdog for one run directory; exit 0 only after an orderly, proven end."""

from __future__ import annotations

import sys

from watchdog.processes import real_time

if __name__ == "__main__":
    real_time()  # before the larger imports: it may be awaited by a kill
    from watchdog.process import StartError, main

    if len(sys.argv) != 2:
        sys.exit("usage: python -m watchdog RUN_DIR")
    try:
        sys.exit(main(sys.argv[1]))
    except StartError as error:
        sys.exit(f"watchdog: {error}")
