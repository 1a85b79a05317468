# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Calls strategies through their addresses and turns their intents into quotes, pulls and orders.

One view row per (strategy, instrument) in ``strategy_memory``; rows after the last are scratch for the question "would
the answer be another one without this slow-path parameter?", asked only until the parameter has caused a sent order.
"""

from __future__ import annotations

from engine import quotes, submit, tables
from fabric import layout
from fabric.atomics import call_address
from fabric.jit import kernel
from risk import account
from risk import tables as risk

VIEW_WORDS = len(tables.STRATEGY_VIEW)
PARAMETERS_AT = VIEW_WORDS
STATE_AT = VIEW_WORDS + tables.STRATEGY_PARAMETERS
SCRATCH = tables.STRATEGIES * layout.INSTRUMENTS_MAX  # state before the call; the next row: intents without the record
INTENT_WORDS = len(tables.INTENT)
PARAMETERS = len(layout.PARAMETER)
FIRST_PARAMETER_COLUMN = tables.SV_SKEW_BPS_X100  # PARAM_SKEW, PARAM_HALF_SPREAD, PARAM_SIZE_SCALE follow in this order


@kernel
def call(c, strategy, instrument):
    """Clear the intents and run the strategy's code: rows filled, or a negative fault."""
    for row in range(tables.INTENTS):
        for word in range(INTENT_WORDS):
            c.intents[row, word] = 0
    s = c.strategy_calls[strategy]
    memory = strategy * layout.INSTRUMENTS_MAX + instrument
    base = s[tables.CA_MEMORY_ADDRESS] + memory * tables.STRATEGY_MEMORY * layout.WORD
    parameters, state = base + PARAMETERS_AT * layout.WORD, base + STATE_AT * layout.WORD
    return call_address(s[tables.CA_ADDRESS], base, parameters, state, s[tables.CA_INTENTS_ADDRESS])


@kernel
def owner_may_quote(c, owner, now_ns):
    """0 while the owner is paused or latched."""
    o = c.owners[owner]
    return 0 if o[risk.OW_LATCHED] != 0 or now_ns < o[risk.OW_PAUSED_UNTIL_NS] else 1


@kernel
def smallest_lots(t, price_ticks):
    """Lots that satisfy both the minimum size and, at this price less a margin of 1 %, the minimum notional."""
    unit = price_ticks * t[risk.IN_MULT] // 100 * 99
    if unit <= 0:
        return t[risk.IN_MIN_LOTS]
    return max(t[risk.IN_MIN_LOTS], (t[risk.IN_MIN_NOTIONAL_E8] + unit - 1) // unit)


@kernel
def fill_view(c, strategy, instrument, now_ns):
    """Write the view row; a refusal reason that is there stays for this call."""
    v = c.strategy_memory[strategy * layout.INSTRUMENTS_MAX + instrument]
    b, p, t = c.books[instrument], c.positions[instrument], c.instruments[instrument]
    owner = c.strategy_calls[strategy, tables.CA_OWNER]
    v[tables.SV_NOW_NS] = now_ns
    v[tables.SV_INSTRUMENT] = instrument
    v[tables.SV_BID_TICKS] = b[risk.BK_BID_TICKS]
    v[tables.SV_BID_LOTS] = b[risk.BK_BID_LOTS]
    v[tables.SV_ASK_TICKS] = b[risk.BK_ASK_TICKS]
    v[tables.SV_ASK_LOTS] = b[risk.BK_ASK_LOTS]
    v[tables.SV_TRADE_TICKS] = b[risk.BK_TRADE_TICKS]
    v[tables.SV_TRADE_LOTS] = b[risk.BK_TRADE_LOTS]
    v[tables.SV_POSITION_LOTS] = c.subbooks[owner * c.scalars[tables.K_INSTRUMENTS] + instrument, risk.SB_LOTS]
    v[tables.SV_CAP_LOTS] = account.cap_lots(c.account, b[risk.BK_MARK_X2_TICKS], t[risk.IN_MULT], c.limits)
    v[tables.SV_WORKING_BUY_LOTS] = p[risk.PO_WORKING_BUY_LOTS]
    v[tables.SV_WORKING_SELL_LOTS] = p[risk.PO_WORKING_SELL_LOTS]
    v[tables.SV_MIN_LOTS] = smallest_lots(t, b[risk.BK_BID_TICKS])
    v[tables.SV_MAX_LOTS] = t[risk.IN_MAX_LOTS]
    v[tables.SV_MULT] = t[risk.IN_MULT]
    v[tables.SV_MAKER_FEE_PPM] = t[risk.IN_MAKER_FEE_PPM]
    v[tables.SV_TAKER_FEE_PPM] = t[risk.IN_TAKER_FEE_PPM]
    v[tables.SV_MARK_X2_TICKS] = b[risk.BK_MARK_X2_TICKS]
    unowned = c.scalars[tables.K_UNOWNED_MASK] >> instrument & 1
    v[tables.SV_CAN_INCREASE] = 1 if unowned == 0 and c.account[risk.AC_STATE] <= layout.RISK_ACTIVE else 0
    v[tables.SV_NET_LOTS] = p[risk.PO_LOTS]
    v[tables.SV_BOOK_STATUS] = b[risk.BK_STATUS]
    v[tables.SV_MESSAGE] = b[risk.BK_MESSAGE]
    for number in range(1, PARAMETERS):
        v[FIRST_PARAMETER_COLUMN + number - 1] = parameter_value(c, instrument, number, now_ns)
    return 0


@kernel
def parameter_value(c, instrument, number, now_ns):
    """The record in force, or 0 when there is none."""
    p = c.parameters[instrument * PARAMETERS + number]
    return p[tables.PF_VALUE] if now_ns < p[tables.PF_EXPIRES_NS] else 0


@kernel
def run_without(c, strategy, instrument, now_ns):
    """Ask once without the newest unused record in force; its parameter number, or 0 when none is unused.

    The answer is left in the second scratch row and the strategy's own state as it was.
    """
    number = 0
    for candidate in range(1, PARAMETERS):
        p = c.parameters[instrument * PARAMETERS + candidate]
        if now_ns < p[tables.PF_EXPIRES_NS] and p[tables.PF_USED] == 0:
            number = candidate
    if number == 0:
        return 0
    memory = c.strategy_memory[strategy * layout.INSTRUMENTS_MAX + instrument]
    before, without = c.strategy_memory[SCRATCH], c.strategy_memory[SCRATCH + 1]
    for word in range(tables.STRATEGY_STATE):
        before[word] = memory[STATE_AT + word]
    memory[FIRST_PARAMETER_COLUMN + number - 1] = 0
    call(c, strategy, instrument)
    memory[FIRST_PARAMETER_COLUMN + number - 1] = parameter_value(c, instrument, number, now_ns)
    for word in range(tables.STRATEGY_STATE):
        memory[STATE_AT + word] = before[word]
    for row in range(tables.INTENTS):
        for word in range(INTENT_WORDS):
            without[row * INTENT_WORDS + word] = c.intents[row, word]
    return number


@kernel
def same_without(c, row):
    """Whether the intent in this row is the same one that the strategy gave without the record."""
    without = c.strategy_memory[SCRATCH + 1]
    differing = 0
    for word in range(INTENT_WORDS):
        differing += without[row * INTENT_WORDS + word] != c.intents[row, word]
    return differing == 0


@kernel
def run(c, strategy, instrument, now_ns):
    """One strategy on one instrument: view, code, intents. A fault is counted and pulls its quotes."""
    fill_view(c, strategy, instrument, now_ns)
    number = run_without(c, strategy, instrument, now_ns)
    c.counters[layout.EC_STRATEGY_CALLS] += 1
    count = call(c, strategy, instrument)
    c.strategy_memory[strategy * layout.INSTRUMENTS_MAX + instrument, tables.SV_REASON] = 0
    if count < 0 or count > tables.INTENTS:
        c.counters[layout.EC_STRATEGY_ERRORS] += 1
        return quotes.pull(c, strategy, instrument, 1, layout.REASON_REQUESTED, now_ns)
    for row in range(count):
        source = -1
        if number > 0 and not same_without(c, row):
            source = submit.PARAMETER_BASE - (instrument * PARAMETERS + number)
        apply_intent(c, strategy, instrument, row, source, now_ns)
    return count


@kernel
def apply_intent(c, strategy, instrument, row, source, now_ns):
    """Keep a quote, pull one, or send one order; a malformed intent is a fault of the strategy."""
    n = c.intents[row]
    kind, side, lots, price = n[tables.NT_KIND], n[tables.NT_SIDE], n[tables.NT_LOTS], n[tables.NT_PRICE_TICKS]
    owner = c.strategy_calls[strategy, tables.CA_OWNER]
    order_kind = n[tables.NT_TYPE]
    if kind == tables.INTENT_PULL and 0 <= n[tables.NT_SLOT] <= 1:
        return quotes.pull_side(c, strategy, instrument, n[tables.NT_SLOT], 0, layout.REASON_REQUESTED, now_ns)
    fits = 0 <= side <= 1 and lots > 0 and price > 0
    resting = order_kind == layout.TYPE_POST_ONLY or order_kind == layout.TYPE_LIMIT
    if kind == tables.INTENT_QUOTE and fits and resting and n[tables.NT_SLOT] == side:
        if owner_may_quote(c, owner, now_ns) == 0:
            return 0
        return quotes.keep(c, strategy, instrument, owner, side, price, lots, order_kind, source, now_ns)
    if kind == tables.INTENT_TAKE and fits and layout.TYPE_LIMIT <= order_kind <= layout.TYPE_POST_ONLY:
        return take(c, instrument, owner, row, source, now_ns)
    if kind != tables.INTENT_NONE:
        c.counters[layout.EC_STRATEGY_ERRORS] += 1
    return 0


@kernel
def take(c, instrument, owner, row, source, now_ns):
    """One order of a strategy, at its own price; that of a market order is its protection at the venue."""
    n, q = c.intents[row], c.order_in
    submit.clear_order_in(c)
    q[risk.OI_INSTRUMENT] = instrument
    q[risk.OI_OWNER] = owner
    q[risk.OI_SIDE] = n[tables.NT_SIDE]
    q[risk.OI_TYPE] = n[tables.NT_TYPE]
    q[risk.OI_PRICE_TICKS] = n[tables.NT_PRICE_TICKS]
    q[risk.OI_LOTS] = n[tables.NT_LOTS]
    q[risk.OI_DECISION_X2_TICKS] = c.books[instrument, risk.BK_MARK_X2_TICKS]
    q[risk.OI_SIGNAL_ROW] = source
    if source <= submit.PARAMETER_BASE:
        record = c.parameters[submit.PARAMETER_BASE - source]
        q[risk.OI_MODEL_HASH] = record[tables.PF_MODEL_HASH]
        q[risk.OI_PROMPT_HASH] = record[tables.PF_PROMPT_HASH]
    return 1 if submit.submit(c, now_ns, 1) >= 0 else 0


@kernel
def run_all(c, instrument, now_ns):
    """Every strategy that is on and bound to this instrument."""
    for strategy in range(c.scalars[tables.K_STRATEGIES]):
        s = c.strategy_calls[strategy]
        if s[tables.CA_ON] != 0 and s[tables.CA_INSTRUMENTS] >> instrument & 1 != 0:
            run(c, strategy, instrument, now_ns)
    return 0
