# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""What the two processes do in compiled code, PASSES at a time, and the words that they share. All words are int64.

The writer's segment is a ``market``, the reader's a ``journal``, both as ``fabric.segment`` makes them; the tiny rings lie
where the layout has its large ones. Each payload word is derived from the sequence and from the segment's creation time, so a
record of another writer is as foreign as a torn one. The ledger has two words for each lossless sequence: how often the
record was handed out, and its effect, which is keyed by the sequence. The constants are in this file because the cache of
kernels sees no other file of the tests. The flaws are the controls of the sweep.
"""

from __future__ import annotations

from numba import types

from fabric import layout, rings
from fabric.atomics import cpu_pause, load_acquire, load_relaxed, row, store_relaxed, store_release
from fabric.jit import kernel

SLOTS = 16
MARKET_CURSOR, LOSSLESS_CURSOR = layout.MARKET_CURSOR_OFFSET, layout.MARKET_CURSOR_OFFSET + layout.LINE
MARKET_RING, LOSSLESS_RING = layout.MARKET_RING_OFFSET, layout.MARKET_RING_OFFSET + layout.PAGE
ROW, ROW_WORDS = layout.STATE_OFFSET, 32
CONSUMED = layout.JOURNAL_PROGRESS_OFFSET + layout.JP_CONSUMED * layout.WORD  # the reader's count
FOLLOWED = layout.JOURNAL_PROGRESS_OFFSET + layout.JP_EXEC_GENERATION * layout.WORD  # of that generation; 0: of none

BATCH = 4  # records between two calls of lossless_done: the widest "taken and not done"
LEDGER_RECORDS = 1 << 16  # per generation; its writer offers no more
PASSES = 500
IDLE_MAX = 4  # empty passes of the reader before it looks around
WORK = 300  # pauses of the cpu for each lossless record: the reader is slow, the ring runs full
FLAT_OUT, PERIOD = 65408, 65536  # of PERIOD records, the first are written without a pause: the reader is lapped

# What an actor works on, private to its process: addresses, then numbers.
W_SOURCE, W_PROGRESS, W_REPORT, W_WRONG, W_LEDGER, W_STAMP, W_GENERATION, W_FLAW = range(8)
# Reports: the writer's, the reader's on one generation, and what must stay zero.
WR_PASSES, WR_OFFERED, WR_FULL, WR_NOBODY, WR_GENERATION, WR_PID = range(6)
SA_GENERATION, SA_VERDICT, SA_PASSES, SA_JOINED, SA_WANTED, SA_SEEN, SA_LOST, SA_LAPS = range(8)
SA_ROWS, SA_ROW_VERSION, SA_UNREAD, SA_RESUMED, SA_NEXT, SA_DEAD, SA_STALLED = range(8, 15)
WRONG = ("torn", "false_lap", "row_mixed", "row_backwards", "lossless_torn", "abandoned")
X_TORN, X_FALSE_LAP, X_ROW_MIXED, X_ROW_BACKWARDS, X_LOSSLESS_TORN, X_ABANDONED = range(len(WRONG))
REPORT_WORDS = 16

FLAWS = ("none", "mark_before_payload", "in_place", "done_before_taken", "forgets_what_is_done")
FLAW_NONE, FLAW_MARK_BEFORE_PAYLOAD, FLAW_IN_PLACE, FLAW_DONE_BEFORE_TAKEN, FLAW_FORGETS = range(len(FLAWS))
PRIME, _WORDS, _SLOT = 1_000_003, rings.SLOT_WORDS, rings.SLOT_BYTES

yield_cpu = types.ExternalFunction("sched_yield", types.int32())


@kernel
def fill(record, words, sequence, stamp):
    """All words of a record, each derived from its sequence and its writer."""
    for word in range(words):
        record[word] = sequence * PRIME + stamp + word


@kernel
def differs(record, words, sequence, stamp):
    """1 when any word but the first is not what ``fill`` makes."""
    for word in range(1, words):
        if record[word] != sequence * PRIME + stamp + word:
            return 1
    return 0


@kernel
def mark_before_payload(cursor, ring, record):
    """market_publish with its steps in the wrong order."""
    sequence = load_relaxed(cursor) + 1
    slot = ring + (sequence & (SLOTS - 1)) * _SLOT
    store_release(slot, 2 * sequence)
    for word in range(1, _WORDS):
        store_relaxed(slot + word * 8, record[word])
    store_release(cursor, sequence)


@kernel
def offer(w, report, cached, record):
    """One lossless record, unless the reader follows another generation or has no room."""
    cursor, progress = w[W_SOURCE] + LOSSLESS_CURSOR, w[W_PROGRESS]
    sequence = load_relaxed(cursor) + 1
    if sequence >= LEDGER_RECORDS:
        return
    consumed = progress * 0
    if progress != 0 and load_acquire(progress + FOLLOWED) == w[W_GENERATION]:
        consumed = progress + CONSUMED
    fill(record, _WORDS, sequence, w[W_STAMP])
    status = rings.lossless_publish(cursor, w[W_SOURCE] + LOSSLESS_RING, SLOTS, consumed, cached, record, sequence & 1)
    report[WR_OFFERED] += status == layout.RING_OK
    report[WR_FULL] += status == layout.RING_FULL
    report[WR_NOBODY] += status == layout.RING_NO_CONSUMER


@kernel
def write_some(w, cached, record, values):
    """PASSES records on the market ring; with every eighth a row of the state table, with every fourth a lossless record.

    Nothing yields while it goes flat out: where both share a cpu, the clock interrupts the writer anywhere.
    """
    report = row(w[W_REPORT], REPORT_WORDS)
    cursor, ring, lock = w[W_SOURCE] + MARKET_CURSOR, w[W_SOURCE] + MARKET_RING, w[W_SOURCE] + ROW
    for _ in range(PASSES):
        sequence = load_relaxed(cursor) + 1
        fill(record, _WORDS, sequence, w[W_STAMP])
        if w[W_FLAW] == FLAW_MARK_BEFORE_PAYLOAD:
            mark_before_payload(cursor, ring, record)
        else:
            rings.market_publish(cursor, ring, SLOTS, record)
        if sequence & 7 == 0:
            fill(values, ROW_WORDS, load_relaxed(lock) // 2 + 1, w[W_STAMP])
            rings.seqlock_write(lock, values, ROW_WORDS)
        elif sequence & 3 == 2:
            offer(w, report, cached, record)
        report[WR_PASSES] += 1
        if sequence & (PERIOD - 1) >= FLAT_OUT:
            yield_cpu()


@kernel
def read_market(w, saw, wrong, out):
    """The next record of the market ring, or a lap."""
    wanted = saw[SA_WANTED]
    status = rings.market_read(w[W_SOURCE] + MARKET_RING, SLOTS, wanted, out)
    if status == layout.RING_OK:
        wrong[X_TORN] += differs(out, _WORDS, wanted, w[W_STAMP])
        saw[SA_SEEN] += 1
        saw[SA_WANTED] = wanted + 1
    elif status == layout.RING_LAPPED:
        cursor = load_acquire(w[W_SOURCE] + MARKET_CURSOR)
        wrong[X_FALSE_LAP] += cursor < wanted + SLOTS - 2  # the mark is stored before the cursor that it belongs to
        saw[SA_LOST] += cursor - wanted
        saw[SA_LAPS] += 1
        saw[SA_WANTED] = cursor
    return status


@kernel
def read_row(w, saw, wrong, values):
    """The state table's row: never mixed, never older than before."""
    if not rings.seqlock_read(w[W_SOURCE] + ROW, values, ROW_WORDS):
        saw[SA_UNREAD] += 1
    elif values[0] > 0:
        version = values[0] // 2
        wrong[X_ROW_MIXED] += differs(values, ROW_WORDS, version, w[W_STAMP])
        wrong[X_ROW_BACKWARDS] += version < saw[SA_ROW_VERSION]
        saw[SA_ROW_VERSION] = version
        saw[SA_ROWS] += 1


@kernel
def take(w, saw, wrong, out):
    """The next lossless record into the ledger; says done after BATCH of them, or when there is none."""
    cursor, consumed, sequence = w[W_SOURCE] + LOSSLESS_CURSOR, w[W_PROGRESS] + CONSUMED, saw[SA_NEXT]
    early = w[W_FLAW] == FLAW_DONE_BEFORE_TAKEN
    if early:
        rings.lossless_done(consumed, load_acquire(cursor))
        yield_cpu()  # to the writer, where both share a cpu
    status = rings.lossless_read(cursor, w[W_SOURCE] + LOSSLESS_RING, SLOTS, sequence, out)
    if status == layout.RING_OK:
        wrong[X_LOSSLESS_TORN] += differs(out, _WORDS, sequence, w[W_STAMP]) or out[0] != sequence
        entry = w[W_LEDGER] + (sequence & (LEDGER_RECORDS - 1)) * 16
        store_release(entry + 8, out[1])
        store_release(entry, load_relaxed(entry) + 1)
        for _ in range(WORK):
            cpu_pause()
        sequence += 1
        saw[SA_NEXT] = sequence
    if not early and (status != layout.RING_OK or sequence % BATCH == 0):
        rings.lossless_done(consumed, sequence - 1)
    return status


@kernel
def read_some(w, out, values):
    """Up to PASSES records of each ring; ends early when there has been nothing on either for IDLE_MAX passes."""
    saw, wrong = row(w[W_REPORT], REPORT_WORDS), row(w[W_WRONG], REPORT_WORDS)
    idle = 0
    for step in range(PASSES):
        market = read_market(w, saw, wrong, out)
        if market == layout.RING_LAPPED:
            market = read_market(w, saw, wrong, out)  # at once: after the work below it would be gone again
        if step & 3 == 0:
            read_row(w, saw, wrong, values)
        lossless = take(w, saw, wrong, out)
        saw[SA_PASSES] += 1
        if market != layout.RING_EMPTY or lossless != layout.RING_EMPTY:
            idle = 0
            continue
        idle += 1
        if idle == IDLE_MAX:
            return
        yield_cpu()
