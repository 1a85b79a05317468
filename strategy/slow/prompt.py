"""The prompt: its unchanging part first, so that a server's prompt cache helps, then one line per instrument.

Everything in it is a number or a configured symbol: no text of a venue, a user or a model ever gets in.
"""

from __future__ import annotations

import re

from fabric import layout
from strategy.slow.answer import MAX_SKEW_BPS
from strategy.slow.hashing import hash63
from strategy.slow.market import Account, Look

LINES_MAX = 6  # instruments in one prompt; more take turns
_UNSAFE = re.compile(r"[^A-Za-z0-9._/-]")
SYSTEM = (
    "You judge a market for a trading engine that only follows within hard limits. Pick one symbol and answer one "
    "compact JSON object on one line. view: the move you expect in the next minute, hold when unsure. urgency: 1 to 10, "
    "5 is normal. size_percent: part of the allowed size, 30 is normal. "
    f"skew_bps: shift of our quotes, -{MAX_SKEW_BPS} to {MAX_SKEW_BPS}, positive is up. "
    "imbalance: -1 all sellers, 1 all buyers.\n"
    'Prices rise and buyers lead: {"symbol":"A","view":"buy","urgency":6,"size_percent":40,"skew_bps":3}\n'
    'Prices fall and sellers lead: {"symbol":"B","view":"sell","urgency":6,"size_percent":40,"skew_bps":-3}\n'
    'Quiet: {"symbol":"C","view":"hold","urgency":2,"size_percent":10,"skew_bps":0}'
)


def build(looks: list[Look], account: Account) -> list[dict[str, str]]:
    """Chat messages for these instruments."""
    lines = []
    for look in looks:
        mid = look.instrument.tick_size * (look.bid_ticks + look.ask_ticks) / 2
        cap = 100 * look.position_lots / look.cap_lots if look.cap_lots else 0.0
        lines.append(
            f"{_UNSAFE.sub('_', look.instrument.symbol)[:32]}: mid {mid:f} spread {look.spread_bps:.1f} bps, "
            f"change {look.change_bps:+.1f} bps, imbalance {look.imbalance:+.2f}, position {cap:.0f}% of cap"
        )
    nav = account.nav_e8 or 1
    lines.append(f"day result {10_000 * account.day_pnl_e8 / nav:+.1f} bps, risk {layout.RISK_STATE[account.risk_state]}")
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n".join(lines)}]


def prompt_hash(messages: list[dict[str, str]]) -> int:
    """63-bit hash of all that the model was told."""
    return hash63("\n".join(f"{message['role']}: {message['content']}" for message in messages))
