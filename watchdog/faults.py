"""What can be wrong, and what is done about it: every fault class by name, with its tier.

``lapse``: permission ends, execution pulls its own orders, and the lease comes back by itself with a new epoch once the
account is reconciled and the fault is gone. ``kill``: latched, the credential is revoked, an operator returns it. The
section ``tiers`` of the configuration moves a class to the other tier; a name that is not here is refused, and so is
``lapse`` for what leaves nothing to recover. Pure data and one function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LAPSE, KILL = "lapse", "kill"


class Fault(NamedTuple):
    """``fixed``: the tier cannot be configured."""

    tier: str
    meaning: str
    fixed: bool = False


FAULTS: dict[str, Fault] = {
    # The beat of execution's work loop.
    "late": Fault(LAPSE, "no progress for the length of a lease"),
    "silent": Fault(KILL, "no progress for lease.kill_ns"),
    "hollow": Fault(LAPSE, "the heartbeat moves, the passes stand"),
    "slow": Fault(LAPSE, "fewer passes than lease.passes_per_s_min"),
    "unleased": Fault(KILL, "orders were sent without permission: the lease is not heeded"),
    "fast": Fault(KILL, "more passes than lease.passes_per_s_max: the loop skips its work"),
    "runaway": Fault(KILL, "more orders in a beat than lease.orders_per_beat_max"),
    "stuck": Fault(LAPSE, "passes go on, and what the feed publishes is not read"),
    "wrong_epoch": Fault(LAPSE, "the beat names another epoch than before"),
    "backwards": Fault(LAPSE, "passes, orders or the beat's clock ran backwards, or its clock is ahead of ours"),
    "lapsing": Fault(KILL, "permission lapsed again and again"),
    # The host and the watchdog itself.
    "clock_jump": Fault(LAPSE, "the monotonic clock went back, or the host was suspended"),
    "own_pause": Fault(LAPSE, "the watchdog itself did not run for a lease: stopped, starved, or the whole host paused"),
    # The process behind the beat.
    "stopped": Fault(LAPSE, "stopped by a signal"),
    "traced": Fault(LAPSE, "a debugger is attached"),
    "frozen": Fault(LAPSE, "its control group is frozen"),
    "zombie": Fault(KILL, "its main thread has ended, another still runs"),
    "dead": Fault(KILL, "the process ended", fixed=True),
    # The others.
    "feed_silent": Fault(LAPSE, "the feed process is gone or its loop does not beat"),
    "version_mismatch": Fault(LAPSE, "a process runs other code or another configuration"),
    # The independent view of the account.
    "view_lost": Fault(LAPSE, "the watchdog cannot read the account"),
    "over_limit": Fault(KILL, "the account is beyond 1.2 times a limit of the engine"),
    "disagreement": Fault(KILL, "the engine's account differs from the venue's for more than 3 s"),
    "key_revoked_elsewhere": Fault(KILL, "somebody else revoked the trading key at the venue"),
    # Decisions and what follows from them.
    "operator": Fault(KILL, "an operator said so", fixed=True),
    "supervisor": Fault(KILL, "the supervisor died", fixed=True),
    "signal": Fault(KILL, "SIGTERM with an execution process registered", fixed=True),
    "unproven": Fault(KILL, "an orderly end could not be proven", fixed=True),
    "witness": Fault(KILL, "the witness on the second host has killed", fixed=True),
    "host": Fault(KILL, "the witness's own cause: no beat of the first host", fixed=True),
    "damaged": Fault(KILL, "the durable latch is unreadable", fixed=True),
}


def tiers(configured: Mapping[str, str]) -> dict[str, str]:
    """Tier of every class; ValueError for an unknown class, an unknown tier, or a class that can only kill."""
    for name, tier in configured.items():
        if name not in FAULTS:
            raise ValueError(f"{name}: unknown fault class; known are {', '.join(FAULTS)}")
        if tier not in (LAPSE, KILL):
            raise ValueError(f"{name}: {tier!r} is neither {LAPSE} nor {KILL}")
        if FAULTS[name].fixed and tier != FAULTS[name].tier:
            raise ValueError(f"{name}: this fault can only {FAULTS[name].tier}: nothing is left to recover")
    return {name: configured.get(name, fault.tier) for name, fault in FAULTS.items()}
