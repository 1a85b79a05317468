"""The watchdog: holds the keys, grants the lease, ends trading. Standard library and ``fabric.layout`` only."""
