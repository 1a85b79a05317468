"""Strategies: what a user writes, the compiled seam to the core, and the slow path that an LLM speaks through.

``strategy.api`` for authors, ``strategy.loader`` (``load``, ``parameter_row``, ``StrategyError``) for the engine and the
configuration, ``strategy.tables`` for the columns, ``python -m strategy.slow RUN_DIR`` for the signal process. Nothing is
imported here.
"""
