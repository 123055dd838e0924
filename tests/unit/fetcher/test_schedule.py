"""When a polled source is asked: aligned to the clock, within the hours, stretched when the quota needs it."""

import pytest

from services.fetcher.market_clock import AlwaysOpen, Session
from services.fetcher.schedule import Cycle, Schedule, cycle_seconds
from shared.events import Market

OPEN, CLOSE = 36_010.0, 50_000.0


class OneSession:
    """Hours of an exchange that opens once, ten seconds past a full minute, and closes in the middle of one."""

    def status_at(self, now: float) -> Market:
        raise NotImplementedError

    def session_at(self, now: float) -> Session | None:
        return Session(OPEN, CLOSE) if OPEN <= now < CLOSE else None

    def next_open(self, now: float) -> float:
        return OPEN if now < OPEN else float("inf")


@pytest.mark.parametrize(
    ("interval", "tickers", "seconds"),
    [(60, 15, 60), (60, 60, 60), (60, 61, 120), (60, 121, 180), (1, 15, 15), (15, 15, 15), (10, 15, 20), (3600, 500, 3600), (0.5, 1, 1)],
)
def test_cycle_is_the_shortest_multiple_of_the_interval_that_the_quota_allows(interval: float, tickers: int, seconds: float) -> None:
    assert cycle_seconds(interval, tickers, 60) == seconds


def test_cycles_begin_at_the_multiples_of_their_length_whenever_a_process_was_started() -> None:
    schedule = Schedule(60, AlwaysOpen("XNYS", "always"))
    assert schedule.cycle_at(120.0) == Cycle(120.0, 180.0)
    assert schedule.cycle_at(179.999) == Cycle(120.0, 180.0)
    assert schedule.next_start(120.0) == schedule.next_start(179.0) == 180.0
    assert schedule.wait_seconds(150.0, 3600) == 30.0
    assert schedule.wait_seconds(150.0, 10) == 10


def test_first_cycle_begins_at_the_open_and_the_last_ends_at_the_close() -> None:
    schedule = Schedule(60, OneSession())
    assert schedule.cycle_at(OPEN - 0.001) is None
    assert schedule.next_start(OPEN - 5000) == OPEN
    assert schedule.cycle_at(OPEN) == Cycle(OPEN, 36_060.0)
    assert schedule.cycle_at(CLOSE - 1) == Cycle(49_980.0, CLOSE)
    assert schedule.cycle_at(CLOSE) is None


def test_after_the_last_cycle_the_next_open_is_waited_for() -> None:
    schedule = Schedule(60, OneSession())
    assert schedule.next_start(CLOSE - 1) == float("inf")
    assert schedule.wait_seconds(CLOSE - 1, 60) == 60
    assert schedule.wait_seconds(CLOSE + 1, 60) == 60
