"""The guard's look at Redis: what it times is really appended and committed."""

import pytest
from redis.asyncio import Redis

from benchmarks import redis_costs
from shared import streams


async def test_each_batch_is_appended_and_committed_and_has_its_cost(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(redis_costs, "SAMPLES", 1)
    monkeypatch.setattr(redis_costs, "TICKS", 3000)
    costs = await redis_costs.count(redis_url)
    assert list(costs) == ["append: a tick", "commit: a tick, 100 tickers", "commit: a tick, 1,000 tickers"]
    assert min(costs.values()) > 0
    assert await redis.xlen(streams.enriched(0)) == 3000
    assert await redis.xlen(redis_costs.PLAIN) == 3000
