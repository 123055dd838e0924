"""When a polled source is asked: in cycles aligned to the clock, within the exchange's hours, as often as the quota allows."""

from math import ceil, floor, isfinite
from typing import NamedTuple

from services.fetcher.market_clock import MarketHours

SECONDS_PER_MINUTE = 60


def cycle_seconds(interval_seconds: float, tickers: int, per_minute: int) -> float:
    """Return the shortest multiple of the interval in which `per_minute` calls a minute are enough for every ticker once."""
    needed = tickers * SECONDS_PER_MINUTE / per_minute
    return interval_seconds * max(1, ceil(needed / interval_seconds))


class Cycle(NamedTuple):
    """One round of calls; times in epoch seconds."""

    start: float
    """The scheduled instant, which is the event time of its ticks."""
    end: float
    """From here on no call of it may begin: the next cycle does, or the exchange has closed."""


class Schedule:
    """The cycles of a deployment: the same instants in every process, whenever it was started."""

    def __init__(self, seconds: float, hours: MarketHours) -> None:
        self._seconds = seconds
        self._hours = hours

    def cycle_at(self, now: float) -> Cycle | None:
        """The cycle that `now` lies in; None while the exchange is closed.

        Cycles begin at the multiples of their length since the epoch, and at the open, which need not be one.
        """
        session = self._hours.session_at(now)
        if session is None:
            return None
        number = floor(now / self._seconds)
        return Cycle(max(number * self._seconds, session.open), min((number + 1) * self._seconds, session.close))

    def next_start(self, now: float) -> float:
        """When the first cycle after `now` begins; infinity if no open is known."""
        cycle = self.cycle_at(now)
        if cycle is not None and self._hours.session_at(cycle.end) is not None:
            return cycle.end
        return self._hours.next_open(now)

    def wait_seconds(self, now: float, longest: float) -> float:
        """How long to sleep at `now` until the next cycle, at most `longest`."""
        start = self.next_start(now)
        return min(longest, max(0.0, start - now)) if isfinite(start) else longest
