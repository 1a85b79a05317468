"""``python -m bench.hot.feed RUN_DIR``: the feed, with threads that burn on demand."""

import sys

from bench.hot import start_watching
from feed.process import Feed

if __name__ == "__main__":
    process = Feed(sys.argv[1])
    start_watching(sys.argv[1])
    sys.exit(process.run())
