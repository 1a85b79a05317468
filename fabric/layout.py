"""All shared memory of Pulex, and every enum that crosses a process, as plain data.

Everything is an aligned 8-byte signed word: one atomic load or store moves one field, the watchdog reads the same
page with ``memoryview.cast("q")``, and no compiler pads anything. A *record* is a tuple of word names; the index of a
name is its offset in words.

Who writes what (one writer per segment; everybody else maps it read-only)::

    market.<gen>   feed        header | cursor line | ring of market slots | state table, one row per instrument
    signal.<gen>   signal      header | cursor line | ring of signal slots
    exec.<gen>     execution   header | beat | signal cursor | account page | journal cursor | ring of journal slots
    journal.<gen>  journal     header | journal progress (the consumer's cursor of the journal ring)
    control.<gen>  supervisor  header | stop word, generation words
    stats-<role>.<gen>  role   header | status row | counter values | histograms | counter labels | error log
    lease (memfd)  watchdog    lease page, sealed against every other writer

A segment::

    0        8         16      24            32                     128        4096
    | magic | version | kind  | schema hash | total bytes | ...    | heartbeat | body ...
      ^ written last, after version and body: magic != 0 means ready

Of a header only the state changes after that (ready, draining, closed: forward only, by the writer).

Enum values are for ever: a retired one keeps its number and is named RETIRED_n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    def __getattr__(name: str) -> int: ...  # the constants that words() and enum() define


MAGIC = 0x50554C4558303031  # "PULEX001"
VERSION_MAJOR, VERSION_MINOR = 1, 0
VERSION = VERSION_MAJOR << 16 | VERSION_MINOR
WORD = 8
LINE = 128  # two 64-byte lines: the adjacent-line prefetcher pairs them
PAGE = 4096


def words(namespace: dict[str, object], prefix: str, names: str) -> tuple[str, ...]:
    """Define ``PREFIX_NAME = word index`` for each name; ``_`` leaves a reserved word."""
    fields = tuple(names.split())
    for index, name in enumerate(fields):
        if name != "_":
            key = f"{prefix}_{name}".upper()
            if key in namespace:
                raise AssertionError(f"{key} is defined twice")
            namespace[key] = index
    return fields


def enum(namespace: dict[str, object], prefix: str, names: str) -> tuple[str, ...]:
    """Define ``PREFIX_NAME = number`` from 0 up; the tuple turns a number back into its name."""
    return words(namespace, prefix, names)


_here = globals()

# --- Enums -----------------------------------------------------------------------------------------------------
SEGMENT = enum(_here, "SEGMENT", "none market signal exec journal control stats lease")
SEGMENT_STATE = enum(_here, "SEGMENT_STATE", "building ready draining closed")
ROLE = enum(_here, "ROLE", "none supervisor watchdog feed execution journal signal venue")
SIDE = enum(_here, "SIDE", "buy sell")
ORDER_TYPE = enum(_here, "TYPE", "none limit market ioc fok post_only")
ORDER_STATE = enum(
    _here,
    "STATE",
    "free pending_new live partially_filled pending_cancel pending_replace filled cancelled rejected expired unknown",
)
BOOK_STATUS = enum(_here, "BOOK", "empty ready dirty")
MARKET_KIND = enum(_here, "MARKET", "none tick book trade status connected disconnected other")
SIGNAL_KIND = enum(_here, "SIGNAL", "none oneshot parameter")
SIGNAL_SOURCE = enum(_here, "SOURCE", "none llm rules operator agent")
SIGNAL_STATE = enum(_here, "SIG", "free waiting working done expired refused")
OWNER_KIND = enum(_here, "OWNER", "none strategy signal unowned operator")
RISK_STATE = enum(_here, "RISK", "disarmed active paused halted killed")
LEASE_STATE = enum(_here, "LEASE", "none withheld granted lapsed withdrawn killed")
PROCESS_STATE = enum(_here, "PROCESS", "none starting compiling ready running stopping stopped failed")
IDLE = enum(_here, "IDLE", "spin yield backoff sleep")
SESSION_STATE = enum(_here, "SESSION", "down python loop closing")
ACTION = enum(_here, "ACTION", "pass queue limit_only reduce reject pause halt kill")  # weakest to strongest
EVENT_KIND = enum(
    _here,
    "EVENT",
    "none ack reject fill cancelled cancel_reject expired bust "
    "found_open found_closed found_missing position balance reconcile_begin reconcile_end capital_flow other error "
    "cancel_all_ack session_up session_down amended amend_reject",
)
JOURNAL_KIND = enum(
    _here,
    "JOURNAL",
    "none start market signal event timer intent sent not_sent cancel_intent cancel_sent ack reject fill cancelled "
    "breach state end unknown_order amend_intent amend_sent markout",
)
LIQUIDITY = enum(_here, "LIQUIDITY", "none maker taker")
RING_STATUS = enum(_here, "RING", "ok full no_consumer closed empty lapped")
REASON = enum(
    _here,
    "REASON",
    "none lease_lapsed epoch_stale killed halted_daily_loss halted_nav halted_operator owner_paused owner_latched "
    "position_cap gross_exposure rate_queued rate_queue_full rate_queue_expired slippage_limit_only drawdown_reduced "
    "drawdown_zero price_collar max_order_lots max_order_notional min_notional max_open_orders duplicate_id "
    "duplicate_order book_stale book_dirty book_crossed book_empty off_grid limit_missing not_marketable own_cross "
    "message_rate reject_storm journal_full signal_expired signal_invalid signal_no_stop signal_budget "
    "insufficient_funds unowned_position reconcile_pending order_table_full send_failed unsent_bytes shutdown "
    "venue_reject post_only_would_cross deadline_passed unknown_symbol unknown_order not_found self_trade requested "
    "unfilled fat_finger clock_jump session_down exit_too_large no_price exit_runaway halt_exit_over",
)
# What a record source did wrong; counted by the signal process.
BAD_ANSWER = enum(_here, "BAD", "none not_json schema unknown_symbol out_of_range no_text timeout http refused")

# --- Segment header --------------------------------------------------------------------------------------------
HEADER = words(
    _here,
    "H",
    "magic version kind schema_hash total_bytes body_offset generation owner_pid owner_start created_ns state boot_id "
    "config_hash code_hash role checksum",
)
HEARTBEAT_OFFSET = 128  # one word, CLOCK_MONOTONIC ns, on its own line
DIRECTORY_OFFSET = 256  # a stats segment says here where everything in it is; zeroes in the others
BODY_OFFSET = PAGE

# --- Market ring and state table (feed writes) -----------------------------------------------------------------
MARKET_SLOT = words(
    _here,
    "M",
    "seq kind instrument status bid_ticks bid_lots ask_ticks ask_lots trade_ticks trade_lots venue_seq venue_ns "
    "recv_ns publish_ns source_index message",
)  # trade_lots is signed by the aggressor: buy > 0
MARKET_SLOTS = 16384
MARKET_CURSOR_OFFSET = BODY_OFFSET
MARKET_RING_OFFSET = BODY_OFFSET + PAGE
STATE_ROW = words(
    _here,
    "ST",
    "lock status bid_ticks bid_lots ask_ticks ask_lots trade_ticks trade_lots book_seq venue_ns recv_ns source_index "
    "tick_seq levels _ _",
)  # then LEVELS x (bid_ticks, bid_lots, ask_ticks, ask_lots)
LEVELS = 20
STATE_LEVELS_WORD = 16
STATE_ROW_WORDS = 128
INSTRUMENTS_MAX = 32
STATE_OFFSET = MARKET_RING_OFFSET + MARKET_SLOTS * 128
MARKET_BYTES = STATE_OFFSET + INSTRUMENTS_MAX * STATE_ROW_WORDS * WORD

# --- Signal ring (signal process writes; execution's cursor lives in exec) ---------------------------------------
SIGNAL_SLOT = words(
    _here,
    "S",
    "seq kind id source instrument side lots limit_ticks urgency issued_ns expires_ns stop_ticks holding_ns model_hash "
    "prompt_hash value",
)  # a parameter record uses: instrument, id = parameter number, value = its value
PARAMETER = enum(_here, "PARAM", "none skew_bps_x100 half_spread_bps_x100 size_scale_ppm")
SIGNAL_SLOTS = 1024
SIGNAL_CURSOR_OFFSET = BODY_OFFSET
SIGNAL_RING_OFFSET = BODY_OFFSET + PAGE
SIGNAL_BYTES = SIGNAL_RING_OFFSET + SIGNAL_SLOTS * 128

# --- Execution's segment ---------------------------------------------------------------------------------------
BEAT = words(_here, "B", "epoch passes market_seq order_id mono_ns orders_sent state stall_max_ns")
BEAT_OFFSET = BODY_OFFSET
EXEC_SIGNAL_CURSOR_OFFSET = BODY_OFFSET + LINE  # word 0: next signal sequence wanted, word 1: signal generation
ACCOUNT_OFFSET = BODY_OFFSET + 2 * LINE
ACCOUNT_PAGE = words(
    _here,
    "AP",
    "lock updated_ns nav_e8 day_start_nav_e8 hwm_e8 cash_e8 realised_e8 unrealised_e8 fees_e8 risk_state risk_reason "
    "open_orders unknown_orders orders_sent fills drawdown_step limit_only instruments lease_state epoch "
    "signals_used signals_expired signals_refused reconciled markout_100ms_e8 markout_1s_e8 markout_10s_e8 marked_100ms_e8 "
    "marked_1s_e8 marked_10s_e8 _ _",
)
ACCOUNT_ROW = words(
    _here,
    "AR",
    "position_lots cost_e8 mark_x2_ticks realised_e8 unrealised_e8 working_buy_lots working_sell_lots cap_lots",
)
ACCOUNT_ROWS_WORD = 32
ACCOUNT_BYTES = (ACCOUNT_ROWS_WORD + INSTRUMENTS_MAX * len(ACCOUNT_ROW)) * WORD
EXEC_JOURNAL_CURSOR_OFFSET = BODY_OFFSET + PAGE  # word 0: records published
JOURNAL_RING_OFFSET = BODY_OFFSET + 2 * PAGE
JOURNAL_RECORD = words(
    _here,
    "J",
    "seq kind now_ns instrument order_id owner side type price_ticks lots signal_id model_hash prompt_hash reason "
    "wall_ns value",
)
JOURNAL_SLOTS = 32768
EXEC_BYTES = JOURNAL_RING_OFFSET + JOURNAL_SLOTS * 128

# --- Journal process -------------------------------------------------------------------------------------------
JOURNAL_PROGRESS = words(_here, "JP", "consumed synced exec_generation file_bytes failed _ _ _")
JOURNAL_PROGRESS_OFFSET = BODY_OFFSET
JOURNAL_BYTES = BODY_OFFSET + PAGE

# --- Supervisor's control page -----------------------------------------------------------------------------------
CONTROL = words(_here, "C", "stop armed market_generation signal_generation journal_generation day operator_halt _")
STOP = enum(_here, "STOP", "run cancel_and_verify now")
CONTROL_OFFSET = BODY_OFFSET
CONTROL_BYTES = BODY_OFFSET + PAGE

# --- Lease page (memfd, sealed; watchdog writes) -----------------------------------------------------------------
LEASE_PAGE = words(_here, "L", "magic version epoch granted_ns deadline_ns state kill_reason renewals")
LEASE_BYTES = PAGE

# --- Stats segment, one per role ---------------------------------------------------------------------------------
STATUS_ROW = words(
    _here,
    "P",
    "pid state cpu idle passes stall_max_ns stalls session epoch generation started_ns compiled cache_misses note _ _",
)
STATUS_OFFSET = BODY_OFFSET
COUNTERS_MAX = 256
COUNTER_STRIDE = 64
COUNTERS_OFFSET = BODY_OFFSET + PAGE
HISTOGRAMS_MAX = 16
HISTOGRAM_HEADER = words(_here, "HG", "count_over max_ns _ _ _ _ _ _")
HISTOGRAM_BUCKETS = 3840  # two significant digits, 1 ns .. 60 s
HISTOGRAM_STRIDE = (len(HISTOGRAM_HEADER) + HISTOGRAM_BUCKETS) * WORD
HISTOGRAMS_OFFSET = COUNTERS_OFFSET + COUNTERS_MAX * COUNTER_STRIDE
LABEL_BYTES = 64
LABELS_OFFSET = HISTOGRAMS_OFFSET + HISTOGRAMS_MAX * HISTOGRAM_STRIDE  # counters, then histograms
ERRORS_MAX = 64
ERROR_BYTES = 256  # words: count, first_ns, last_ns, length; then utf-8 text
ERRORS_OFFSET = LABELS_OFFSET + (COUNTERS_MAX + HISTOGRAMS_MAX) * LABEL_BYTES
STATS_BYTES = ERRORS_OFFSET + ERRORS_MAX * ERROR_BYTES
STATS_NAMES = " ".join(STATUS_ROW) + "\n" + " ".join(PROCESS_STATE)
STATS_NAMES_OFFSET = 1024
# The words at DIRECTORY_OFFSET, bytes from the start of the file: a tool needs the path and nothing else. Append only.
STATS_DIRECTORY = (
    ("words", 24), ("heartbeat", HEARTBEAT_OFFSET), ("names", STATS_NAMES_OFFSET), ("names_bytes", len(STATS_NAMES)),
    ("status", STATUS_OFFSET), ("status_words", len(STATUS_ROW)), ("counters", COUNTERS_OFFSET),
    ("counters_max", COUNTERS_MAX), ("counter_stride", COUNTER_STRIDE), ("histograms", HISTOGRAMS_OFFSET),
    ("histograms_max", HISTOGRAMS_MAX), ("histogram_stride", HISTOGRAM_STRIDE), ("over_in_histogram", 0),
    ("max_in_histogram", 8), ("buckets_in_histogram", len(HISTOGRAM_HEADER) * WORD), ("buckets", HISTOGRAM_BUCKETS),
    ("half_bits", 7), ("labels", LABELS_OFFSET), ("histogram_labels", LABELS_OFFSET + COUNTERS_MAX * LABEL_BYTES),
    ("label_bytes", LABEL_BYTES), ("errors", ERRORS_OFFSET), ("errors_max", ERRORS_MAX), ("error_bytes", ERROR_BYTES),
    ("text_in_error", 4 * WORD),
)  # fmt: skip

# Counters and histograms of each role. The name is the public key; new ones are appended, never inserted.
FEED_COUNTERS = words(
    _here,
    "FC",
    "messages bytes events ticks books trades book_gaps book_resyncs book_before_snapshot book_stale_delta "
    "book_crossed book_empty off_grid bad_number bad_json bad_frame unknown_symbol unknown_type cold_messages "
    "source_gaps source_last reconnects pings pongs oversize retired_25 depth_overflow source_first duplicates "
    "book_refused join_dropped rehearsals bad_utf8",
)
FEED_HISTOGRAMS = words(_here, "FH", "scan book publish pass_ns venue_to_recv")
EXEC_COUNTERS = words(
    _here,
    "EC",
    "market_events market_lost market_gaps market_resyncs signals_seen signals_used signals_expired signals_refused "
    "signals_done orders_sent orders_acked orders_rejected orders_cancelled orders_expired orders_unknown "
    "orders_cancelled_at_exit fills fills_duplicate cancels_sent cancel_rejects events_unknown_order events_late "
    "blocked_lease blocked_risk queued queue_expired journal_full bad_json bad_number unknown_type bad_frame bytes_in "
    "bytes_out sends send_partial reconnects pings reconciles reconcile_differences strategy_errors strategy_calls "
    "quotes_kept retired_42 cold_messages parameters_used parameters_seen halts pauses epoch_changes unowned_fills rehearsals "
    "amends_sent amend_rejects orders_amended markouts markouts_missed halt_exits halt_exits_over",
)
EXEC_HISTOGRAMS = words(
    _here,
    "EH",
    "tick_to_order ring_hop decide encode send pass_ns ack signal_age cancel_ack event_apply recv_to_seen gate",
)
REJECT_COUNTERS = tuple(f"reason.{name}" for name in REASON)  # execution: one counter per reason, after EXEC_COUNTERS
SIGNAL_COUNTERS = words(
    _here,
    "SC",
    "calls valid published oneshots parameters bad_not_json bad_schema bad_unknown_symbol bad_out_of_range bad_no_text "
    "bad_timeout bad_http bad_refused ring_full held clamped too_small",
)
SIGNAL_HISTOGRAMS = words(_here, "SH", "llm_latency")
WATCHDOG_COUNTERS = words(
    _here,
    "WC",
    "renewals withheld lapses kills kill_steps_failed keys_minted keys_revoked cancel_alls probes_refused "
    "probes_accepted beats_stuck polls resumes disagreements last_kill_test_ns last_kill_test_ms epoch "
    "view_reads view_errors view_open_orders view_positions kill_test_result "
    "revokers_proven revoker_failures revoker_refreshes budget_waits "
    "last_drill_wall_s last_drill_ms drill_result witness_state",
)
WATCHDOG_HISTOGRAMS = words(_here, "WH", "poll renew_gap kill")
JOURNAL_COUNTERS = words(_here, "JC", "records bytes syncs write_errors lost")
JOURNAL_HISTOGRAMS = words(_here, "JH", "sync")
SUPERVISOR_COUNTERS = words(_here, "UC", "starts restarts children_died arm_attempts")
EXEC_REASON_BASE = len(EXEC_COUNTERS)

COUNTERS_OF_ROLE: dict[str, tuple[str, ...]] = {
    "feed": FEED_COUNTERS,
    "execution": EXEC_COUNTERS + REJECT_COUNTERS,
    "signal": SIGNAL_COUNTERS,
    "watchdog": WATCHDOG_COUNTERS,
    "journal": JOURNAL_COUNTERS,
    "supervisor": SUPERVISOR_COUNTERS,
}
HISTOGRAMS_OF_ROLE: dict[str, tuple[str, ...]] = {
    "feed": FEED_HISTOGRAMS,
    "execution": EXEC_HISTOGRAMS,
    "signal": SIGNAL_HISTOGRAMS,
    "watchdog": WATCHDOG_HISTOGRAMS,
    "journal": JOURNAL_HISTOGRAMS,
    "supervisor": (),
}

SIZE_OF_KIND = {
    SEGMENT.index("market"): MARKET_BYTES,
    SEGMENT.index("signal"): SIGNAL_BYTES,
    SEGMENT.index("exec"): EXEC_BYTES,
    SEGMENT.index("journal"): JOURNAL_BYTES,
    SEGMENT.index("control"): CONTROL_BYTES,
    SEGMENT.index("stats"): STATS_BYTES,
    SEGMENT.index("lease"): LEASE_BYTES,
}

# --- Client order ids: instance (10 bits) | epoch (21 bits) | counter (32 bits), always > 0 ------------------------
ID_COUNTER_BITS, ID_EPOCH_BITS, ID_INSTANCE_BITS = 32, 21, 10
ID_WATCHDOG_COUNTER = 0xF000_0000  # the watchdog's own orders (probes, flatten) count from here


def header_checksum(header: Sequence[int]) -> int:
    """CRC-32 of the header words that never change: all but magic, state and the sum itself."""
    import struct
    import zlib

    fixed = [word for name, word in zip(HEADER, header, strict=False) if name not in ("magic", "state", "checksum")]
    return zlib.crc32(struct.pack(f"={len(fixed)}q", *fixed))


def _check() -> None:
    """Layout errors are found at import, before any process maps a page."""
    for record, size in ((MARKET_SLOT, 16), (SIGNAL_SLOT, 16), (JOURNAL_RECORD, 16), (HEADER, 16), (STATE_ROW, 16)):
        assert len(record) == size, (record, len(record))
    for offset in (MARKET_RING_OFFSET, STATE_OFFSET, SIGNAL_RING_OFFSET, JOURNAL_RING_OFFSET, COUNTERS_OFFSET):
        assert offset % LINE == 0, offset
    assert STATE_LEVELS_WORD + 4 * LEVELS <= STATE_ROW_WORDS
    assert len(ACCOUNT_PAGE) == ACCOUNT_ROWS_WORD
    assert DIRECTORY_OFFSET + len(STATS_DIRECTORY) * WORD <= STATS_NAMES_OFFSET <= BODY_OFFSET - len(STATS_NAMES)
    assert 2 * LINE + ACCOUNT_BYTES <= PAGE
    for slots in (MARKET_SLOTS, SIGNAL_SLOTS, JOURNAL_SLOTS):
        assert slots & (slots - 1) == 0, slots
    for role, names in COUNTERS_OF_ROLE.items():
        assert len(names) <= COUNTERS_MAX, role
        assert len(HISTOGRAMS_OF_ROLE[role]) <= HISTOGRAMS_MAX, role
    assert ID_COUNTER_BITS + ID_EPOCH_BITS + ID_INSTANCE_BITS == 63


_check()


def schema_text() -> str:
    """Every name and number above in one canonical text; its hash is in each segment header."""
    lines = [f"version {VERSION}"]
    for key in sorted(_here):
        value = _here[key]
        if key.isupper() and not key.startswith("_") and isinstance(value, int | tuple):
            lines.append(f"{key} {value}")
    return "\n".join(lines)


def schema_hash() -> int:
    """63-bit hash of the whole layout: two processes with different layouts never share a page."""
    import hashlib

    return int.from_bytes(hashlib.sha256(schema_text().encode()).digest()[:8], "little") >> 1


def order_id(instance: int, epoch: int, counter: int) -> int:
    """The client order id; raises ValueError outside its ranges."""
    if not (0 <= instance < 1 << ID_INSTANCE_BITS and 0 < epoch < 1 << ID_EPOCH_BITS and 0 < counter < 1 << 32):
        raise ValueError(f"instance {instance}, epoch {epoch}, counter {counter}: out of range")
    return instance << 53 | epoch << 32 | counter


def split_order_id(value: int) -> tuple[int, int, int]:
    """(instance, epoch, counter) of a client order id."""
    return value >> 53, value >> 32 & 0x1FFFFF, value & 0xFFFFFFFF
