"""The Purple Flea dialect: everything that a process needs of it, by one name.

``docs/wire-protocol.md`` is the contract; what the published page does not say is ours, and all of it is in the
``purpleflea_*`` files: words, fields, market, private (own orders), encode, and cold, the same decoders in plain Python
for messages that the compiled ones decline.
"""

from venue.purpleflea_encode import (
    MESSAGE_MAX,
    encode_amend,
    encode_cancel,
    encode_cancel_all,
    encode_place,
    resync_text,
    sample_tick,
    subscribe_text,
)
from venue.purpleflea_market import decode_market
from venue.purpleflea_private import decode_private

__all__ = [
    "MESSAGE_MAX",
    "decode_market",
    "decode_private",
    "encode_amend",
    "encode_cancel",
    "encode_cancel_all",
    "encode_place",
    "resync_text",
    "sample_tick",
    "subscribe_text",
]
