"""Random worlds for the gate: mostly sound, each part of them sometimes at or beyond what some limit allows."""

from hypothesis import strategies as st
from risk_house import MULT, NAV, NOW, OWNER, World

from fabric import layout
from risk import account, checks, limits, rate, tables

MS = 1_000_000


SOUND = {
    "is_quote": 0,
    "doubt": 0,  # confirmed less booked lots
    "working": (0, 0, 0, 0),  # buys and sells of either instrument
    "book": {"bid": 9_999, "spread": 2, "status": layout.BOOK_READY, "age_ns": 0},
    "other_book": {"bid": 9_999, "spread": 2, "status": layout.BOOK_READY, "age_ns": 0},
    "open": 0,
    "nav": NAV,
    "day_start": NAV,
    "state": layout.RISK_ACTIVE,
    "reconciled": 1,
    "latched": 0,
    "paused_ns": 0,
    "sent_before_ns": -1,  # the same order went out that long ago
    "lease_ok": 1,
    "unowned": 0,
    "spot": 0,
    "baseline": 0,
    "min_notional": 0,
}
BOOK = st.fixed_dictionaries(
    {
        "bid": st.integers(9_950, 10_050),
        "spread": st.integers(-1, 30),
        "status": st.sampled_from([layout.BOOK_READY] * 3 + [layout.BOOK_DIRTY, layout.BOOK_EMPTY]),
        "age_ns": st.sampled_from([0, 2_000 * MS + 1, 3_000 * MS + 1, 5_000 * MS + 1]),
    }
)
OTHERWISE = {
    "is_quote": st.just(1),
    "doubt": st.integers(-50, 50),
    "working": st.tuples(*[st.integers(0, 300)] * 4),
    "book": BOOK,
    "other_book": BOOK,
    "open": st.sampled_from([19, 20, 49, 50, 199, 200]),
    "nav": st.integers(0, 2 * NAV),
    "day_start": st.integers(0, 2 * NAV),
    "state": st.integers(0, len(layout.RISK_STATE) - 1),
    "reconciled": st.just(0),
    "latched": st.just(1),
    "paused_ns": st.integers(1, 10_000 * MS),
    "sent_before_ns": st.integers(0, 120 * MS),
    "lease_ok": st.just(0),
    "unowned": st.integers(1, 3),
    "spot": st.just(1),
    "baseline": st.integers(0, 400),
    "min_notional": st.sampled_from([300 * 10_000 * MULT, 50 * 10_000 * MULT]),
}
OFTEN = [*OTHERWISE, "book", "book"]  # a book can be wrong in more ways than anything else
ODD = st.one_of([OTHERWISE[name].map(lambda value, name=name: {name: value}) for name in OFTEN])
HELD = (st.one_of(st.just(0), st.integers(-600, 600)), st.sampled_from([0, 0, -900, 2_100, -7_000]))
PRICES = st.one_of(st.just(0), st.integers(9_960, 10_040), st.integers(9_960, 10_040), st.integers(9_700, 10_300))
THROTTLES = st.fixed_dictionaries(
    {
        "step": st.sampled_from([0, 0, 0, 1, 2]),
        "limit_only": st.integers(0, 1),
        "sent": st.sampled_from([0, 0, 9, 10, 10, 20, 50, 50, 60]),
    }
)
ORDER = st.fixed_dictionaries(
    {
        "side": st.integers(0, 1),
        "lots": st.one_of(st.integers(2, 300), st.integers(2, 300), st.integers(1, 1_200)),
        "price": PRICES,
        "kind": st.one_of(st.just(layout.TYPE_MARKET), st.integers(layout.TYPE_LIMIT, layout.TYPE_POST_ONLY)),
        "is_exit": st.sampled_from([0, 0, 0, 1]),
    }
)


@st.composite
def worlds(draw):
    """An order, positions, drawdown, slippage and rate, and up to four parts that are not sound."""
    spec = SOUND | draw(THROTTLES) | {"order": draw(ORDER), "held": draw(st.tuples(*HELD))}
    for odd in draw(st.lists(ODD, max_size=4)):
        spec |= odd
    return spec


WORLDS = worlds()
PROFILES = st.sampled_from(limits.PROFILES)


def row_of(values):
    """A LIMIT row of these limits by name."""
    return limits.limits_row(values)


def build(spec, limit_row, scale=1):
    """The world of ``spec``; with a scale, the same one on a grid that is so many times finer."""
    w = World()
    w.limits = limit_row
    w.instruments[:, tables.IN_MULT] = MULT // scale
    w.now = NOW + 100_000 * MS
    order = dict(spec["order"], price=spec["order"]["price"] * scale)
    w.ask(**order).hold(spec["held"][0]).hold(spec["held"][1], i=1)
    w.order[tables.OI_IS_QUOTE] = spec["is_quote"]
    w.positions[0, tables.PO_CONFIRMED_LOTS] += spec["doubt"]
    w.positions[:, [tables.PO_WORKING_BUY_LOTS, tables.PO_WORKING_SELL_LOTS]] = [spec["working"][:2], spec["working"][2:]]
    for i, book in enumerate((spec["book"], spec["other_book"])):
        set_book(w, i, book, scale)
    w.instruments[0, tables.IN_KIND], w.instruments[0, tables.IN_BASELINE_LOTS] = 1 - spec["spot"], spec["baseline"]
    w.instruments[0, tables.IN_MIN_NOTIONAL_E8] = spec["min_notional"]
    a, owner = w.account, w.owners[OWNER]
    a[tables.AC_NAV_E8], a[tables.AC_DAY_START_NAV_E8] = spec["nav"], spec["day_start"]
    a[tables.AC_OPEN_ORDERS], a[tables.AC_STATE], a[tables.AC_RECONCILED] = spec["open"], spec["state"], spec["reconciled"]
    a[tables.AC_DRAWDOWN_STEP], a[tables.AC_LIMIT_ONLY] = spec["step"], spec["limit_only"]
    owner[tables.OW_LATCHED], owner[tables.OW_PAUSED_UNTIL_NS] = spec["latched"], w.now + spec["paused_ns"]
    if spec["sent_before_ns"] >= 0:
        owner[tables.OW_LAST_ORDER_KEY] = checks.order_key(w.order)
        owner[tables.OW_LAST_ORDER_NS] = w.now - spec["sent_before_ns"]
    for k in range(spec["sent"]):
        rate.take(w.rate, w.now - 10 * MS * (60 - k))
    w.lease_ok, w.unowned_mask = spec["lease_ok"], spec["unowned"]
    return w.expose()


def set_book(w, i, book, scale):
    """The touch, marked once when it came: a stale book's last good mark is its own mid."""
    row = w.books[i]
    row[tables.BK_BID_TICKS] = book["bid"] * scale
    row[tables.BK_ASK_TICKS] = (book["bid"] + book["spread"]) * scale
    row[tables.BK_UPDATED_NS] = w.now - book["age_ns"]
    if account.book_ready(row, w.limits, w.now - book["age_ns"]):
        row[tables.BK_GOOD_MARK_X2_TICKS] = row[tables.BK_BID_TICKS] + row[tables.BK_ASK_TICKS]
    else:
        row[tables.BK_GOOD_MARK_X2_TICKS] = 20_000 * scale
    row[tables.BK_STATUS] = book["status"]
