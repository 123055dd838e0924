"""redis-py: a consumer group as its documentation shows it. `grouping.py REDIS_URL TICKS_FILE PERIOD`.

XREADGROUP of 500 entries, a pipeline for the lists, one for events and XACK. At least once, binary floats, no crossover.
"""

import sys
import time

from redis.asyncio import Redis
from turns import read_batches, take_turns

URL, FILE, PERIOD = sys.argv[1], sys.argv[2], int(sys.argv[3])
COUNT = 500
ticks = [tick for batch in read_batches(FILE) for tick in batch]


async def analyze(first: int) -> float:
    """Work off the first ticks; ticks a second."""
    async with Redis.from_url(URL, protocol=3, decode_responses=True) as redis:
        await redis.flushall()
        await fill(redis, first)
        await redis.xgroup_create("ticks", "analyzer", "0")
        done, start = 0, time.perf_counter()
        while done < first:
            reply = await redis.xreadgroup("analyzer", "c1", {"ticks": ">"}, count=COUNT)
            entries = reply["ticks"][0]
            await judge(redis, entries)
            done += len(entries)
        return first / (time.perf_counter() - start)


async def fill(redis, first: int) -> None:
    """What is to be worked off."""
    for start in range(0, first, 1000):
        pipeline = redis.pipeline(transaction=False)
        for ticker, price, ts, source, *_ in ticks[start : min(first, start + 1000)]:
            pipeline.xadd("ticks", {"ticker": ticker, "price": price, "ts": ts, "source": source})
        await pipeline.execute()


async def judge(redis, entries) -> None:
    """Averages of a batch."""
    lists = redis.pipeline(transaction=True)
    for _, fields in entries:
        key = f"stock:{fields['ticker']}:prices"
        lists.rpush(key, fields["price"]).ltrim(key, -PERIOD, -1).lrange(key, 0, -1)
    windows = (await lists.execute())[2::3]
    events = redis.pipeline(transaction=True)
    for (entry_id, fields), window in zip(entries, windows, strict=True):
        prices = [float(price) for price in window]
        sma = sum(prices) / PERIOD if len(prices) == PERIOD else ""
        events.xadd("enriched", {"ticker": fields["ticker"], "price": fields["price"], "sma": sma, "alert": "", "ts": fields["ts"]})
        events.xack("ticks", "analyzer", entry_id)
    await events.execute()


take_turns(analyze)
