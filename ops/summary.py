"""What a run was: the status line on the way, the table and the JSON file at its end.

Orders and the kill test are taken from the exchange's own ledger where there is one; our counters stand beside it.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from rich.table import Table

from ops import exits, paper

SCHEMA = "pulex.run/1"


def final(
    figures: dict[str, Any],
    config: dict[str, Any],
    ledger: dict[str, Any] | None,
    kill_test: dict[str, Any],
    kill: dict[str, Any],
    code: int,
    startup_s: float | None,
) -> dict[str, Any]:
    """The machine-readable summary."""
    claimed = {key: kill_test.get(key) for key in ("result", "key_id", "refusal", "ms")}
    result = figures | {
        "schema": SCHEMA,
        "startup_s": None if startup_s is None else round(startup_s, 3),
        "kill_test": paper.kill_test(ledger, kill_test) if ledger else claimed | {"result": claimed["result"] or "not_run"},
        "kill": kill,
        "exit": {"code": code, "name": exits.NAMES.get(code, str(code))},
        "code_hash": config["code_hash"],
        "config_hash": config["config_hash"],
    }
    result["orders"] = figures["orders"] | {"open_at_exit": paper.open_orders(ledger) if ledger else None}
    if ledger:
        result["ledger"] = {
            "orders": len(ledger["orders"]),
            "rejected": sum(1 for order in ledger["orders"] if order["status"] == "rejected"),
            "fills": len(ledger["fills"]),
            "market": ledger["market"],
        }
    return result


def write(path: str, final_figures: dict[str, Any]) -> None:
    """The JSON file of ``--json``."""
    pathlib.Path(path).write_text(json.dumps(final_figures, indent=1) + "\n")


def status_line(seconds: float, armed: bool, figures: dict[str, Any]) -> str:
    """One line for a screen without a dashboard."""
    market, orders, account = figures["market"], figures["orders"], figures["account"]
    stage = figures["stages_ns"].get("tick_to_order") or {}
    source = figures["signals"]
    return (
        f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d} {'armed' if armed else 'NOT ARMED'} {account['risk_state']} | "
        f"market {market['events']:,} lost {market['lost']} gaps {market['gaps']} | "
        f"orders {orders['sent']:,} acked {orders['acked']:,} rejected {orders['rejected']} | "
        f"fills {figures['fills']['count']:,} P&L {account['pnl']} | "
        f"{paused(figures['breakers'])}"
        f"signals {source['source']} {source['published']} used {source['used']} | "
        f"tick to order p50 {micros(stage.get('p50'))} p99 {micros(stage.get('p99'))}"
    )


def paused(breakers: dict[str, int]) -> str:
    """Nothing while no breaker has paused an owner."""
    return f"{breakers['pauses']} pauses | " if breakers["pauses"] else ""


def micros(value_ns: int | None) -> str:
    """A duration for people: three digits, its own unit, a dash for none."""
    if value_ns is None:
        return "-"
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000)):
        if value_ns >= size:
            value = value_ns / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{value_ns} ns"


def table(final_figures: dict[str, Any]) -> Table:
    """The summary for people."""
    market, signals, llm = final_figures["market"], final_figures["signals"], final_figures["llm"]
    orders, account, test = final_figures["orders"], final_figures["account"], final_figures["kill_test"]
    source, latency = final_figures["source"]["kind"], llm["latency_ms"]
    rows = [
        ("market", f"{market['events']:,} events, {market['lost']} lost, {market['gaps']} gaps ({source})"),
        ("signals", "{source}: {published} published, {used} used, {expired} expired".format(**signals)),
        ("LLM", f"{llm['calls']} calls, {llm['valid']} valid, p50 {latency['p50']} ms, p99 {latency['p99']} ms"),
        ("orders", "{sent:,} sent, {acked:,} acked, {rejected} rejected, {unknown} unknown".format(**orders)),
        ("at exit", "{open_at_exit} open, {cancelled_at_exit} cancelled there".format(**orders)),
        ("fills", f"{final_figures['fills']['count']:,}"),
        (
            "markouts",
            ", ".join(f"{bps:+.2f} bps at {at}" for at, bps in account["markout_bps"].items() if bps is not None) or "-",
        ),
        ("rejects", ", ".join(f"{name} {n:,}" for name, n in sorted(final_figures["rejects"].items())) or "none"),
        ("breakers", "{pauses} pauses, {halts} halts".format(**final_figures["breakers"])),
        ("position", ", ".join(f"{symbol} {size}" for symbol, size in account["position"].items()) or "none"),
        ("P&L", "{pnl} (NAV {nav}), state {risk_state}".format(**account)),
        ("kill test", "{result}, key {key_id}, {refusal}, {ms} ms".format(**test)),
    ]
    if hashes := market.get("book_hashes"):
        rows.insert(1, ("book", "{equal} of {compared} hashes of the top 20 levels equal an independent book".format(**hashes)))
    if final_figures["startup_s"] is not None:
        rows.append(("armed after", f"{final_figures['startup_s']} s"))
    for stage, values in final_figures["stages_ns"].items():
        if values["count"]:
            points = ", ".join(f"{point} {micros(values[point])}" for point in ("p50", "p99", "p999", "max"))
            rows.append((stage, f"{points} ({values['count']:,})"))
    rows.append(("exit", f"{final_figures['exit']['code']} {final_figures['exit']['name']}"))
    made = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, text in rows:
        made.add_row(name, text)
    return made
