"""A call that is cancelled, or whose connection dies, ends as that and as nothing else, whatever step it was at."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.redis import log
from shared.redis.client import REDIS_AWAY, connect

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


def test_a_write_to_a_connection_that_just_died_means_that_redis_is_away_also_with_uvloop(redis_url: str) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def write_to_the_dead() -> None:
        async with connect(redis_url, service="tests") as client:
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            connection._writer.transport.abort()
            try:
                with pytest.raises(REDIS_AWAY):
                    await connection.send_command("PING")
            finally:
                await pool.release(connection)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(write_to_the_dead())
