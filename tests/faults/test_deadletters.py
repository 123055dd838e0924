"""Dead letters retried while everything around them fails: each becomes a tick exactly once, and all that follows is f(ticks)."""

from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from shared import streams
from shared.errors import InvalidEntry
from shared.events import Tick, parse_tick
from shared.partitions import partition_of
from shared.testing.oracle import expect
from tests.e2e.market_data import PERIOD
from tests.e2e.pipeline import Pipeline, Service
from tests.faults.proxy import Cut, FaultProxy

PARTITIONS = 2
ROWS = 1000
STRANGERS = 60
TS = 1_771_105_101_950


async def test_retries_at_once_through_kills_and_lost_answers_append_each_letter_once(
    redis: Redis, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    market = tmp_path / "market.csv"
    market.write_text("ticker,price,ts\n" + "".join(f"{'AAPL' if n % 3 else 'MSFT'},{n % 17 + 1},{TS + n}\n" for n in range(ROWS)))
    async with Pipeline(redis_url, database_url, tmp_path, PARTITIONS, SOURCE="replay", REPLAY_FILE=str(market)) as pipeline:
        await pipeline.migrate()
        persister, analyzer = pipeline.start("persister"), pipeline.start("analyzer")
        pipeline.start("fetcher")
        sent = [await write_as_a_stranger(redis, number) for number in range(STRANGERS)]
        await pipeline.until(lambda: has_letters(redis, STRANGERS), "a dead letter of each stranger's entry")
        async with FaultProxy(redis_url).running() as proxy:
            lost = proxy.plan(Cut((b"retry_1",), times=10**9, reply_bytes=0))
            retries = [retry(pipeline, proxy.url), retry(pipeline, redis_url)]
            for service in (analyzer, persister):
                service.kill()
                pipeline.start(service.name)
            await pipeline.until(lambda: has_letters(redis, 0), "every letter to be retried")
            proxy.withdraw(lost)
            assert [await each.finish() for each in retries] == [0, 0]
        await pipeline.until(lambda: is_stored(redis), "everything in PostgreSQL")
        await pipeline.stop()
    await check_all(redis, database_url, sent)


def retry(pipeline: Pipeline, url: str) -> Service:
    """A retry of everything that is there."""
    service = pipeline.run("retry", "services.admin", "deadletters", "retry", "--all", REDIS_URL=url)
    service.may_end = True
    return service


async def write_as_a_stranger(redis: Redis, number: int) -> tuple[str, str]:
    """An entry without seq, and with a price that is not canonical; return ticker and event time, which name it."""
    ticker, ts = ("KO", "TSLA")[number % 2], str(TS + number)
    fields: Any = {"ticker": ticker, "price": f"{number + 1}.50", "ts": ts, "source": "stranger"}
    await redis.xadd(streams.ticks(partition_of(ticker, PARTITIONS)), fields)
    return ticker, ts


async def has_letters(redis: Redis, number: int) -> bool:
    return sum([await redis.xlen(streams.deadletters(p)) for p in range(PARTITIONS)]) == number


async def is_stored(redis: Any) -> bool:
    """Whether the replay is over, and every group has passed all of its stream."""
    number = sum([int(await redis.hget(streams.log(p), "seq") or 0) for p in range(PARTITIONS)])
    groups = [info for p in range(PARTITIONS) for key in (streams.ticks(p), streams.enriched(p)) for info in await redis.xinfo_groups(key)]
    return number == ROWS + STRANGERS and all(info["lag"] == 0 for info in groups)


async def check_all(redis: Any, database_url: str, sent: list[tuple[str, str]]) -> None:
    retried: Counter[tuple[str, str]] = Counter()
    rows = await rows_of(database_url)
    for p in range(PARTITIONS):
        ticks = [tick for _, fields in await redis.xrange(streams.ticks(p)) if (tick := tick_of(fields))]
        assert [tick.seq for tick in ticks] == [str(number + 1) for number in range(len(ticks))]
        retried.update((tick.ticker, tick.ts) for tick in ticks if tick.source == "stranger")
        expected = expect([(tick.ticker, tick.price) for tick in ticks], PERIOD)
        enriched = [fields for _, fields in await redis.xrange(streams.enriched(p))]
        assert [(e["ticker"], e["price"], e["sma"], e["alert"]) for e in enriched] == [tuple(judged) for judged in expected.judged]
        assert [row for row in rows if row[0] == p] == [(p, int(tick.seq), tick.ticker, tick.price) for tick in ticks]
        for ticker, window in expected.windows.items():
            assert await redis.lrange(streams.prices(p, ticker), 0, -1) == window
    assert retried == Counter(sent)


def tick_of(fields: dict[str, str]) -> Tick | None:
    """The entry, if it is a tick: a stranger's own stay in the stream, passed over."""
    try:
        return parse_tick(fields)
    except InvalidEntry:
        return None


async def rows_of(database_url: str) -> list[tuple[int, int, str, str]]:
    database = await asyncpg.connect(database_url)
    try:
        return [tuple(row) for row in await database.fetch("SELECT partition, seq, ticker, price::text FROM ticks ORDER BY partition, seq")]
    finally:
        await database.close()
