"""A strategy that does what the tape says: the size of a trade is a command, its price the price of the order.

The word is read from the lots of the last trade, lowest part first: a number that makes it new (100 values), lots (2000),
how many orders (10; each later one a tick lower, so that none is a duplicate), side (2), ORDER_TYPE (8), what to do (4:
take, quote, pull), and whom it is for (parameter ``me``). ``tests/system/stage.py`` writes it.
"""

from __future__ import annotations

from strategy.api import (
    INTENT_PULL,
    INTENT_QUOTE,
    INTENT_TAKE,
    NT_KIND,
    NT_LOTS,
    NT_PRICE_TICKS,
    NT_SIDE,
    NT_SLOT,
    NT_TYPE,
    SV_TRADE_LOTS,
    SV_TRADE_TICKS,
)

PARAMETERS = {"me": 0}
NUMBERS, LOTS, ORDERS, SIDES, TYPES, DEEDS = 100, 2000, 10, 2, 8, 4
TAKE, QUOTE, PULL = range(3)
DONE = 0  # state: the last word that was acted on


def decide(view, parameters, state, intents):
    """Act on a word once."""
    word = view[SV_TRADE_LOTS]
    if word == state[DONE]:
        return 0
    state[DONE] = word
    word //= NUMBERS
    lots = word % LOTS
    word //= LOTS
    count = min(word % ORDERS, len(intents))
    word //= ORDERS
    side = word % SIDES
    word //= SIDES
    kind = word % TYPES
    word //= TYPES
    deed = word % DEEDS
    if word // DEEDS != parameters[0]:
        return 0
    for row in range(count):
        intents[row, NT_KIND] = INTENT_TAKE if deed == TAKE else (INTENT_QUOTE if deed == QUOTE else INTENT_PULL)
        intents[row, NT_SIDE] = side
        intents[row, NT_SLOT] = side
        intents[row, NT_TYPE] = kind
        intents[row, NT_LOTS] = lots
        intents[row, NT_PRICE_TICKS] = view[SV_TRADE_TICKS] - row
    return count
