"""Which days are made and dropped, whatever the clock on the wall does."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.postgres.calendar_days import DAYS_AHEAD, bounds, cutoff, day_named, day_of, expired, last_wanted, missing, name_of

MOMENTS = st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
DAYS = st.dates(date(1970, 1, 1), date(2200, 1, 1))
ONE_MS = timedelta(milliseconds=1)


@given(MOMENTS)
def test_a_moment_lies_within_its_day(moment: datetime) -> None:
    begin, end = bounds(day_of(moment))
    assert begin <= moment < end


@given(DAYS)
def test_days_follow_each_other_without_a_gap_and_each_has_24_hours(day: date) -> None:
    begin, end = bounds(day)
    assert end == bounds(day + timedelta(days=1))[0]
    assert end - begin == timedelta(hours=24)


@pytest.mark.parametrize("moment", ["2026-03-08T01:59:59", "2026-03-08T03:00:00", "2026-11-01T01:30:00"])
def test_days_are_those_of_utc_wherever_the_clocks_change(moment: str) -> None:
    local = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("America/New_York"))
    assert day_of(local) == local.astimezone(UTC).date()


def test_an_evening_in_new_york_belongs_to_the_next_day() -> None:
    assert day_of(datetime(2026, 11, 22, 20, tzinfo=ZoneInfo("America/New_York"))) == date(2026, 11, 23)


def test_a_leap_day_is_made_and_the_day_after_it_is_in_march() -> None:
    made = missing(datetime(2028, 2, 28, 12, tzinfo=UTC), set())
    assert made[:3] == [date(2028, 2, 28), date(2028, 2, 29), date(2028, 3, 1)]
    assert name_of("ticks", made[1]) == "ticks_20280229"


@given(MOMENTS, st.sets(DAYS))
def test_after_what_is_missing_was_made_nothing_is_until_the_next_day(now: datetime, existing: set[date]) -> None:
    existing |= set(missing(now, existing))
    end_of_today = bounds(day_of(now))[1]
    assert missing(now, existing) == missing(end_of_today - ONE_MS, existing) == []
    assert set(missing(end_of_today, existing)) <= {last_wanted(end_of_today)}
    assert last_wanted(now) == day_of(now) + timedelta(days=DAYS_AHEAD)


@given(DAYS, st.sampled_from(["ticks", "enriched"]))
def test_a_partition_is_known_by_its_name(day: date, table: str) -> None:
    assert day_named(table, name_of(table, day)) == day


@pytest.mark.parametrize(
    "name", ["ticks_default", "ticks_202611", "ticks_20261131", "ticks_20261122_old", "enriched_20261122", "ticks_2026112", ""]
)
def test_a_partition_of_another_kind_has_no_day(name: str) -> None:
    assert day_named("ticks", name) is None


@given(MOMENTS, st.sets(DAYS), st.integers(1, 1000))
def test_a_day_is_dropped_exactly_if_its_newest_possible_row_is_too_old(now: datetime, existing: set[date], retention_days: int) -> None:
    oldest = cutoff(now, retention_days)
    assert oldest is not None
    too_old = {day for day in existing if bounds(day)[1] - timedelta(microseconds=1) < oldest}
    assert set(expired(now, existing, retention_days)) == too_old


def test_a_day_goes_at_midnight_and_not_a_millisecond_earlier() -> None:
    day = date(2026, 11, 20)
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    assert expired(midnight, {day}, 1) == [day]
    assert expired(midnight - ONE_MS, {day}, 1) == []


@given(MOMENTS, st.integers(1, 36_500))
def test_a_day_that_is_made_is_never_dropped_at_once(now: datetime, retention_days: int) -> None:
    assert expired(now, set(missing(now, set())), retention_days) == []


@given(MOMENTS, st.sets(DAYS))
def test_without_retention_days_nothing_is_dropped(now: datetime, existing: set[date]) -> None:
    assert cutoff(now, 0) is None
    assert expired(now, existing, 0) == []
