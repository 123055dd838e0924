"""FastStream on Redis Streams, as its documentation shows a group's subscriber. `streaming.py REDIS_URL TICKS_FILE PERIOD each|batch`.

`each`: the handler is called for every message; `batch`: with up to 500 of them. At least once, binary floats, no crossover.
"""

import asyncio
import logging
import sys
import time

from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel
from redis.asyncio import Redis
from turns import read_batches, take_turns

URL, FILE, PERIOD, FORM = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
COUNT = 500
ticks = [tick for batch in read_batches(FILE) for tick in batch]


class Tick(BaseModel):
    """A message."""

    ticker: str
    price: float
    ts: int


class Enriched(Tick):
    """What becomes of it."""

    sma: float | None


class Progress:
    """How many messages were worked off, until all are."""

    def __init__(self, all_: int) -> None:
        self._left = all_
        self.ended = asyncio.Event()

    def count(self, done: int) -> None:
        """So many more."""
        self._left -= done
        if self._left <= 0:
            self.ended.set()


async def analyze(first: int) -> float:
    """Work off the first ticks; ticks a second."""
    redis = Redis.from_url(URL, protocol=3, decode_responses=True)
    await redis.flushall()
    broker = RedisBroker(URL, logger=logging.getLogger("silent"), log_level=logging.DEBUG)
    progress = Progress(first)
    {"each": subscribe_to_each, "batch": subscribe_to_batches}[FORM](broker, redis, progress)
    await broker.connect()
    await fill(broker, redis, first)
    await redis.xgroup_create("ticks", "analyzer", "0")
    start = time.perf_counter()
    async with broker:
        await broker.start()
        await progress.ended.wait()
        seconds = time.perf_counter() - start
    await redis.aclose()
    return first / seconds


def subscribe_to_each(broker: RedisBroker, redis: Redis, progress: Progress) -> None:
    """A call a message."""

    @broker.subscriber(stream=StreamSub("ticks", group="analyzer", consumer="c1", max_records=COUNT))
    async def handle(tick: Tick) -> None:
        (event,) = await average(redis, [tick])
        await broker.publish(event, stream="enriched")
        progress.count(1)


def subscribe_to_batches(broker: RedisBroker, redis: Redis, progress: Progress) -> None:
    """A call for all that one read gave."""

    @broker.subscriber(stream=StreamSub("ticks", group="analyzer", consumer="c1", max_records=COUNT, batch=True))
    async def handle(batch: list[Tick]) -> None:
        events = redis.pipeline(transaction=True)
        for event in await average(redis, batch):
            await broker.publish(event, stream="enriched", pipeline=events)
        await events.execute()
        progress.count(len(batch))


async def average(redis: Redis, batch: list[Tick]) -> list[Enriched]:
    """Events of these ticks, with the windows in Redis."""
    lists = redis.pipeline(transaction=True)
    for tick in batch:
        key = f"stock:{tick.ticker}:prices"
        lists.rpush(key, tick.price).ltrim(key, -PERIOD, -1).lrange(key, 0, -1)
    windows = [[float(price) for price in window] for window in (await lists.execute())[2::3]]
    return [
        Enriched(ticker=tick.ticker, price=tick.price, ts=tick.ts, sma=sum(window) / PERIOD if len(window) == PERIOD else None)
        for tick, window in zip(batch, windows, strict=True)
    ]


async def fill(broker, redis, first: int) -> None:
    """What is to be worked off, as FastStream itself writes it."""
    for start in range(0, first, 1000):
        pipeline = redis.pipeline(transaction=False)
        for ticker, price, ts, *_ in ticks[start : min(first, start + 1000)]:
            await broker.publish(Tick(ticker=ticker, price=float(price), ts=int(ts)), stream="ticks", pipeline=pipeline)
        await pipeline.execute()


take_turns(analyze)
