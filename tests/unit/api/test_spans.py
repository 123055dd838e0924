"""Times in parameters, and where bars begin."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.spans import BEGIN_OF_TIME, END_OF_TIME, Interval, align_down, align_up, parse_time

MOMENT = datetime(2026, 2, 14, 21, 38, 22, 104000, tzinfo=UTC)
TIMES = st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29))


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-14T21:38:22.104+00:00",
        "2026-02-14T21:38:22.104Z",
        "2026-02-14T21:38:22.104",
        "2026-02-14T22:38:22.104+01:00",
        "2026-02-14T22:38:22.104 01:00",
        "2026-02-14T16:38:22.104-0500",
        "2026-02-14 21:38:22.104",
        "1771105102104",
    ],
)
def test_a_time_is_iso_8601_or_epoch_milliseconds(text: str) -> None:
    assert parse_time(text) == MOMENT


def test_a_day_begins_at_midnight_utc() -> None:
    assert parse_time("2026-02-14") == datetime(2026, 2, 14, tzinfo=UTC)


@given(TIMES)
def test_every_time_reads_back(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment


@pytest.mark.parametrize(
    "text", ["", " ", "now", "2026-02-30", "2026-02-14T25:00", "1e12", "999999999999999", "0001-01-01T00:00+14:00", "١٢٣"]
)
def test_other_texts_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="must be ISO-8601"):
        parse_time(text)


@given(TIMES, st.sampled_from(Interval))
def test_a_moment_lies_within_its_interval(moment: datetime, interval: Interval) -> None:
    low, high = align_down(moment, interval.duration), align_up(moment, interval.duration)
    assert low <= moment <= high
    assert high - low in (timedelta(0), interval.duration)
    assert (low - datetime(1970, 1, 1, tzinfo=UTC)) % interval.duration == timedelta(0)


@pytest.mark.parametrize("interval", Interval)
def test_the_ends_of_time_are_no_error(interval: Interval) -> None:
    assert align_up(END_OF_TIME, interval.duration) == END_OF_TIME
    assert align_down(BEGIN_OF_TIME, interval.duration) == BEGIN_OF_TIME
