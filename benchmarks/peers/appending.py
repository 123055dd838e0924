"""redis-py: a pipeline of XADD for each batch of 1 000, without a transaction. `appending.py REDIS_URL TICKS_FILE`."""

import sys
import time

from redis.asyncio import Redis
from turns import read_batches, take_turns

URL, FILE = sys.argv[1:]
FIELDS = ("ticker", "price", "ts", "source", "volume", "quote_ts", "shed")
batches = read_batches(FILE)


async def append() -> float:
    """Append everything to an empty server; ticks a second."""
    async with Redis.from_url(URL, protocol=3) as redis:
        await redis.flushall()
        start = time.perf_counter()
        for batch in batches:
            pipeline = redis.pipeline(transaction=False)
            for tick in batch:
                pipeline.xadd("plain", dict(zip(FIELDS, tick, strict=True)))
            await pipeline.execute()
        return sum(map(len, batches)) / (time.perf_counter() - start)


take_turns(append)
