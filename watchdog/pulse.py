"""The judgement of the beat: what one reading of execution's progress shows, folded into what was seen before.

Pure: no clock, no I/O. Time without a reading of our own (we were paused) is never held against execution.
"""

from __future__ import annotations

from typing import NamedTuple

from watchdog.beat import Beat

AHEAD_NS = 1_000_000  # a beat is read before our clock, so it can never be later than that
UNKNOWN = -1


class Bounds(NamedTuple):
    """What counts as progress; from the configuration."""

    ttl_ns: int
    renew_ns: int
    suspect_ns: int
    window_ns: int
    orders_per_beat_max: int
    passes_per_s_min: int
    passes_per_s_max: int


class Seen(NamedTuple):
    """One look at execution and its feed. ``cursor``: last market sequence the feed published, UNKNOWN without a feed.

    ``standing`` is a fault class that another detector sees now, "" for none, and ``why`` its text.
    """

    beat: Beat | None
    heart_ns: int = 0
    cursor: int = UNKNOWN
    standing: str = ""
    why: str = ""


class Pulse(NamedTuple):
    """What the beat has shown in this epoch; replaced, never changed."""

    seen_ns: int
    passes: int = -1
    orders: int = 0
    mono_ns: int = 0
    heart_ns: int = 0
    progress_ns: int = 0
    silent_ns: int = 0  # without progress, counting only time in which the watchdog itself ran
    still_ns: int = 0  # since when the passes stand
    order_window_ns: int = 0
    order_window: int = 0
    pace_ns: int = 0
    pace_passes: int = 0
    market_seq: int = UNKNOWN
    market_cursor: int = UNKNOWN
    market_ns: int = 0  # since when the feed is ahead and not followed
    market_met: bool = False  # the loop has read the feed's newest, or moved at all: before that no lease is granted


class Finding(NamedTuple):
    """Whether this reading shows progress within bounds, and the fault it shows ("" for none)."""

    progressed: bool
    fault: str = ""
    why: str = ""


def observe(pulse: Pulse, seen: Seen, epoch: int, now: int, bounds: Bounds) -> tuple[Pulse, Finding]:
    """Fold one reading in."""
    own_gap = now - pulse.seen_ns
    silent_ns = pulse.silent_ns + min(max(own_gap, 0), bounds.suspect_ns)
    if own_gap > bounds.suspect_ns or own_gap < 0:  # we were away: every window begins anew
        pulse = pulse._replace(pace_ns=now, pace_passes=max(pulse.passes, 0), market_ns=now, still_ns=now)
    pulse = pulse._replace(seen_ns=now, silent_ns=silent_ns)
    beat = seen.beat
    if beat is None:
        return pulse, Finding(False)
    if beat.epoch != epoch:
        if pulse.passes < 0:  # it has its key, and not yet its first pass with it
            return pulse, Finding(False)
        return pulse, Finding(False, "wrong_epoch", f"epoch {beat.epoch} instead of {epoch}")
    if pulse.passes < 0:
        return _first(pulse, beat, seen, now), Finding(False)
    why = _backwards(pulse, beat, now)
    if why:
        return pulse, Finding(False, "backwards", why)
    pulse, finding = _orders(pulse, beat, now, bounds)
    if not finding.fault:
        pulse, finding = _pace(pulse, beat, now, bounds)
    if finding.fault:
        return pulse, finding
    pulse, stuck_ns = _market(pulse, beat, seen.cursor, now)
    return _progress(pulse, beat, seen, now, stuck_ns, bounds)


def _first(pulse: Pulse, beat: Beat, seen: Seen, now: int) -> Pulse:
    """The first sight of an epoch: something to compare with, not yet progress."""
    return pulse._replace(
        passes=beat.passes,
        orders=beat.orders_sent,
        mono_ns=beat.mono_ns,
        heart_ns=seen.heart_ns,
        still_ns=now,
        order_window_ns=now,
        order_window=beat.orders_sent,
        pace_ns=now,
        pace_passes=beat.passes,
        market_seq=beat.market_seq,
        market_cursor=seen.cursor,
        market_ns=now,
    )


def _backwards(pulse: Pulse, beat: Beat, now: int) -> str:
    for name, new, old in (
        ("passes", beat.passes, pulse.passes),
        ("orders", beat.orders_sent, pulse.orders),
        ("its clock", beat.mono_ns, pulse.mono_ns),
    ):
        if new < old:
            return f"{name} went from {old} to {new}"
    if beat.mono_ns > now + AHEAD_NS:
        return f"its clock is {(beat.mono_ns - now) // 1_000_000} ms ahead of ours"
    return ""


def _orders(pulse: Pulse, beat: Beat, now: int, bounds: Bounds) -> tuple[Pulse, Finding]:
    elapsed = now - pulse.order_window_ns
    allowed = bounds.orders_per_beat_max * max(1, -(-elapsed // bounds.renew_ns))
    sent = beat.orders_sent - pulse.order_window
    if sent > allowed:
        return pulse, Finding(False, "runaway", f"{sent} orders in {elapsed // 1000} us, {allowed} allowed")
    if elapsed >= bounds.renew_ns:
        pulse = pulse._replace(order_window_ns=now, order_window=beat.orders_sent)
    return pulse, Finding(False)


def _pace(pulse: Pulse, beat: Beat, now: int, bounds: Bounds) -> tuple[Pulse, Finding]:
    """Passes per time: too many at any moment, too few over a whole window in which they did go on."""
    elapsed = now - pulse.pace_ns
    made = beat.passes - pulse.pace_passes
    if elapsed >= bounds.renew_ns and made * 1_000_000_000 > bounds.passes_per_s_max * elapsed:
        return pulse, Finding(False, "fast", f"{made} passes in {elapsed // 1000} us")
    if elapsed < bounds.window_ns:
        return pulse, Finding(False)
    goes_on = beat.passes > pulse.passes  # that it does not is silence, not slowness
    pulse = pulse._replace(pace_ns=now, pace_passes=beat.passes)
    if goes_on and made * 1_000_000_000 < bounds.passes_per_s_min * elapsed:
        return pulse, Finding(False, "slow", f"{made} passes in {elapsed // 1_000_000} ms")
    return pulse, Finding(False)


def _market(pulse: Pulse, beat: Beat, cursor: int, now: int) -> tuple[Pulse, int]:
    """For how long the feed has been publishing what the loop does not read."""
    moved = beat.market_seq != pulse.market_seq
    met = pulse.market_met or moved or cursor in (UNKNOWN, beat.market_seq)
    if moved or cursor in (UNKNOWN, pulse.market_cursor):
        return pulse._replace(market_seq=beat.market_seq, market_cursor=cursor, market_ns=now, market_met=met), 0
    return pulse, now - pulse.market_ns


def _progress(pulse: Pulse, beat: Beat, seen: Seen, now: int, stuck_ns: int, bounds: Bounds) -> tuple[Pulse, Finding]:
    if beat.passes == pulse.passes:
        moved = seen.heart_ns > pulse.heart_ns or beat.mono_ns > pulse.mono_ns
        still_ns = now - pulse.still_ns
        pulse = pulse._replace(heart_ns=seen.heart_ns, mono_ns=beat.mono_ns)
        if moved and still_ns > bounds.suspect_ns:
            return pulse, Finding(False, "hollow", f"the heart beats, no pass for {still_ns // 1_000_000} ms")
        return pulse, Finding(False)
    pulse = pulse._replace(still_ns=now, heart_ns=seen.heart_ns)
    if now - beat.mono_ns > bounds.suspect_ns:
        return pulse, Finding(False)  # the passes grow, but this is an old page: not counted as seen
    pulse = pulse._replace(passes=beat.passes, orders=beat.orders_sent, mono_ns=beat.mono_ns, silent_ns=0, progress_ns=now)
    if stuck_ns > bounds.ttl_ns:
        return pulse, Finding(False, "stuck", f"the market is not read for {stuck_ns // 1_000_000} ms")
    return pulse, Finding(pulse.market_met and stuck_ns <= bounds.suspect_ns)
