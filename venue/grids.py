"""Symbols and price grids of the configured instruments as the arrays that decoders and encoders read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from venue import tables


def _grid(step: str) -> tuple[int, int]:
    """(decimals, multiple): step = multiple x 10^-decimals, both integers."""
    value = Decimal(step)
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{step!r} is not a price or size step; write a positive decimal such as 0.01")
    decimals = max(0, -int(value.normalize().as_tuple().exponent))
    return decimals, int(value.scaleb(decimals))


def grids_of(instruments: list[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """(I, len(GRID))."""
    rows = [[*_grid(i["tick_size"]), *_grid(i["lot_size"])] for i in instruments]
    return np.array(rows, np.int64).reshape(len(instruments), len(tables.GRID))


def symbols_of(instruments: list[dict[str, Any]]) -> npt.NDArray[np.uint8]:
    """Symbol texts, zero padded, (I, SYMBOL_BYTES)."""
    texts = np.zeros((len(instruments), tables.SYMBOL_BYTES), np.uint8)
    for i, instrument in enumerate(instruments):
        raw = instrument["symbol"].encode("ascii")
        if len(raw) > tables.SYMBOL_BYTES:
            raise ValueError(f"symbol {instrument['symbol']!r} is longer than {tables.SYMBOL_BYTES} bytes")
        texts[i, : len(raw)] = np.frombuffer(raw, np.uint8)
    return texts
