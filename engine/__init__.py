"""Floor 3: the execution process: decide, route, risk, send; the order table; the journal."""
