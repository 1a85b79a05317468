"""How many orders and messages went out in the last second: exact for orders, never too few for messages.

One row of `risk.tables.RATE` words and a ring of order send times, written by the execution process. Asking does not
take a slot: `take` does, at the moment of sending; `take_message` counts a cancel, which never waits. Exits are held back
by neither, and have a budget of their own.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from fabric.jit import kernel
from risk import tables

WINDOW_NS = 1_000_000_000
BUCKETS = 5  # of a quarter second: whatever second ends now lies within them
BUCKET_NS = 250_000_000
EXITS_MAX = 256  # within one second: as many as orders of all kinds together may ever be, whatever the limits say
SLOTS_WORD = len(tables.RATE)
assert tables.RT_MESSAGES + BUCKETS == SLOTS_WORD


@kernel
def would_exceed(rate, limits, now_ns):
    """1 when one more order now would be more than the limit within one second; a missing limit always exceeds."""
    limit = min(limits[tables.LM_ORDER_RATE_PER_S], tables.RATE_SLOTS)
    if limit <= 0:
        return 1
    if rate[tables.RT_COUNT] < limit:
        return 0
    oldest = rate[SLOTS_WORD + (rate[tables.RT_HEAD] - limit) % tables.RATE_SLOTS]
    return 1 if now_ns - oldest < WINDOW_NS else 0


@kernel
def take(rate, now_ns):
    """One order is being sent: it takes a slot, and is a message too."""
    head = rate[tables.RT_HEAD] % tables.RATE_SLOTS
    rate[SLOTS_WORD + head] = now_ns
    rate[tables.RT_HEAD] = (head + 1) % tables.RATE_SLOTS
    rate[tables.RT_COUNT] = min(rate[tables.RT_COUNT] + 1, tables.RATE_SLOTS)
    take_message(rate, now_ns)


@kernel
def take_message(rate, now_ns):
    """One message other than an order is being sent. Newest bucket first."""
    start = rate[tables.RT_WINDOW_START_NS]
    shift = min(max((now_ns - start) // BUCKET_NS, 0), BUCKETS)
    if shift > 0:
        for k in range(BUCKETS - 1, -1, -1):
            rate[tables.RT_MESSAGES + k] = rate[tables.RT_MESSAGES + k - shift] if k >= shift else 0
        rate[tables.RT_WINDOW_START_NS] = now_ns // BUCKET_NS * BUCKET_NS
    rate[tables.RT_MESSAGES] += 1


@kernel
def exits_exceed(rate, now_ns):
    """1 when one more exit now would be more than EXITS_MAX in the second that the first of them began."""
    running = now_ns - rate[tables.RT_EXIT_START_NS] < WINDOW_NS
    return 1 if running and rate[tables.RT_EXITS] >= EXITS_MAX else 0


@kernel
def take_exit(rate, now_ns):
    """One exit is being sent."""
    if now_ns - rate[tables.RT_EXIT_START_NS] >= WINDOW_NS:
        rate[tables.RT_EXIT_START_NS] = now_ns
        rate[tables.RT_EXITS] = 0
    rate[tables.RT_EXITS] += 1


@kernel
def messages_exceed(rate, limits, now_ns):
    """1 when one more message now could be more than the limit within one second; a missing limit always exceeds."""
    shift = min(max((now_ns - rate[tables.RT_WINDOW_START_NS]) // BUCKET_NS, 0), BUCKETS)
    sent = 0
    for k in range(BUCKETS - shift):
        sent += rate[tables.RT_MESSAGES + k]
    return 1 if sent >= limits[tables.LM_MESSAGE_RATE_PER_S] else 0
