"""Every figure of a running (or just ended) system in one dict, read from the shared pages without writing a word.

The same keys serve ``pulex stats --once --json``, the final summary and the dashboard. A process that is not there has
zeros and the state ``down``. Counters are those of the newest generation of each process.
"""

from __future__ import annotations

import pathlib
import time
from decimal import Decimal
from typing import Any

from fabric import layout
from fabric.segment import Segment, SegmentError
from fabric.stats import StatsReader

SCHEMA = "pulex.stats/1"
ROLES = ("supervisor", "watchdog", "journal", "feed", "execution", "signal")
STAGES = {"feed": layout.FEED_HISTOGRAMS, "execution": layout.EXEC_HISTOGRAMS}
_BAD_MARKET = ("bad_json", "bad_number", "bad_frame", "unknown_symbol", "unknown_type", "off_grid", "oversize")
_BAD_ANSWERS = tuple(name for name in layout.SIGNAL_COUNTERS if name.startswith("bad_"))
KILL_TESTS = ("not_run", "pass", "fail", "not_proven")
WITNESS = ("none", "waiting", "watching", "killed", "silent")  # as watchdog.beacon shows it
_SEQLOCK_TRIES = 100
E8 = 100_000_000


class Pages:
    """Read-only mappings of all segments of an instance, attached again when a writer made a new generation."""

    def __init__(self, shm_dir: str | pathlib.Path) -> None:
        self.shm_dir = pathlib.Path(shm_dir)
        self._readers: dict[str, tuple[str, StatsReader]] = {}
        self._segments: dict[str, tuple[str, Segment]] = {}

    def stats(self, role: str) -> StatsReader | None:
        """The stats page of a role, None while there is none."""
        link = self._link(f"stats-{role}")
        held = self._readers.get(role)
        if link and (held is None or held[0] != link):
            try:
                self._readers[role] = (link, StatsReader(self.shm_dir, role))
            except SegmentError:
                return None
        return self._readers[role][1] if role in self._readers else None

    def segment(self, name: str) -> Segment | None:
        """The newest generation of a segment, None while there is none."""
        link = self._link(name)
        held = self._segments.get(name)
        if link and (held is None or held[0] != link):
            try:
                self._segments[name] = (link, Segment.attach(self.shm_dir, name))
            except SegmentError:
                return None
        return self._segments[name][1] if name in self._segments else None

    def generation(self, name: str) -> int:
        """The newest generation of a segment, 0 while there is none."""
        return int(self._link(name).rpartition(".")[2] or 0)

    def _link(self, name: str) -> str:
        try:
            return str((self.shm_dir / name).readlink())
        except OSError:
            return ""


def money(value_e8: int) -> str:
    """Integer money as a decimal string."""
    return f"{Decimal(value_e8).scaleb(-8):.2f}"


def locked_words(segment: Segment, offset: int, count: int) -> list[int] | None:
    """A consistent copy of a sequence-locked row (word 0 is the lock); None when its writer never lets go."""
    first = offset // layout.WORD
    for _ in range(_SEQLOCK_TRIES):
        before = segment.words[first]
        row = list(segment.words[first : first + count])
        if not before & 1 and segment.words[first] == before:
            return row
    return None


def _markouts(row: list[int]) -> dict[str, float | None]:
    """What fills were worth later against their price, in basis points of it; negative: those who traded with us knew more."""
    found: dict[str, float | None] = {}
    for n, horizon in enumerate(("100ms", "1s", "10s")):
        marked = row[layout.AP_MARKED_100MS_E8 + n]
        found[horizon] = round(row[layout.AP_MARKOUT_100MS_E8 + n] / marked * 10_000, 3) if marked else None
    return found


def account_row(pages: Pages) -> list[int] | None:
    """The words of the account page; None while there is none."""
    segment = pages.segment("exec")
    return locked_words(segment, layout.ACCOUNT_OFFSET, layout.ACCOUNT_BYTES // layout.WORD) if segment else None


def account(pages: Pages, config: dict[str, Any]) -> dict[str, Any]:
    """The account page: NAV, P&L, position by symbol, share of each limit that is used."""
    row = account_row(pages)
    if row is None:
        return {
            "position": {},
            "markout_bps": {},
            "pnl": "0.00",
            "nav": "0.00",
            "risk_state": "unknown",
            "reason": "",
            "limits": {},
        }
    nav, day_start = row[layout.AP_NAV_E8], row[layout.AP_DAY_START_NAV_E8]
    high = row[layout.AP_HWM_E8]
    limits = config["limits"]
    position: dict[str, str] = {}
    used: dict[str, float] = {
        "daily loss": _share(day_start - nav, day_start, limits["day_loss_ppm"]),
        "drawdown": _share(high - nav, high, limits["drawdown_ppm"]),
        "open orders": round(100 * row[layout.AP_OPEN_ORDERS] / max(1, limits["max_open_orders"]), 1),
    }
    for index, instrument in enumerate(config["instruments"]):
        start = layout.ACCOUNT_ROWS_WORD + index * len(layout.ACCOUNT_ROW)
        cells = dict(zip(layout.ACCOUNT_ROW, row[start : start + len(layout.ACCOUNT_ROW)], strict=True))
        lots = cells["position_lots"]
        position[instrument["symbol"]] = f"{lots * Decimal(instrument['lot_size']):f}"
        worst = max(abs(lots + cells["working_buy_lots"]), abs(lots - cells["working_sell_lots"]))
        used[f"position {instrument['symbol']}"] = round(100 * worst / cells["cap_lots"], 1) if cells["cap_lots"] else 0.0
    return {
        "nav": money(nav),
        "pnl": money(nav - day_start),
        "realised": money(row[layout.AP_REALISED_E8]),
        "unrealised": money(row[layout.AP_UNREALISED_E8]),
        "fees": money(row[layout.AP_FEES_E8]),
        "markout_bps": _markouts(row),
        "position": position,
        "risk_state": _name(layout.RISK_STATE, row[layout.AP_RISK_STATE]),
        "reason": _name(layout.REASON, row[layout.AP_RISK_REASON]),
        "lease_state": _name(layout.LEASE_STATE, row[layout.AP_LEASE_STATE]),
        "epoch": row[layout.AP_EPOCH],
        "open_orders": row[layout.AP_OPEN_ORDERS],
        "unknown_orders": row[layout.AP_UNKNOWN_ORDERS],
        "reconciled": bool(row[layout.AP_RECONCILED]),
        "limits": used,
    }


def _share(lost: int, base: int, limit_ppm: int) -> float:
    """Percent of a parts-per-million limit that a loss uses."""
    return round(100 * max(0, lost) * 1_000_000 / (base * limit_ppm), 1) if base > 0 and limit_ppm > 0 else 0.0


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def processes(pages: Pages) -> dict[str, dict[str, Any]]:
    """State and heartbeat of each process; heartbeat None = never."""
    found: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        reader = pages.stats(role)
        if reader is None:
            found[role] = {"state": "down", "pid": 0, "heartbeat_age_ms": None}
            continue
        row, age = reader.status(), reader.heartbeat_age_ns()
        found[role] = {
            "state": _name(layout.PROCESS_STATE, row["state"]) if reader.segment.owner_alive() else "down",
            "pid": row["pid"],
            "heartbeat_age_ms": None if age is None else round(age / 1e6, 1),
            "cpu": row["cpu"],
            "passes": row["passes"],
            "stall_max_ms": round(row["stall_max_ns"] / 1e6, 3),
            "cache_misses": row["cache_misses"],
        }
    return found


def snapshot(pages: Pages, config: dict[str, Any]) -> dict[str, Any]:
    """All figures, keys as the summary has them."""
    readers = {role: pages.stats(role) for role in ROLES}
    counters = {role: reader.counters() if reader else {} for role, reader in readers.items()}
    execution, watchdog = counters["execution"], counters["watchdog"]
    holdings = account(pages, config)
    return {
        "schema": SCHEMA,
        "name": config["name"],
        "mode": config["mode"],
        "source": {"kind": config["paper"]["source"] if config["mode"] == "paper" else "venue"},
        "market": _market(counters["feed"], execution),
        "signals": _signals(counters["signal"], execution, config["signal"]["source"]),
        "llm": _llm(counters["signal"], readers["signal"]),
        "orders": {
            name: execution.get(f"orders_{name}", 0)
            for name in ("sent", "acked", "rejected", "cancelled", "expired", "cancelled_at_exit")
        }
        | {"unknown": holdings.get("unknown_orders", 0), "became_unknown": execution.get("orders_unknown", 0)},
        "rejects": {
            name.removeprefix("reason."): count
            for name, count in execution.items()
            if name.startswith("reason.") and count and name != "reason.none"
        },
        "fills": {"count": execution.get("fills", 0), "duplicate": execution.get("fills_duplicate", 0)},
        "breakers": _of(execution, "pauses", "halts"),
        "account": holdings,
        "lease": _of(watchdog, "epoch", "renewals", "withheld", "lapses", "kills")
        | {"kill_test": _name(KILL_TESTS, watchdog.get("kill_test_result", 0)), "drill": _drill(watchdog)}
        | {"witness": _name(WITNESS, watchdog.get("witness_state", 0))},
        "stages_ns": _stages(readers),
        "processes": processes(pages),
        "errors": [
            {"role": role, "count": error.count, "text": error.text}
            for role, reader in readers.items()
            if reader
            for error in reader.errors()
        ],
    }


def _drill(watchdog: dict[str, int]) -> dict[str, Any]:
    """The last kill drill, also of an earlier run; wall_s None = never."""
    names = _of(watchdog, "last_drill_wall_s", "last_drill_ms", "drill_result")
    return {
        "result": _name(KILL_TESTS, names["drill_result"]),
        "wall_s": names["last_drill_wall_s"] or None,
        "ms": names["last_drill_ms"],
    }


def _of(values: dict[str, int], *names: str) -> dict[str, int]:
    return {name: values.get(name, 0) for name in names}


def _market(feed: dict[str, int], execution: dict[str, int]) -> dict[str, Any]:
    return {
        "events": feed.get("events", 0),
        "lost": execution.get("market_lost", 0),
        "gaps": feed.get("source_gaps", 0) + feed.get("book_gaps", 0),
        "seen": execution.get("market_events", 0),
        **_of(feed, "messages", "ticks", "books", "trades", "book_gaps", "book_resyncs", "source_gaps"),
        **_of(feed, "source_first", "source_last", "duplicates", "reconnects"),
        "bad": _of(feed, *_BAD_MARKET),
    }


def _signals(signals: dict[str, int], execution: dict[str, int], source: str) -> dict[str, Any]:
    return {
        "source": source,
        **_of(signals, "published", "oneshots", "parameters", "held"),
        "used": execution.get("signals_used", 0),
        "expired": execution.get("signals_expired", 0),
        "refused": execution.get("signals_refused", 0),
    }


def _llm(signals: dict[str, int], reader: StatsReader | None) -> dict[str, Any]:
    latency = reader.histogram("llm_latency").summary() if reader else {}
    return {
        **_of(signals, "calls", "valid"),
        "bad": {name.removeprefix("bad_"): signals.get(name, 0) for name in _BAD_ANSWERS},
        "latency_ms": {point: _ms(latency.get(point)) for point in ("p50", "p99", "max")},
    }


def _stages(readers: dict[str, StatsReader | None]) -> dict[str, Any]:
    """Histograms of both hot processes; a name that both have is prefixed by its role the second time."""
    found: dict[str, Any] = {}
    for role, names in STAGES.items():
        if reader := readers[role]:
            for name in names:
                found[f"{role}_{name}" if name in found else name] = reader.histogram(name).summary()
    return found


def _ms(value_ns: int | None) -> float | None:
    return round(value_ns / 1e6, 1) if value_ns else None


def books(pages: Pages, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The latest touch of each instrument from the state table; prices as decimal strings, age of the feed's last row."""
    segment = pages.segment("market")
    found = []
    for index, instrument in enumerate(config["instruments"]):
        offset = layout.STATE_OFFSET + index * layout.STATE_ROW_WORDS * layout.WORD
        row = locked_words(segment, offset, len(layout.STATE_ROW)) if segment else None
        tick, lot = Decimal(instrument["tick_size"]), Decimal(instrument["lot_size"])
        entry: dict[str, Any] = {"symbol": instrument["symbol"], "status": "none", "spread_bps": None, "age_ms": None}
        for name in ("bid", "ask"):
            entry[name] = entry[f"{name}_size"] = None
        if row is not None and row[layout.ST_RECV_NS]:
            bid, ask = row[layout.ST_BID_TICKS], row[layout.ST_ASK_TICKS]
            entry |= {
                "status": _name(layout.BOOK_STATUS, row[layout.ST_STATUS]),
                "bid": f"{bid * tick:f}",
                "bid_size": f"{row[layout.ST_BID_LOTS] * lot:f}",
                "ask": f"{ask * tick:f}",
                "ask_size": f"{row[layout.ST_ASK_LOTS] * lot:f}",
                "spread_bps": round(20_000 * (ask - bid) / (ask + bid), 2) if ask + bid else None,
                "age_ms": round((time.monotonic_ns() - row[layout.ST_RECV_NS]) / 1e6, 1),
            }
        found.append(entry)
    return found
