"""Floor 3: the execution process: decide, route, risk, send; the order table; the journal."""

from engine import core_type as core_type  # registers how compiled code sees the core's tables, before any kernel is used
