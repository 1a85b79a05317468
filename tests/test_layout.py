"""The layout of shared memory: what may never change, what must change the hash, and that nothing overlaps."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric import layout

ROOT = pathlib.Path(layout.__file__).resolve().parent.parent

# Every enum as it was published. Names are only ever appended to a line; a retired one is renamed to retired_<number>.
PUBLISHED = {
    "SEGMENT": "none market signal exec journal control stats lease",
    "SEGMENT_STATE": "building ready draining closed",
    "ROLE": "none supervisor watchdog feed execution journal signal venue",
    "SIDE": "buy sell",
    "ORDER_TYPE": "none limit market ioc fok post_only",
    "ORDER_STATE": (
        "free pending_new live partially_filled pending_cancel pending_replace filled cancelled rejected expired unknown"
    ),
    "BOOK_STATUS": "empty ready dirty",
    "MARKET_KIND": "none tick book trade status connected disconnected other",
    "SIGNAL_KIND": "none oneshot parameter",
    "SIGNAL_SOURCE": "none llm rules operator agent",
    "SIGNAL_STATE": "free waiting working done expired refused",
    "OWNER_KIND": "none strategy signal unowned operator",
    "RISK_STATE": "disarmed active paused halted killed",
    "LEASE_STATE": "none withheld granted lapsed withdrawn killed",
    "PROCESS_STATE": "none starting compiling ready running stopping stopped failed",
    "SESSION_STATE": "down python loop closing",
    "ACTION": "pass queue limit_only reduce reject pause halt kill",
    "EVENT_KIND": (
        "none ack reject fill cancelled cancel_reject expired bust found_open found_closed found_missing position "
        "balance reconcile_begin reconcile_end capital_flow other error cancel_all_ack session_up session_down "
        "amended amend_reject"
    ),
    "JOURNAL_KIND": (
        "none start market signal event timer intent sent not_sent cancel_intent cancel_sent ack reject fill "
        "cancelled breach state end unknown_order amend_intent amend_sent markout"
    ),
    "LIQUIDITY": "none maker taker",
    "RING_STATUS": "ok full no_consumer closed empty lapped",
    "REASON": (
        "none lease_lapsed epoch_stale killed halted_daily_loss halted_nav halted_operator owner_paused "
        "owner_latched position_cap gross_exposure rate_queued rate_queue_full rate_queue_expired "
        "slippage_limit_only drawdown_reduced drawdown_zero price_collar max_order_lots max_order_notional "
        "min_notional max_open_orders duplicate_id duplicate_order book_stale book_dirty book_crossed book_empty "
        "off_grid limit_missing not_marketable own_cross message_rate reject_storm journal_full signal_expired "
        "signal_invalid signal_no_stop signal_budget insufficient_funds unowned_position reconcile_pending "
        "order_table_full send_failed unsent_bytes shutdown venue_reject post_only_would_cross deadline_passed "
        "unknown_symbol unknown_order not_found self_trade requested unfilled fat_finger clock_jump session_down "
        "exit_too_large no_price"
    ),
    "BAD_ANSWER": "none not_json schema unknown_symbol out_of_range no_text timeout http refused",
    "PARAMETER": "none skew_bps_x100 half_spread_bps_x100 size_scale_ppm",
    "IDLE": "spin yield backoff sleep",
    "STOP": "run cancel_and_verify now",
}

SEGMENTS = {
    "market": [
        (layout.MARKET_CURSOR_OFFSET, layout.WORD),
        (layout.MARKET_RING_OFFSET, layout.MARKET_SLOTS * layout.LINE),
        (layout.STATE_OFFSET, layout.INSTRUMENTS_MAX * layout.STATE_ROW_WORDS * layout.WORD),
    ],
    "signal": [
        (layout.SIGNAL_CURSOR_OFFSET, layout.WORD),
        (layout.SIGNAL_RING_OFFSET, layout.SIGNAL_SLOTS * layout.LINE),
    ],
    "exec": [
        (layout.BEAT_OFFSET, len(layout.BEAT) * layout.WORD),
        (layout.EXEC_SIGNAL_CURSOR_OFFSET, 2 * layout.WORD),
        (layout.ACCOUNT_OFFSET, layout.ACCOUNT_BYTES),
        (layout.EXEC_JOURNAL_CURSOR_OFFSET, layout.WORD),
        (layout.JOURNAL_RING_OFFSET, layout.JOURNAL_SLOTS * layout.LINE),
    ],
    "journal": [(layout.JOURNAL_PROGRESS_OFFSET, len(layout.JOURNAL_PROGRESS) * layout.WORD)],
    "control": [(layout.CONTROL_OFFSET, len(layout.CONTROL) * layout.WORD)],
    "stats": [
        (layout.STATUS_OFFSET, len(layout.STATUS_ROW) * layout.WORD),
        (layout.COUNTERS_OFFSET, layout.COUNTERS_MAX * layout.COUNTER_STRIDE),
        (layout.HISTOGRAMS_OFFSET, layout.HISTOGRAMS_MAX * layout.HISTOGRAM_STRIDE),
        (layout.LABELS_OFFSET, (layout.COUNTERS_MAX + layout.HISTOGRAMS_MAX) * layout.LABEL_BYTES),
        (layout.ERRORS_OFFSET, layout.ERRORS_MAX * layout.ERROR_BYTES),
    ],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_enum_values_never_change(name: str) -> None:
    now = getattr(layout, name)
    for number, published in enumerate(PUBLISHED[name].split()):
        assert now[number] in (published, f"retired_{number}"), f"{name} {number} was {published}"


def test_every_enum_is_published() -> None:
    source = pathlib.Path(layout.__file__).read_text()
    assert set(re.findall(r"^(\w+) = enum\(", source, re.MULTILINE)) == set(PUBLISHED)


def test_no_enum_names_a_value_twice() -> None:
    for name in PUBLISHED:
        values = getattr(layout, name)
        assert len(set(values)) == len(values), name


def test_a_name_becomes_a_constant_with_its_index() -> None:
    assert (layout.SIDE_BUY, layout.SIDE_SELL) == (0, 1)
    assert layout.MARKET_SLOT[layout.M_RECV_NS] == "recv_ns"
    assert layout.ORDER_STATE.index("unknown") == layout.STATE_UNKNOWN
    assert not any(key.endswith("__") for key in vars(layout) if key.isupper())  # a reserved word has no constant


def test_a_name_may_be_defined_once_only() -> None:
    namespace: dict[str, object] = {}
    layout.words(namespace, "X", "one two _ _")
    assert namespace == {"X_ONE": 0, "X_TWO": 1}
    with pytest.raises(AssertionError, match="X_TWO is defined twice"):
        layout.words(namespace, "X", "two")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKET_SLOTS", 1000),
        ("JOURNAL_SLOTS", 3 * 1024),
        ("LEVELS", 29),
        ("STATE_OFFSET", layout.STATE_OFFSET + 8),
        ("ACCOUNT_BYTES", layout.PAGE),
        ("MARKET_SLOT", layout.MARKET_SLOT[:-1]),
        ("ACCOUNT_ROWS_WORD", 31),
        ("ID_EPOCH_BITS", 22),
        ("HISTOGRAMS_MAX", 5),
    ],
)
def test_a_layout_that_does_not_fit_fails_at_import(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    layout._check()
    monkeypatch.setattr(layout, name, value)
    with pytest.raises(AssertionError):
        layout._check()


@pytest.mark.parametrize("kind", SEGMENTS)
def test_regions_of_a_segment_follow_each_other_and_fit(kind: str) -> None:
    end = layout.HEARTBEAT_OFFSET + layout.WORD
    assert len(layout.HEADER) * layout.WORD <= layout.HEARTBEAT_OFFSET
    assert end <= layout.BODY_OFFSET
    for offset, size in SEGMENTS[kind]:
        assert offset % 64 == 0, f"{offset} is not on its own cache line"
        assert offset >= end, f"{offset} lies inside the region that ends at {end}"
        end = offset + size
    assert end <= layout.SIZE_OF_KIND[layout.SEGMENT.index(kind)]


def test_every_kind_of_segment_has_a_size_and_every_role_its_labels() -> None:
    assert set(layout.SIZE_OF_KIND) == set(range(1, len(layout.SEGMENT)))
    assert set(layout.COUNTERS_OF_ROLE) == set(layout.HISTOGRAMS_OF_ROLE) == set(layout.ROLE) - {"none", "venue"}
    for labels in (*layout.COUNTERS_OF_ROLE.values(), *layout.HISTOGRAMS_OF_ROLE.values()):
        assert len(set(labels)) == len(labels)
        assert all(len(label) < layout.LABEL_BYTES for label in labels)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REASON", (*layout.REASON[:-1], "renamed")),
        ("MARKET_SLOT", (*layout.MARKET_SLOT[:-1], "renamed")),
        ("EXEC_COUNTERS", (*layout.EXEC_COUNTERS, "appended")),
        ("MARKET_SLOTS", 2 * layout.MARKET_SLOTS),
        ("VERSION", layout.VERSION + 1),
    ],
)
def test_schema_hash_changes_with_any_name_or_number(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    before = layout.schema_hash()
    monkeypatch.setattr(layout, name, value)
    assert layout.schema_hash() != before


def test_schema_hash_is_one_positive_word_and_the_same_in_every_process() -> None:
    assert 0 < layout.schema_hash() < 1 << 63
    code = "from fabric import layout; print(layout.schema_hash())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert int(other.stdout) == layout.schema_hash()


INSTANCES = st.integers(0, (1 << layout.ID_INSTANCE_BITS) - 1)
EPOCHS = st.integers(1, (1 << layout.ID_EPOCH_BITS) - 1)
COUNTERS = st.integers(1, (1 << layout.ID_COUNTER_BITS) - 1)


@given(INSTANCES, EPOCHS, COUNTERS)
def test_order_ids_round_trip_as_positive_words(instance: int, epoch: int, counter: int) -> None:
    value = layout.order_id(instance, epoch, counter)
    assert 0 < value < 1 << 63
    assert layout.split_order_id(value) == (instance, epoch, counter)


@given(INSTANCES, st.tuples(EPOCHS, COUNTERS), st.tuples(EPOCHS, COUNTERS))
def test_order_ids_of_an_instance_rise_with_epoch_then_counter(
    instance: int, one: tuple[int, int], two: tuple[int, int]
) -> None:
    assert (layout.order_id(instance, *one) < layout.order_id(instance, *two)) == (one < two)


@pytest.mark.parametrize(
    "parts", [(-1, 1, 1), (1 << 10, 1, 1), (0, 0, 1), (0, 1 << 21, 1), (0, 1, 0), (0, 1, 1 << 32), (0, 1, -1)]
)
def test_order_id_parts_outside_their_ranges_are_refused(parts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        layout.order_id(*parts)
