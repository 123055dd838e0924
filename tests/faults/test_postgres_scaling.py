"""Persisters that come and go under load: every row once, and hardly a batch that two of them tried to store."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from shared import streams
from tests.e2e.market_data import SPAN_SECONDS, outcome, recording
from tests.e2e.pipeline import Pipeline, Service
from tests.e2e.playing import run_until
from tests.e2e.proof import Proof
from tests.observed import Observed

PARTITIONS = 4


@pytest.mark.long
async def test_from_one_persister_to_three_and_back_to_one_under_load(
    redis: Redis, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    market = tmp_path / "market.csv"
    market.write_text(recording(every=1).text, encoding="ascii")
    proof = Proof(redis, database_url, outcome(PARTITIONS, every=1))
    ticks = proof.expected.ticks
    async with Pipeline(redis_url, database_url, tmp_path, PARTITIONS, SOURCE="replay", REPLAY_FILE=str(market)) as pipeline:
        await pipeline.migrate()
        persisters = Persisters(pipeline, proof)
        await persisters.grow_to(1)
        pipeline.start("analyzer")
        pipeline.start("fetcher", REPLAY_SPEED=str(SPAN_SECONDS / 5))
        for moment, count in ((0.1, 3), (0.3, 1), (0.5, 3), (0.7, 1)):
            await run_until(pipeline, proof, "persister", int(ticks * moment))
            await (persisters.grow_to(count) if count > 1 else persisters.shrink_to(count))
        await pipeline.until(proof.is_complete, "all of the file in both streams and in PostgreSQL")
        await persisters.shrink_to(0)
        await pipeline.stop()
        pipeline.check_logs()
    await proof.check_all()
    print(f"{persisters.takings} times a partition was taken, {persisters.elsewhere:g} batches were stored elsewhere")
    # A batch under way when its partition changes hands may be tried twice, a stream at a time.
    assert persisters.elsewhere <= persisters.takings * len(streams.STREAMS)


class Persisters:
    """Those at work, oldest first, and what those that ended had counted."""

    def __init__(self, pipeline: Pipeline, proof: Proof) -> None:
        self.elsewhere = 0.0
        self.takings = 0
        self._pipeline = pipeline
        self._proof = proof
        self._running: list[tuple[Service, Observed]] = []

    async def grow_to(self, count: int) -> None:
        """Start more, and wait until they have started."""
        while len(self._running) < count:
            port = find_free_port()
            service = self._pipeline.start("persister", METRICS_PORT=str(port))
            self._running.append((service, Observed(port)))
            await self._pipeline.until(self._running[-1][1].is_ready, "a persister to be ready")

    async def shrink_to(self, count: int) -> None:
        """End the oldest ones in order; the others take over."""
        while len(self._running) > count:
            service, observed = self._running.pop(0)
            self.elsewhere += await observed.total("tickstream_persister_transactions_total", outcome="elsewhere")
            service.terminate()
            assert await service.finish() == 0
            self.takings += len(service.said("lease taken"))
        if count:
            await self._pipeline.until(self._all_held, "all partitions to be held by those that stayed")

    async def _all_held(self) -> bool:
        owners = [str(await self._proof.redis.hget(streams.lease("persister", p), "owner")) for p in range(PARTITIONS)]
        return all(any(f":{service.process.pid}:" in owner for service, _ in self._running) for owner in owners)
