"""A feed ends when it is told to, at whatever point of a read that is."""

import asyncio

from services.gateway.feed import BLOCK_SECONDS, Feed, Outage
from services.gateway.hub import Hub
from shared.redis.client import connect
from tests.integration.gateway.market import Market


async def cancel_after(url: str, steps: int) -> None:
    """Start a feed and cancel it once, after so many turns of the loop."""
    hub = Hub(2, lambda: 0, lambda: None)
    async with connect(url, service="gateway", block_seconds=BLOCK_SECONDS) as redis:
        feed = asyncio.create_task(Feed(redis, 0, hub, Outage(), lambda: asyncio.sleep(0)).run())
        for _ in range(steps):
            await asyncio.sleep(0)
        feed.cancel()
        _, running = await asyncio.wait({feed}, timeout=5 * BLOCK_SECONDS)
        assert not running, f"a cancellation after {steps} turns was lost"


async def test_no_cancellation_is_lost_at_any_point_of_connecting_and_reading(market: Market, redis_url: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        for steps in range(60):
            tasks.create_task(cancel_after(redis_url, steps))
