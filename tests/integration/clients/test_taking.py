"""What is taken from a group is taken by the holder of the lease alone, and a take whose answer was lost is not followed by the next."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import WatchError
from tickstream_client.streams import consume
from tickstream_client.streams.servers import Single
from tickstream_client.streams.taking import Fenced, PartitionGroup

from shared import streams
from tests.faults.proxy import Cut, FaultProxy, Late
from tests.integration.clients.feed import SECONDS, Feed, founded, until

LEASE = streams.lease("ticks.risk", 0)


@pytest.fixture
async def feed(redis: Redis) -> Feed:
    """One partition with ten ticks."""
    feed = await founded(redis, 1)
    await feed.append(10)
    return feed


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[FaultProxy]:
    """Between a member and Redis."""
    async with FaultProxy(redis_url).running() as running:
        yield running


def group(servers: Single, token: str) -> PartitionGroup:
    """The group `risk` as somebody with that token works on it."""
    return PartitionGroup(servers, "ticks", "risk", 0, f"host:1:{token}00000", token)


async def test_who_has_not_the_lease_takes_nothing_and_makes_nothing(feed: Feed, redis_url: str) -> None:
    servers = Single(redis_url)
    mine, theirs = group(servers, "a"), group(servers, "b")
    try:
        await feed.redis.hset(LEASE, "token", "a")
        await mine.create("beginning", None)
        await mine.take(3)
        before = await feed.redis.execute_command("DUMP", streams.ticks(0), NEVER_DECODE=True)
        for step in (theirs.take(3), theirs.create("beginning", None), theirs.join(), theirs.leave()):
            with pytest.raises(Fenced):
                await step
        assert await feed.redis.execute_command("DUMP", streams.ticks(0), NEVER_DECODE=True) == before
    finally:
        await servers.aclose()


async def test_a_take_that_arrives_after_the_lease_went_is_void(feed: Feed, proxy: FaultProxy, redis_url: str) -> None:
    """Everything was looked at and found right; then the process was stopped."""
    servers, late_servers = Single(redis_url), Single(proxy.url)
    mine, theirs = group(late_servers, "a"), group(servers, "b")
    try:
        await feed.redis.hset(LEASE, "token", "a")
        await mine.create("beginning", None)
        late = proxy.plan(Late((b"XREADGROUP",), seconds=1))
        with pytest.raises(WatchError):
            await mine.take(10)
        assert late.hits == 1
        await feed.redis.hset(LEASE, "token", "b")
        before = await transactions(feed)
        await until(lambda: have_come(feed, before + 1))
        assert [row.fields[1] for row in (await theirs.take(2)).rows] == ["1", "2"]
    finally:
        await servers.aclose()
        await late_servers.aclose()


async def transactions(feed: Feed) -> int:
    """How many Redis was asked to execute."""
    told = await feed.redis.info("commandstats")
    return int(told.get("cmdstat_exec", {"calls": 0})["calls"])


async def have_come(feed: Feed, count: int) -> bool:
    return await transactions(feed) >= count


@pytest.mark.parametrize("command", [b"XREADGROUP", b"XACK", b"XCLAIM", b"acquire_1", b"heartbeat_1"])
async def test_a_lost_answer_loses_and_reorders_nothing(feed: Feed, proxy: FaultProxy, command: bytes) -> None:
    lost = proxy.plan(Cut((command,), times=4, reply_bytes=0))
    async with consume("ticks", group="risk", redis_url=proxy.url, batch_size=2, lease_seconds=1) as ticks, asyncio.timeout(SECONDS):
        if command == b"XCLAIM":
            proxy.plan(Cut((b"XREADGROUP",), times=1, reply_bytes=0))
        seqs = []
        async for tick in ticks:
            seqs.append(tick.seq)
            while tick.seq == 9 and not lost.cuts:
                await asyncio.sleep(0.01)
            if tick.seq == 10:
                break
    assert seqs == list(range(1, 11))
    assert lost.cuts
