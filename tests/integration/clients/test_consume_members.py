"""Several members of a group: who gets what, in which order, and what a member that died or slept does to the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tickstream_client.streams import Tick, consume

from shared import streams
from tests.integration.clients.consumer import Consumer, running
from tests.integration.clients.feed import SECONDS, Feed, founded, take, until

PARTITIONS = 4
SHORT = 0.5
"""LEASE_SECONDS of tests that wait for them to pass."""


class Reader:
    """A member as a task, and what its body has finished."""

    def __init__(self, url: str, lease_seconds: float) -> None:
        self.seen: list[Tick] = []
        self._consumption = consume("ticks", group="risk", redis_url=url, lease_seconds=lease_seconds, batch_size=10)

    async def run(self) -> None:
        """Consume for ever, not too fast."""
        async with self._consumption as ticks:
            async for tick in ticks:
                await asyncio.sleep(0)
                self.seen.append(tick)

    def seqs(self, partition: int = 0) -> list[int]:
        """The seqs of a partition, in the order in which they came."""
        return [tick.seq for tick in self.seen if tick.partition == partition]


@asynccontextmanager
async def reading(url: str, lease_seconds: float) -> AsyncIterator[Reader]:
    """A member that reads until the end of the block, and then leaves."""
    reader = Reader(url, lease_seconds)
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_members_that_come_and_go_share_the_partitions_and_each_event_is_seen_once_and_in_order(redis: Redis, redis_url: str) -> None:
    feed = await founded(redis, PARTITIONS)

    async def is_shared() -> bool:
        owners = await feed.owners("risk")
        return "" not in owners and len(set(owners)) == 2

    async with reading(redis_url, 5.0) as first:
        appending = asyncio.create_task(append_slowly(feed, 60))
        await until(lambda: has(first, 50))
        async with reading(redis_url, 5.0) as second:
            await until(is_shared)
            await until(lambda: has(second, 20))
        await appending
        await until(lambda: has_all(feed, 600, first, second))
    for p in range(PARTITIONS):
        assert sorted(first.seqs(p) + second.seqs(p)) == list(range(1, 601))
        assert all(reader.seqs(p) == sorted(reader.seqs(p)) for reader in (first, second))
        assert await feed.pending("risk", p) == []


async def append_slowly(feed: Feed, times: int) -> None:
    for _ in range(times):
        await feed.append_everywhere(10)
        await asyncio.sleep(0.02)  # spread over the time in which the second one joins; whatever falls when, the outcome is the same


async def has(reader: Reader, count: int) -> bool:
    return len(reader.seen) >= count


async def has_all(feed: Feed, each: int, *readers: Reader) -> bool:
    return sum(len(reader.seen) for reader in readers) >= each * feed.partitions


@pytest.fixture
async def feed(redis: Redis) -> Feed:
    """One partition with ten ticks."""
    feed = await founded(redis, 1)
    await feed.append(10)
    return feed


async def test_what_a_killed_member_left_comes_first_and_in_order(feed: Feed, redis_url: str, tmp_path: Path) -> None:
    with running(redis_url, tmp_path, SHORT, hold_at=4) as killed:
        await until(lambda: pending_from(feed, 3))
        killed.kill()
        assert killed.seen() == [1, 2, 3, 4]
    await feed.append(5)
    async with consume("ticks", group="risk", redis_url=redis_url, lease_seconds=SHORT) as ticks:
        assert [tick.seq for tick in await take(ticks, 12)] == list(range(4, 16))
    consumers = await feed.redis.xinfo_consumers(streams.ticks(0), "risk")
    assert [consumer["pending"] for consumer in consumers] == [1], "the dead one is gone, and only what is unfinished is left"


async def pending_from(feed: Feed, place: int) -> bool:
    return bool(await feed.group("risk")) and await feed.pending("risk") == (await feed.entry_ids())[place:]


async def test_a_stopped_member_swallows_nothing_when_it_goes_on(feed: Feed, redis_url: str, tmp_path: Path) -> None:
    """It wakes while entries wait that its successor has not taken yet."""
    with running(redis_url, tmp_path, SHORT) as stopped:
        await until(lambda: has_read_all(feed, 10))
        (name,) = await feed.owners("risk")
        stopped.pause()
        await feed.append(5)
        seqs = []
        async with (
            consume("ticks", group="risk", redis_url=redis_url, lease_seconds=SHORT, batch_size=1) as ticks,
            asyncio.timeout(SECONDS),
        ):
            async for tick in ticks:
                seqs.append(tick.seq)
                if tick.seq == 11:
                    await until(lambda: has_beaten(feed, name, 0))
                    stopped.go_on()
                    await until(lambda: has_beaten(feed, name, 3))
                if tick.seq == 15:
                    # Not later: whoever leaves gives the partition back, and the last tick, which it did not finish, to the other.
                    assert stopped.seen() == list(range(1, 11))
                    break
        assert seqs == [11, 12, 13, 14, 15]


async def has_read_all(feed: Feed, count: int) -> bool:
    group = await feed.group("risk")
    return bool(group) and (group["entries-read"], group["pending"]) == (count, 0)


async def has_beaten(feed: Feed, member: str, times: int) -> bool:
    """Whether a member, which was taken for dead, has said so often that it lives."""
    beats = int(await feed.redis.hget(streams.members("ticks.risk"), member) or 0)
    return beats >= times if times else not beats


async def test_a_member_that_is_stopped_in_mid_batch_hands_out_nothing_more_when_it_goes_on(
    feed: Feed, redis_url: str, tmp_path: Path
) -> None:
    """What it had in hand belongs to the other one by then: given out twice, the order would be torn."""
    await feed.append(990)
    with running(redis_url, tmp_path, SHORT, pause_at=4) as stopped:
        await until(lambda: has_seen(stopped, 4))
        async with consume("ticks", group="risk", redis_url=redis_url, lease_seconds=SHORT) as ticks, asyncio.timeout(SECONDS):
            seqs: list[int] = []
            async for tick in ticks:
                seqs.append(tick.seq)
                if len(seqs) == 3:
                    stopped.go_on()
                    await until(lambda: has_gone_on(stopped))
                if tick.seq == 1000:
                    # Not later, for the same reason as above.
                    assert stopped.seen() == [1, 2, 3, 4]
                    break
        assert seqs == list(range(seqs[0], 1001))
        assert seqs[0] <= 4


async def has_seen(consumer: Consumer, seq: int) -> bool:
    return seq in consumer.seen()


async def has_gone_on(consumer: Consumer) -> bool:
    return consumer.has_gone_on()
