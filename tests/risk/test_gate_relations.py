"""What must hold between two answers of the gate, whatever each of them is: profiles, scale, working orders, exits."""

import itertools

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from risk_house import MULT
from risk_worlds import MS, PROFILES, WORLDS, build, row_of

from fabric import layout
from risk import account, checks, limits, tables

QUICK = settings(max_examples=150, deadline=None)
SCALE = 5
FREE = {"min_notional": 0}  # the venue's smallest order is judged at the price at hand, which is no limit of a profile
JUDGED = [name for name in limits.profile("standard") if name != "profile"]
assert MULT % SCALE == 0


def accepted(action):
    return action <= layout.ACTION_REDUCE


def tightened(values, name, ppm):
    """The same limits, one of them tighter."""
    part = values[name] * ppm // 1_000_000
    return dict(values, **{name: values[name] + part if name in limits.LONGER_IS_TIGHTER else values[name] - part})


def never_looser(tight, loose):
    """An order that the tighter one takes is taken by the looser one, and not told to wait when the tighter one lets it go."""
    assert not (accepted(tight) and not accepted(loose)), (tight, loose)
    assert not (tight == layout.ACTION_PASS and loose == layout.ACTION_QUEUE), (tight, loose)


@QUICK
@given(WORLDS)
def test_a_tighter_profile_never_accepts_what_a_looser_one_rejects(spec):
    answers = [build(spec | FREE, row_of(limits.profile(name))).judge() for name in limits.PROFILES]
    for tight, loose in itertools.pairwise(answers):
        never_looser(tight, loose)


@QUICK
@given(WORLDS, PROFILES, st.sampled_from(JUDGED), st.sampled_from([1, 300_000, 900_000, 1_000_000]))
def test_tightening_any_one_limit_never_accepts_what_was_rejected(spec, profile, name, ppm):
    values = limits.profile(profile)
    tight = build(spec | FREE, row_of(tightened(values, name, ppm))).judge()
    never_looser(tight, build(spec | FREE, row_of(values)).judge())


@QUICK
@given(WORLDS, PROFILES)
def test_scaling_prices_and_ticks_together_changes_nothing(spec, profile):
    plain, fine = (build(spec, row_of(limits.profile(profile)), scale) for scale in (1, SCALE))
    ready = account.book_ready(plain.books[0], plain.limits, plain.now)
    assume(ready or plain.order[tables.OI_PRICE_TICKS] > 0 or spec["min_notional"] == 0)  # else half a tick may decide
    assert plain.judge() == fine.judge()
    price, fine_price = int(plain.out[tables.OUT_PRICE_TICKS]), int(fine.out[tables.OUT_PRICE_TICKS])
    assert [*plain.out[:2], *plain.out[3:]] == [*fine.out[:2], *fine.out[3:]]
    if plain.order[tables.OI_SIDE] == layout.SIDE_BUY:  # a collar's edge is rounded to the grid, toward the inside
        assert price * SCALE <= fine_price < (price + 1) * SCALE
    else:
        assert (price - 1) * SCALE < fine_price <= price * SCALE


MORE = st.fixed_dictionaries(
    {
        "working": st.tuples(*[st.integers(0, 400)] * 4),
        "open": st.integers(0, 5),
        "sent": st.integers(0, 60),
    }
)


@QUICK
@given(WORLDS, MORE, PROFILES)
def test_more_working_orders_never_turn_a_refusal_of_a_raising_order_into_an_acceptance(spec, more, profile):
    spec = spec | {"order": dict(spec["order"], is_exit=0)}
    added = dict(
        spec,
        working=tuple(a + b for a, b in zip(spec["working"], more["working"], strict=True)),
        open=spec["open"] + more["open"],
        sent=max(spec["sent"], more["sent"]),
    )
    before, after = (build(one, row_of(limits.profile(profile))) for one in (spec, added))
    worst = max(account.worst_long(after.positions, 0), account.worst_short(after.positions, 0))
    assume(checks.worst_after(after.order, after.positions) > worst)  # raises what the instrument can come to
    never_looser(after.judge(), before.judge())


LOSSES = st.fixed_dictionaries(
    {
        "state": st.sampled_from([layout.RISK_ACTIVE, layout.RISK_PAUSED, layout.RISK_HALTED]),
        "nav": st.integers(0, 1 << 60),
        "day_start": st.integers(0, 1 << 60),
        "step": st.integers(0, 2),
        "latched": st.integers(0, 1),
        "paused_ns": st.sampled_from([0, 300_000 * MS]),
        "open": st.integers(0, 10_000),
        "sent": st.integers(0, 200),
        "unowned": st.integers(0, 3),
    }
)


@QUICK
@given(WORLDS, LOSSES, LOSSES, PROFILES)
def test_an_exit_is_answered_alike_in_every_state_of_loss_pause_and_rate(spec, one, other, profile):
    leaving = spec | {"order": dict(spec["order"], is_exit=1)}
    worlds = [build(leaving | losses, row_of(limits.profile(profile))) for losses in (one, other)]
    assert worlds[0].judge() == worlds[1].judge()
    assert list(worlds[0].out) == list(worlds[1].out)


@QUICK
@given(WORLDS, PROFILES)
def test_what_passes_as_a_new_order_in_a_reducing_direction_passes_as_an_exit(spec, profile):
    side, lots = spec["order"]["side"], spec["order"]["lots"]
    held = max(lots, abs(spec["held"][0]))
    spec = spec | {"held": (held if side == layout.SIDE_SELL else -held, 0), "working": (0, 0, 0, 0), "doubt": 0}
    new, leaving = (
        build(spec | {"order": dict(spec["order"], is_exit=is_exit)}, row_of(limits.profile(profile))) for is_exit in (0, 1)
    )
    assert lots <= account.reducible_lots(new.positions, 0, side)
    assert not accepted(new.judge()) or accepted(leaving.judge())


def test_the_worlds_reach_every_answer_of_the_gate():
    """The relations above would say nothing about answers that never occur in them."""
    seen = set()

    @settings(max_examples=1500, deadline=None, derandomize=True, database=None)
    @given(WORLDS, PROFILES)
    def look(spec, profile):
        w = build(spec, row_of(limits.profile(profile)))
        seen.add((layout.ACTION[w.judge()], layout.REASON[w.out[tables.OUT_REASON]]))

    look()
    assert {action for action, _ in seen} == set(layout.ACTION)
    assert {reason for _, reason in seen} >= {
        *("killed", "lease_lapsed", "owner_latched", "owner_paused", "off_grid", "reconcile_pending", "exit_too_large"),
        *("book_dirty", "book_crossed", "book_stale", "price_collar", "min_notional", "insufficient_funds"),
        *("duplicate_order", "unowned_position", "max_open_orders", "position_cap", "gross_exposure", "message_rate"),
        *("drawdown_reduced", "drawdown_zero", "slippage_limit_only", "rate_queued", "none"),
    }
