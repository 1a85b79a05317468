"""Allocates the core's tables from the run's configuration, and gives their addresses.

Python, called once by the execution process (and by tests). Raises ValueError with the field and what to do when the
configuration cannot be represented exactly. Strategies are bound by ``bind_strategy`` once their code has an address.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import tables
from engine.core_type import COLUMNS
from engine.tables import Core
from fabric import layout
from risk import tables as risk

Array = npt.NDArray[np.int64]
MONEY_E8 = Decimal(100_000_000)
KINDS = {"spot": 0, "linear": 1, "inverse": 2}
COUNTERS = 256
HALT_POLICY = {"hold": 0, "exit": 1}


def exact(value: Decimal, what: str) -> int:
    """An integer, or ValueError naming what is not one."""
    if value != value.to_integral_value():
        raise ValueError(f"{what} = {value} is not an integer: choose tick_size and lot_size so that it is")
    return int(value)


def number(row: dict[str, Any], key: str) -> Decimal:
    """A decimal field of an instrument."""
    try:
        return Decimal(str(row[key]))
    except KeyError:
        raise ValueError(f"instrument {row.get('symbol', '?')}: {key} is missing") from None
    except InvalidOperation:
        raise ValueError(f"instrument {row.get('symbol', '?')}: {key} = {row[key]!r} is no decimal number") from None


def decimals(step: Decimal) -> int:
    """Digits after the point that a multiple of this step needs."""
    exponent = step.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def instrument_row(row: dict[str, Any]) -> list[int]:
    """INSTRUMENT columns of one configured instrument."""
    symbol = row.get("symbol", "?")
    tick, lot = number(row, "tick_size"), number(row, "lot_size")
    if tick <= 0 or lot <= 0:
        raise ValueError(f"instrument {symbol}: tick_size and lot_size must be positive")
    values = [0] * len(risk.INSTRUMENT)
    values[risk.IN_MULT] = exact(tick * lot * MONEY_E8, f"{symbol}: tick_size x lot_size x 1e8")
    values[risk.IN_TICK_E8] = exact(tick * MONEY_E8, f"{symbol}: tick_size x 1e8")
    values[risk.IN_LOT_E8] = exact(lot * MONEY_E8, f"{symbol}: lot_size x 1e8")
    values[risk.IN_PRICE_DECIMALS], values[risk.IN_SIZE_DECIMALS] = decimals(tick), decimals(lot)
    values[risk.IN_MIN_LOTS] = exact(number(row, "min_quantity") / lot, f"{symbol}: min_quantity in lots")
    values[risk.IN_MAX_LOTS] = exact(number(row, "max_quantity") / lot, f"{symbol}: max_quantity in lots")
    values[risk.IN_MIN_NOTIONAL_E8] = exact(number(row, "min_notional") * MONEY_E8, f"{symbol}: min_notional x 1e8")
    values[risk.IN_MAKER_FEE_PPM] = int(row["maker_fee_ppm"])
    values[risk.IN_TAKER_FEE_PPM] = int(row["taker_fee_ppm"])
    values[risk.IN_KIND] = KINDS[row.get("kind", "spot")]
    values[risk.IN_BASELINE_LOTS] = exact(Decimal(str(row.get("baseline", "0"))) / lot, f"{symbol}: baseline in lots")
    values[risk.IN_ACTIVE] = 1
    return values


def limit_row(limits: dict[str, Any]) -> list[int]:
    """LIMIT columns; what the configuration does not name is missing, and a missing limit blocks."""
    values = [risk.LIMIT_MISSING] * len(risk.LIMIT)
    values[risk.LM_PROFILE] = 0
    for name, value in limits.items():
        if name == "profile":
            continue
        if name not in risk.LIMIT or name == "_":
            raise ValueError(f"limits.{name}: no such limit; known are {', '.join(n for n in risk.LIMIT if n != '_')}")
        values[risk.LIMIT.index(name)] = int(value)
    return values


def zeros(*shape: int) -> Array:
    """A table; written once, so that no page of it is missing when the loop first comes there."""
    return np.full(shape, 0, np.int64)


def build(config: dict[str, Any]) -> Core:
    """All tables of a run: disarmed, not reconciled, no lease, no session, books empty."""
    instruments = np.array([instrument_row(row) for row in config["instruments"]], np.int64)
    count = len(instruments)
    if not 1 <= count <= layout.INSTRUMENTS_MAX:
        raise ValueError(f"{count} instruments: 1 to {layout.INSTRUMENTS_MAX} are possible")
    strategies = config.get("strategies", [])
    if len(strategies) > tables.STRATEGIES:
        raise ValueError(f"{len(strategies)} strategies: at most {tables.STRATEGIES} are possible")
    core = Core(
        scalars=zeros(len(tables.CORE_SCALARS)),
        instruments=instruments,
        books=zeros(count, len(risk.BOOK)),
        limits=np.array(limit_row(config["limits"]), np.int64),
        account=zeros(len(risk.ACCOUNT)),
        positions=zeros(count, len(risk.POSITION)),
        owners=zeros(risk.OWNERS_MAX, len(risk.OWNER)),
        subbooks=zeros(risk.OWNERS_MAX * count, len(risk.SUBBOOK)),
        rate=zeros(len(risk.RATE) + risk.RATE_SLOTS),
        orders=zeros(tables.ORDERS, len(tables.ORDER)),
        signals=zeros(tables.SIGNAL_ROWS, len(tables.SIGNAL_ROW)),
        parameters=zeros(layout.INSTRUMENTS_MAX * len(layout.PARAMETER), len(tables.PARAMETER_IN_FORCE)),
        quotes=zeros(tables.STRATEGIES * layout.INSTRUMENTS_MAX * 2, len(tables.QUOTE)),
        queue=zeros(tables.QUEUE, len(risk.ORDER_IN) + len(tables.QUEUE_EXTRA)),
        commands=zeros(tables.COMMANDS, len(tables.COMMAND)),
        strategy_calls=zeros(tables.STRATEGIES, len(tables.STRATEGY_CALL)),
        strategy_memory=zeros(tables.STRATEGIES * layout.INSTRUMENTS_MAX + 2, tables.STRATEGY_MEMORY),
        intents=zeros(tables.INTENTS, len(tables.INTENT)),
        order_in=zeros(len(risk.ORDER_IN)),
        counters=zeros(COUNTERS),
        journal=zeros(tables.JOURNAL_BATCH, len(layout.JOURNAL_RECORD)),
        journal_count=zeros(1),
        seen_trades=np.full(tables.TRADES_SEEN, -1, np.int64),
        outputs=zeros(16),
        signal_ids=zeros(tables.SIGNAL_IDS),
        markouts=zeros(tables.MARKOUTS, len(tables.MARKOUT)),
    )
    for name, columns in COLUMNS.items():
        assert getattr(core, name).shape[1] == columns, name
    start(core, config, len(strategies))
    return core


def start(core: Core, config: dict[str, Any], strategies: int) -> None:
    """Scalars and owners as they are before the first event."""
    k, signal = core.scalars, config.get("signal", {})
    k[tables.K_INSTANCE] = int(config["instance"])
    k[tables.K_NEXT_COUNTER] = 1
    k[tables.K_LIVE_HEAD] = -1
    k[tables.K_INSTRUMENTS] = len(core.instruments)
    k[tables.K_STRATEGIES] = strategies
    k[tables.K_ORDER_DEADLINE_NS] = int(config["lease"]["ttl_ns"])
    k[tables.K_DEFAULT_STOP_BPS] = int(signal.get("default_stop_bps") or 0)
    k[tables.K_DEFAULT_HOLDING_NS] = int(signal.get("default_holding_ms") or 0) * 1_000_000
    k[tables.K_ON_HALT] = HALT_POLICY[config.get("kill", {}).get("on_halt", "hold")]
    core.quotes[:, tables.QS_ROW] = -1
    core.owners[risk.OWNER_UNOWNED, risk.OW_KIND] = layout.OWNER_UNOWNED
    core.owners[risk.OWNER_OPERATOR, risk.OW_KIND] = layout.OWNER_OPERATOR
    core.owners[risk.OWNER_SIGNALS, risk.OW_KIND] = layout.OWNER_SIGNAL
    for n in range(strategies):
        core.owners[risk.OWNER_FIRST_STRATEGY + n, risk.OW_KIND] = layout.OWNER_STRATEGY
        core.strategy_calls[n, tables.CA_OWNER] = risk.OWNER_FIRST_STRATEGY + n


def bind_strategy(core: Core, number: int, address: int, instruments: list[int], parameters: list[int]) -> None:
    """Let strategy ``number`` run at ``address`` on these instruments with these parameter values."""
    row = core.strategy_calls[number]
    row[tables.CA_ADDRESS] = address
    row[tables.CA_INSTRUMENTS] = sum(1 << instrument for instrument in instruments)
    row[tables.CA_MEMORY_ADDRESS] = core.strategy_memory.ctypes.data
    row[tables.CA_INTENTS_ADDRESS] = core.intents.ctypes.data
    first = len(tables.STRATEGY_VIEW)
    for instrument in instruments:
        memory = core.strategy_memory[number * layout.INSTRUMENTS_MAX + instrument]
        memory[first : first + len(parameters)] = parameters
    row[tables.CA_ON] = 1
