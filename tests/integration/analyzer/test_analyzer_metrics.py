"""What the analyzer counts when something is wrong: bad entries, deleted ones, a full stream, a state that is not as remembered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.analyzer.measures import HOP
from services.analyzer.service import analyze
from services.analyzer.settings import AnalyzerSettings
from shared import metrics, streams
from shared.redis.client import connect
from shared.redis.lease import Lease
from tests.integration.partition import PartitionUnderTest
from tests.observed import Gain, total


@pytest.fixture(autouse=True)
def measured_from_now_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are the process', and so is what other tests left there: the step model kills analyzers, and sets clocks ahead."""
    metrics.ANALYZER_LAG.clear()
    monkeypatch.setattr(HOP, "_done_ms", 0)


@asynccontextmanager
async def analyzing(redis: Redis, redis_url: str, **settings: object) -> AsyncIterator[None]:
    """An analyzer at work on partition 0."""
    lease = Lease("analyzer", 0, "a")
    model = AnalyzerSettings.model_validate({"redis_url": redis_url, "sma_period": 3, **settings})
    async with connect(redis_url, service="analyzer", block_seconds=2) as reader:
        task = asyncio.create_task(analyze(redis, reader, lease, model, block_ms=50))
        try:
            yield
        finally:
            lease.ended.set()
            await task


def gain(name: str, **labels: str) -> Gain:
    return Gain("analyzer", f"tickstream_analyzer_{name}", **labels)


async def test_ticks_alerts_and_commits_are_counted(partition: PartitionUnderTest, redis_url: str) -> None:
    ticks, bullish, bearish = gain("ticks_total"), gain("alerts_total", direction="bullish"), gain("alerts_total", direction="bearish")
    commits, seconds, entries = gain("commits_total", answer="OK"), gain("commit_seconds_count"), gain("batch_entries_sum")
    hop = Gain("analyzer", "tickstream_hop_seconds_count", hop="fetcher_to_analyzer")
    await partition.append("1", "2", "3", "1", "9", "1")
    async with analyzing(partition.redis, redis_url):
        await ticks.reaches(6)
        assert (commits.value, seconds.value, entries.value, hop.value) == (1, 1, 6, 1)
        assert (bullish.value, bearish.value) == (1, 2)
        assert total("analyzer", "tickstream_newest_entry_age_seconds", hop="fetcher_to_analyzer") > 0


async def test_bad_entries_are_counted_as_dead_letters_and_not_as_ticks(partition: PartitionUnderTest, redis_url: str) -> None:
    ticks, deadletters = gain("ticks_total"), gain("entries_deadlettered_total")
    await partition.append("1")
    await partition.redis.xadd(streams.ticks(0), {"no": "tick"})
    async with analyzing(partition.redis, redis_url):
        await deadletters.reaches(1)
        await ticks.reaches(1)


async def test_deleted_ticks_are_counted_as_missing(partition: PartitionUnderTest, redis_url: str) -> None:
    missing = gain("ticks_missing_total")
    await partition.append("1", "2", "3", "4")
    first, second, *_ = await partition.redis.xrange(streams.ticks(0))
    await partition.redis.xdel(streams.ticks(0), first[0], second[0])
    async with analyzing(partition.redis, redis_url):
        await missing.reaches(2)


async def test_a_new_incarnation_is_counted_as_a_reload(partition: PartitionUnderTest, redis_url: str) -> None:
    reloads, ticks = gain("reloads_total"), gain("ticks_total")
    async with analyzing(partition.redis, redis_url):
        await partition.append("1")
        await ticks.reaches(1)
        await partition.restart_server()
        await partition.append("2")
        await ticks.reaches(2)
        assert reloads.value >= 1


async def test_trimmed_entries_are_counted_by_stream(partition: PartitionUnderTest, redis_url: str) -> None:
    trimmed = {stream: gain("trimmed_entries_total", stream=stream) for stream in ("ticks", "enriched")}
    await partition.append("1", "2", "3")
    async with analyzing(partition.redis, redis_url, replay_window_seconds=0):
        async with asyncio.timeout(10):
            while await partition.redis.xlen(streams.enriched(0)) < 3:
                await asyncio.sleep(0.01)
        for stream in (streams.ticks(0), streams.enriched(0)):
            await partition.redis.xgroup_setid(stream, "persister", "$")
        for gained in trimmed.values():
            await gained.reaches(2)  # the last one read stays


async def test_answers_of_a_full_stream_are_counted(partition: PartitionUnderTest, redis_url: str) -> None:
    full, ticks = gain("commits_total", answer="FULL"), gain("ticks_total")
    await partition.append("1", "2", "3")
    await partition.analyze()
    await partition.append("4")
    async with analyzing(partition.redis, redis_url, stream_cap=3):
        await full.begins()
    assert ticks.value == 0


async def test_lag_is_that_of_held_partitions_only(partition: PartitionUnderTest, redis_url: str) -> None:
    await partition.append("1")
    ticks = gain("ticks_total")
    async with analyzing(partition.redis, redis_url):
        await ticks.reaches(1)
        assert total("analyzer", "tickstream_analyzer_lag_entries", partition="0") == 0
        assert "partition" in labels_of_lag()
    assert labels_of_lag() == ""


def labels_of_lag() -> str:
    from shared.metrics import exposition, registry_of

    page = exposition(registry_of("analyzer")).decode()
    return "".join(line for line in page.splitlines() if line.startswith("tickstream_analyzer_lag_entries{"))
