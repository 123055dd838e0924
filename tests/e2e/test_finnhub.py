"""Live prices from a provider to a WebSocket client: real processes, and a Finnhub of our own that keeps its rules."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from shared import streams
from shared.partitions import partition_of
from tests.e2e.pipeline import Pipeline, Service
from tests.e2e.proof import Entries
from tests.e2e.viewer import Viewer
from tests.fakes import finnhub
from tests.fakes.finnhub import FakeFinnhub, Quote
from tests.observed import get

KEY = "c0ffee-key-of-this-test"
TICKERS = ("AAPL", "BRK.B", "KO")
"""At a cycle of three seconds they need the whole quota of 60 calls a minute."""
PARTITIONS = 2


@pytest.fixture
async def fake() -> AsyncIterator[FakeFinnhub]:
    async with FakeFinnhub(key=KEY) as fake:
        yield fake


@pytest.fixture
def live(redis_url: str, redis: Redis, database_url: str, fake: FakeFinnhub, tmp_path: Path) -> Pipeline:
    """The services, and a fetcher that asks the fake about three tickers every three seconds."""
    return Pipeline(
        redis_url, database_url, tmp_path, PARTITIONS,
        FINNHUB_API_KEY=KEY, FINNHUB_BASE_URL=fake.base_url, TICKERS=",".join(TICKERS), FETCH_INTERVAL_SECONDS="3",
        MARKET_HOURS="always",
    )  # fmt: skip


async def ticks_of(redis: Redis, ticker: str) -> list[dict[str, str]]:
    entries = cast(Entries, await redis.xrange(streams.ticks(partition_of(ticker, PARTITIONS))))
    return [fields for _, fields in entries if fields["ticker"] == ticker]


def has_ticks(redis: Redis, number: int) -> Callable[[], Awaitable[bool]]:
    """A condition: every ticker has so many ticks."""

    async def has() -> bool:
        return all([len(await ticks_of(redis, ticker)) >= number for ticker in TICKERS])

    return has


async def test_prices_of_the_provider_reach_a_client_with_average_and_market_status(
    live: Pipeline, fake: FakeFinnhub, redis: Redis
) -> None:
    async with live:
        await live.migrate()
        for name in ("gateway", "persister", "analyzer"):
            live.start(name)
        metrics_port = find_free_port()
        fetcher = live.start("fetcher", METRICS_PORT=str(metrics_port))
        async with Viewer(live.port) as viewer:

            async def all_seen() -> bool:
                return set(viewer.book.stocks) == set(TICKERS)

            await live.until(all_seen, "a price of every ticker")
            await live.until(has_ticks(redis, 2), "two cycles")
        for ticker in TICKERS:
            for tick in await ticks_of(redis, ticker):
                assert tick["source"] == "finnhub"
                assert int(tick["ts"]) % 3000 == 0, "the scheduled start of its cycle"
                assert tick["quote_ts"]
        assert viewer.book.market["status"] == "open"
        assert viewer.book.market["reason"] == "MARKET_HOURS=always"
        await check_metrics(metrics_port, fake)
        await live.stop()
        assert KEY not in fetcher.text
        live.check_logs()
    assert {call.status for call in fake.calls} == {200}
    assert {call.key_in for call in fake.calls} == {"header"}


async def check_metrics(port: int, fake: FakeFinnhub) -> None:
    """The fetcher's figures are those of the fake, or between two looks at it."""
    before = len(fake.calls)
    page = await asyncio.to_thread(get, port, "/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.body)
        for sample in family.samples
    }
    assert before - len(TICKERS) <= samples["tickstream_fetcher_provider_answers_total", "ok"] <= len(fake.calls)
    assert before - len(TICKERS) <= samples["tickstream_fetcher_ticks_appended_total",] <= len(fake.calls)
    assert samples["tickstream_fetcher_market_status", "open"] == 1
    assert samples["tickstream_fetcher_cycle_seconds",] == 3
    assert samples["tickstream_fetcher_appends_total", "OK"] > 0
    assert samples["tickstream_newest_entry_age_seconds", "source_to_fetcher"] >= 0


async def test_two_fetchers_of_which_one_is_killed_give_one_tick_per_ticker_and_cycle(
    live: Pipeline, fake: FakeFinnhub, redis: Redis
) -> None:
    async with live:
        await live.migrate()
        first, second = (live.start("fetcher") for _ in range(2))
        await live.until(has_ticks(redis, 1), "a first cycle")
        first.kill()
        await live.until(has_ticks(redis, 3), "cycles after the kill")
        await live.stop()
        second.check_log()
    for ticker in TICKERS:
        starts = [tick["ts"] for tick in await ticks_of(redis, ticker)]
        assert starts == sorted(set(starts), key=int), "each cycle once, in order"
    assert {call.status for call in fake.calls} == {200}, "the quota was kept by both together"


async def test_wrong_key_ends_the_fetcher_with_2_and_one_line(live: Pipeline, fake: FakeFinnhub) -> None:
    async with live:
        await live.migrate()
        fetcher = live.start("fetcher", FINNHUB_API_KEY="wrong-hunter44")
        fetcher.may_end = True
        assert await fetcher.finish() == 2
    assert plain_lines(fetcher) == [
        "FINNHUB_API_KEY=(hidden): is refused by the provider; see that it is whole and belongs to FINNHUB_BASE_URL"
    ]
    assert "hunter44" not in fetcher.text
    assert "Traceback" not in fetcher.text
    assert {call.status for call in fake.calls} == {401}


def plain_lines(service: Service) -> list[str]:
    return [line for line in service.text.splitlines() if not line.startswith("{")]


async def test_exchange_that_nobody_knows_ends_the_fetcher_with_2(live: Pipeline, fake: FakeFinnhub) -> None:
    async with live:
        await live.migrate()
        fetcher = live.start("fetcher", MARKET_HOURS="auto", EXCHANGE="XXXX")
        fetcher.may_end = True
        assert await fetcher.finish() == 2
    assert plain_lines(fetcher) == [
        "EXCHANGE=XXXX: no calendar of that name is known; codes are those of ISO 10383, such as XNYS, XLON, XTKS"
    ]
    assert fake.calls == []


async def test_provider_that_goes_away_and_comes_back_is_told_once_each(live: Pipeline, fake: FakeFinnhub, redis: Redis) -> None:
    async with live:
        await live.migrate()
        fetcher = live.start("fetcher", TICKERS="KO")
        await live.until(fetcher.has_said("market status"), "the market")
        fake.answer("KO", finnhub.reset(), always=True)
        await live.until(fetcher.has_said("no prices"), "word of the refusal")
        fake.heal()
        fake.quotes["KO"] = Quote(c="70.5", t=int(fake.calls[-1].at))
        await live.until(fetcher.has_said("prices again"), "prices")
        await live.stop()
        (told,) = fetcher.said("no prices")
        assert (told["outcome"], told["tickers"], told["level"]) == ("unreachable", ["KO"], "warning")
    prices = [tick["price"] for tick in await ticks_of(redis, "KO")]
    assert prices[-1] == "70.5"
