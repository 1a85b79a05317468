# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""For the bench alone: one immediate-or-cancel buy at the touch for each tick that moved it."""

from __future__ import annotations

from strategy.api import (
    BOOK_READY,
    INTENT_TAKE,
    NT_KIND,
    NT_LOTS,
    NT_PRICE_TICKS,
    NT_SIDE,
    NT_TYPE,
    SIDE_BUY,
    SV_ASK_TICKS,
    SV_BOOK_STATUS,
    TYPE_IOC,
)

PARAMETERS = {"lots": 1000}
LAST_ASK = 0


def decide(view, parameters, state, intents):
    """One take when the best ask is another one than last time."""
    ask = view[SV_ASK_TICKS]
    if view[SV_BOOK_STATUS] != BOOK_READY or ask == state[LAST_ASK]:
        return 0
    state[LAST_ASK] = ask
    intents[0, NT_KIND] = INTENT_TAKE
    intents[0, NT_SIDE] = SIDE_BUY
    intents[0, NT_TYPE] = TYPE_IOC
    intents[0, NT_PRICE_TICKS] = ask
    intents[0, NT_LOTS] = parameters[0]
    return 1
