"""The figures that a synthetic market must show (TRADING-RULES §10), measured over a seeded run on market time.

`python -m sim.flow_figures [SEED [SECONDS]]` prints them and exits 1 when one is out of bounds. Besides the crowd one probe
account quotes at the touch of every symbol, both sides, and moves its quotes four times a second: what it earns per fill
one second later is the maker markout. Floats are fine here: nothing of this is money that anybody holds.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, fields
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from sim.market import Execution, Instrument, Order, Side
from sim.synthetic import SyntheticMarket

PROBE_NOTIONAL = 500
REQUOTE_NS = 250_000_000
SECOND_NS = 1_000_000_000
WARM_NS = 5 * SECOND_NS


@dataclass(frozen=True)
class Figures:
    """Means over all symbols where a figure is per symbol; markouts in bps of the price, positive = the maker earned."""

    messages_per_s: float
    inter_arrival_cv: float  # of the times at which anything happened
    fano: float  # of messages per second
    return_kurtosis: float  # 1 s mid returns, not excess: 3 is normal; the smallest over the symbols
    abs_return_autocorrelation: float  # lag 1; the smallest over the symbols
    spread_values: int  # distinct spreads in ticks, the fewest over the symbols
    spread_median_bps: float
    spread_p05_bps: float
    spread_p95_bps: float
    spread_max_bps: float
    levels_min: int  # of either side, over the run
    probe_fills: int
    maker_markout_bps: float  # 1 s after a passive fill at the touch, before fees
    maker_markout_after_fees_bps: float
    tape_markout_bps: float  # the same of every trade's maker, our probe's included

    def failures(self) -> list[str]:
        """What is out of the required bounds."""
        required = {
            "inter_arrival_cv >= 1.5": self.inter_arrival_cv >= 1.5,
            "return_kurtosis > 5": self.return_kurtosis > 5,
            "abs_return_autocorrelation >= 0.1": self.abs_return_autocorrelation >= 0.1,
            "spread_values >= 3": self.spread_values >= 3,
            "fano > 2": self.fano > 2,
            "maker_markout_bps < 0": self.maker_markout_bps < 0,
            "maker_markout_after_fees_bps < 0": self.maker_markout_after_fees_bps < 0,
            "100 <= messages_per_s <= 300": 100 <= self.messages_per_s <= 300,
            "levels_min >= 20": self.levels_min >= 20,
        }
        return [name for name, held in required.items() if not held]


def default_instruments() -> list[Instrument]:
    """BTC-USDC and ETH-USDC as the paper venue lists them."""
    common = {"quote": "USDC", "kind": "spot", "tick_size": "0.01", "max_quantity": "10", "min_notional": "10"}
    common |= {"maker_fee_ppm": "200", "taker_fee_ppm": "500"}
    btc = {"symbol": "BTC-USDC", "base": "BTC", "lot_size": "0.00001", "min_quantity": "0.00001"}
    eth = {"symbol": "ETH-USDC", "base": "ETH", "lot_size": "0.0001", "min_quantity": "0.0001"}
    return [Instrument.from_config(common | btc), Instrument.from_config(common | eth)]


class _Trace:
    """What one symbol showed: the mid (in half ticks) over time, spreads, and passive fills."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.mids: list[int] = []
        self.spreads: list[int] = []
        self.tape: list[tuple[int, int, int]] = []  # (time, maker's sign, ticks)
        self.probe: list[tuple[int, int, int]] = []
        self.quotes: dict[Side, Order] = {}

    def mid_at(self, now_ns: int) -> int:
        return self.mids[bisect_right(self.times, now_ns) - 1]

    def markouts(self, passive: list[tuple[int, int, int]]) -> list[float]:
        last = self.times[-1] - SECOND_NS
        return [sign * (self.mid_at(now + SECOND_NS) / 2 - ticks) / ticks * 1e4 for now, sign, ticks in passive if now <= last]


class _Run:
    """Drives a market from act to act, with the probe."""

    def __init__(self, instruments: list[Instrument], seed: int) -> None:
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.market = SyntheticMarket(instruments, seed)
        self.traces = {symbol: _Trace() for symbol in self.instruments}
        self.arrivals: list[int] = []
        self.per_second: Counter[int] = Counter()
        self.levels_min = 1 << 30
        self._order_id = 0

    def until(self, end_ns: int) -> None:
        requote_ns = WARM_NS
        while (due_ns := self.market.next_at_ns()) is not None and max(due_ns, 0) <= end_ns:
            now_ns = max(due_ns, self.arrivals[-1] if self.arrivals else 0)
            if now_ns >= requote_ns:
                requote_ns = now_ns + REQUOTE_NS
                for symbol in self.instruments:
                    self._requote(symbol, now_ns)
            self._step(now_ns)

    def _step(self, now_ns: int) -> None:
        step = self.market.advance(now_ns, now_ns // 1000)
        if step.messages and (not self.arrivals or self.arrivals[-1] != now_ns):
            self.arrivals.append(now_ns)
        self.per_second[now_ns // SECOND_NS] += len(step.messages)
        for message in step.messages:
            trace, instrument = self.traces[message.symbol], self.instruments[message.symbol]
            if message.body["type"] == "tick":
                bid, ask = (instrument.ticks(Decimal(message.body[name])) for name in ("bid", "ask"))
                trace.times.append(now_ns)
                trace.mids.append(bid + ask)
                trace.spreads.append(ask - bid)
            elif message.body["type"] == "trade":
                sign = -1 if message.body["side"] == "buy" else 1
                trace.tape.append((now_ns, sign, instrument.ticks(Decimal(message.body["price"]))))
        for outcome in step.outcomes:
            if isinstance(outcome, Execution) and outcome.maker:
                sign = 1 if outcome.order.side == "buy" else -1
                self.traces[outcome.order.symbol].probe.append((now_ns, sign, outcome.price_ticks))

    def _requote(self, symbol: str, now_ns: int) -> None:
        snapshot = self.market.snapshot(symbol, 0).body
        self.levels_min = min(self.levels_min, len(snapshot["bids"]), len(snapshot["asks"]))
        quotes, instrument = self.traces[symbol].quotes, self.instruments[symbol]
        for side in ("buy", "sell"):
            quote = quotes.get("buy" if side == "buy" else "sell")
            best = self.market.touch(symbol)[0 if side == "buy" else 1]
            if best is None or (quote is not None and quote.leaves and quote.price_ticks == best):
                continue
            if quote is not None and quote.leaves:
                self.market.cancel(quote, 0)
                best = self.market.touch(symbol)[0 if side == "buy" else 1]
            if best is None:
                continue
            self._order_id += 1
            lots = max(1, int(Decimal(PROBE_NOTIONAL) / instrument.price(best) / instrument.lot_size))
            name = str(self._order_id)
            placed: Side = "buy" if side == "buy" else "sell"
            quotes[placed] = Order(name, self._order_id, "probe", "", symbol, placed, "post_only", best, lots, 0)
            self.market.place(quotes[placed], 0)


def measure(seed: int, seconds: int, instruments: list[Instrument] | None = None) -> Figures:
    """Run `seconds` of market time after a short warm-up and measure."""
    instruments = instruments or default_instruments()
    run = _Run(instruments, seed)
    end_ns = WARM_NS + seconds * SECOND_NS
    run.until(end_ns)
    counts = np.array([run.per_second[second] for second in range(WARM_NS // SECOND_NS, end_ns // SECOND_NS)], float)
    gaps = np.diff(np.array(run.arrivals, float))
    traces = list(run.traces.values())
    returns = [_second_returns(trace, end_ns) for trace in traces]
    spreads = np.concatenate([np.array(trace.spreads) * 2e4 / np.array(trace.mids) for trace in traces])
    fees = [run.instruments[symbol].maker_fee_ppm / 100 for symbol in run.traces]
    probe = [trace.markouts(trace.probe) for trace in traces]
    after = [markout - fee for markouts, fee in zip(probe, fees, strict=True) for markout in markouts]
    return Figures(
        messages_per_s=float(counts.mean()),
        inter_arrival_cv=float(gaps.std() / gaps.mean()),
        fano=float(counts.var() / counts.mean()),
        return_kurtosis=min(float(np.mean((r - r.mean()) ** 4) / r.var() ** 2) for r in returns),
        abs_return_autocorrelation=min(float(np.corrcoef(np.abs(r[:-1]), np.abs(r[1:]))[0, 1]) for r in returns),
        spread_values=min(len(set(trace.spreads)) for trace in traces),
        spread_median_bps=float(np.median(spreads)),
        spread_p05_bps=float(np.quantile(spreads, 0.05)),
        spread_p95_bps=float(np.quantile(spreads, 0.95)),
        spread_max_bps=float(spreads.max()),
        levels_min=run.levels_min,
        probe_fills=sum(len(markouts) for markouts in probe),
        maker_markout_bps=float(np.mean([markout for markouts in probe for markout in markouts])),
        maker_markout_after_fees_bps=float(np.mean(after)),
        tape_markout_bps=float(np.mean([markout for trace in traces for markout in trace.markouts(trace.tape)])),
    )


def _second_returns(trace: _Trace, end_ns: int) -> NDArray[np.float64]:
    mids = [trace.mid_at(now) for now in range(WARM_NS, end_ns, SECOND_NS)]
    return np.diff(np.log(np.array(mids, float)))


def main(arguments: list[str]) -> int:
    seed = int(arguments[0]) if arguments else 7
    seconds = int(arguments[1]) if len(arguments) > 1 else 600
    figures = measure(seed, seconds)
    for name in fields(figures):
        print(f"{name.name:32} {getattr(figures, name.name):12.4g}")
    for failure in figures.failures():
        print(f"OUT OF BOUNDS: {failure}")
    return 1 if figures.failures() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
