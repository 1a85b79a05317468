# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Market making: one post-only quote on each side of a fair price, leaned by inventory and by the slow path.

Fair price is the mid or, with ``micro_price`` 1, the mid weighted by the opposite sizes. Both quotes are shifted by
``skew`` (slow path, bounded here) and against the own inventory, and stand ``half_spread`` away, never less than
``min_half_spread``. At the inventory cap, and whenever the engine says that nothing may increase, only the reducing
side is quoted. Both are pulled while the book is not ready, one-sided, locked or crossed, and for ``back_off`` after a
post-only reject. A quote moves only when it is ``requote_bps_x100`` away from where it should be. Integers only; bps_x100
is parts per million. Needs prices below 2^40 ticks.
"""

from __future__ import annotations

from strategy.api import (
    BOOK_READY,
    INTENT_PULL,
    INTENT_QUOTE,
    NT_KIND,
    NT_LOTS,
    NT_PRICE_TICKS,
    NT_SIDE,
    NT_SLOT,
    NT_TYPE,
    PPM,
    REASON_POST_ONLY_WOULD_CROSS,
    SIDE_BUY,
    SIDE_SELL,
    SLOT_ASK,
    SLOT_BID,
    SV_ASK_LOTS,
    SV_ASK_TICKS,
    SV_BID_LOTS,
    SV_BID_TICKS,
    SV_BOOK_STATUS,
    SV_CAN_INCREASE,
    SV_CAP_LOTS,
    SV_HALF_SPREAD_BPS_X100,
    SV_MAX_LOTS,
    SV_MIN_LOTS,
    SV_NET_LOTS,
    SV_NOW_NS,
    SV_POSITION_LOTS,
    SV_REASON,
    SV_SIZE_SCALE_PPM,
    SV_SKEW_BPS_X100,
    TYPE_POST_ONLY,
)

PARAMETERS = {
    "half_spread_bps_x100": 700,  # fees of 2 and an adverse move of some basis points are to be earned back
    "min_half_spread_bps_x100": 50,
    "max_skew_bps_x100": 500,  # bound of the slow path's skew, either way
    "inventory_skew_bps_x100": 200,  # shift of both quotes when the inventory is at its cap
    "micro_price": 0,  # 1: lean toward the side with less size
    "allow_short": 0,  # 1: may sell what it does not own (spot accounts cannot)
    "back_off_ms": 250,
    "requote_bps_x100": 200,  # finer moves are noise: each costs two messages, and without budget left nothing is quoted
    "size_of_cap_ppm": 50_000,  # quote size as a part of the position cap
}
(
    HALF_SPREAD,
    MIN_HALF_SPREAD,
    MAX_SKEW,
    INVENTORY_SKEW,
    MICRO_PRICE,
    ALLOW_SHORT,
    BACK_OFF_MS,
    REQUOTE,
    SIZE_OF_CAP,
) = range(9)

# Own state: when quoting may go on, and the prices quoted last (0 = none).
QUIET_UNTIL_NS, LAST_BID, LAST_ASK = range(3)
MAX_TICKS = 1 << 40


def clamp(value, low, high):
    """``value`` within [low, high]."""
    return max(low, min(high, value))


def write(intents, row, kind, slot, price_ticks, lots):
    """One intent for one side; returns the next row."""
    intents[row, NT_KIND] = kind
    intents[row, NT_SIDE] = SIDE_BUY if slot == SLOT_BID else SIDE_SELL
    intents[row, NT_PRICE_TICKS] = price_ticks
    intents[row, NT_LOTS] = lots
    intents[row, NT_TYPE] = TYPE_POST_ONLY
    intents[row, NT_SLOT] = slot
    return row + 1


def pull_both(state, intents):
    """Nothing of ours should rest."""
    state[LAST_BID] = 0
    state[LAST_ASK] = 0
    return write(intents, write(intents, 0, INTENT_PULL, SLOT_BID, 0, 0), INTENT_PULL, SLOT_ASK, 0, 0)


def fair_x2(view, micro_price):
    """Twice the fair price in ticks."""
    bid, ask = view[SV_BID_TICKS], view[SV_ASK_TICKS]
    size = view[SV_BID_LOTS] + view[SV_ASK_LOTS]
    if micro_price == 0 or size <= 0:
        return bid + ask
    return 2 * bid + 2 * (ask - bid) * view[SV_BID_LOTS] // size


def lots_for(view, parameters, buy):
    """Size of one quote; 0 when that side may not be quoted."""
    cap, net, own = view[SV_CAP_LOTS], view[SV_NET_LOTS], view[SV_POSITION_LOTS]
    scale = view[SV_SIZE_SCALE_PPM]
    lots = cap * parameters[SIZE_OF_CAP] // PPM
    if scale > 0:
        lots = lots * min(scale, PPM) // PPM  # the slow path can only make us smaller
    lots = clamp(lots, view[SV_MIN_LOTS], view[SV_MAX_LOTS])
    room = cap - net if buy else cap + net
    reducing = -own if buy else own
    if view[SV_CAN_INCREASE] == 0 or (not buy and parameters[ALLOW_SHORT] == 0):
        room = min(room, reducing)
    lots = min(lots, room)
    return lots if lots >= max(view[SV_MIN_LOTS], 1) else 0


def keep(last, wanted, near, low, high):
    """The price quoted last while it is near enough and still cannot cross, else the wanted one."""
    return last if abs(wanted - last) < near and low <= last <= high else wanted


def decide(view, parameters, state, intents):
    """Quotes for both sides, or pulls; see the module."""
    bid, ask, now_ns = view[SV_BID_TICKS], view[SV_ASK_TICKS], view[SV_NOW_NS]
    if view[SV_REASON] == REASON_POST_ONLY_WOULD_CROSS:
        state[QUIET_UNTIL_NS] = now_ns + parameters[BACK_OFF_MS] * 1_000_000
    ready = view[SV_BOOK_STATUS] == BOOK_READY and 0 < bid < ask < MAX_TICKS
    if not ready or view[SV_BID_LOTS] <= 0 or view[SV_ASK_LOTS] <= 0 or now_ns < state[QUIET_UNTIL_NS]:
        return pull_both(state, intents)

    fair = fair_x2(view, parameters[MICRO_PRICE])
    half_spread = view[SV_HALF_SPREAD_BPS_X100] if view[SV_HALF_SPREAD_BPS_X100] > 0 else parameters[HALF_SPREAD]
    half_spread = clamp(half_spread, max(parameters[MIN_HALF_SPREAD], 1), PPM // 10)
    skew = clamp(view[SV_SKEW_BPS_X100], -parameters[MAX_SKEW], parameters[MAX_SKEW])
    cap = view[SV_CAP_LOTS]
    if cap > 0:
        skew -= clamp(view[SV_NET_LOTS], -cap, cap) * parameters[INVENTORY_SKEW] // cap
    centre = fair + fair * skew // PPM
    away = -(-fair * half_spread // PPM)  # rounded away from the fair price
    new_bid = min((centre - away) // 2, ask - 1)
    new_ask = max(-(-(centre + away) // 2), bid + 1)

    near = max(fair * parameters[REQUOTE] // (2 * PPM), 1)
    kept_bid = keep(state[LAST_BID], new_bid, near, 1, ask - 1)
    kept_ask = keep(state[LAST_ASK], new_ask, near, bid + 1, MAX_TICKS)
    if kept_bid >= kept_ask:
        kept_bid, kept_ask = new_bid, new_ask

    buy_lots, sell_lots = lots_for(view, parameters, True), lots_for(view, parameters, False)
    state[LAST_BID] = kept_bid if buy_lots > 0 and kept_bid > 0 else 0
    state[LAST_ASK] = kept_ask if sell_lots > 0 else 0
    row = write(intents, 0, INTENT_QUOTE if state[LAST_BID] > 0 else INTENT_PULL, SLOT_BID, state[LAST_BID], buy_lots)
    return write(intents, row, INTENT_QUOTE if state[LAST_ASK] > 0 else INTENT_PULL, SLOT_ASK, state[LAST_ASK], sell_lots)
