"""Prices that look like a market: one geometric Brownian motion per ticker, in cents, always above 0.

With a seed the path of a ticker depends on seed and ticker alone, not on who owns its partition nor on its neighbours.
"""

from collections.abc import Mapping, Sequence
from math import exp, floor
from random import Random
from zlib import crc32

from shared.events import TickValues

BASE_PRICES = {
    "AAPL": 255.78,
    "MSFT": 401.32,
    "AMZN": 210.64,
    "GOOGL": 305.56,
    "TSLA": 417.44,
    "META": 639.77,
    "NVDA": 182.81,
    "NFLX": 76.87,
    "BRK.B": 497.55,
    "JNJ": 243.45,
    "V": 314.08,
    "PG": 159.94,
    "DIS": 105.45,
    "JPM": 302.55,
    "KO": 78.68,
}

VOLATILITY = 0.0005
"""Standard deviation of one step: visible at a tick a second, about 50 % after two weeks of seconds."""
PULL = 0.00002
"""Drift a step back towards the base price, felt only outside the band."""
BAND = 4.0
"""The band goes from a quarter of the base price to four times it."""
MOST_VOLUME = 500

_CENTS = tuple(f".{cents:02d}".rstrip("0").rstrip(".") for cents in range(100))


def base_price(ticker: str) -> float:
    """Return a realistic price; of an unknown ticker one from 20 to 500, always the same."""
    return BASE_PRICES.get(ticker) or 20 + crc32(ticker.encode()) % 48_000 / 100


def cents_text(cents: int) -> str:
    """Return whole cents as canonical decimal text, such as 25580 -> "255.8"."""
    whole, rest = divmod(cents, 100)
    return f"{whole}{_CENTS[rest]}"


class Walk:
    """The price of one ticker, S' = S * exp(drift - volatility^2 / 2 + volatility * Z) (Black and Scholes, 1973)."""

    def __init__(self, ticker: str, random: Random, start: float | None = None) -> None:
        """Start at `start` if that is a price within the band, else at the base price."""
        base = base_price(ticker)
        self._low, self._high = base / BAND, base * BAND
        self._price = start if start is not None and self._low <= start <= self._high else base
        self._gauss = random.gauss

    def step(self) -> int:
        """Return the next price in cents, at least 1."""
        drift = -VOLATILITY * VOLATILITY / 2
        if self._price > self._high:
            drift -= PULL
        elif self._price < self._low:
            drift += PULL
        self._price *= exp(drift + self._gauss(0.0, VOLATILITY))
        return round(self._price * 100) or 1


class Simulation:
    """The tickers of one partition, one after the other and round again."""

    def __init__(self, tickers: Sequence[str], seed: str | None, last_prices: Mapping[str, float]) -> None:
        """`last_prices` (by ticker) are where an unseeded path goes on; a seeded one starts at its base price."""
        self._turns = []
        for ticker in tickers:
            random = Random() if seed is None else Random(f"{seed}:{ticker}")
            start = last_prices.get(ticker) if seed is None else None
            self._turns.append((ticker, Walk(ticker, random, start).step, random.random))
        self._turn = 0

    def ticks(self, count: int, now_ms: int) -> list[TickValues]:
        """Return the next `count` ticks, field by field as in `ticks:{p}` without seq, all with event time `now_ms`."""
        ts = str(now_ms)
        turns, turn = self._turns, self._turn
        made = []
        for _ in range(count):
            ticker, step, random = turns[turn]
            made.append((ticker, cents_text(step()), ts, "simulated", str(1 + int(random() * MOST_VOLUME)), "", ""))
            turn = turn + 1 if turn + 1 < len(turns) else 0
        self._turn = turn
        return made


class Pace:
    """How many ticks are due at a rate: whatever came due since the last call, but never more than a second's worth.

    After a stall (Redis away, stream full) the missed time is not made up: the simulator waits, it does not burst.
    """

    def __init__(self, ticks_per_second: float) -> None:
        self._rate = ticks_per_second
        self._owed = 1.0
        self._asked_at: float | None = None

    def due(self, now: float) -> int:
        """Return how many ticks to make at `now` (seconds); a clock set back costs nothing but that call."""
        if self._asked_at is not None and now > self._asked_at:
            self._owed += min((now - self._asked_at) * self._rate, max(self._rate, 1.0))
        self._asked_at = now
        count = int(self._owed)
        self._owed -= count
        return count

    def wait_seconds(self, now: float) -> float:
        """Return how long to wait: until a tick is due, and at least 10 ms, so that high rates come in batches."""
        return max(0.01, (1.0 - self._owed) / self._rate)


class Cycle:
    """Every ticker once per interval, at the multiples of the interval since the epoch; a missed cycle is left out."""

    def __init__(self, interval_seconds: float, tickers: int) -> None:
        self._interval_seconds = interval_seconds
        self._tickers = tickers
        self._served: int | None = None

    def due(self, now: float) -> int:
        """Return how many ticks to make at `now` (seconds since the epoch): all tickers or none."""
        cycle = floor(now / self._interval_seconds)
        if cycle == self._served:
            return 0
        self._served = cycle
        return self._tickers

    def wait_seconds(self, now: float) -> float:
        """Return how long it is from `now` to the next cycle, at most one interval."""
        return self._interval_seconds - now % self._interval_seconds


def schedule(rate: float, interval_seconds: float, own_tickers: int, all_tickers: int) -> Pace | Cycle:
    """Return when a partition with `own_tickers` of `all_tickers` makes its share of `rate` (ticks per second, 0: a cycle)."""
    if rate == 0:
        return Cycle(interval_seconds, own_tickers)
    return Pace(rate * own_tickers / all_tickers)
