"""The throwaway instance, and the strategy that makes each tick one order."""

from __future__ import annotations

import importlib.util

import numpy as np

from bench.instance import BURST, ECHO, PAUSE_S, client_config, new_round
from fabric import layout
from risk.tables import RATE_SLOTS
from strategy import check
from strategy import tables as st


def test_a_round_leaves_nothing_behind() -> None:
    with new_round() as one:
        config, key = client_config(str(one.where.run_dir))
        assert config["config_hash"] == one.config["config_hash"]
        assert key.startswith("sk_live_")
        assert key not in one.where.config.read_text()
        directories = (one.where.run_dir, one.where.state_dir, one.where.shm_dir)
        assert all(directory.is_dir() for directory in directories)
    assert not any(directory.exists() for directory in directories)


def test_a_burst_fits_the_hard_bound_of_orders_in_a_second() -> None:
    assert BURST < RATE_SLOTS
    assert PAUSE_S > 1.0


def test_echo_takes_once_for_each_touch_that_moved() -> None:
    assert check.check(ECHO.read_text(), str(ECHO)) == ("decide",)
    spec = importlib.util.spec_from_file_location("echo_under_test", ECHO)
    assert spec
    assert spec.loader
    echo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(echo)
    view, state = np.zeros(len(st.STRATEGY_VIEW), np.int64), np.zeros(st.STRATEGY_STATE, np.int64)
    parameters = np.array([1000] + [0] * (st.STRATEGY_PARAMETERS - 1), np.int64)
    view[st.SV_BOOK_STATUS] = layout.BOOK_READY
    taken = []
    for ask in (100, 100, 101, 101, 100):
        view[st.SV_ASK_TICKS] = ask
        intents = np.zeros((st.INTENTS, len(st.INTENT)), np.int64)
        taken.append(echo.decide(view, parameters, state, intents))
        if taken[-1]:
            assert list(intents[0, : st.NT_TYPE + 1]) == [st.INTENT_TAKE, layout.SIDE_BUY, ask, 1000, layout.TYPE_IOC]
    assert taken == [1, 0, 1, 0, 1]
    view[st.SV_BOOK_STATUS], view[st.SV_ASK_TICKS] = layout.BOOK_DIRTY, 105
    assert echo.decide(view, parameters, state, np.zeros((st.INTENTS, len(st.INTENT)), np.int64)) == 0
