# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Takes the slow path's records in: validated once more, bounded, budgeted, or refused with a counted reason.

Writes ``signals`` (one-shots), ``signal_ids`` (what was taken, so that it fires once) and ``parameters`` (newest wins per
instrument and parameter). Prices in ticks, sizes in lots, notional in 1e-8 of the quote currency.
"""

from __future__ import annotations

from engine import tables
from engine.commands import count_reason
from engine.signals import RETRY_NS, is_active
from fabric import layout
from fabric.jit import kernel
from risk import tables as risk

HOUR_NS = 3_600_000_000_000
BPS = 10_000
NOTIONAL_MAX = 1 << 62
PARAMETERS = len(layout.PARAMETER)
SKEW_MAX_BPS_X100, SPREAD_MAX_BPS_X100, SCALE_MAX_PPM = 100_000, 100_000, 2_000_000


@kernel
def ingest(c, slot, now_ns):
    """Take one record off the signal ring: REASON_NONE, or why it was refused (counted)."""
    c.counters[layout.EC_SIGNALS_SEEN] += 1
    kind = slot[layout.S_KIND]
    if kind == layout.SIGNAL_ONESHOT:
        reason = ingest_oneshot(c, slot, now_ns)
    elif kind == layout.SIGNAL_PARAMETER:
        reason = ingest_parameter(c, slot, now_ns)
    else:
        reason = layout.REASON_SIGNAL_INVALID
    if reason != layout.REASON_NONE:
        c.scalars[tables.K_SIGNALS_REFUSED] += 1
        c.counters[layout.EC_SIGNALS_REFUSED] += 1
        count_reason(c, reason)
    return reason


@kernel
def known_instrument(c, instrument):
    """Whether the number names an active instrument."""
    if instrument < 0 or instrument >= c.scalars[tables.K_INSTRUMENTS]:
        return 0
    return 1 if c.instruments[instrument, risk.IN_ACTIVE] != 0 else 0


@kernel
def parameter_fits(number, value):
    """Bounds of a parameter's value, whoever wrote it."""
    if number == layout.PARAM_SKEW_BPS_X100:
        return -SKEW_MAX_BPS_X100 <= value <= SKEW_MAX_BPS_X100
    if number == layout.PARAM_HALF_SPREAD_BPS_X100:
        return 0 < value <= SPREAD_MAX_BPS_X100
    return number == layout.PARAM_SIZE_SCALE_PPM and 0 <= value <= SCALE_MAX_PPM


@kernel
def ingest_parameter(c, slot, now_ns):
    """Newest wins per instrument and parameter."""
    instrument, number = slot[layout.S_INSTRUMENT], slot[layout.S_ID]
    if known_instrument(c, instrument) == 0:
        return layout.REASON_UNKNOWN_SYMBOL
    if not parameter_fits(number, slot[layout.S_VALUE]):
        return layout.REASON_SIGNAL_INVALID
    if slot[layout.S_EXPIRES_NS] <= now_ns:
        return layout.REASON_SIGNAL_EXPIRED
    c.counters[layout.EC_PARAMETERS_SEEN] += 1
    p = c.parameters[instrument * PARAMETERS + number]
    p[tables.PF_VALUE] = slot[layout.S_VALUE]
    p[tables.PF_EXPIRES_NS] = slot[layout.S_EXPIRES_NS]
    p[tables.PF_SIGNAL_ID] = slot[layout.S_SEQ]
    p[tables.PF_MODEL_HASH] = slot[layout.S_MODEL_HASH]
    p[tables.PF_PROMPT_HASH] = slot[layout.S_PROMPT_HASH]
    p[tables.PF_USED] = 0
    p[tables.PF_SOURCE] = slot[layout.S_SOURCE]
    return layout.REASON_NONE


@kernel
def stop_of(c, slot):
    """The stop level of a record, from the default distance when it has none; 0 when there is neither."""
    stop, limit, bps = slot[layout.S_STOP_TICKS], slot[layout.S_LIMIT_TICKS], c.scalars[tables.K_DEFAULT_STOP_BPS]
    if stop != 0 or bps <= 0:
        return stop
    distance = max(limit * bps // BPS, 1)
    return limit - distance if slot[layout.S_SIDE] == layout.SIDE_BUY else limit + distance


@kernel
def oneshot_reason(c, slot, now_ns):
    """First thing wrong with a one-shot record, or REASON_NONE."""
    if known_instrument(c, slot[layout.S_INSTRUMENT]) == 0:
        return layout.REASON_UNKNOWN_SYMBOL
    t = c.instruments[slot[layout.S_INSTRUMENT]]
    side, lots, limit, urgency = (
        slot[layout.S_SIDE],
        slot[layout.S_LOTS],
        slot[layout.S_LIMIT_TICKS],
        slot[layout.S_URGENCY],
    )
    if side < 0 or side > 1 or lots <= 0 or limit <= 0 or urgency < 1 or urgency > 10 or slot[layout.S_ID] <= 0:
        return layout.REASON_SIGNAL_INVALID
    if slot[layout.S_EXPIRES_NS] <= now_ns:
        return layout.REASON_SIGNAL_EXPIRED
    if lots > t[risk.IN_MAX_LOTS] or limit > NOTIONAL_MAX // (lots * t[risk.IN_MULT]):
        return layout.REASON_FAT_FINGER
    if lots < t[risk.IN_MIN_LOTS]:
        return layout.REASON_MIN_NOTIONAL
    stop = stop_of(c, slot)
    if stop <= 0 or (slot[layout.S_HOLDING_NS] <= 0 and c.scalars[tables.K_DEFAULT_HOLDING_NS] <= 0):
        return layout.REASON_SIGNAL_NO_STOP
    if (stop >= limit) if side == layout.SIDE_BUY else (stop <= limit):
        return layout.REASON_SIGNAL_INVALID
    if c.scalars[tables.K_STOPPING] != 0:
        return layout.REASON_SHUTDOWN
    if c.account[risk.AC_STATE] >= layout.RISK_HALTED:
        return c.account[risk.AC_REASON]
    return layout.REASON_NONE


@kernel
def budget_reason(c, notional_e8, now_ns):
    """Hourly count and notional of the slow path; a missing limit blocks. Taken when it fits."""
    k, limits = c.scalars, c.limits
    if now_ns - k[tables.K_SIGNAL_HOUR_NS] >= HOUR_NS or k[tables.K_SIGNAL_HOUR_NS] == 0:
        k[tables.K_SIGNAL_HOUR_NS] = now_ns
        k[tables.K_SIGNAL_HOUR_NOTIONAL_E8] = 0
        k[tables.K_SIGNAL_HOUR_COUNT] = 0
    most_count, most_notional = limits[risk.LM_SIGNAL_COUNT_PER_H], limits[risk.LM_SIGNAL_NOTIONAL_PER_H_E8]
    if most_count == risk.LIMIT_MISSING or most_notional == risk.LIMIT_MISSING:
        return layout.REASON_LIMIT_MISSING
    if k[tables.K_SIGNAL_HOUR_COUNT] >= most_count:
        return layout.REASON_SIGNAL_BUDGET
    if notional_e8 > most_notional - k[tables.K_SIGNAL_HOUR_NOTIONAL_E8]:
        return layout.REASON_SIGNAL_BUDGET
    k[tables.K_SIGNAL_HOUR_COUNT] += 1
    k[tables.K_SIGNAL_HOUR_NOTIONAL_E8] += notional_e8
    return layout.REASON_NONE


@kernel
def was_taken(c, signal_id):
    """Whether this one-shot is one of the last SIGNAL_IDS, or still has a row."""
    for k in range(tables.SIGNAL_IDS):
        if c.signal_ids[k] == signal_id:
            return 1
    for row in range(c.scalars[tables.K_SIGNAL_TOP]):  # may be waiting for longer than the ids go back
        if c.signals[row, tables.SG_ID] == signal_id:
            return 1
    return 0


@kernel
def free_row(c):
    """The lowest row that no active one-shot holds, or -1: few rows in use are few to look at for each market event."""
    for row in range(tables.SIGNAL_ROWS):
        if not is_active(c.signals[row, tables.SG_STATE]):
            return row
    return -1


@kernel
def ingest_oneshot(c, slot, now_ns):
    """Validate again, remember its id, and give it a row."""
    reason = oneshot_reason(c, slot, now_ns)
    if reason != layout.REASON_NONE:
        return reason
    if was_taken(c, slot[layout.S_ID]):
        return layout.REASON_DUPLICATE_ID
    free = free_row(c)
    if free < 0:
        return layout.REASON_ORDER_TABLE_FULL
    mult = c.instruments[slot[layout.S_INSTRUMENT], risk.IN_MULT]
    reason = budget_reason(c, slot[layout.S_LOTS] * slot[layout.S_LIMIT_TICKS] * mult, now_ns)
    if reason != layout.REASON_NONE:
        return reason
    c.signal_ids[c.scalars[tables.K_SIGNAL_IDS] % tables.SIGNAL_IDS] = slot[layout.S_ID]
    c.scalars[tables.K_SIGNAL_IDS] += 1
    s = c.signals[free]
    for column in range(len(tables.SIGNAL_ROW)):
        s[column] = 0
    s[tables.SG_STATE] = layout.SIG_WAITING
    s[tables.SG_ID] = slot[layout.S_ID]
    s[tables.SG_KIND] = slot[layout.S_KIND]
    s[tables.SG_SOURCE] = slot[layout.S_SOURCE]
    s[tables.SG_INSTRUMENT] = slot[layout.S_INSTRUMENT]
    s[tables.SG_SIDE] = slot[layout.S_SIDE]
    s[tables.SG_LOTS] = slot[layout.S_LOTS]
    s[tables.SG_LIMIT_TICKS] = slot[layout.S_LIMIT_TICKS]
    s[tables.SG_URGENCY] = slot[layout.S_URGENCY]
    s[tables.SG_ISSUED_NS] = slot[layout.S_ISSUED_NS]
    s[tables.SG_EXPIRES_NS] = slot[layout.S_EXPIRES_NS]
    s[tables.SG_STOP_TICKS] = stop_of(c, slot)
    holding = slot[layout.S_HOLDING_NS]
    s[tables.SG_HOLDING_NS] = holding if holding > 0 else c.scalars[tables.K_DEFAULT_HOLDING_NS]
    s[tables.SG_MODEL_HASH] = slot[layout.S_MODEL_HASH]
    s[tables.SG_PROMPT_HASH] = slot[layout.S_PROMPT_HASH]
    s[tables.SG_OWNER] = risk.OWNER_SIGNALS
    s[tables.SG_LAST_ORDER_NS] = now_ns - RETRY_NS
    c.scalars[tables.K_SIGNAL_TOP] = max(c.scalars[tables.K_SIGNAL_TOP], free + 1)
    return layout.REASON_NONE
