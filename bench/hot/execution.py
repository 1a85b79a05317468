"""``python -m bench.hot.execution RUN_DIR``: the execution process, with threads that burn on demand."""

import sys

from bench.hot import start_watching
from engine.process import Execution

if __name__ == "__main__":
    process = Execution(sys.argv[1])
    start_watching(sys.argv[1])
    sys.exit(process.run())
