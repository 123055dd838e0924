"""Quotes of a provider become ticks: one per ticker and cycle, whatever the provider, Redis or a second fetcher does."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import stamina
from pydantic import SecretStr
from redis.asyncio import Redis

from services.fetcher.live import live_source
from services.fetcher.settings import FetcherSettings
from shared import streams
from shared.errors import ConfigurationError
from shared.partitions import partition_of
from shared.redis.deployment import join
from shared.redis.lease import Lease, hold
from shared.redis.log import call
from tests.fakes import finnhub
from tests.fakes.finnhub import FakeFinnhub, Quote
from tests.fakes.finnhub.wire import Answer, Wire
from tests.integration.fetcher.playing import entries_of, until
from tests.integration.fetcher.steered import SteeredClock

START = 1_763_562_605.0
"""Wednesday, 2025-11-19, 14:30:05 UTC: five seconds into the session of New York, and into a cycle of a minute."""
CYCLE_MS = 1_763_562_600_000
KEY = "c0ffee-key-of-this-test"
TICKERS = ("AAPL", "KO", "MSFT")

Poll = Callable[..., Any]


@pytest.fixture
def clock() -> SteeredClock:
    return SteeredClock(START)


@pytest.fixture(autouse=True)
def _no_waits_between_tries() -> Any:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
async def fake(clock: SteeredClock) -> AsyncIterator[FakeFinnhub]:
    async with asyncio.timeout(60), FakeFinnhub(key=KEY, clock=clock) as fake:
        for ticker in TICKERS:
            fake.quotes[ticker] = Quote(c="100.5", t=int(START) - 1)
        yield fake


@pytest.fixture
def poll(ready_redis: Redis, settings: Callable[..., FetcherSettings], fake: FakeFinnhub, clock: SteeredClock) -> Poll:
    """Poll for the time of the block, as a fetcher does; keywords are fields of its settings. Gives the task, and raises its failure."""

    @asynccontextmanager
    async def polling(**fields: Any) -> AsyncIterator[asyncio.Task[None]]:
        # A machine that is busy must not bring the lease in doubt.
        plain = {"tickers": TICKERS, "partitions": 1, "market_hours": "always", "lease_seconds": 30, "finnhub_api_key": SecretStr(KEY)}
        chosen = settings(**{**plain, "finnhub_base_url": fake.base_url, **fields})
        stop = asyncio.Event()
        deployment = await join(ready_redis, chosen.partitions, chosen.sma_period)
        async with live_source(ready_redis, chosen, clock) as work:
            holding = asyncio.create_task(hold(ready_redis, deployment, "fetcher", chosen.lease_seconds, work, stop))
            try:
                yield holding
            finally:
                stop.set()
                await holding

    return polling


async def ticks_in(redis: Redis, partition: int = 0) -> list[dict[str, str]]:
    return [fields for _, fields in await entries_of(redis, streams.ticks(partition))]


async def deadletters_in(redis: Redis) -> list[dict[str, str]]:
    return [fields for _, fields in await entries_of(redis, streams.deadletters(0))]


def number_of(redis: Redis, key: str, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return int(await redis.xlen(key)) >= wanted

    return reached


def told(lines: list[dict[str, Any]], event: str) -> Callable[[], Awaitable[bool]]:
    async def was_told() -> bool:
        return event in [line["event"] for line in lines]

    return was_told


async def until_ticks(redis: Redis, wanted: int) -> None:
    await until(number_of(redis, streams.ticks(0), wanted))


async def test_each_ticker_has_one_tick_a_cycle_with_its_scheduled_start_as_event_time(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    fake.quotes["KO"] = Quote(c="70.120", t=int(START) - 30)
    async with poll():
        await until_ticks(ready_redis, 3)
        clock.move_to(START + 54.9)
        await clock.until_waiting(4)
        assert len(fake.calls) == 3
        clock.move_to(START + 55)
        await until_ticks(ready_redis, 6)
    found = await ticks_in(ready_redis)
    assert sorted((tick["ticker"], tick["ts"]) for tick in found) == [
        (ticker, str(CYCLE_MS + cycle)) for ticker in TICKERS for cycle in (0, 60_000)
    ]
    (ko, _) = [tick for tick in found if tick["ticker"] == "KO"]
    assert ko == {
        "seq": ko["seq"], "ticker": "KO", "price": "70.12", "ts": str(CYCLE_MS), "source": "finnhub",
        "volume": "", "quote_ts": "1763562575000", "shed": "",
    }  # fmt: skip


async def test_ticker_that_never_answers_costs_the_others_nothing(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    fake.answer("KO", finnhub.silence(), always=True)
    async with poll():
        await until_ticks(ready_redis, 2)
        clock.move_to(START + 60)
        await until_ticks(ready_redis, 4)
    assert {tick["ticker"] for tick in await ticks_in(ready_redis)} == {"AAPL", "MSFT"}


@pytest.mark.parametrize("fault", [finnhub.status(500), finnhub.reset()])
async def test_failure_that_passes_is_tried_again_within_the_cycle(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, fault: finnhub.Fault
) -> None:
    fake.answer("KO", fault, fault)
    async with poll():
        await until_ticks(ready_redis, 3)
    assert [call.symbol for call in fake.calls].count("KO") == 3
    assert [tick["ts"] for tick in await ticks_in(ready_redis)] == [str(CYCLE_MS)] * 3


async def test_malformed_answer_is_dead_lettered_with_its_reason_and_nothing_is_published(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub
) -> None:
    fake.answer("KO", finnhub.body(b'{"c":NaN,"t":1}'), always=True)
    async with poll():
        await until_ticks(ready_redis, 2)
        await until(number_of(ready_redis, streams.deadletters(0), 1))
    (letter,) = await deadletters_in(ready_redis)
    assert (letter["reason"], letter["payload"]) == ("finnhub KO: not JSON", '{"c":NaN,"t":1}')
    assert {tick["ticker"] for tick in await ticks_in(ready_redis)} == {"AAPL", "MSFT"}


async def test_unknown_symbols_and_those_outside_the_plan_are_named_at_the_start(
    ready_redis: Redis, poll: Poll, clock: SteeredClock, capture_log: list[dict[str, Any]]
) -> None:
    tickers = ("AAPL", "NOSUCH", "WRONG", "SECRET")
    strict = FakeFinnhub(key=KEY, clock=clock, symbols=["AAPL"], forbidden=["SECRET"])
    async with strict, poll(tickers=tickers, finnhub_base_url=strict.base_url):
        await until_ticks(ready_redis, 1)
        await until(told(capture_log, "unknown symbols, see TICKERS"))
        await until(told(capture_log, "symbols that the plan of this key does not include, see TICKERS"))
    named = {line["event"]: line.get("tickers") for line in capture_log}
    assert sorted(named["unknown symbols, see TICKERS"] or []) == ["NOSUCH", "WRONG"]
    assert named["symbols that the plan of this key does not include, see TICKERS"] == ["SECRET"]
    assert [tick["ticker"] for tick in await ticks_in(ready_redis)] == ["AAPL"]


async def test_zeros_and_older_quotes_are_not_published(ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock) -> None:
    fake.quotes["KO"] = Quote(c="0", d="0", t=int(START))
    fake.quotes["MSFT"] = Quote(c="400", t=int(START))
    async with poll():
        await until_ticks(ready_redis, 2)
        fake.quotes["MSFT"] = Quote(c="390", t=int(START) - 3600)
        fake.quotes["AAPL"] = Quote(c="101", t=int(START))
        clock.move_to(START + 60)
        await until_ticks(ready_redis, 3)
        await fake.wait_for_calls(6)
    assert sorted((tick["ticker"], tick["price"]) for tick in await ticks_in(ready_redis)) == [
        ("AAPL", "100.5"),
        ("AAPL", "101"),
        ("MSFT", "400"),
    ]


async def test_key_that_was_never_taken_is_a_bad_configuration(poll: Poll, fake: FakeFinnhub) -> None:
    with pytest.raises(ConfigurationError) as refused:
        async with poll(finnhub_api_key=SecretStr("wrong")) as polling:
            await polling
    assert str(refused.value) == (
        "FINNHUB_API_KEY=(hidden): is refused by the provider; see that it is whole and belongs to FINNHUB_BASE_URL"
    )


async def test_key_that_was_taken_before_and_is_refused_now_is_told_and_asked_for_again(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock, capture_log: list[dict[str, Any]]
) -> None:
    async with poll():
        await until_ticks(ready_redis, 3)
        fake.answer("*", finnhub.status(401), always=True)
        clock.move_to(START + 60)
        await until(told(capture_log, "no prices"))
        fake.heal()
        clock.move_to(START + 120)
        await until_ticks(ready_redis, 6)
        await until(told(capture_log, "prices again"))
    assert ("no prices", "unauthorized") in [(line["event"], line.get("outcome")) for line in capture_log]


class Late(finnhub.Fault):
    """A failure that comes so late that the cycle is over."""

    def __init__(self, clock: SteeredClock, now: float) -> None:
        self._clock, self._now = clock, now

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        self._clock.move_to(self._now)
        await wire.answer(Answer(503, b"", "text/plain"))


async def test_no_call_of_a_cycle_begins_once_it_is_over(ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock) -> None:
    fake.answer("KO", Late(clock, START + 55))
    async with poll(tickers=("KO",)):
        await until_ticks(ready_redis, 1)
    assert [tick["ts"] for tick in await ticks_in(ready_redis)] == [str(CYCLE_MS + 60_000)]
    assert [call.at for call in fake.calls] == [START, START + 55]


async def test_process_that_holds_half_of_the_tickers_uses_half_of_the_quota(ready_redis: Redis, poll: Poll, clock: SteeredClock) -> None:
    names = [f"T{number}" for number in range(100)]
    halves = [[name for name in names if partition_of(name, 2) == partition][:30] for partition in (0, 1)]
    tickers = (*halves[0], *halves[1])
    strict = FakeFinnhub(key=KEY, clock=clock, symbols=tickers)
    async with (
        strict,
        holding_another(ready_redis, partition=1),
        poll(tickers=tickers, partitions=2, lease_seconds=30, finnhub_base_url=strict.base_url),
    ):
        await strict.wait_for_calls(15)
        await clock.until_waiting(31)
        assert len(strict.calls) == 15
        await clock.run_to(START + 3, parties=31)
        await until_ticks(ready_redis, 30)
    assert {call.symbol for call in strict.calls} == set(halves[0])


@asynccontextmanager
async def holding_another(redis: Redis, partition: int) -> AsyncIterator[None]:
    """Somebody else holds a partition for the time of the block."""
    await join(redis, 2, 5)
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    keys = [*(name(partition) for name in names), streams.lease("fetcher", partition)]
    assert (await call(redis, "acquire", keys, "fetcher", "somebody", "token", "", ""))[0]
    yield


async def test_what_was_answered_when_the_fetcher_ends_is_still_appended(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    async with poll(stream_cap=3, lease_seconds=30):
        await until_ticks(ready_redis, 3)
        clock.move_to(START + 60)
        await fake.wait_for_calls(6)
        await clock.until_waiting(4)
        await ready_redis.xtrim(streams.ticks(0), maxlen=0)
    assert {tick["ts"] for tick in await ticks_in(ready_redis)} == {str(CYCLE_MS + 60_000)}


async def test_quota_is_kept_and_every_ticker_has_its_turn(ready_redis: Redis, poll: Poll, clock: SteeredClock) -> None:
    tickers = tuple(f"T{number}" for number in range(40))
    async with FakeFinnhub(key=KEY, clock=clock, symbols=tickers, per_minute=60, per_second=30) as strict:
        async with poll(tickers=tickers, finnhub_base_url=strict.base_url):
            await until_ticks(ready_redis, 30)
            await clock.until_waiting(41)
            assert len(strict.calls) == 30
            await clock.run_to(START + 2, parties=41)
            await until_ticks(ready_redis, 40)
        assert {call.status for call in strict.calls} == {200}


async def test_after_429_nobody_is_asked_until_the_provider_says_so(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    fake.answer("*", *[finnhub.limited(reset_in_seconds=20)] * 3)
    async with poll():
        await fake.wait_for_calls(3)
        await clock.until_waiting(4)
        clock.move_to(START + 19.5)
        await clock.until_waiting(4)
        assert len(fake.calls) == 3
        await clock.run_to(START + 22, parties=4)
        await until_ticks(ready_redis, 3)
    assert [tick["ts"] for tick in await ticks_in(ready_redis)] == [str(CYCLE_MS)] * 3, "still of their cycle"


async def test_limit_without_headers_is_waited_out_too(ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock) -> None:
    fake.answer("*", *[finnhub.limited(with_headers=False)] * 3)
    async with poll():
        await fake.wait_for_calls(3)
        await clock.until_waiting(4)
        assert len(fake.calls) == 3
        await clock.run_to(START + 5.1, parties=4)
        await until_ticks(ready_redis, 3)


async def test_limits_that_go_on_are_waited_out_longer_each_time(poll: Poll, fake: FakeFinnhub, clock: SteeredClock) -> None:
    fake.answer("*", finnhub.limited(with_headers=False), always=True)
    async with poll(tickers=("KO",), fetch_interval_seconds=1000):
        await clock.until_waiting(2)
        await clock.run_to(START + 300, parties=2)
    first, second, third = (call.at - START for call in fake.calls)
    assert 2.5 <= second - first <= 5.0 <= third - second <= 10.0


async def test_second_fetcher_in_the_same_cycle_asks_for_nothing_that_is_there(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    fake.answer("KO", finnhub.status(404))
    async with poll():
        await until_ticks(ready_redis, 2)
        await fake.wait_for_calls(3)
    async with poll():
        await until_ticks(ready_redis, 3)
        await clock.until_waiting(4)
    assert sorted(call.symbol for call in fake.calls) == ["AAPL", "KO", "KO", "MSFT"]


class Overtaken(finnhub.Fault):
    """An answer that comes after another fetcher appended the tick of this cycle."""

    def __init__(self, redis: Redis, ticker: str, cycle_ms: int) -> None:
        self._redis, self._ticker, self._cycle_ms = redis, ticker, cycle_ms

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        await self._redis.hset(streams.last(0), self._ticker, str(self._cycle_ms))
        await wire.answer(usual)


async def test_two_fetchers_that_both_asked_in_a_cycle_give_one_tick(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    fake.answer("KO", Overtaken(ready_redis, "KO", CYCLE_MS))
    async with poll():
        await until_ticks(ready_redis, 2)
        await clock.until_waiting(4)
        clock.move_to(START + 60)
        await until_ticks(ready_redis, 5)
    found = sorted((tick["ticker"], int(tick["ts"]) - CYCLE_MS) for tick in await ticks_in(ready_redis))
    assert found == [("AAPL", 0), ("AAPL", 60_000), ("KO", 60_000), ("MSFT", 0), ("MSFT", 60_000)]


async def test_full_stream_keeps_the_newest_of_each_ticker_and_says_what_was_shed(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    async with poll(stream_cap=3):
        await until_ticks(ready_redis, 3)
        for cycle in (1, 2, 3):
            fake.quotes["KO"] = Quote(c=f"7{cycle}", t=int(START) + cycle)
            clock.move_to(START + 60 * cycle)
            await fake.wait_for_calls(3 + 3 * cycle)
            await clock.until_waiting(4)
        assert len(await ticks_in(ready_redis)) == 3
        await ready_redis.xtrim(streams.ticks(0), maxlen=0)
        await until_ticks(ready_redis, 3)
    found = {tick["ticker"]: tick for tick in await ticks_in(ready_redis)}
    assert {ticker: (tick["ts"], tick["shed"]) for ticker, tick in found.items()} == dict.fromkeys(TICKERS, (str(CYCLE_MS + 180_000), "2"))
    assert found["KO"]["price"] == "73"


async def test_malformed_answer_that_finds_no_room_is_kept_until_there_is(
    ready_redis: Redis, poll: Poll, fake: FakeFinnhub, clock: SteeredClock
) -> None:
    async with poll(stream_cap=3):
        await until_ticks(ready_redis, 3)
        fake.answer("KO", finnhub.body(b"first"))
        fake.answer("MSFT", finnhub.body(b"second"))
        clock.move_to(START + 60)
        await fake.wait_for_calls(6)
        await clock.until_waiting(4)
        assert await deadletters_in(ready_redis) == []
        await ready_redis.xtrim(streams.ticks(0), maxlen=0)
        await until(number_of(ready_redis, streams.deadletters(0), 2))
    assert sorted(letter["payload"] for letter in await deadletters_in(ready_redis)) == ["first", "second"]


async def test_market_is_announced_as_open_for_the_reason_given(ready_redis: Redis, poll: Poll) -> None:
    async with poll():
        await until(number_of(ready_redis, streams.MARKET, 1))
    ((_, said),) = await entries_of(ready_redis, streams.MARKET)
    assert (said["exchange"], said["status"], said["reason"], said["next_open"]) == ("XNYS", "open", "MARKET_HOURS=always", "")


async def test_market_that_redis_lost_is_announced_again(ready_redis: Redis, poll: Poll, clock: SteeredClock) -> None:
    async with poll(tickers=("KO",), market_hours="always"):
        await until(number_of(ready_redis, streams.MARKET, 1))
        await clock.until_waiting(2)
        await ready_redis.delete(streams.MARKET)
        await clock.run_to(START + 16, parties=2)
        await until(number_of(ready_redis, streams.MARKET, 1))


async def test_log_never_shows_the_key(poll: Poll, ready_redis: Redis, capture_log: list[dict[str, Any]]) -> None:
    async with poll():
        await until_ticks(ready_redis, 3)
    assert KEY not in json.dumps(capture_log, default=repr)


@asynccontextmanager
async def polling_under(lease: Lease, redis: Redis, settings: FetcherSettings, clock: SteeredClock) -> AsyncIterator[None]:
    """Poll under a lease of the test's own for the time of the block."""
    await join(redis, 1, settings.sma_period)
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    await call(redis, "acquire", [*(name(0) for name in names), streams.lease("fetcher", 0)], "fetcher", "me", lease.token, "", "")
    async with live_source(redis, settings, clock) as work:
        working = asyncio.ensure_future(work(lease))
        try:
            yield
        finally:
            lease.ended.set()
            await working


async def test_while_the_lease_is_in_doubt_nobody_is_asked_and_the_cycle_is_not_given_up(
    ready_redis: Redis, settings: Callable[..., FetcherSettings], fake: FakeFinnhub, clock: SteeredClock
) -> None:
    lease = Lease("fetcher", 0, "token")
    lease.confirm(time.monotonic())
    chosen = settings(tickers=TICKERS, partitions=1, market_hours="always", finnhub_api_key=SecretStr(KEY), finnhub_base_url=fake.base_url)

    async with polling_under(lease, ready_redis, chosen, clock):
        await clock.until_waiting(4)
        assert len(fake.calls) == 0
        lease.confirm(math.inf)
        clock.move_to(START + 1)
        await until_ticks(ready_redis, 3)
    assert [tick["ts"] for tick in await ticks_in(ready_redis)] == [str(CYCLE_MS)] * 3


async def test_who_waits_for_the_quota_does_not_ask_once_the_lease_is_in_doubt(
    ready_redis: Redis, settings: Callable[..., FetcherSettings], clock: SteeredClock
) -> None:
    tickers, lease = tuple(f"T{number}" for number in range(40)), Lease("fetcher", 0, "token")
    async with FakeFinnhub(key=KEY, clock=clock, symbols=tickers, per_minute=60, per_second=30) as strict:
        chosen = settings(
            tickers=tickers, partitions=1, market_hours="always", finnhub_api_key=SecretStr(KEY), finnhub_base_url=strict.base_url
        )
        async with polling_under(lease, ready_redis, chosen, clock):
            await until_ticks(ready_redis, 30)
            await clock.until_waiting(41)
            lease.confirm(time.monotonic())
            clock.move_to(START + 2)
            await clock.until_waiting(41)
            assert len(strict.calls) == 30
            lease.confirm(math.inf)
            clock.move_to(START + 3)
            await until_ticks(ready_redis, 40)
