"""The whole gate compiled and interpreted: the same answers, and the same bytes in every table after each call."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_house import interpreted
from risk_worlds import ORDER, PROFILES, WORLDS, build, row_of

from fabric import layout
from risk import gate, limits, rate, tables

EDGES = st.sampled_from([-(1 << 62), -1, 0, 1, 2, 6, 8, (1 << 31) - 1, 1 << 31, 100_000_001, 1 << 62])
WILD = st.dictionaries(st.sampled_from(tables.ORDER_IN[: tables.OI_IS_QUOTE + 1]), EDGES, max_size=2)
MISSING = st.lists(st.sampled_from(tables.LIMIT[1 : tables.LM_REJECTS_IN_ROW + 1]), max_size=1)
LATER = st.sampled_from([0, 1, 19_000_000, 250_000_000, 1_000_000_000, 3_000_000_000])
CALLS = st.lists(st.tuples(ORDER, WILD, LATER, st.booleans()), min_size=1, max_size=6)


def limits_of(profile, missing):
    return row_of({name: value for name, value in limits.profile(profile).items() if name not in missing})


def orders(w, calls):
    """Put each order of the calls into the world in turn; yields whether a cancel goes out as well."""
    for number, (order, wild, later_ns, cancels) in enumerate(calls):
        w.now += later_ns
        w.ask(**order)
        w.order[tables.OI_ID] = 78 + number
        for name, value in wild.items():
            w.order[tables.ORDER_IN.index(name)] = value
        yield cancels


def steps(w, calls):
    """Judge each order, send what may go; the answer after each call, with a copy of every table."""
    for cancels in orders(w, calls):
        answer = int(w.judge(gate.gate))
        yield answer, [array.copy() for array in w.arrays()]
        if answer in (layout.ACTION_PASS, layout.ACTION_LIMIT_ONLY, layout.ACTION_REDUCE):
            gate.sent(w.order, w.account, w.owners, w.rate, w.now)
            yield answer, [array.copy() for array in w.arrays()]
        if cancels:
            rate.take_message(w.rate, w.now)
            yield answer, [array.copy() for array in w.arrays()]


@settings(max_examples=120, deadline=None)
@given(WORLDS, PROFILES, MISSING, CALLS)
def test_compiled_and_interpreted_gate_leave_the_same_bytes_after_each_call(spec, profile, missing, calls):
    limit_row = limits_of(profile, missing)
    compiled = list(steps(build(spec, limit_row.copy()), calls))
    with interpreted():
        plain = list(steps(build(spec, limit_row.copy()), calls))
    assert [answer for answer, _ in compiled] == [answer for answer, _ in plain]
    for (_, ours), (_, theirs) in zip(compiled, plain, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a, b)


@settings(max_examples=60, deadline=None)
@given(WORLDS, PROFILES, CALLS)
def test_the_gate_writes_its_answer_and_nothing_else(spec, profile, calls):
    w = build(spec, row_of(limits.profile(profile)))
    for _ in orders(w, calls):
        before = [array.copy() for array in w.arrays() if array is not w.out]
        w.judge()
        for a, b in zip(before, [array for array in w.arrays() if array is not w.out], strict=True):
            assert np.array_equal(a, b)
