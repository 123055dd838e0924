"""Spans of time in parameters: ISO-8601 or epoch milliseconds, `start` inclusive, `end` exclusive; and bars, aligned to UTC. Pure."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum

BEGIN_OF_TIME = datetime(1, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
ALLOWED = "must be ISO-8601, such as 2026-02-14T21:38:22Z, or epoch milliseconds"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_MS = re.compile(r"-?\d{1,15}", re.ASCII)
_UNESCAPED_PLUS = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)", re.ASCII)


class Interval(StrEnum):
    """How long a bar is."""

    ONE_MINUTE = "1m"
    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    ONE_HOUR = "1h"
    ONE_DAY = "1d"

    @property
    def duration(self) -> timedelta:
        """Its length."""
        return _DURATIONS[self]


_DURATIONS = {
    Interval.ONE_MINUTE: timedelta(minutes=1),
    Interval.FIVE_MINUTES: timedelta(minutes=5),
    Interval.FIFTEEN_MINUTES: timedelta(minutes=15),
    Interval.ONE_HOUR: timedelta(hours=1),
    Interval.ONE_DAY: timedelta(days=1),
}


def parse_time(text: str) -> datetime:
    """Read a time, UTC where it names no offset; raise `ValueError` that says what is allowed."""
    try:
        if _EPOCH_MS.fullmatch(text):
            return _EPOCH + timedelta(milliseconds=int(text))
        # A + that was not escaped arrives as a blank.
        moment = datetime.fromisoformat(_UNESCAPED_PLUS.sub("+", text) if "T" in text.upper() else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(ALLOWED) from None


def align_up(moment: datetime, duration: timedelta) -> datetime:
    """The first multiple of `duration` since 1970 that is not before `moment`; the end of time if there is none."""
    try:
        return moment + -(moment - _EPOCH) % duration
    except OverflowError:
        return END_OF_TIME


def align_down(moment: datetime, duration: timedelta) -> datetime:
    """The last multiple of `duration` since 1970 that is not after `moment`."""
    try:
        return moment - (moment - _EPOCH) % duration
    except OverflowError:
        return BEGIN_OF_TIME
