"""append, against a pipeline of XADD."""

import time

from benchmarks.ground import Ground, append_all, make_batches, set_up
from benchmarks.report import Row
from shared import streams

TICKS = 200_000
FIELDS = ("ticker", "price", "ts", "source", "volume", "quote_ts", "shed")


async def measure(ground: Ground) -> list[Row]:
    """Both sides append the same ticks, three times in turn; medians."""
    batches = make_batches(TICKS, 100)
    ours, theirs = [], []
    async with ground.client() as redis:
        for _ in range(3):
            await set_up(redis)
            start = time.perf_counter()
            await append_all(redis, batches)
            ours.append(TICKS / (time.perf_counter() - start))
            bytes_a_tick = (await redis.memory_usage(streams.ticks(0), samples=0) or 0) / TICKS
            await redis.flushall()
            start = time.perf_counter()
            for batch in batches[: len(batches) // 4]:
                pipeline = redis.pipeline(transaction=False)
                for tick in batch:
                    pipeline.xadd("plain", dict(zip(FIELDS, tick, strict=True)))
                await pipeline.execute()
            theirs.append(TICKS / 4 / (time.perf_counter() - start))
    return [
        Row("append", sorted(ours)[1], "ticks/s", 250_000, against="pipeline of XADD", against_measured=sorted(theirs)[1]),
        Row("Redis memory of a tick", bytes_a_tick, "bytes", 60, at_most=True),
    ]
