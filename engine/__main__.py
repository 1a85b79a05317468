"""``python -m engine RUN_DIR``"""

import sys

from engine.process import Execution

if __name__ == "__main__":
    sys.exit(Execution(sys.argv[1]).run())
