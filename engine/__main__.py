"""``python -m engine RUN_DIR``"""

import os
import sys

from engine.process import Execution
from engine.restart import RestartError

if __name__ == "__main__":
    try:
        code = Execution(sys.argv[1]).run()
    except RestartError as error:
        print(f"execution: {error}", flush=True)
        code = 1
    sys.stdout.flush()
    os._exit(code)  # at once: an interpreter that takes its time to end is a loop without a beat to the watchdog
