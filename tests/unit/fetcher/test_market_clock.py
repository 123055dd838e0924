"""Market hours as exchange_calendars knows them, against what the exchanges published: half days, holidays, changes of clocks."""

from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import pytest

from services.fetcher.market_clock import AlwaysOpen, MarketClock, Session
from services.fetcher.trading_calendar import read_market_clock
from shared.errors import ConfigurationError

NEW_YORK = ZoneInfo("America/New_York")
HONG_KONG = ZoneInfo("Asia/Hong_Kong")


def at(text: str, zone: ZoneInfo = NEW_YORK) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@cache
def clock(exchange: str = "XNYS", day: str = "2025-11-20") -> MarketClock:
    return read_market_clock(exchange, at(f"{day} 12:00"))


def ms(text: str, zone: ZoneInfo = NEW_YORK) -> str:
    return str(round(at(text, zone) * 1000))


@pytest.mark.parametrize(
    ("when", "status", "reason", "next_open", "next_close"),
    [
        ("2025-11-19 03:59:59", "closed", "overnight", "2025-11-19 09:30", "2025-11-19 16:00"),
        ("2025-11-19 04:00", "pre", "before the open", "2025-11-19 09:30", "2025-11-19 16:00"),
        ("2025-11-19 09:29:59.999", "pre", "before the open", "2025-11-19 09:30", "2025-11-19 16:00"),
        ("2025-11-19 09:30", "open", "regular session", "2025-11-20 09:30", "2025-11-19 16:00"),
        ("2025-11-19 15:59:59.999", "open", "regular session", "2025-11-20 09:30", "2025-11-19 16:00"),
        ("2025-11-19 16:00", "post", "after the close", "2025-11-20 09:30", "2025-11-20 16:00"),
        ("2025-11-19 20:00", "closed", "overnight", "2025-11-20 09:30", "2025-11-20 16:00"),
        ("2025-11-22 12:00", "closed", "weekend", "2025-11-24 09:30", "2025-11-24 16:00"),
        ("2025-11-27 12:00", "closed", "holiday", "2025-11-28 09:30", "2025-11-28 13:00"),
        ("2025-11-28 12:59:59", "open", "early close", "2025-12-01 09:30", "2025-11-28 13:00"),
        ("2025-11-28 13:00", "post", "after the close", "2025-12-01 09:30", "2025-12-01 16:00"),
        ("2025-11-28 17:00", "closed", "overnight", "2025-12-01 09:30", "2025-12-01 16:00"),
    ],
)
def test_new_york_around_thanksgiving(when: str, status: str, reason: str, next_open: str, next_close: str) -> None:
    market = clock().status_at(at(when))
    assert market == ("XNYS", status, reason, ms(next_open), ms(next_close), "")


@pytest.mark.parametrize(
    ("utc", "status"),
    [
        ("2025-10-31 13:29", "pre"),
        ("2025-10-31 13:30", "open"),
        ("2025-10-31 20:00", "post"),
        ("2025-11-03 13:30", "pre"),
        ("2025-11-03 14:29", "pre"),
        ("2025-11-03 14:30", "open"),
        ("2025-11-03 20:59", "open"),
        ("2025-11-03 21:00", "post"),
    ],
)
def test_session_moves_by_an_hour_of_utc_when_new_york_sets_its_clocks(utc: str, status: str) -> None:
    assert clock("XNYS", "2025-11-01").status_at(at(utc, ZoneInfo("UTC"))).status == status


@pytest.mark.parametrize("holiday", ["2025-01-09", "2025-06-19", "2026-04-03", "2026-07-03", "2026-12-25", "2027-01-01"])
def test_days_without_trading_are_known_also_those_that_no_rule_gives(holiday: str) -> None:
    assert clock("XNYS", holiday).status_at(at(f"{holiday} 12:00"))[1:3] == ("closed", "holiday")


def test_break_at_noon_closes_the_exchange() -> None:
    hong_kong = clock("XHKG", "2025-11-19")
    noon = at("2025-11-19 12:30", HONG_KONG)
    assert hong_kong.status_at(noon)[1:4] == ("closed", "break", ms("2025-11-19 13:00", HONG_KONG))
    assert hong_kong.session_at(noon) is None
    assert hong_kong.session_at(noon + 3600) == Session(at("2025-11-19 13:00", HONG_KONG), at("2025-11-19 16:00", HONG_KONG))
    assert hong_kong.status_at(at("2025-11-19 09:00", HONG_KONG))[1:3] == ("closed", "overnight"), "no extended hours are known"


def test_beyond_the_days_that_are_known_no_open_is_promised() -> None:
    long_after = at("2027-03-03 12:00")
    assert clock().next_open(long_after) == float("inf")
    assert clock().status_at(long_after)[3:5] == ("", "")
    assert clock().session_at(at("2020-01-02 12:00")) is None


def test_exchange_that_is_not_known_is_a_bad_configuration() -> None:
    with pytest.raises(ConfigurationError, match="EXCHANGE=XXXX: no calendar of that name"):
        read_market_clock("XXXX", at("2025-11-19 12:00"))


def test_source_of_our_own_making_never_closes() -> None:
    hours = AlwaysOpen("XNYS", "simulated")
    assert hours.status_at(at("2025-11-27 12:00")) == ("XNYS", "open", "simulated", "", "", "")
    assert hours.session_at(0.0) is not None
