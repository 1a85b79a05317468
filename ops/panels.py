"""What the dashboard shows, as pure functions from figures to rich tables. No figure is computed here, only worded."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table
from rich.text import Text

from ops.summary import micros

GOOD, WARN, BAD, DIM = "green", "yellow", "red", "dim"
STALE_MS = 1000.0
AGES = (("d", 86400), ("h", 3600), ("min", 60), ("s", 0))
# The seed's latency stack: row, where we measure it, the range it expects.
STACK = (
    ("network", "venue_to_recv", "< 0.5 ms"),
    ("deserialise", "scan", "0.1-2 ms"),
    ("book", "book", ""),
    ("ring hop", "ring_hop", ""),
    ("signal, risk", "decide", "0.7-6 ms"),
    ("serialise", "encode", "0.3-2 ms"),
    ("send", "send", "with it"),
    ("tick to order", "tick_to_order", ""),
    ("exchange ack", "ack", "1-10 ms"),
    ("LLM", "llm", "50-500 ms"),
)


def _table(*columns: str) -> Table:
    made = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style=DIM, show_header=any(columns))
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    return made


def used_style(percent: float) -> str:
    """Colour of a used limit: half, four fifths, all of it."""
    if percent >= 100:
        return "bold red"
    if percent >= 80:
        return BAD
    return WARN if percent >= 50 else GOOD


def age(milliseconds: float | None) -> str:
    """How long ago, ``never`` when it never was."""
    return "never" if milliseconds is None else micros(max(1, int(milliseconds * 1e6))).replace(" ", "")


def head(figures: dict[str, Any]) -> Text:
    """One line: which system, and whether it may trade."""
    account, lease = figures["account"], figures["lease"]
    state, held = account["risk_state"], account.get("lease_state", "none")
    test = lease["kill_test"]
    line = Text(f" {figures['name']} · {figures['mode']} · {figures['source']['kind']} market   ")
    line.append(f" {state} ", style="black on green" if state == "active" else "black on yellow")
    line.append(f"  lease {held}", style=GOOD if held == "granted" else BAD)
    line.append(f"  epoch {account.get('epoch', 0)}")
    line.append(f"  kill test {test.replace('_', ' ').upper()}", style=GOOD if test == "pass" else BAD)
    if lease["witness"] != "none":
        line.append(f"  witness {lease['witness']}", style=GOOD if lease["witness"] in ("waiting", "watching") else BAD)
    if account["reason"] not in ("", "none"):
        line.append(f"  {account['reason']}", style=WARN)
    return line


def processes(figures: dict[str, Any]) -> Table:
    made = _table("process", "state", "beat", "cpu", "stall")
    for role, row in figures["processes"].items():
        down = row["state"] in ("down", "failed")
        late = row["heartbeat_age_ms"] is None or row["heartbeat_age_ms"] > STALE_MS
        made.add_row(
            role,
            Text(row["state"], style=BAD if down else GOOD if row["state"] in ("ready", "running") else WARN),
            Text(age(row["heartbeat_age_ms"]), style=BAD if late else ""),
            str(row.get("cpu", "")),
            micros(int(row.get("stall_max_ms", 0) * 1e6) or None),
        )
    return made


def market(figures: dict[str, Any], touch: list[dict[str, Any]]) -> Table:
    made = _table("instrument", "bid", "ask", "bps", "age")
    for row in touch:
        spread = "-" if row["spread_bps"] is None else f"{row['spread_bps']:.2f}"
        name = Text(row["symbol"], style="" if row["status"] == "ready" else BAD)
        made.add_row(name, row["bid"] or "-", row["ask"] or "-", spread, age(row["age_ms"]))
    return made


def flow(figures: dict[str, Any]) -> Text:
    """What came in and what was lost of it, under the touch."""
    seen = figures["market"]
    bad = sum(seen["bad"].values())
    line = Text(f"{seen['events']:,} events", style=DIM)
    line.append(f"  lost {seen['lost']:,}", style=BAD if seen["lost"] else DIM)
    line.append(f"  gaps {seen['gaps']:,}", style=WARN if seen["gaps"] else DIM)
    line.append(f"  bad {bad:,}", style=WARN if bad else DIM)
    return line


def account(figures: dict[str, Any]) -> Table:
    made = _table("", "", "of limit")
    row, limits = figures["account"], dict(figures["account"]["limits"])

    def used(name: str) -> Text:
        percent = limits.get(name)
        return Text("-", style=DIM) if percent is None else Text(f"{percent:.0f} %", style=used_style(percent))

    made.add_row("P&L today", Text(row["pnl"], style=BAD if row["pnl"].startswith("-") else GOOD), used("daily loss"))
    made.add_row("NAV, drawdown", row["nav"], used("drawdown"))
    made.add_row("open orders", f"{row.get('open_orders', 0)}", used("open orders"))
    made.add_row("kill drill", drill(figures["lease"]["drill"], time.time()), "")
    for symbol, size in row["position"].items():
        made.add_row(symbol, size, used(f"position {symbol}"))
    return made


def drill(last: dict[str, Any], now_s: float) -> Text:
    """When the kill was last tried by an operator, and how it went."""
    if last["wall_s"] is None:
        return Text("never", style=WARN)
    since_s = max(0, int(now_s - last["wall_s"]))
    unit, size = next(one for one in AGES if since_s >= one[1])
    result = last["result"].replace("_", " ").upper()
    return Text(
        f"{result} {since_s // max(1, size)} {unit} ago, {last['ms']} ms", style=GOOD if last["result"] == "pass" else BAD
    )


def orders(figures: dict[str, Any]) -> Table:
    made = _table("", "", "", "")
    row, own = figures["orders"], figures["account"]
    unknown = Text(f"{own.get('unknown_orders', 0)}", style=BAD if own.get("unknown_orders") else "")
    made.add_row("sent", f"{row['sent']:,}", "open", f"{own.get('open_orders', 0)}")
    made.add_row("acked", f"{row['acked']:,}", "cancelled", f"{row['cancelled']:,}")
    made.add_row("fills", f"{figures['fills']['count']:,}", "unknown", unknown)
    rejects = sorted(figures["rejects"].items(), key=lambda item: -item[1])
    for index in range(0, min(len(rejects), 6), 2):
        pair = [text for name, count in rejects[index : index + 2] for text in (Text(name, style=DIM), f"{count:,}")]
        made.add_row(*pair)
    return made


def signals(figures: dict[str, Any]) -> Table:
    made = _table("", "", "", "")
    row, llm = figures["signals"], figures["llm"]
    source = Text(row["source"].upper(), style=GOOD if row["source"] == "llm" else WARN)
    made.add_row("source", source, "published", f"{row['published']:,}")
    made.add_row("used", f"{row['used']:,}", "expired", f"{row['expired']:,}")
    bad = sum(llm["bad"].values())
    made.add_row("LLM calls", f"{llm['calls']:,}", "bad answers", Text(f"{bad:,}", style=WARN if bad else ""))
    latency = llm["latency_ms"]
    made.add_row("LLM p50", _ms(latency["p50"]), "LLM p99", _ms(latency["p99"]))
    return made


def latency(figures: dict[str, Any]) -> Table:
    made = _table("stage", "p50", "p99", "p99.9", "max", "seed")
    slow = {key: None if value is None else int(value * 1e6) for key, value in figures["llm"]["latency_ms"].items()}
    for name, stage, expected in STACK:
        values = slow if stage == "llm" else figures["stages_ns"].get(stage, {})
        points = [micros(values.get(point)).replace(" ", "") for point in ("p50", "p99", "p999", "max")]
        made.add_row(name, *points, Text(expected, style=DIM))
    return made


def errors(figures: dict[str, Any]) -> Text:
    """The last things that went wrong, one line each."""
    lines = [f"{error['role']}: {error['text']} (x{error['count']})" for error in figures["errors"]]
    return Text("\n".join(lines[-3:]) or "no errors", style=WARN if lines else DIM, no_wrap=True, overflow="ellipsis")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
