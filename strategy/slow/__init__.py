"""The slow path: a process that asks a language model (or fixed rules) and publishes bounded, expiring records.

It reads the state table and the account page, writes the signal ring and nothing else. It has no order tool.
"""
