"""From one life of the execution process to the next: what is taken over, what is left behind, and what forbids to go on.

``begin`` reads the newest whole checkpoint and the journal after it (``engine.fold``), applies the rules of ADR 5 and makes
the state of the new life durable before anything can be armed. It raises RestartError with what to do when files are there
that cannot be believed, or when the configuration no longer means the same account or instruments: limits never start
anew in silence. No files at all is a first start. Called once, before the execution's segment exists.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from engine import checkpoint as checkpoints
from engine import journal_file, state, tables
from engine.checkpoint import Checkpoint
from engine.fold import Fold
from engine.tables import Core
from fabric import layout
from fabric.segment import boot_id
from risk import account
from risk import tables as risk
from watchdog.latch import sync_directory

CLEAR = "clear.json"
FORGET = "pulex forget --operator NAME --reason TEXT sets the old state aside and starts anew"
SCALARS = (  # of the core's scalars, what outlives the process
    tables.K_LIVE_HEAD,
    tables.K_LIVE_COUNT,
    tables.K_UNOWNED_MASK,
    tables.K_SIGNAL_HOUR_NS,
    tables.K_SIGNAL_HOUR_NOTIONAL_E8,
    tables.K_SIGNAL_HOUR_COUNT,
    tables.K_SIGNAL_TOP,
    tables.K_SIGNAL_IDS,
)
GRID = ("symbol", "base", "quote", "kind", "tick_size", "lot_size", "baseline")
# Columns that are times: until when something holds, or since when it counts. None of them may end early.
TIMES = {
    "owners": (risk.OW_PAUSED_UNTIL_NS, risk.OW_LAST_ORDER_NS),
    "subbooks": (risk.SB_ENTRY_NS,),
    "positions": (risk.PO_LAST_FILL_NS,),
    "signals": (tables.SG_ISSUED_NS, tables.SG_EXPIRES_NS, tables.SG_ENTERED_NS, tables.SG_LAST_ORDER_NS),
    "orders": (tables.OR_SENT_NS, tables.OR_DEADLINE_NS, tables.OR_ENDED_NS, tables.OR_AMEND_SENT_NS),
}


class RestartError(RuntimeError):
    """Nothing may be armed on this state; one line with what to do."""


@dataclasses.dataclass(frozen=True)
class Clock:
    """Now, on both clocks, and which boot the first one belongs to."""

    mono_ns: int
    wall_ns: int
    boot_id: int


@dataclasses.dataclass(frozen=True)
class Life:
    """What a new life starts with. ``continued``: the account is the one of the life before."""

    card: dict[str, Any]
    core: Core
    continued: bool
    trades_complete: int
    said: tuple[str, ...]

    def give(self, core: Core) -> None:
        """Copy the durable tables into the loop's."""
        for name in checkpoints.DURABLE:
            getattr(core, name)[:] = getattr(self.core, name)


def clock() -> Clock:
    return Clock(time.monotonic_ns(), time.time_ns(), boot_id())


def card_of(config: dict[str, Any], life: int, now: Clock) -> dict[str, Any]:
    """What the numbers in the records of this life mean."""
    return {
        "life": life,
        "config_hash": config["config_hash"],
        "code_hash": config["code_hash"],
        "account": [config["mode"], config["instance"], config["venue"]["rest_url"] if config["mode"] == "live" else "paper"],
        "instruments": [{name: one.get(name) for name in GRID} for one in config["instruments"]],
        "strategies": [one["name"] for one in config["strategies"]],
        "limits": config["limits"],
        "boot_id": now.boot_id,
        "started_ns": now.mono_ns,
        "started_wall_ns": now.wall_ns,
    }


def bare(config: dict[str, Any], found: Checkpoint) -> Core:
    """A core of the checkpoint's tables, whatever their size; the small ones that it works with are new."""
    core = state.build(config)
    return core._replace(**{name: table.copy() for name, table in found.tables.items()})


def resume(config: dict[str, Any], state_dir: str | pathlib.Path) -> tuple[Checkpoint, Fold, list[str]] | None:
    """The newest whole checkpoint with all records after it applied; None without any files. Raises RestartError."""
    good, bad = checkpoints.load(state_dir)
    lives = [life for life in journal_file.cards(state_dir) if journal_file.has_records(journal_file.path(state_dir, life))]
    if not good:
        if not bad and not lives:
            return None
        raise RestartError(f"no whole checkpoint in {state_dir} ({'; '.join(bad) or 'none there'}): put one back, or {FORGET}")
    newest = good[0]
    life = newest.age[0]
    if lives and lives[-1] > life:
        why = f"the checkpoints end before life {lives[-1]}, which has records ({'; '.join(bad) or 'its own are gone'})"
        raise RestartError(f"{why}: put its checkpoint back, or {FORGET}")
    fold = Fold(bare(config, newest), newest.position, newest.last_ns, newest.trades)
    tail = journal_file.read(journal_file.path(state_dir, life), newest.position)
    try:
        fold.apply(tail.records)
    except (ValueError, IndexError) as error:
        raise RestartError(
            f"journal of life {life}: record {fold.position + 1} or later: {error}; report it, or {FORGET}"
        ) from None
    said = [f"{line}; the one before it is used" for line in bad]
    if tail.bad:
        said.append(f"journal of life {life}: {tail.bad}; the state is that of the last good record")
    return newest, fold, said


def begin(config: dict[str, Any], now: Clock, say: Callable[[str], None] = print) -> Life:
    """Take over, apply the rules, make it durable. Raises RestartError, OSError."""
    state_dir = pathlib.Path(config["state_dir"])
    before = resume(config, state_dir)
    number = max([*journal_file.cards(state_dir), before[0].age[0] if before else 0], default=0) + 1
    card, core = card_of(config, number, now), state.build(config)
    said: list[str] = []
    absent: dict[str, list[int]] = {}
    continued, complete = False, 0
    trades: tuple[int, ...] = (0, 0, 0, 0)
    if before is not None:
        found, fold, said = before
        absent = take_over(found, fold, core, card, now)
        continued = bool(core.scalars[tables.K_RESTORED])
        if continued:
            complete, trades = fold.trades_complete, fold.trades
        said.append(describe(core, found, continued, now))
    cleared = clear(core, state_dir)
    journal_file.write_card(state_dir, card)
    image = Checkpoint(card, 0, now.mono_ns, now.wall_ns, now.boot_id, trades, absent, checkpoints.tables_of(core))
    checkpoints.save(state_dir, image)
    if cleared:
        (state_dir / CLEAR).unlink()
        sync_directory(state_dir)
        said.append(cleared)
    for line in said:
        say(f"restart: {line}")
    return Life(card, core, continued, complete, tuple(said))


def take_over(found: Checkpoint, fold: Fold, core: Core, card: dict[str, Any], now: Clock) -> dict[str, list[int]]:
    """Fill the tables of the new life from the old ones; returns the rows of owners that are not configured now."""
    old = fold.core
    same = refuse_changes(found.card, card, old)
    set_nav(old)
    rebase(old, found, fold.last_ns, now)
    core.account[:] = old.account
    for column in (risk.AC_RECONCILED, risk.AC_OPEN_ORDERS, risk.AC_UNKNOWN_ORDERS, risk.AC_GROSS_E8):
        core.account[column] = 0
    if core.account[risk.AC_STATE] < layout.RISK_HALTED:
        core.account[risk.AC_STATE], core.account[risk.AC_REASON] = layout.RISK_DISARMED, 0
    core.signals[:], core.signal_ids[:] = old.signals, old.signal_ids
    for scalar in SCALARS:
        core.scalars[scalar] = old.scalars[scalar]
    if same:
        for name in ("positions", "orders", "seen_trades", "books"):
            getattr(core, name)[:] = getattr(old, name)
        core.books[:, risk.BK_STATUS] = core.books[:, risk.BK_BOOK_STATUS] = layout.BOOK_EMPTY
        core.positions[:, risk.PO_DIFFERENCE_LOTS] = 0
        known = old.account[risk.AC_RECONCILED] != 0 or old.scalars[tables.K_RESTORED] != 0
        core.scalars[tables.K_RESTORED] = int(known)  # a life that never heard of the account leaves a first start
        doubt_orders(core)
    else:
        leave_account(core)
    core.account[risk.AC_EXPOSURE_E8] = core.positions[:, risk.PO_EXPOSURE_E8] = 0
    for instrument in range(len(core.positions)):
        account.expose(core.account, core.positions, core.books, core.instruments, instrument)
    absent = move_owners(found, old, core, card, same)
    stand_down(core, now.mono_ns)
    return absent


def refuse_changes(old: dict[str, Any], new: dict[str, Any], core: Core) -> bool:
    """Whether the account goes on. The paper exchange begins every run with a new one; a live one must mean the same."""
    if old["account"] != new["account"]:
        raise RestartError(
            f"this state is of another account ({old['account']}, now {new['account']}): use another name, or {FORGET}"
        )
    if new["account"][0] == "paper":
        return False
    if old["instruments"] != new["instruments"]:
        raise RestartError(
            f"the instruments are not those of the last run ({old['instruments']}): configure them as before, or {FORGET}"
        )
    held = np.any(core.subbooks[:, risk.SB_LOTS].reshape(len(core.owners), -1) != 0, axis=1)
    held[core.orders[core.orders[:, tables.OR_LEAVES] > 0, tables.OR_OWNER]] = True
    for index, name in enumerate(old["strategies"]):
        if held[risk.OWNER_FIRST_STRATEGY + index] and name not in new["strategies"]:
            raise RestartError(
                f"strategy {name} holds a position or an order and is not configured any more: configure it, or {FORGET}"
            )
    return True


def set_nav(core: Core) -> None:
    """Net asset value at the last good marks, so that what was lost today is known before the first book."""
    lots, mark = core.positions[:, risk.PO_LOTS], core.books[:, risk.BK_GOOD_MARK_X2_TICKS]
    value = np.where(mark > 0, lots * mark * core.instruments[:, risk.IN_MULT] // 2, core.positions[:, risk.PO_COST_E8])
    a = core.account
    a[risk.AC_NAV_E8] = a[risk.AC_CASH_E8] + int(value.sum())
    a[risk.AC_HWM_E8] = max(a[risk.AC_HWM_E8], a[risk.AC_NAV_E8])


def rebase(core: Core, found: Checkpoint, last_ns: int, now: Clock) -> None:
    """Within one boot the monotonic clock has gone on and nothing moves. After another boot every time is moved so that the
    downtime counts as none: a pause is served in full. Only a holding time counts on, by the wall clock if that advanced."""
    if found.boot_id == now.boot_id != 0 and now.mono_ns >= last_ns:
        return
    shift = now.mono_ns - last_ns
    for name, columns in TIMES.items():
        table = getattr(core, name)
        for column in columns:
            table[:, column] = np.where(table[:, column] != 0, table[:, column] + shift, 0)
    if core.scalars[tables.K_SIGNAL_HOUR_NS]:
        core.scalars[tables.K_SIGNAL_HOUR_NS] += shift
    away = max(now.wall_ns - (found.wall_ns + last_ns - found.last_ns), 0)
    entered = core.signals[:, tables.SG_ENTERED_NS]
    entered[entered != 0] -= away


def doubt_orders(core: Core) -> None:
    """Every order that was open may be anything now: unknown, exposure, asked about, and wanted cancelled."""
    row = int(core.scalars[tables.K_LIVE_HEAD])
    while row >= 0:
        o = core.orders[row]
        o[tables.OR_STATE], o[tables.OR_SLOT] = layout.STATE_UNKNOWN, -1
        o[tables.OR_CANCEL_WANTED], o[tables.OR_REASON] = 1, layout.REASON_UNKNOWN_ORDER
        o[tables.OR_CANCEL_SENT_NS] = o[tables.OR_QUERIED_NS] = 0
        core.account[risk.AC_OPEN_ORDERS] += 1
        core.account[risk.AC_UNKNOWN_ORDERS] += 1
        row = int(o[tables.OR_NEXT_LIVE])


def leave_account(core: Core) -> None:
    """A new paper account: positions, orders and trades are gone, at their last value; the distance to every limit stays."""
    a, k = core.account, core.scalars
    a[risk.AC_CASH_E8] = a[risk.AC_NAV_E8]
    a[risk.AC_REALISED_E8] = a[risk.AC_UNREALISED_E8] = a[risk.AC_FEES_E8] = 0
    k[tables.K_LIVE_HEAD], k[tables.K_LIVE_COUNT], k[tables.K_UNOWNED_MASK] = -1, 0, 0
    for column in (tables.SG_FILLED, tables.SG_EXITED, tables.SG_WORKING, tables.SG_EXIT_WORKING):
        core.signals[:, column] = 0


def move_owners(found: Checkpoint, old: Core, core: Core, card: dict[str, Any], same: bool) -> dict[str, list[int]]:
    """Owners' rows by name, sub-books too when the account goes on; who is not configured now is kept for when he returns."""
    first = risk.OWNER_FIRST_STRATEGY
    core.owners[:first] = old.owners[:first]
    rows = {name: old.owners[first + n] for n, name in enumerate(found.card["strategies"])}
    rows = {name: np.array(row, np.int64) for name, row in found.absent.items()} | rows
    for n, name in enumerate(card["strategies"]):
        if name in rows:
            core.owners[first + n] = rows.pop(name)
    core.owners[:, risk.OW_LAST_ORDER_KEY] = 0
    if same:
        books, were = core.subbooks.reshape(len(core.owners), -1), old.subbooks.reshape(len(old.owners), -1)
        books[:first] = were[:first]
        moves = {
            first + n: first + card["strategies"].index(s)
            for n, s in enumerate(found.card["strategies"])
            if s in card["strategies"]
        }
        for source, target in moves.items():
            books[target] = were[source]
        for row in np.flatnonzero(core.orders[:, tables.OR_ID]):
            owner = int(core.orders[row, tables.OR_OWNER])
            core.orders[row, tables.OR_OWNER] = owner if owner < first else moves.get(owner, risk.OWNER_UNOWNED)
    return {name: [int(word) for word in row] for name, row in rows.items()}


def stand_down(core: Core, now_ns: int) -> None:
    """One-shots of an earlier life enter no more; one that holds a position keeps its row until it has left it."""
    s = core.signals
    active = (s[:, tables.SG_STATE] == layout.SIG_WAITING) | (s[:, tables.SG_STATE] == layout.SIG_WORKING)
    held = (s[:, tables.SG_FILLED] > s[:, tables.SG_EXITED]) | (s[:, tables.SG_WORKING] + s[:, tables.SG_EXIT_WORKING] > 0)
    s[active, tables.SG_EXPIRES_NS] = np.minimum(s[active, tables.SG_EXPIRES_NS], now_ns)
    ended = active & ~held
    s[ended, tables.SG_STATE] = np.where(s[ended, tables.SG_FILLED] > 0, layout.SIG_DONE, layout.SIG_EXPIRED)
    s[:, tables.SG_LAST_ORDER_NS] = 0


def clear(core: Core, state_dir: pathlib.Path) -> str:
    """What an operator has lifted (``pulex clear``): halt, latched and paused owners, blocked instruments, the day's loss."""
    try:
        order = json.loads((state_dir / CLEAR).read_text())
        who, why, peak = str(order["operator"]), str(order["reason"]), bool(order["peak"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        raise RestartError(f"{state_dir / CLEAR} is damaged: remove it and say pulex clear again") from None
    a = core.account
    a[risk.AC_STATE], a[risk.AC_REASON] = layout.RISK_DISARMED, 0
    a[risk.AC_DAY_START_NAV_E8] = a[risk.AC_NAV_E8]
    if peak:
        a[risk.AC_HWM_E8], a[risk.AC_DRAWDOWN_STEP] = a[risk.AC_NAV_E8], 0
    for column in (risk.OW_LATCHED, risk.OW_PAUSED_UNTIL_NS, risk.OW_PAUSES_TODAY, risk.OW_LOSS_STREAK):
        core.owners[:, column] = 0
    core.scalars[tables.K_UNOWNED_MASK] = 0
    return f"cleared by {who}: {why}"


def describe(core: Core, found: Checkpoint, continued: bool, now: Clock) -> str:
    """One line for the log: what is in force."""
    a, owners = core.account, core.owners
    paused = np.count_nonzero(owners[:, risk.OW_PAUSED_UNTIL_NS] > now.mono_ns)
    latched = np.count_nonzero(owners[:, risk.OW_LATCHED])
    halted = layout.REASON[a[risk.AC_REASON]] if a[risk.AC_STATE] >= layout.RISK_HALTED else "none"
    lost = (a[risk.AC_DAY_START_NAV_E8] - a[risk.AC_NAV_E8]) / 1e8
    return (
        f"life {found.age[0]} taken over, {'same' if continued else 'new'} account: halt {halted}, "
        f"owners paused {paused}, latched {latched}, drawdown step {a[risk.AC_DRAWDOWN_STEP]}, loss today {lost:.2f}, "
        f"orders in doubt {core.scalars[tables.K_LIVE_COUNT]}"
    )
