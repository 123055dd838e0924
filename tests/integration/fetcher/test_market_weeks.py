"""Two weeks of New York in a few seconds: no call outside of a session, the first at the open, the last before the close.

The sessions are written down here from what the exchange published, not taken from the calendar under test.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.fetcher.live import polling
from services.fetcher.settings import FetcherSettings
from services.fetcher.trading_calendar import read_market_clock
from shared import streams
from shared.redis.deployment import join
from shared.redis.lease import hold
from tests.fakes.finnhub import FakeFinnhub
from tests.integration.fetcher.playing import entries_of, until
from tests.integration.fetcher.steered import SteeredClock

NEW_YORK = ZoneInfo("America/New_York")
TICKERS = ("KO",)
CYCLE_SECONDS = 1800
THANKSGIVING: tuple[str, dict[str, str | None]] = ("2025-11-17", {"2025-11-27": None, "2025-11-28": "13:00"})
"""Begin of two weeks, and the close of each working day that is not as usual; None: no session."""
CHANGE_OF_CLOCKS: tuple[str, dict[str, str | None]] = ("2025-10-27", {})


def sessions_of(monday: str, unusual: dict[str, str | None]) -> list[tuple[datetime, datetime]]:
    """Open and close of every session in two weeks."""
    first = datetime.fromisoformat(monday)
    days = [day for day in (first + timedelta(days=number) for number in range(14)) if day.weekday() < 5]
    closes = [(day, unusual.get(f"{day:%Y-%m-%d}", "16:00")) for day in days]
    return [(moment(day, "09:30"), moment(day, close)) for day, close in closes if close]


def moment(day: datetime, time: str) -> datetime:
    return datetime.fromisoformat(f"{day:%Y-%m-%d}T{time}").replace(tzinfo=NEW_YORK)


def cycles_of(sessions: list[tuple[datetime, datetime]]) -> list[float]:
    """When each cycle of half an hour begins, in epoch seconds."""
    starts = []
    for opened, closed in sessions:
        now = opened.timestamp()
        while now < closed.timestamp():
            starts.append(now)
            now += CYCLE_SECONDS
    return starts


@pytest.mark.parametrize(
    "weeks", [THANKSGIVING, pytest.param(CHANGE_OF_CLOCKS, marks=pytest.mark.long)], ids=["thanksgiving", "change of clocks"]
)
async def test_no_call_is_made_outside_of_the_sessions_of_two_weeks(
    ready_redis: Redis, settings: Callable[..., FetcherSettings], weeks: tuple[str, dict[str, str | None]]
) -> None:
    sessions = sessions_of(*weeks)
    begin = moment(datetime.fromisoformat(weeks[0]), "00:00").timestamp()
    clock, stop = SteeredClock(begin), asyncio.Event()
    async with asyncio.timeout(60), FakeFinnhub(clock=clock) as fake:
        chosen = settings(
            tickers=TICKERS, partitions=1, fetch_interval_seconds=CYCLE_SECONDS, lease_seconds=30,
            finnhub_api_key=SecretStr("test-key"), finnhub_base_url=fake.base_url,
        )  # fmt: skip
        hours = read_market_clock("XNYS", begin)
        deployment = await join(ready_redis, 1, chosen.sma_period)
        async with polling(ready_redis, chosen, hours, clock) as polled:
            holding = asyncio.create_task(hold(ready_redis, deployment, "fetcher", chosen.lease_seconds, polled.work, stop))
            expected = cycles_of(sessions)
            for cycle, start in enumerate(expected, start=1):
                await clock.run_to(start, parties=len(TICKERS))
                # Half an hour passes in no time: the next tick would replace one that Redis has not taken yet.
                await until(partial(has_ticks, ready_redis, cycle * len(TICKERS)))
            await clock.run_to(begin + 14 * 86_400, parties=len(TICKERS))
            stop.set()
            await holding
    assert [call.at for call in fake.calls] == [start for start in expected for _ in TICKERS]
    assert {call.status for call in fake.calls} == {200}
    ticks = await entries_of(ready_redis, streams.ticks(0))
    assert sorted({int(fields["ts"]) for _, fields in ticks}) == [round(start * 1000) for start in expected]


async def has_ticks(redis: Redis, count: int) -> bool:
    return int(await redis.xlen(streams.ticks(0))) >= count


def test_sessions_that_are_expected_are_those_of_the_exchange() -> None:
    """The two weeks are the interesting ones: nine sessions with a half day, and an open that moves by an hour of UTC."""
    thanksgiving, clocks = sessions_of(*THANKSGIVING), sessions_of(*CHANGE_OF_CLOCKS)
    assert len(thanksgiving) == 9
    assert len(cycles_of(thanksgiving)) == 8 * 13 + 7
    opens = {f"{opened.astimezone(ZoneInfo('UTC')):%H:%M}" for opened, _ in clocks}
    assert opens == {"13:30", "14:30"}
