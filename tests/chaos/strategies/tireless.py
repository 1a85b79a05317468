# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""For the chaos runs: two orders rest far from the touch, and immediate-or-cancel orders go on and on.

``role`` 0 keeps the resting ones, ``role`` 1 sends. A trade at the price MARK is a command, its size the mode of the
sender (lowest part: a number that makes it new): calm, storm (as many orders as one call may make, at every call), or
wedged (it never returns).
"""

from __future__ import annotations

from strategy.api import (
    BOOK_READY,
    INTENT_QUOTE,
    INTENT_TAKE,
    NT_KIND,
    NT_LOTS,
    NT_PRICE_TICKS,
    NT_SIDE,
    NT_SLOT,
    NT_TYPE,
    SIDE_BUY,
    SIDE_SELL,
    SLOT_ASK,
    SLOT_BID,
    SV_ASK_TICKS,
    SV_BID_TICKS,
    SV_BOOK_STATUS,
    SV_NOW_NS,
    SV_TRADE_LOTS,
    SV_TRADE_TICKS,
    TYPE_IOC,
    TYPE_POST_ONLY,
)

PARAMETERS = {"role": 0, "pace_ms": 25, "lots": 100}
MARK = 1_234_567
NUMBERS = 1_000
CALM, STORM, WEDGED = range(3)
WORD, MODE, NEXT_NS, TURN, REST_BID, SPENT = range(6)
FOR_EVER = 1 << 60


def spend(state, rounds):
    """Work that no compiler can leave out."""
    value = state[SPENT] + 1
    for k in range(rounds):
        value = (value ^ (value << 13)) + k
        value = value ^ (value >> 7)
    state[SPENT] = value
    return value


def rest(view, state, intents):
    """One order on each side, 0.7 % away, moved when the market has come near."""
    bid = view[SV_BID_TICKS]
    wanted = bid - bid * 7 // 1000
    if abs(wanted - state[REST_BID]) * 400 > bid:
        state[REST_BID] = wanted
    for slot in range(2):
        intents[slot, NT_KIND] = INTENT_QUOTE
        intents[slot, NT_SIDE] = SIDE_BUY if slot == 0 else SIDE_SELL
        intents[slot, NT_SLOT] = SLOT_BID if slot == 0 else SLOT_ASK
        intents[slot, NT_TYPE] = TYPE_POST_ONLY
        intents[slot, NT_LOTS] = 100
        intents[slot, NT_PRICE_TICKS] = state[REST_BID] if slot == 0 else state[REST_BID] + bid * 14 // 1000
    return 2


def decide(view, parameters, state, intents):
    """See the module."""
    if view[SV_TRADE_TICKS] == MARK and view[SV_TRADE_LOTS] != state[WORD]:
        state[WORD] = view[SV_TRADE_LOTS]
        state[MODE] = state[WORD] // NUMBERS
    if view[SV_BOOK_STATUS] != BOOK_READY:
        return 0
    if parameters[0] == 0:
        return rest(view, state, intents)
    if state[MODE] == WEDGED:
        spend(state, FOR_EVER)
    count = len(intents)
    if state[MODE] != STORM:
        if view[SV_NOW_NS] < state[NEXT_NS]:
            return 0
        state[NEXT_NS] = view[SV_NOW_NS] + parameters[1] * 1_000_000
        count = 1
    for row in range(count):
        state[TURN] += 1
        buy = state[TURN] % 2 == 0
        intents[row, NT_KIND] = INTENT_TAKE
        intents[row, NT_SIDE] = SIDE_BUY if buy else SIDE_SELL
        intents[row, NT_TYPE] = TYPE_IOC
        intents[row, NT_PRICE_TICKS] = view[SV_ASK_TICKS] if buy else view[SV_BID_TICKS]
        intents[row, NT_LOTS] = parameters[2] + state[TURN] % 50
    return count
