"""Tables from configuration: exact integers or a clear refusal."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from engine import state, tables
from risk import tables as risk
from tests.engine.corekit import config


def test_instrument_becomes_exact_integers():
    row = state.build(config()).instruments[0]
    assert (row[risk.IN_MULT], row[risk.IN_PRICE_DECIMALS], row[risk.IN_SIZE_DECIMALS]) == (100, 2, 4)
    assert (row[risk.IN_MIN_LOTS], row[risk.IN_MAX_LOTS], row[risk.IN_MIN_NOTIONAL_E8]) == (1, 10_000, 10**8)


def test_instrument_that_is_not_exact_is_refused_with_what_to_do():
    bad = config()
    bad["instruments"][0]["tick_size"] = "0.00001"
    bad["instruments"][0]["lot_size"] = "0.00001"
    with pytest.raises(ValueError, match="choose tick_size and lot_size"):
        state.build(bad)


def test_limit_that_is_not_named_is_missing_and_unknown_ones_are_refused():
    short = config()
    del short["limits"]["collar_ppm"]
    assert state.build(short).limits[risk.LM_COLLAR_PPM] == risk.LIMIT_MISSING
    short["limits"]["colar_ppm"] = 1
    with pytest.raises(ValueError, match="no such limit"):
        state.build(short)


def test_addresses_name_every_table():
    core = state.build(config())
    words = ctypes.c_int64 * (3 * len(tables.Core._fields))
    rows = np.array(words.from_address(core.address)).reshape(-1, 3)
    for table, (address, count, columns) in zip(core, rows, strict=True):
        assert (table.ctypes.data, table.size) == (address, count * max(columns, 1))
