"""The configuration: one optional TOML file, checked here and nowhere else.

Without a file everything has a default that trades against the paper exchange. Unknown keys, values of a wrong type or
unit and missing limits are refused with one line that names file, key and remedy (``ConfigError``). Integers carry their
unit in the key; decimals of prices and sizes are strings, so that no float ever holds money.
"""

from __future__ import annotations

import difflib
import os
import pathlib
import tomllib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, BaseModel, Field

from ops.config_ending import REVOKERS, Kill, Milliseconds, Model, VaultSecret, Watchdog, Witness
from risk import limits as risk_limits
from risk import tables as risk_tables
from watchdog import faults, view
from watchdog.budget import Budget

LIMIT_KEYS = tuple(name for name in risk_tables.LIMIT if name not in ("_", "profile"))
BASELINES = {"BTC": "1", "ETH": "20"}  # inventory of the paper account, so that both sides can be quoted
KEY_SOURCES = "management_key_file, management_key_credential and management_key_vault"
BUDGET_PERCENT = 70  # of a venue's budget for the engine, cancels included; the rest is the watchdog's
_UNITS = ("ns", "us", "ms", "s", "ppm", "bps", "e8", "ticks", "lots")


class ConfigError(ValueError):
    """The configuration cannot be used; the text is one line: file, key, what is wrong, what to do."""


def _decimal(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text!r} must be a number of 0 or more")
    return text


DecimalText = Annotated[str, AfterValidator(_decimal)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Venue(Model):
    """Where to trade in live mode; the paper venue fills in addresses and key by itself.

    budget_messages: how many messages and calls the venue takes from the account in budget_window_ms, cancels included;
    0 = not stated, which live mode refuses. The engine's limits must stay within BUDGET_PERCENT of it.
    busy_poll_us: how long a receive may poll the network device (SO_BUSY_POLL); 0 = the system's default.
    """

    dialect: Literal["purpleflea"] = "purpleflea"
    ws_url: str | None = None
    rest_url: str | None = None
    management_key_file: str | None = None
    management_key_credential: str | None = None
    management_key_vault: VaultSecret | None = None
    budget_messages: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    budget_window_ms: Milliseconds = 1000
    busy_poll_us: Annotated[int, Field(ge=0, le=10_000)] = 0

    def key_sources(self) -> int:
        return sum(map(bool, (self.management_key_file, self.management_key_credential, self.management_key_vault)))


class Paper(Model):
    """The paper exchange. Port 0 takes a free one."""

    ws_port: Port = 0
    rest_port: Port = 0
    seed: int = 7
    speed: Annotated[float, Field(gt=0)] = 1.0
    start: Literal["on_subscribe", "at_once"] = "on_subscribe"
    balance: DecimalText = "100000"
    faults: dict[str, Any] = {}


class Instrument(Model):
    """One traded pair; sizes in base units, prices in quote units."""

    symbol: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9_-]{1,23}$")]
    base: str
    quote: str
    kind: Literal["spot"] = "spot"
    tick_size: DecimalText
    lot_size: DecimalText
    min_quantity: DecimalText | None = None
    max_quantity: DecimalText = "10"
    min_notional: DecimalText = "10"
    maker_fee_ppm: Annotated[int, Field(ge=-10_000, le=50_000)] = 200
    taker_fee_ppm: Annotated[int, Field(ge=-10_000, le=50_000)] = 500
    baseline: DecimalText | None = None

    @pydantic.model_validator(mode="after")
    def _exact(self) -> Instrument:
        unit = Decimal(self.tick_size) * Decimal(self.lot_size) * 100_000_000
        if unit < 1 or unit != unit.to_integral_value():
            raise ValueError("tick_size x lot_size x 1e8 must be a whole number of money units; use a coarser grid")
        return self


class Lease(Model):
    """How long permission to trade lasts without a renewal, and when silence becomes a kill."""

    ttl_ns: Annotated[int, Field(ge=1_000_000, le=10_000_000_000)] = 200_000_000
    renew_ns: Annotated[int, Field(ge=200_000, le=5_000_000_000)] = 40_000_000
    poll_ns: Annotated[int, Field(ge=100_000, le=1_000_000_000)] = 5_000_000
    suspect_ns: Annotated[int, Field(ge=1_000_000, le=10_000_000_000)] = 50_000_000
    kill_ns: Annotated[int, Field(ge=10_000_000, le=60_000_000_000)] = 500_000_000
    orders_per_beat_max: Annotated[int, Field(ge=1, le=4096)] = 64
    passes_per_s_min: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    passes_per_s_max: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 100_000_000
    feed_ns: Annotated[int, Field(ge=10_000_000, le=60_000_000_000)] = 1_000_000_000

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Lease:
        if not self.renew_ns * 2 <= self.ttl_ns <= self.kill_ns:
            raise ValueError("needs 2 x renew_ns <= ttl_ns <= kill_ns")
        return self


# On dedicated cores the promise is ten times tighter.
COLO_LEASE = Lease(ttl_ns=20_000_000, renew_ns=4_000_000, poll_ns=1_000_000, suspect_ns=10_000_000)


Waiting = Literal["auto", "spin", "yield", "backoff", "sleep"]


class Idle(Model):
    """How a loop waits when it has nothing to do (``fabric.duty``): auto leaves it to the cpus that there are."""

    feed: Waiting = "auto"
    execution: Waiting = "auto"


class Signal(Model):
    """The slow path. base_url null = the embedded model; key_env names a variable, it never holds the key."""

    source: Literal["llm", "rules", "none"] = "llm"
    base_url: str | None = None
    model: str = "smollm2"
    key_env: str | None = None
    period_ms: Milliseconds = 1000
    ttl_ms: Milliseconds = 15_000
    timeout_ms: Milliseconds = 20_000
    max_notional: DecimalText = "500"
    default_stop_bps: Annotated[int, Field(ge=1, le=10_000)] = 50
    default_holding_ms: Milliseconds = 60_000


class Strategy(Model):
    """One strategy on some symbols; empty symbols = every instrument. parameters as the strategy names them, integers."""

    name: str
    file: str | None = None
    symbols: tuple[str, ...] = Field(default=(), strict=False)
    parameters: dict[str, int] = {}


def _default_instruments() -> tuple[Instrument, ...]:
    return (
        Instrument(symbol="BTC-USDC", base="BTC", quote="USDC", tick_size="0.01", lot_size="0.00001"),
        Instrument(symbol="ETH-USDC", base="ETH", quote="USDC", tick_size="0.01", lot_size="0.0001", max_quantity="200"),
    )


class Config(Model):
    """The whole file."""

    instance: Annotated[int, Field(ge=0, le=1023)] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")] = "paper"
    mode: str = "paper"
    venue: Venue = Venue()
    paper: Paper = Paper()
    instruments: Annotated[tuple[Instrument, ...], Field(min_length=1, max_length=32, strict=False)] = Field(
        default_factory=_default_instruments
    )
    limits: dict[str, int | str] = {}
    lease: Lease = Lease()
    idle: Idle = Idle()
    signal: Signal = Signal()
    strategies: Annotated[tuple[Strategy, ...], Field(max_length=16, strict=False)] = (
        Strategy(name="market_making", parameters={"allow_short": 1}),
    )
    kill: Kill = Kill()
    watchdog: Watchdog = Watchdog()
    witness: Witness = Witness()
    tiers: dict[str, str] = Field(default_factory=lambda: faults.tiers({}))

    @pydantic.field_validator("tiers")
    @classmethod
    def _known_faults(cls, tiers: dict[str, str]) -> dict[str, str]:
        return faults.tiers(tiers)  # every class with its tier, so that config.json shows what will happen

    @pydantic.model_validator(mode="after")
    def _known_symbols(self) -> Config:
        symbols = [instrument.symbol for instrument in self.instruments]
        if len(set(symbols)) != len(symbols):
            raise ValueError("instruments: each symbol once")
        if len(quotes := sorted({instrument.quote for instrument in self.instruments})) > 1:
            raise ValueError(
                f"instruments: quoted in {' and '.join(quotes)}; net asset value has one currency, so configure one"
            )
        for strategy in self.strategies:
            if unknown := set(strategy.symbols) - set(symbols):
                raise ValueError(f"strategies: {strategy.name} trades {sorted(unknown)[0]}, which is no instrument here")
        return self

    def live(self, confirmed: bool) -> bool:
        """Live only by the exact literal and a second step; anything else is paper."""
        return self.mode == "live" and confirmed


def load(path: str | os.PathLike[str] | None) -> Config:
    """The configuration in ``path``, or all defaults without one. Raises ConfigError."""
    if path is None:
        return Config()
    file = pathlib.Path(path)
    try:
        values = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; give an existing file to --config or none") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    return parse(values, file.name)


def parse(values: dict[str, Any], source: str) -> Config:
    """Check a parsed file. Raises ConfigError with its first problem."""
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(_one_line(error, source)) from None


def _one_line(error: pydantic.ValidationError, source: str) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{source}: {where}: unknown key; {_suggestion(str(first['loc'][-1]), _known_keys(first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{source}: {where}: missing; add it"
    text = first["msg"].removeprefix("Value error, ")
    unit = where.rpartition("_")[2]
    hint = f"; the unit is {unit}" if unit in _UNITS else ""
    got = "" if isinstance(first["input"], dict | BaseModel) else f" (got {str(first['input'])[:60]!r})"
    return f"{source}: {where + ': ' if where else ''}{text}{got}{hint}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "venue": Venue,
        "paper": Paper,
        "instruments": Instrument,
        "lease": Lease,
        "idle": Idle,
        "signal": Signal,
        "strategies": Strategy,
        "kill": Kill,
        "watchdog": Watchdog,
        "witness": Witness,
    }
    if len(location) > 3 and location[:2] == ("kill", "revokers"):
        return list(REVOKERS[str(location[3])].model_fields)
    return list(sections.get(str(location[0]), Config).model_fields) if location else list(Config.model_fields)


def _suggestion(key: str, known: list[str]) -> str:
    stem, _, unit = key.rpartition("_")
    for name in known:
        if unit in _UNITS and name.rpartition("_")[0] == stem and name.rpartition("_")[2] in _UNITS:
            return f"write {name}: the unit here is {name.rpartition('_')[2]}, not {unit}"
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"


def limits(overrides: dict[str, int | str], source: str) -> dict[str, int | str]:
    """The profile with the file's overrides: every limit, all integers. Raises ConfigError when one is missing."""
    values = dict(overrides)
    name = values.pop("profile", risk_limits.DEFAULT_PROFILE)
    if name not in risk_limits.PROFILES:
        raise ConfigError(f"{source}: limits.profile: {name!r} is none of {', '.join(risk_limits.PROFILES)}")
    for key in values:
        if key not in LIMIT_KEYS:
            raise ConfigError(f"{source}: limits.{key}: unknown key; {_suggestion(key, list(LIMIT_KEYS))}")
    merged = {**risk_limits.profile(str(name)), **values}
    try:
        risk_limits.limits_row(merged)  # type: ignore[arg-type]  # text is refused there
    except ValueError as error:
        raise ConfigError(f"{source}: limits: {error}") from None
    for key in LIMIT_KEYS:
        if key not in merged:
            raise ConfigError(f"{source}: limits.{key}: missing; no limit means no trading, so add it")
    return {"profile": str(name), **{key: merged[key] for key in LIMIT_KEYS}}


def check_budget(venue: Venue, limits: Mapping[str, int | str], source: str) -> None:
    """Refuse limits that could use more than the engine's part of the venue's budget. Raises ConfigError.

    In any second the engine sends at most ``message_rate_per_s`` messages while it still opens orders, and then only the
    cancels of what is open. Exits and repeated cancels are not in this sum: they are few.
    """
    if not venue.budget_messages:
        return
    rate, open_orders = int(limits["message_rate_per_s"]), int(limits["max_open_orders"])
    most = (rate + open_orders) * -(-venue.budget_window_ms // 1000)
    allowed = venue.budget_messages * BUDGET_PERCENT // 100
    if most > allowed:
        raise ConfigError(
            f"{source}: limits.message_rate_per_s {rate} and max_open_orders {open_orders} may send {most} messages in "
            f"{venue.budget_window_ms} ms; {BUDGET_PERCENT} % of venue.budget_messages is {allowed}: lower them"
        )
    view_s = Budget(venue.budget_messages, venue.budget_window_ms / 1e3).spacing_s(view.CALLS)
    if view_s > view.LOST_NS / 2e9:
        raise ConfigError(
            f"{source}: venue.budget_messages {venue.budget_messages} in {venue.budget_window_ms} ms leaves the watchdog "
            f"one look at the account in {view_s:.0f} s; it needs one in {view.LOST_NS // 2_000_000_000} s"
        )
