"""Floor 2: limits, checks and accounts. Knows nothing of sockets, venues or strategies."""
