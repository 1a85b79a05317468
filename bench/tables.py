"""Words of the generator's state: descriptors, what it counted, and where the id of the order just read lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.layout import words

if TYPE_CHECKING:

    def __getattr__(name: str) -> int: ...  # the constants that words() defines


STATE = words(
    globals(),
    "G",
    "market_fd order_fd index market_start market_end order_start order_end id_at id_length orders strays pings broken "
    "max_gap_ns acked _",
)
