"""Strategies: what a user writes, the compiled seam to the core, and the slow path that an LLM speaks through."""
