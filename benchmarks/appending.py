"""append, beside a pipeline of XADD."""

import time

from benchmarks.ground import Ground, append_all, make_batches, rounds, set_up, write_ticks
from benchmarks.peer import taking_turns
from benchmarks.report import Row, row
from shared import streams

TICKS = 200_000
THEIR_TICKS = 50_000
MOST_SECONDS = 20


async def measure(ground: Ground) -> list[Row]:
    """Both sides append the same ticks, in turn; they a quarter of them, for they take as long for it."""
    batches = make_batches(TICKS, 100)
    path = write_ticks(ground, batches[: THEIR_TICKS // 1000])
    ours, theirs = [], []
    async with ground.client() as redis, taking_turns("appending", ground.redis_url, path) as peer:
        for _ in rounds(MOST_SECONDS):
            await set_up(redis)
            start = time.perf_counter()
            await append_all(redis, batches)
            ours.append(TICKS / (time.perf_counter() - start))
            bytes_a_tick = (await redis.memory_usage(streams.ticks(0), samples=0) or 0) / TICKS
            theirs.append(await peer.take_turn())
    return [
        row(
            "append", "ticks/s", ours[1:],
            wanted=300_000, against="redis-py, pipeline of XADD", against_samples=theirs[1:], wanted_ratio=6,
        ),
        Row("Redis memory of a tick", bytes_a_tick, "bytes", 60, at_most=True),
    ]  # fmt: skip
