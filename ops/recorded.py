"""The instrument that a recording is about: symbol, grid and market minimums, read off its first frames.

That takes seconds, so the answer is kept in the cache directory, for this file of this size and time of change.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pathlib
from typing import Any

import sim.market
from fabric.jit import cache_dir
from ops.config import ConfigError, Instrument
from sim.reconstruct import book_hashes
from sim.recording import Frame, Recording

HASH_EVERY = 1000  # frames between two hashes of the top levels
FRAMES = 200_000  # old orders far from the touch carry the finest sizes, so look at all of a usual file
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "BTC", "ETH")


def instrument(path: str | pathlib.Path) -> Instrument:
    """One instrument with the finest grid that the first frames use, from the cache when it is known. Raises ConfigError."""
    try:
        about = os.stat(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; give a recording to --data") from None
    name = f"{pathlib.Path(path).resolve()} {about.st_size} {about.st_mtime_ns} {FRAMES}"
    kept = cache_dir() / "recordings" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError):
        return Instrument.model_validate_json(kept.read_bytes())
    found = read_instrument(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(found.model_dump_json())
        part.rename(kept)
    return found


def read_instrument(path: str | pathlib.Path) -> Instrument:
    """The same, from the frames. Raises ConfigError."""
    symbol, price_decimals, size_decimals = "", 0, 0
    try:
        for frame in itertools.islice(Recording(path), FRAMES):
            found = frame.data.get("s")
            if found and symbol and found != symbol:
                raise ConfigError(f"{path}: holds {symbol} and {found}; give a recording of one symbol")
            symbol = symbol or str(found or "")
            for price, size in _levels(frame):
                price_decimals = max(price_decimals, _decimals(price))
                size_decimals = max(size_decimals, _decimals(size))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; give a recording to --data") from None
    if not symbol:
        raise ConfigError(f"{path}: no market frame in its first {FRAMES} lines; expected '<ns> <json>' lines")
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), symbol[-3:])
    return Instrument(
        symbol=symbol,
        base=symbol.removesuffix(quote),
        quote=quote,
        tick_size=_grid(price_decimals),
        lot_size=_grid(size_decimals),
    )


def _levels(frame: Frame) -> list[tuple[str, str]]:
    data = frame.data
    if frame.kind == "tick":
        return [(str(data["b"]), str(data["B"])), (str(data["a"]), str(data["A"]))]
    if frame.kind == "trade":
        return [(str(data["p"]), str(data["q"]))]
    sides = [*data.get("b", data.get("bids", ())), *data.get("a", data.get("asks", ()))]
    return [(str(price), str(size)) for price, size, *_ in sides]


def _decimals(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))


def _grid(decimals: int) -> str:
    return f"0.{'1'.rjust(decimals, '0')}" if decimals else "1"


def compare_books(config: dict[str, Any]) -> dict[str, int]:
    """The feed's hashes of the top levels against an independent reconstruction from the file: how many, how many equal."""
    lines = (pathlib.Path(config["state_dir"]) / "book_hashes.txt").read_text().splitlines()
    ours = {int(index): digest for index, digest in (line.split() for line in lines)}
    described = sim.market.Instrument.from_config(config["instruments"][0])
    theirs = dict(book_hashes(config["paper"]["data"], described, HASH_EVERY)) if ours else {}
    equal = sum(1 for index, digest in ours.items() if theirs.get(index) == digest)
    return {"every": HASH_EVERY, "compared": len(ours), "equal": equal}
