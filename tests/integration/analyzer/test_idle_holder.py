"""An analyzer that has nothing to do."""

import asyncio

from redis.asyncio import Redis

from services.analyzer.__main__ import serve
from services.analyzer.settings import AnalyzerSettings
from shared import streams
from shared.redis.log import read_hash
from tests.integration.partition import set_up

LEASE_SECONDS = 0.5
LOOKS = 60


async def test_of_two_idle_analyzers_the_first_keeps_its_partition(redis: Redis, redis_url: str) -> None:
    await set_up(redis)
    await redis.delete(streams.lease("analyzer", 0))
    settings = AnalyzerSettings.model_validate({"redis_url": redis_url, "partitions": 1, "sma_period": 3, "lease_seconds": LEASE_SECONDS})
    stop = asyncio.Event()
    idle = [asyncio.create_task(serve(settings, stop)) for _ in range(2)]
    tokens = set()
    for _ in range(LOOKS):
        await asyncio.sleep(LEASE_SECONDS / 10)
        tokens.add((await read_hash(redis, streams.lease("analyzer", 0), ["token"]))[0])
    stop.set()
    await asyncio.gather(*idle)
    assert len(tokens - {None}) == 1
