# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""From the core and the inputs to the journal ring, in order. When the journal cannot keep up, new orders stop.

The journal kind's low 8 bits are JOURNAL_*; market, signal and event records keep their own kind above and their other
words where they were, with the time of the pass in M_PUBLISH_NS, S_SOURCE (source << 16 in the kind) or EV_RECV_NS.
``engine.fold`` reads all of them back.
"""

from __future__ import annotations

from engine import tables as et
from engine import wiring as wi
from fabric import layout as lay
from fabric.atomics import load_acquire, load_relaxed, row
from fabric.jit import kernel
from fabric.rings import lossless_publish


@kernel
def _consumer(w):
    """Address of the journal process's position, 0 when it does not read this generation of ours.

    The generation is looked at first: the count that belongs to another one's ring would pass for room in ours.
    """
    journal = w[wi.WI_JOURNAL]
    if journal == 0:
        return journal
    base = journal + lay.JOURNAL_PROGRESS_OFFSET
    # pairs with the journal process, which stores the count before the generation
    if load_acquire(base + lay.JP_EXEC_GENERATION * 8) != load_relaxed(w[wi.WI_EXEC] + lay.H_GENERATION * 8):
        return journal * 0
    if load_acquire(base + lay.JP_FAILED * 8) != 0:
        return journal * 0
    return base + lay.JP_CONSUMED * 8


@kernel
def put(w, n, c, values, urgent):
    """Append one record; a refusal blocks new orders until there is room again."""
    base = w[wi.WI_EXEC]
    status = lossless_publish(
        base + lay.EXEC_JOURNAL_CURSOR_OFFSET,
        base + lay.JOURNAL_RING_OFFSET,
        lay.JOURNAL_SLOTS,
        _consumer(w),
        row(w[wi.WI_JOURNAL_CACHED], 1),
        values,
        urgent,
    )
    if status == lay.RING_OK:
        n[wi.WN_JOURNAL_OK] = 1
        c.scalars[et.K_JOURNAL_FULL] = 0
    else:
        n[wi.WN_JOURNAL_OK] = 0
        c.scalars[et.K_JOURNAL_FULL] = 1
        c.counters[lay.EC_JOURNAL_FULL] += 1
    return status


@kernel
def market(w, n, c, slot, now_ns):
    """A market event as the core sees it."""
    out = row(w[wi.WI_RECORD], 16)
    for word in range(16):
        out[word] = slot[word]
    out[lay.J_KIND] = lay.JOURNAL_MARKET | slot[lay.M_KIND] << 8
    out[lay.M_PUBLISH_NS] = now_ns
    put(w, n, c, out, 0)


@kernel
def signal(w, n, c, slot, now_ns):
    """A signal record as the core sees it."""
    out = row(w[wi.WI_RECORD], 16)
    for word in range(16):
        out[word] = slot[word]
    out[lay.J_KIND] = lay.JOURNAL_SIGNAL | slot[lay.S_KIND] << 8 | slot[lay.S_SOURCE] << 16
    out[lay.S_SOURCE] = now_ns
    if slot[lay.S_KIND] == lay.SIGNAL_PARAMETER:
        out[lay.S_LOTS] = slot[lay.S_SEQ]  # what names the record in an order; the ring's own number replaces it here
    put(w, n, c, out, 0)


@kernel
def event(w, n, c, values, now_ns):
    """A venue or reconciliation event as the core sees it; fills and answers may use the reserve."""
    out = row(w[wi.WI_RECORD], 16)
    for word in range(1, 15):
        out[word + 1] = values[word]
    out[lay.J_KIND] = lay.JOURNAL_EVENT | values[et.EV_KIND] << 8
    out[et.EV_RECV_NS + 1] = now_ns
    if values[et.EV_KIND] == lay.EVENT_BALANCE or values[et.EV_KIND] == lay.EVENT_CAPITAL_FLOW:
        out[et.EV_VENUE_NS + 1] = values[et.EV_EXTRA]  # the amount: a record has one word less, and these have no venue time
    put(w, n, c, out, 1)


@kernel
def flush(w, n, c):
    """Move the core's records of this pass to the ring; 1 when all of them went."""
    count = c.journal_count[0]
    complete = 1
    for k in range(count):
        if put(w, n, c, c.journal[k], 1) != lay.RING_OK:
            complete = 0
    c.journal_count[0] = 0
    return complete
