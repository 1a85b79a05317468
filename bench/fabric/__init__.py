"""``make bench-fabric``: what shared memory costs, each figure beside its floor in the same run (see bench/README.md)."""
