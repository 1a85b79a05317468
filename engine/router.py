# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""From a wish (side, urgency, limit, how much is filled) and a touch to an order type and a price. Pure, integers only.

Prices in ticks; a rate that needs a division is compared by cross-multiplication instead. A price is rounded toward the
safe side of the limit (a buy down, a sell up), and no type at any urgency goes beyond it.
"""

from __future__ import annotations

from fabric import layout
from fabric.jit import kernel

BPS = 10_000
PPM = 1_000_000
URGENCY_MARKET, URGENCY_FOK, URGENCY_IOC, URGENCY_PASSIVE = 9, 6, 5, 3
WIDE_BPS, TIGHT_BPS = 20, 5


@kernel
def order_type(urgency, bid, ask, filled_lots, lots, maker_fee_ppm):
    """The seed's rules, in order. A spread in bps is ``2 * BPS * (ask - bid) / (ask + bid)``."""
    spread, middle_x2 = ask - bid, ask + bid
    if urgency >= URGENCY_MARKET:
        return layout.TYPE_MARKET
    if 2 * BPS * spread > WIDE_BPS * middle_x2 and urgency <= URGENCY_PASSIVE and maker_fee_ppm < 0:
        return layout.TYPE_POST_ONLY
    if 10 * filled_lots >= 9 * lots and urgency >= URGENCY_FOK:
        return layout.TYPE_FOK
    if 2 * BPS * spread < TIGHT_BPS * middle_x2 and urgency >= URGENCY_IOC:
        return layout.TYPE_IOC
    return layout.TYPE_LIMIT


@kernel
def round_price(numerator, denominator, side):
    """``numerator / denominator`` down for a buy, up for a sell (both positive denominators; floor as in Python)."""
    if side == layout.SIDE_BUY:
        return numerator // denominator
    return -((-numerator) // denominator)


@kernel
def bounded(price, limit_ticks, side):
    """The better of the price and the limit, for us."""
    if side == layout.SIDE_BUY:
        return min(price, limit_ticks)
    return max(price, limit_ticks)


@kernel
def limit_price(side, urgency, bid, ask, limit_ticks):
    """mid +- half spread x (2 x urgency / 10 - 1), toward the far side for a higher urgency, bounded by the limit."""
    offset_x20 = (ask - bid) * (2 * urgency - 10)
    if side == layout.SIDE_SELL:
        offset_x20 = -offset_x20
    return bounded(round_price(10 * (ask + bid) + offset_x20, 20, side), limit_ticks, side)


@kernel
def collar_price(side, touch, collar_ppm):
    """The touch moved away by the collar, rounded so that the collar is never exceeded."""
    reach = touch * collar_ppm // PPM
    return touch + reach if side == layout.SIDE_BUY else touch - reach


@kernel
def without_crossing(side, price, bid, ask):
    """A post-only price one tick short of the far touch at most."""
    if side == layout.SIDE_BUY:
        return min(price, ask - 1)
    return max(price, bid + 1)


@kernel
def order_price(kind, side, urgency, bid, ask, limit_ticks, cross_ticks, collar_ppm):
    """Price of an order of this type, or 0 when it would not be marketable and so is not to be sent."""
    far = ask if side == layout.SIDE_BUY else bid
    if kind == layout.TYPE_LIMIT:
        return limit_price(side, urgency, bid, ask, limit_ticks)
    if kind == layout.TYPE_POST_ONLY:
        return without_crossing(side, limit_price(side, urgency, bid, ask, limit_ticks), bid, ask)
    if kind == layout.TYPE_MARKET:
        price = bounded(collar_price(side, far, collar_ppm), limit_ticks, side)
    else:
        price = bounded(far + cross_ticks if side == layout.SIDE_BUY else far - cross_ticks, limit_ticks, side)
    marketable = price >= far if side == layout.SIDE_BUY else price <= far
    return price if marketable else 0


@kernel
def wire_type(kind):
    """A market order goes out as IOC with a price, so that the collar is the venue's to keep too."""
    return layout.TYPE_IOC if kind == layout.TYPE_MARKET else kind
