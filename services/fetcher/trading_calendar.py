"""The days of an exchange, from the package exchange_calendars.

It is imported only when a live source asks for market hours: it brings pandas, 75 MB of memory and a second or two.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

from services.fetcher.clock import Clock
from services.fetcher.market_clock import MarketClock, Session, TradingDay
from shared.errors import ConfigurationError, Problem
from shared.events import Market

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

BACK = timedelta(days=10)
AHEAD = timedelta(days=60)
"""Longer than any exchange closes; the clock is read anew every day."""
RENEW_SECONDS = 86_400.0

US_EXCHANGES = frozenset(("XNYS", "XNAS", "XASE", "ARCX", "BATS"))
US_PRE = time(4, 0)
US_POST = time(20, 0)
US_POST_HALF_DAY = time(17, 0)
"""Extended hours of the US exchanges, https://www.nyse.com/markets/hours-calendars; of others none are known."""


class TradingCalendar:
    """Hours of an exchange that a process which runs for months keeps up to date."""

    def __init__(self, clock: MarketClock) -> None:
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def kept_current(cls, exchange: str, clock: Clock) -> AsyncIterator[Self]:
        """The hours, read anew every day for the time of the block; raise `ConfigurationError` if the exchange is not known."""
        calendar = cls(await asyncio.to_thread(read_market_clock, exchange, clock.now()))
        renewing = asyncio.create_task(calendar._renew_for_ever(exchange, clock), name="calendar")
        try:
            yield calendar
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _renew_for_ever(self, exchange: str, clock: Clock) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            self._clock = await asyncio.to_thread(read_market_clock, exchange, clock.now())

    def status_at(self, now: float) -> Market:
        """As `MarketClock`."""
        return self._clock.status_at(now)

    def session_at(self, now: float) -> Session | None:
        """As `MarketClock`."""
        return self._clock.session_at(now)

    def next_open(self, now: float) -> float:
        """As `MarketClock`."""
        return self._clock.next_open(now)


def read_market_clock(exchange: str, now: float) -> MarketClock:
    """Return the hours of an exchange around `now` (epoch seconds); raise `ConfigurationError` if the exchange is not known."""
    calendar = _open_calendar(exchange, datetime.fromtimestamp(now, UTC).date())
    zone = ZoneInfo(str(calendar.tz))
    weekend = [weekday for weekday, trades in enumerate(calendar.weekmask) if trades == "0"]
    return MarketClock(exchange, zone, weekend, list(_days(calendar, exchange, zone)))


def _open_calendar(exchange: str, today: date) -> "ExchangeCalendar":
    from exchange_calendars import get_calendar
    from exchange_calendars.errors import InvalidCalendarName

    try:
        return get_calendar(exchange, start=str(today - BACK), end=str(today + AHEAD))
    except InvalidCalendarName:
        allowed = "no calendar of that name is known; codes are those of ISO 10383, such as XNYS, XLON, XTKS"
        raise ConfigurationError((Problem("EXCHANGE", exchange, allowed),)) from None


def _days(calendar: "ExchangeCalendar", exchange: str, zone: ZoneInfo) -> Iterator[TradingDay]:
    half_days = {stamp.date() for stamp in calendar.early_closes}
    for row in calendar.schedule.itertuples():
        day = row.Index.date()
        sessions = tuple(_sessions(row))
        pre, post = sessions[0].open, sessions[-1].close
        if exchange in US_EXCHANGES:
            pre = datetime.combine(day, US_PRE, zone).timestamp()
            post = datetime.combine(day, US_POST_HALF_DAY if day in half_days else US_POST, zone).timestamp()
        yield TradingDay(day, sessions, pre, post, day in half_days)


def _sessions(row: Any) -> Iterator[Session]:
    opened, closed = row.open.timestamp(), row.close.timestamp()
    if row.break_start != row.break_start:  # no time at all, which is unequal to itself: no break
        yield Session(opened, closed)
    else:
        yield Session(opened, row.break_start.timestamp())
        yield Session(row.break_end.timestamp(), closed)
