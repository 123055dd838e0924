"""Which days have a partition, and which are to be made or dropped. Pure: now is an argument, days are those of UTC."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

DAYS_AHEAD = 7
"""Housekeeping may be away for a week before rows go to the DEFAULT partition."""

ONE_DAY = timedelta(days=1)


def day_of(moment: datetime) -> date:
    """The day a moment (with its time zone) belongs to."""
    return moment.astimezone(UTC).date()


def bounds(day: date) -> tuple[datetime, datetime]:
    """When a day begins (inclusive) and ends (exclusive)."""
    begin = datetime.combine(day, time(), UTC)
    return begin, begin + ONE_DAY


def name_of(table: str, day: date) -> str:
    """The partition of a day, as in `ticks_20261122`."""
    return f"{table}_{day:%Y%m%d}"


def day_named(table: str, name: str) -> date | None:
    """The day of a partition; None for one that has no day in its name: the DEFAULT, or somebody's own."""
    digits = name.removeprefix(f"{table}_")
    try:
        day = datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return day if name == name_of(table, day) else None


def last_wanted(now: datetime) -> date:
    """The last day to be made ahead."""
    return day_of(now) + DAYS_AHEAD * ONE_DAY


def missing(now: datetime, existing: Collection[date]) -> list[date]:
    """The days from today on that are to be made."""
    days = [day_of(now) + n * ONE_DAY for n in range(DAYS_AHEAD + 1)]
    return [day for day in days if day not in existing]


def cutoff(now: datetime, retention_days: int) -> datetime | None:
    """Rows received before this are too old; None: rows are kept for ever."""
    return now - retention_days * ONE_DAY if retention_days else None


def expired(now: datetime, existing: Collection[date], retention_days: int) -> list[date]:
    """The days to be dropped, oldest first: those whose newest possible row is too old."""
    oldest = cutoff(now, retention_days)
    return [] if oldest is None else sorted(day for day in existing if bounds(day)[1] <= oldest)
