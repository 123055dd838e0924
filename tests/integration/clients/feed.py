"""A deployment of some partitions whose ticks a test appends itself, through the real functions."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from tickstream_client.streams import Consumption

from services.admin.migrate import load_library
from shared import streams
from shared.redis import log
from shared.redis.cluster import at
from shared.redis.deployment import join

PERIOD = 3
SECONDS = 20.0
"""A guard against hanging; nothing here takes so long."""
LEASE_SECONDS = 1.0
"""Of members in tests where no lease is to run out by accident, but one may on purpose."""


class Feed:
    """Appends ticks to partitions; their prices are 1, 2, 3 …, as their seqs are while nobody else writes."""

    def __init__(self, redis: Any, partitions: int) -> None:
        self.redis = redis
        self.partitions = partitions
        self._numbers = [0] * partitions

    async def found(self) -> None:
        """Set the deployment up, and hold the fetcher's leases."""
        await join(self.redis, self.partitions, PERIOD)
        for p in range(self.partitions):
            keys = [name(p) for name in (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)]
            await log.call(self.redis, "acquire", [*keys, streams.lease("fetcher", p)], "fetcher", "me", f"f{p}", "", "")
        self._numbers = [0] * self.partitions

    async def append(self, count: int, partition: int = 0, ticker: str = "AAPL") -> None:
        """Append so many ticks to a partition."""
        first = self._numbers[partition] + 1
        now = str(time.time_ns() // 1_000_000)
        rows = [(ticker, str(price), now, "simulated", "", "", "") for price in range(first, first + count)]
        batch = log.freeze(first, rows)
        told = await log.append(self.redis, partition, token=f"f{partition}", producer="f", batch=batch, cap=100_000)
        assert told.answer is log.Answer.OK
        self._numbers[partition] += count

    def set_back(self, count: int, partition: int = 0) -> None:
        """Redis lost the last so many."""
        self._numbers[partition] -= count

    async def append_everywhere(self, count: int) -> None:
        """The same to every partition."""
        for p in range(self.partitions):
            await self.append(count, p)

    async def group(self, name: str, partition: int = 0, stream: str = "ticks") -> dict[str, Any]:
        """A group as XINFO GROUPS has it; empty if it is not there."""
        key = streams.stream(stream, partition)
        async with at(self.redis, key) as server:
            return next((row for row in await server.xinfo_groups(key) if row["name"] == name), {})

    async def pending(self, name: str, partition: int = 0, stream: str = "ticks") -> list[str]:
        """The entry ids that are pending, oldest first."""
        key = streams.stream(stream, partition)
        async with at(self.redis, key) as server:
            return [str(row["message_id"]) for row in await server.xpending_range(key, name, "-", "+", 10_000)]

    async def entry_ids(self, partition: int = 0, stream: str = "ticks") -> list[str]:
        """The ids of all entries."""
        key = streams.stream(stream, partition)
        async with at(self.redis, key) as server:
            return [str(entry_id) for entry_id, _ in await server.xrange(key) or ()]

    async def owners(self, group: str, stream: str = "ticks") -> list[str]:
        """Who holds each partition, empty for nobody."""
        found = []
        for p in range(self.partitions):
            key = streams.lease(f"{stream}.{group}", p)
            async with at(self.redis, key) as server:
                found.append(str(await server.hget(key, "owner") or ""))
        return found


async def founded(redis: Redis, partitions: int) -> Feed:
    """A fresh deployment."""
    await load_library(redis)
    feed = Feed(redis, partitions)
    await feed.found()
    return feed


async def take(events: AsyncIterator[Any] | Consumption[Any], count: int) -> list[Any]:
    """The next events. The loop is left in the body of the last one, which is thus not finished."""
    found: list[Any] = []
    async with asyncio.timeout(SECONDS):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until it holds."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.01)
