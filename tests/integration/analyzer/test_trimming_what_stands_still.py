"""An analyzer's trimming while nothing is written, and once something is."""

import asyncio
from typing import Any

import pytest

from services.analyzer import service
from services.analyzer.settings import AnalyzerSettings
from shared.redis import log
from shared.redis.client import connect
from shared.redis.lease import Lease
from tests.integration.partition import PartitionUnderTest

ROUNDS = 5


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[log.Trimmed]:
    """What Redis answered to each trim, where the turns are short and the longer one never ends by itself."""
    told: asyncio.Queue[log.Trimmed] = asyncio.Queue()
    trim = log.trim

    async def recorded(*args: Any, **options: Any) -> log.Trimmed:
        trimmed = await trim(*args, **options)
        told.put_nowait(trimmed)
        return trimmed

    monkeypatch.setattr(log, "trim", recorded)
    monkeypatch.setattr(service, "TRIM_SECONDS", 0.001)
    monkeypatch.setattr(service, "QUIET_SECONDS", 3600)
    return told


async def test_what_stands_still_is_left_alone_until_something_is_committed(
    partition: PartitionUnderTest, redis_url: str, answers: asyncio.Queue[log.Trimmed]
) -> None:
    settings = AnalyzerSettings.model_validate({"redis_url": redis_url, "sma_period": 3})
    lease = Lease("analyzer", 0, "a")
    async with asyncio.timeout(30), connect(redis_url, service="analyzer", block_seconds=2) as reader:
        analyzing = asyncio.create_task(service.analyze(partition.redis, reader, lease, settings, block_ms=50))
        for _ in range(2):  # at the start, and once the state was loaded
            assert (await answers.get()).is_quiet
        for _ in range(ROUNDS):
            while not lease.take_progress():
                await asyncio.sleep(0.01)
        assert answers.empty()

        await partition.append("1")
        for _ in range(2):  # again and again, for the persister has to read them
            assert (await answers.get()).holds["ticks"].group == "persister"
        lease.ended.set()
        await analyzing
