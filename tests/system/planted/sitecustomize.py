"""Loaded by every Python process of a planted house: in the exchange it notes each secret made, in a file of the test's.

The exchange keeps only digests of its keys, so this is the one way to know every key ever minted.
"""

import os
import secrets
import sys

if sys.orig_argv[1:3] == ["-m", "sim"]:
    _made = secrets.token_urlsafe

    def _noted(nbytes: int | None = None) -> str:
        value = _made(nbytes)
        with open(os.environ["PLANTED_NOTES"], "a", encoding="ascii") as file:
            file.write(value + "\n")
        return value

    secrets.token_urlsafe = _noted
