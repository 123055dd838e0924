"""When the US stock market is open, and which answers tell so.

Shapes and the words of `session` as in Finnhub's documentation of market-status and market-holiday; a half day there has the
name of its holiday, and its hours. Dates as published by the NYSE.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
PRE_MARKET_FROM, REGULAR_HOURS, POST_MARKET_TO = "04:00", "09:30-16:00", "20:00"
HALF_DAY = "09:30-13:00"
SATURDAY = 5


class Holiday(NamedTuple):
    """A day on which the market is closed or, with a `trading_hour` such as "09:30-13:00", closes early."""

    name: str
    day: date
    trading_hour: str = ""


NYSE_HOLIDAYS = (
    Holiday("New Year's Day", date(2026, 1, 1)),
    Holiday("Birthday of Martin Luther King, Jr", date(2026, 1, 19)),
    Holiday("Washington's Birthday", date(2026, 2, 16)),
    Holiday("Good Friday", date(2026, 4, 3)),
    Holiday("Memorial Day", date(2026, 5, 25)),
    Holiday("Juneteenth", date(2026, 6, 19)),
    Holiday("Independence Day", date(2026, 7, 3)),
    Holiday("Labor Day", date(2026, 9, 7)),
    Holiday("Thanksgiving Day", date(2026, 11, 26)),
    Holiday("Thanksgiving Day", date(2026, 11, 27), HALF_DAY),
    Holiday("Christmas", date(2026, 12, 24), HALF_DAY),
    Holiday("Christmas", date(2026, 12, 25)),
    Holiday("New Year's Day", date(2027, 1, 1)),
    Holiday("Birthday of Martin Luther King, Jr", date(2027, 1, 18)),
    Holiday("Washington's Birthday", date(2027, 2, 15)),
    Holiday("Good Friday", date(2027, 3, 26)),
    Holiday("Memorial Day", date(2027, 5, 31)),
    Holiday("Juneteenth", date(2027, 6, 18)),
    Holiday("Independence Day", date(2027, 7, 5)),
    Holiday("Labor Day", date(2027, 9, 6)),
    Holiday("Thanksgiving Day", date(2027, 11, 25)),
    Holiday("Thanksgiving Day", date(2027, 11, 26), HALF_DAY),
    Holiday("Christmas", date(2027, 12, 24)),
)


def market_status(at: float, holidays: Collection[Holiday]) -> dict[str, Any]:
    """The answer of /stock/market-status at an epoch second; `isOpen` is of the regular session only."""
    local = datetime.fromtimestamp(at, NEW_YORK)
    holiday = next((holiday for holiday in holidays if holiday.day == local.date()), None)
    session = _session(local, holiday)
    return {
        "exchange": "US",
        "holiday": holiday.name if holiday else None,
        "isOpen": session == "regular",
        "session": session,
        "t": int(at),
        "timezone": NEW_YORK.key,
    }


def market_holidays(holidays: Collection[Holiday]) -> dict[str, Any]:
    """The answer of /stock/market-holiday."""
    data = [{"eventName": name, "atDate": day.isoformat(), "tradingHour": hours} for name, day, hours in holidays]
    return {"data": data, "exchange": "US", "timezone": NEW_YORK.key}


def _session(local: datetime, holiday: Holiday | None) -> str | None:
    """Which session holds at a moment of New York; None while the market is closed."""
    if local.weekday() >= SATURDAY or (holiday and not holiday.trading_hour):
        return None
    opening, closing = (holiday.trading_hour if holiday else REGULAR_HOURS).split("-")
    ends = ((PRE_MARKET_FROM, None), (opening, "pre-market"), (closing, "regular"), (POST_MARKET_TO, "post-market"))
    return next((session for end, session in ends if f"{local:%H:%M}" < end), None)
