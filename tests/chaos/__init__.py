"""Faults injected into whole systems of real processes, judged from the exchange's own ledger. See ``catalogue``."""
