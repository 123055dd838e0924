"""Fixtures of the examples' tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.e2e.pipeline import Pipeline
from tests.examples.running import PARTITIONS, market


@pytest.fixture
async def playing(redis_url: str, redis: Redis, database_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """A pipeline that will play the market as fast as it goes; nothing of it runs yet."""
    file = tmp_path / "market.csv"
    file.write_text(market().text, encoding="ascii")
    async with Pipeline(redis_url, database_url, tmp_path, PARTITIONS, SOURCE="replay", REPLAY_FILE=str(file)) as pipeline:
        await pipeline.migrate()
        yield pipeline
        await pipeline.stop()
        pipeline.check_logs()
