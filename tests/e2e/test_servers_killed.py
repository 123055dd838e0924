"""Redis and PostgreSQL that die (kill -9) in mid-run and come back: nothing is lost, nothing is doubled."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis
from shared.redis.client import connect
from tests.e2e.conftest import PARTITIONS
from tests.e2e.market_data import SPAN_SECONDS, outcome
from tests.e2e.pipeline import Pipeline, random_moments
from tests.e2e.playing import moments, run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer

KILLS = 2
PACE = str(SPAN_SECONDS / 3)
"""Three seconds for all of the file: a busy machine might store it between two looks."""
STALE_SECONDS = 3.0
"""The contract's bound for telling clients that Redis is away."""


@pytest.fixture
async def mortal_redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """A client of a Redis that may be killed; what it has answered is with the kernel, and survives the process.

    With `everysec` that holds only while the disk is idle: during an fsync Redis answers before it writes.
    """
    async with connect(redis_server.url, service="tests") as client:
        await client.config_set("appendfsync", "no")
        yield client


async def test_redis_killed_in_mid_run(
    redis_server: EmbeddedRedis, mortal_redis: Redis, database_url: str, replay_file: Path, tmp_path: Path
) -> None:
    proof = Proof(mortal_redis, database_url, outcome(PARTITIONS))
    variables = {"SOURCE": "replay", "REPLAY_FILE": str(replay_file)}
    async with Pipeline(redis_server.url, database_url, tmp_path, PARTITIONS, **variables) as pipeline:
        await pipeline.migrate()
        for name in ("gateway", "persister", "analyzer"):
            pipeline.start(name)
        async with Viewer(pipeline.port) as viewer:
            fetcher = pipeline.start("fetcher", REPLAY_SPEED=PACE)
            for number, moment in enumerate(moments(random_moments("redis"), proof.expected.ticks, KILLS)):
                assert await run_until(pipeline, proof, "analyzer", moment) or number > 0
                redis_server.kill()
                if number == 0:
                    await viewer.until(lambda book: book.stale == [True], "that Redis is away", STALE_SECONDS)
                await asyncio.to_thread(redis_server.start)
                await mortal_redis.connection_pool.disconnect()
                await mortal_redis.config_set("appendfsync", "no")
            assert await fetcher.finish() == 0
            await viewer.until(lambda book: not book.stale[-1], "that Redis is back")
            await run_to_the_end(pipeline, proof, viewer)
        assert viewer.connections == 1
    await proof.check_all(incarnations=KILLS + 1)
    assert len({name for p in range(PARTITIONS) for name in await proof.labels("enriched", p)}) > PARTITIONS
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)
    assert viewer.book.losses == []


async def test_postgresql_killed_in_mid_run(
    redis: Redis, redis_url: str, postgres_server: EmbeddedPostgres, replay_file: Path, tmp_path: Path
) -> None:
    proof = Proof(redis, postgres_server.url, outcome(PARTITIONS))
    variables = {"SOURCE": "replay", "REPLAY_FILE": str(replay_file)}
    async with Pipeline(redis_url, postgres_server.url, tmp_path, PARTITIONS, **variables) as pipeline:
        await pipeline.migrate()
        _, persister, _ = [pipeline.start(name) for name in ("gateway", "persister", "analyzer")]
        async with Viewer(pipeline.port) as viewer:
            fetcher = pipeline.start("fetcher", REPLAY_SPEED=PACE)
            for number, moment in enumerate(moments(random_moments("postgresql"), proof.expected.ticks, KILLS)):
                assert await run_until(pipeline, proof, "persister", moment) or number > 0
                postgres_server.kill()
                await pipeline.until(persister.has_said("waiting, nothing is lost"), "that PostgreSQL is missed")
                await asyncio.to_thread(postgres_server.start)
            assert await fetcher.finish() == 0
            # asyncpg says so of a connection that died within a transaction.
            await run_to_the_end(pipeline, proof, viewer, errors_allowed=("Resetting connection with an active transaction",))
    await proof.check_all()
    await proof.check_alerts_seen(viewer.book)
