"""``python -m strategy.slow RUN_DIR``."""

import sys

from strategy.slow.process import main

sys.exit(main(sys.argv[1:]))
