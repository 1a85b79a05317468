"""The anonymous crowd of the synthetic market: when it acts (self-exciting arrivals) and what it believes (latent prices).

Everything is drawn from one seeded generator in one order, so a seed and a sequence of our own orders give the same run.
Floats live here alone, in time (s), log prices and distances (bps); what leaves is rounded to ticks and lots by the market.
"""

from __future__ import annotations

import math
from random import Random

BPS = 1e-4


class Arrivals:
    """A Hawkes process with an exponential kernel, for all symbols together: `next_s` draws the next arrival by thinning.

    Mean rate = base / (1 - branching); `excite` is the extra intensity a shock brings. The excitement is bounded.
    """

    BASE_PER_S = 20.0
    BRANCHING = 0.78
    DECAY_PER_S = 60.0
    EXCITEMENT_MAX_PER_S = 3000.0

    def __init__(self, random: Random) -> None:
        self._random = random
        self._excitement = 0.0

    def next_s(self, now_s: float, activity: float) -> float:
        base = self.BASE_PER_S * activity
        while True:
            bound = base + self._excitement
            wait_s = self._random.expovariate(bound)
            now_s += wait_s
            self._excitement *= math.exp(-self.DECAY_PER_S * wait_s)
            if self._random.random() * bound <= base + self._excitement:
                self.excite(self.BRANCHING * self.DECAY_PER_S)
                return now_s

    def excite(self, per_s: float) -> None:
        self._excitement = min(self._excitement + per_s, self.EXCITEMENT_MAX_PER_S)


class Beliefs:
    """Latent log prices of all symbols: common and own diffusion under one stochastic volatility, with jumps.

    `stress_bps` is how much farther than usual makers stand from the latent price; it leaps with a jump and decays.
    """

    VOLATILITY_BPS = 0.6  # of one second, at volatility level 1
    LEVEL_DEVIATION = 0.75  # of the log volatility
    LEVEL_MEMORY_S = 25.0
    COMMON = 0.6
    JUMPS_PER_S = 1 / 45
    JUMP_BPS = 5.0
    STRESS_BPS = 3.0
    STRESS_MEMORY_S = 1.5
    STRESS_MAX_BPS = 40.0

    def __init__(self, random: Random, prices: list[float]) -> None:
        self._random = random
        self._log = [math.log(price) for price in prices]
        self._level = random.gauss(0.0, self.LEVEL_DEVIATION)
        self.stress_bps = 0.0

    def volatility(self) -> float:
        """The present level, 1 in the median."""
        return math.exp(self._level)

    def price(self, symbol: int) -> float:
        return math.exp(self._log[symbol])

    def push(self, symbol: int, bps: float) -> None:
        self._log[symbol] += bps * BPS

    def step(self, seconds: float) -> bool:
        """Move on; True when a jump happened."""
        gauss = self._random.gauss
        keep = math.exp(-seconds / self.LEVEL_MEMORY_S)
        self._level = self._level * keep + gauss(0.0, self.LEVEL_DEVIATION) * math.sqrt(1 - keep * keep)
        scale = self.VOLATILITY_BPS * self.volatility() * math.sqrt(seconds)
        common = gauss(0.0, 1.0) * self.COMMON
        for symbol in range(len(self._log)):
            own = gauss(0.0, 1.0) * math.sqrt(1 - self.COMMON**2)
            self.push(symbol, scale * (common + own))
        self.stress_bps *= math.exp(-seconds / self.STRESS_MEMORY_S)
        if self._random.random() >= 1 - math.exp(-seconds * self.JUMPS_PER_S * min(self.volatility(), 3.0)):
            return False
        jump = gauss(0.0, self.JUMP_BPS)
        for symbol in range(len(self._log)):
            self.push(symbol, jump * self._random.uniform(0.5, 1.5))
        self.stress_bps = min(self.stress_bps + self._random.expovariate(1 / self.STRESS_BPS) * 2, self.STRESS_MAX_BPS)
        return True
