"""``python -m engine RUN_DIR``"""

import os
import sys

from engine.process import Execution

if __name__ == "__main__":
    code = Execution(sys.argv[1]).run()
    sys.stdout.flush()
    os._exit(code)  # at once: an interpreter that takes its time to end is a loop without a beat to the watchdog
