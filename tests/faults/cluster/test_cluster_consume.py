"""Consuming from a Redis Cluster: partitions on several primaries, slots that move and primaries that die lose nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tickstream_client.streams import CannotConsume, Gap, Tick, consume

from services.admin.migrate import load_library
from shared import streams
from shared.redis.client import TRY_AGAIN
from shared.redis.cluster import Cluster
from tests.faults.cluster.nodes import Nodes
from tests.integration.clients.feed import SECONDS, Feed, take

PARTITIONS = 4


@pytest.fixture
async def feed(nodes: Nodes) -> AsyncIterator[Feed]:
    """Four partitions, which lie on several primaries."""
    async with Cluster(nodes.url, service="tests") as client:
        await load_library(client)
        feed = Feed(client, PARTITIONS)
        await feed.found()
        yield feed


@asynccontextmanager
async def reading(nodes: Nodes, seen: list[Tick], gaps: list[Gap]) -> AsyncIterator[None]:
    """A member that reads until the end of the block."""

    async def read() -> None:
        async with consume("ticks", group="risk", redis_url=nodes.url, redis_cluster=True, lease_seconds=1, on_gap=gaps.append) as ticks:
            async for tick in ticks:
                seen.append(tick)

    task = asyncio.create_task(read())
    yield
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def append_to_all(feed: Feed, count: int) -> None:
    """Append ticks everywhere; a slot on its way, or without a primary for now, refuses, and nothing of it was stored."""
    for p in range(PARTITIONS):
        async with asyncio.timeout(2 * SECONDS):
            while True:
                try:
                    await feed.append(count, p)
                    break
                except TRY_AGAIN:
                    await asyncio.sleep(0.05)


async def until_seen(seen: list[Tick], each: int) -> None:
    """Wait until every partition's ticks are there, each once and in order."""
    async with asyncio.timeout(2 * SECONDS):
        while len(seen) < PARTITIONS * each:
            await asyncio.sleep(0.01)
    for p in range(PARTITIONS):
        assert [tick.seq for tick in seen if tick.partition == p] == list(range(1, each + 1))


async def test_partitions_on_several_primaries_are_read_while_a_slot_moves(nodes: Nodes, feed: Feed) -> None:
    seen: list[Tick] = []
    gaps: list[Gap] = []
    assert len({(await nodes.primary_of(streams.log(p))).address for p in range(PARTITIONS)}) > 1
    async with reading(nodes, seen, gaps):
        await append_to_all(feed, 100)
        before = await nodes.primary_of(streams.log(0))
        moving = asyncio.create_task(nodes.move_slot_of(streams.log(0)))
        for _ in range(50):
            await append_to_all(feed, 1)
        assert await moving != before
        await append_to_all(feed, 50)
        await until_seen(seen, 200)
    assert gaps == []


@pytest.mark.long
async def test_a_primary_that_dies_is_waited_out(nodes: Nodes, feed: Feed) -> None:
    seen: list[Tick] = []
    gaps: list[Gap] = []
    async with reading(nodes, seen, gaps):
        await append_to_all(feed, 100)
        await until_seen(seen, 100)
        await asyncio.sleep(1)  # replication is asynchronous: what it has not passed on yet is lost, and that is another test's
        await asyncio.to_thread((await nodes.primary_of(streams.log(0))).kill)
        await append_to_all(feed, 50)
        await until_seen(seen, 150)
    assert gaps == []


async def test_a_cluster_is_not_taken_for_a_single_redis(nodes: Nodes, feed: Feed) -> None:
    with pytest.raises(CannotConsume, match="redis_cluster=True"):
        await take(consume("ticks", group="risk", redis_url=nodes.url), 1)
