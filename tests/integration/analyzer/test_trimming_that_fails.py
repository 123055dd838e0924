"""An analyzer whose trimming ends with an error that nobody expects."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from services.analyzer.service import analyze
from services.analyzer.settings import AnalyzerSettings
from shared.crash_points import CrashPoint, Fault, InjectedError, Kind, arm
from shared.redis.lease import Lease
from tests.integration.partition import set_up


@pytest.fixture
def trimming_fails() -> Iterator[None]:
    """From its second round on."""
    arm(Fault(CrashPoint.ANALYZER_BEFORE_TRIM, 2, Kind.RAISE))
    yield
    arm(None)


@pytest.mark.usefixtures("trimming_fails")
async def test_worker_whose_trimming_fails_fails_too_instead_of_letting_the_streams_fill_up(redis: Redis, redis_url: str) -> None:
    await set_up(redis)
    settings = AnalyzerSettings.model_validate({"redis_url": redis_url, "partitions": 1, "sma_period": 3})
    lease = Lease("analyzer", 0, "a")
    async with asyncio.timeout(20):
        with pytest.raises(InjectedError):
            await analyze(redis, redis, lease, settings, block_ms=100)
