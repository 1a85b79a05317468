"""``make bench-exec``: what the execution process adds between an event and an order, in cycles (see bench/README.md)."""
