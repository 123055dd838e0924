"""The analyzer at work on a full stream, against the textbook consumer group."""

import asyncio
import time
from statistics import median
from typing import Any

from redis.asyncio import Redis

from benchmarks.ground import CAP, PERIOD, TOKEN, Ground, append_all, make_batches, set_up
from benchmarks.report import Row
from services.analyzer.service import analyze
from services.analyzer.settings import AnalyzerSettings
from shared import streams
from shared.redis.client import connect
from shared.redis.lease import Lease
from shared.redis.log import read_hash

TICKS = 200_000
TEXTBOOK_TICKS = 20_000


async def measure(ground: Ground) -> list[Row]:
    """100 and 1 000 tickers; both sides in turn, three times, and the median of each."""
    rows = []
    async with ground.client() as redis:
        for tickers, wanted in ((100, 100_000.0), (1000, None)):
            batches, ours, theirs = make_batches(TICKS, tickers), [], []
            for _ in range(3):
                theirs.append(await _textbook(redis, tickers))
                await set_up(redis)
                await append_all(redis, batches)
                ours.append(await _analyze(ground, redis))
            what = f"analyze, {tickers} tickers, exactly once"
            rows.append(Row(what, median(ours), "ticks/s", wanted, against="textbook group", against_measured=median(theirs)))
        bytes_an_event = (await redis.memory_usage(streams.enriched(0), samples=0) or 0) / TICKS
    return [*rows, Row("Redis memory of an enriched event", bytes_an_event, "bytes", 85, at_most=True)]


async def _analyze(ground: Ground, redis: Redis) -> float:
    settings = AnalyzerSettings.model_validate({"redis_url": ground.redis_url, "stream_cap": CAP, "sma_period": PERIOD})
    lease = Lease("analyzer", 0, TOKEN)
    async with connect(ground.redis_url, service="bench", block_seconds=2) as reader:
        start = time.perf_counter()
        working = asyncio.create_task(analyze(redis, reader, lease, settings, block_ms=1000))
        while (await read_hash(redis, streams.log(0), ["cursor_seq"]))[0] != str(TICKS):
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - start
        lease.ended.set()
        await working
    return TICKS / seconds


async def _textbook(redis: Redis, tickers: int) -> float:
    """The same work as redis-py's documentation suggests it: XREADGROUP, a pipeline for the lists, one for events and XACK."""
    await redis.flushall()
    pipeline = redis.pipeline(transaction=False)
    for batch in make_batches(TEXTBOOK_TICKS, tickers):
        for ticker, price, ts, source, *_ in batch:
            pipeline.xadd("ticks", {"ticker": ticker, "price": price, "ts": ts, "source": source})
    await pipeline.execute()
    await redis.xgroup_create("ticks", "analyzer", "0")
    done, start = 0, time.perf_counter()
    while done < TEXTBOOK_TICKS:
        reply: Any = await redis.xreadgroup("analyzer", "c1", {"ticks": ">"}, count=500)
        entries = reply["ticks"][0]
        await _judge_as_the_textbook(redis, entries)
        done += len(entries)
    return TEXTBOOK_TICKS / (time.perf_counter() - start)


async def _judge_as_the_textbook(redis: Redis, entries: list[tuple[str, dict[str, str]]]) -> None:
    lists = redis.pipeline(transaction=True)
    for _, fields in entries:
        key = f"stock:{fields['ticker']}:prices"
        lists.rpush(key, fields["price"])
        lists.ltrim(key, -PERIOD, -1)
        lists.lrange(key, 0, -1)
    windows = (await lists.execute())[2::3]
    events = redis.pipeline(transaction=True)
    for (entry_id, fields), window in zip(entries, windows, strict=True):
        prices = [float(price) for price in window]
        sma = sum(prices) / PERIOD if len(prices) == PERIOD else ""
        events.xadd("enriched", {"ticker": fields["ticker"], "price": fields["price"], "sma": sma, "alert": "", "ts": fields["ts"]})
        events.xack("ticks", "analyzer", entry_id)
    await events.execute()
