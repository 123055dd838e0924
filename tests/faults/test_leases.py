"""Analyzers as processes that come, go, are killed, paused, or find Redis stalled: every partition is held, evenly, by the living."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from services.admin.migrate import migrate_redis
from shared import streams
from shared.redis.client import connect
from tests.e2e.market_data import PERIOD
from tests.e2e.pipeline import Pipeline, Service, until

PARTITIONS = 4
LEASE_SECONDS = 1.0
SERVICE = "analyzer"
BEATS = 7
"""Five are a lease."""


class Analyzers:
    """Analyzers on a Redis, and who of them holds what."""

    def __init__(self, redis: Any, pipeline: Pipeline) -> None:
        self.redis = redis
        self.pipeline = pipeline

    async def start(self, count: int = 1) -> list[Service]:
        """Start some; they are members when this returns."""
        started = [self.pipeline.start(SERVICE) for _ in range(count)]

        async def are_members() -> bool:
            names = await self.redis.hkeys(streams.members(SERVICE))
            return all(any(is_of(service, name) for name in names) for service in started)

        await self.pipeline.until(are_members, "all to be members")
        return started

    async def lease(self, partition: int, field: str) -> str:
        return str(await self.redis.hget(streams.lease(SERVICE, partition), field) or "")

    async def tokens(self) -> list[str]:
        return [await self.lease(p, "token") for p in range(PARTITIONS)]

    async def until_shared(self, shares: dict[Service, int]) -> None:
        """Wait until every partition is held, each service having so many."""

        async def are_shared() -> bool:
            owners = [await self.lease(p, "owner") for p in range(PARTITIONS)]
            return [sum(is_of(service, owner) for owner in owners) for service in shares] == list(shares.values())

        await self.pipeline.until(are_shared, f"partitions to be shared as {list(shares.values())}")

    async def until_even(self, services: list[Service]) -> None:
        """Wait until these hold everything, and none of them two more than another."""

        async def are_even() -> bool:
            owners = [await self.lease(p, "owner") for p in range(PARTITIONS)]
            loads = [sum(is_of(service, owner) for owner in owners) for service in services]
            return sum(loads) == PARTITIONS and max(loads) - min(loads) <= 1

        await self.pipeline.until(are_even, f"{len(services)} to hold all partitions in even shares")

    async def until_all_have_beaten(self) -> None:
        """Wait until each holder is seen to live."""
        for p in range(PARTITIONS):
            goal = int(await self.lease(p, "beats")) + BEATS

            async def has_beaten(p: int = p, goal: int = goal) -> bool:
                return int(await self.lease(p, "beats")) >= goal

            await self.pipeline.until(has_beaten, f"the holder of partition {p} to beat")

    async def consumers(self) -> set[str]:
        return {str(row["name"]) for p in range(PARTITIONS) for row in await self.redis.xinfo_consumers(streams.ticks(p), SERVICE)}


def is_of(service: Service, name: str) -> bool:
    """Whether a member of that name is the process."""
    return f":{service.process.pid}:" in name


async def until_taken(service: Service, count: int, because: str) -> None:
    """Wait until it has told of so many leases taken for that reason: Redis shows them as taken before it has the reply."""

    async def are_told() -> bool:
        return [line["because"] for line in service.said("lease taken")].count(because) == count

    await until(are_told, f"{service.name} to tell of {count} leases taken because {because}")


@pytest.fixture
async def analyzers(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[Analyzers]:
    """Nothing runs yet."""
    await migrate_redis(redis, PARTITIONS, PERIOD)
    async with Pipeline(redis_url, "", tmp_path, PARTITIONS, LEASE_SECONDS=str(LEASE_SECONDS)) as pipeline:
        yield Analyzers(redis, pipeline)


async def test_two_share_and_one_that_ends_hands_its_part_over(analyzers: Analyzers) -> None:
    (first,) = await analyzers.start()
    await analyzers.until_shared({first: 4})
    (second,) = await analyzers.start()
    await analyzers.until_shared({first: 2, second: 2})
    await until_taken(second, 2, because="its holder handed it over")
    assert len(first.said("handing a lease over")) == 2
    first.terminate()
    assert await first.finish() == 0
    await analyzers.until_shared({second: 4})
    await until_taken(second, 2, because="it was free")
    assert all(is_of(second, name) for name in await analyzers.consumers())
    analyzers.pipeline.check_logs()


async def test_one_that_is_killed_is_replaced_by_the_other_and_forgotten(analyzers: Analyzers) -> None:
    first, second = await analyzers.start(2)
    await analyzers.until_shared({first: 2, second: 2})
    first.kill()
    await analyzers.until_shared({second: 4})
    await until_taken(second, 2, because="its holder stood still")

    async def is_alone() -> bool:
        return all(is_of(second, name) for name in await analyzers.redis.hkeys(streams.members(SERVICE)))

    await analyzers.pipeline.until(is_alone, "the dead member to be taken away")
    assert all(is_of(second, name) for name in await analyzers.consumers())


@pytest.mark.long
async def test_one_to_four_and_back_to_one_leave_no_partition_unheld(analyzers: Analyzers) -> None:
    running = await analyzers.start()
    await analyzers.until_even(running)
    running += await analyzers.start(3)
    await analyzers.until_even(running)
    for number, service in enumerate(running[:-1]):
        if number == 1:
            service.kill()
        else:
            service.terminate()
            assert await service.finish() == 0
    await analyzers.until_even(running[-1:])
    await analyzers.until_all_have_beaten()
    analyzers.pipeline.check_logs()


async def test_one_that_was_paused_beyond_its_lease_ends_its_workers_and_gets_a_share_again(analyzers: Analyzers) -> None:
    first, second = await analyzers.start(2)
    await analyzers.until_shared({first: 2, second: 2})
    first.pause()
    await analyzers.until_shared({second: 4})
    first.go_on()
    await analyzers.until_shared({first: 2, second: 2})
    assert len(first.said("lease lost")) == 2
    analyzers.pipeline.check_logs()


@pytest.mark.long
@pytest.mark.parametrize("stall_seconds", [2.5 * LEASE_SECONDS, 8.0], ids=["without an error", "with errors"])
async def test_a_redis_that_stood_still_beyond_the_lease_moves_no_lease(
    redis_server: EmbeddedRedis, tmp_path: Path, stall_seconds: float
) -> None:
    async with (
        connect(redis_server.url, service="tests") as redis,
        Pipeline(redis_server.url, "", tmp_path, PARTITIONS, LEASE_SECONDS=str(LEASE_SECONDS)) as pipeline,
    ):
        await migrate_redis(redis, PARTITIONS, PERIOD)
        analyzers = Analyzers(redis, pipeline)
        first, second = await analyzers.start(2)
        await analyzers.until_shared({first: 2, second: 2})
        tokens = await analyzers.tokens()
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(stall_seconds)
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        await analyzers.until_all_have_beaten()
        assert await analyzers.tokens() == tokens
        await pipeline.stop()
        pipeline.check_logs()
