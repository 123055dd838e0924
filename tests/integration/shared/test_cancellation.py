"""A cancelled call ends: whatever step it was at, the cancellation is not lost on the way."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.redis import log
from shared.redis.client import connect

STEPS = 30
"""More turns of the loop than a call on an open connection needs until it waits for its answer."""


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_read_that_is_cancelled_at_any_step_ends_as_cancelled(redis: Redis, redis_url: str, *, is_connected: bool) -> None:
    async with connect(redis_url, service="tests", block_seconds=60) as client:
        for step in range(STEPS):
            if is_connected:
                await client.ping()
            else:
                await client.connection_pool.disconnect()
            reading = asyncio.create_task(log.read(client, "ticks", 0, "0-0", count=1, block_ms=60_000))
            for _ in range(step):
                await asyncio.sleep(0)
            reading.cancel()
            done, _ = await asyncio.wait({reading}, timeout=5)
            assert done, f"cancelled at step {step}, the read goes on"
            assert reading.cancelled()
        assert await client.ping()
