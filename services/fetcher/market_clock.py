"""Whether the exchange trades at an instant, and when that changes: pure, the calendar's days are handed in.

Every instant is epoch seconds UTC, so that a change of clocks at the exchange is the calendar's business alone.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from datetime import date, datetime, tzinfo
from typing import NamedTuple, Protocol

from shared.events import Market


class Session(NamedTuple):
    """A stretch of regular trading: from the open, up to but not including the close."""

    open: float
    close: float


class TradingDay(NamedTuple):
    """A day on which the exchange trades."""

    date: date
    """At the exchange."""
    sessions: tuple[Session, ...]
    """One, or two around a break at noon."""
    pre: float
    """When trading before the open begins; the open where there is none."""
    post: float
    """When trading after the close ends; the close where there is none."""
    is_half: bool
    """Whether it closes early."""


class MarketHours(Protocol):
    """When a source may be asked."""

    def status_at(self, now: float) -> Market:
        """What `market` says at `now`."""

    def session_at(self, now: float) -> Session | None:
        """The session that `now` lies in; None while the exchange is closed."""

    def next_open(self, now: float) -> float:
        """The first open after `now`; infinity if none is known."""


class AlwaysOpen:
    """Hours of a source that no exchange closes."""

    def __init__(self, exchange: str, reason: str) -> None:
        self._market = Market(exchange, "open", reason)

    def status_at(self, now: float) -> Market:
        """Open, for the reason given."""
        return self._market

    def session_at(self, now: float) -> Session | None:
        """One without begin and end."""
        return Session(float("-inf"), float("inf"))

    def next_open(self, now: float) -> float:
        """None is to come: it is open."""
        return float("inf")


class MarketClock:
    """Hours of an exchange, from the days of its calendar."""

    def __init__(self, exchange: str, zone: tzinfo, weekend: Collection[int], days: Sequence[TradingDay]) -> None:
        """`days` in their order; `weekend` as in `date.weekday`, to tell a weekend from a holiday."""
        self._exchange = exchange
        self._zone = zone
        self._weekend = weekend
        self._days = {day.date: day for day in days}
        self._sessions = [session for day in days for session in day.sessions]
        self._opens = [session.open for session in self._sessions]
        self._closes = [session.close for session in self._sessions]

    def session_at(self, now: float) -> Session | None:
        """The session that `now` lies in."""
        last_opened = bisect_right(self._opens, now) - 1
        if last_opened < 0 or now >= self._closes[last_opened]:
            return None
        return self._sessions[last_opened]

    def next_open(self, now: float) -> float:
        """The first open after `now`; infinity beyond the days that are known."""
        return _first_after(now, self._opens)

    def status_at(self, now: float) -> Market:
        """What `market` says at `now`."""
        status, reason = self._judge(now)
        return Market(self._exchange, status, reason, _ms(self.next_open(now)), _ms(_first_after(now, self._closes)))

    def _judge(self, now: float) -> tuple[str, str]:
        today = datetime.fromtimestamp(now, self._zone).date()
        day = self._days.get(today)
        if day is None:
            return "closed", "weekend" if today.weekday() in self._weekend else "holiday"
        if self.session_at(now):
            return "open", "early close" if day.is_half else "regular session"
        if now < day.sessions[0].open:
            return ("pre", "before the open") if now >= day.pre else ("closed", "overnight")
        if now < day.sessions[-1].close:
            return "closed", "break"
        return ("post", "after the close") if now < day.post else ("closed", "overnight")


def _first_after(now: float, instants: Sequence[float]) -> float:
    index = bisect_right(instants, now)
    return instants[index] if index < len(instants) else float("inf")


def _ms(instant: float) -> str:
    return "" if instant == float("inf") else str(round(instant * 1000))
