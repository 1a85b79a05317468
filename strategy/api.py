"""What a strategy's author imports: column names and the contract of the one function that he writes.

A strategy is a Python file with::

    PARAMETERS = {"half_spread_bps_x100": 150}          # names and integer defaults; order = column, at most 32


    def decide(view, parameters, state, intents):        # -> int
        intents[0, NT_KIND] = INTENT_QUOTE
        ...
        return 1

``decide`` is called for one instrument, after each change of its book and on a timer, and is compiled (or run as it
stands, in replay: both must leave the same bytes, so integers and ``math.*`` only). All arrays are int64:

- ``view`` (len(STRATEGY_VIEW),) read-only: the market, this strategy's own position, limits; columns ``SV_*``.
  0 in ``skew_bps_x100``, ``half_spread_bps_x100`` and ``size_scale_ppm`` means that no slow-path parameter is in force.
  ``reason`` is the REASON of an own order refused since the last call, 0 when none was.
- ``parameters`` (32,) read-only: values in the order of PARAMETERS.
- ``state`` (64,) is the strategy's own memory for this instrument, zero at the start; nobody else reads it.
- ``intents`` (INTENTS, len(INTENT)): the rows to fill, columns ``NT_*``; rows are zero at the call. ``quote`` asks that
  one resting order of ``side`` with that price and size exists in ``slot`` (0 bid, 1 ask); the engine keeps, replaces
  or places it. ``pull`` cancels what rests in ``slot``. ``take`` sends one order of ``type``. A slot that is not named
  stays as it is.

It returns the number of rows filled. A negative number is a fault: the engine counts it, uses none of the rows and
pulls this strategy's quotes. An index out of bounds is a fault too (``FAULT``), and so is more rows than INTENTS.
Intents are proposals: the router and every risk check come after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.layout import BOOK_READY as BOOK_READY
from fabric.layout import REASON_POST_ONLY_WOULD_CROSS as REASON_POST_ONLY_WOULD_CROSS
from fabric.layout import SIDE_BUY as SIDE_BUY
from fabric.layout import SIDE_SELL as SIDE_SELL
from fabric.layout import TYPE_IOC as TYPE_IOC
from fabric.layout import TYPE_LIMIT as TYPE_LIMIT
from fabric.layout import TYPE_POST_ONLY as TYPE_POST_ONLY
from strategy import tables

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...


FAULT = -1  # what a compiled strategy returns when it raised: an index out of bounds, a division by zero
INTENTS = tables.INTENTS
SLOT_BID, SLOT_ASK = 0, 1
PPM = 1_000_000  # bps_x100 is parts per million

_COLUMNS: dict[str, Any] = {name: value for name, value in vars(tables).items() if name.startswith(("SV_", "NT_", "INTENT_"))}
globals().update({name: value for name, value in _COLUMNS.items() if isinstance(value, int)})
