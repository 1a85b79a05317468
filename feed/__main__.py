"""``python -m feed RUN_DIR``"""

import sys

from feed.process import Feed

if __name__ == "__main__":
    sys.exit(Feed(sys.argv[1]).run())
