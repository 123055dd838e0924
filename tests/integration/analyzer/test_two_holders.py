"""Two processes that both believe to hold a partition: a suspended machine that was copied, or a lease that failed."""

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.analyzer.service import Reload, _Worker
from services.analyzer.settings import AnalyzerSettings
from services.analyzer.state_machine import StateMachine
from shared import streams
from shared.redis import log
from shared.redis.lease import Lease
from tests.integration.partition import PartitionUnderTest


async def test_a_holder_that_finds_missing_what_the_other_passed_and_trimmed_loads_again(
    partition: PartitionUnderTest, redis: Redis
) -> None:
    slow = await log.load(redis, 0)
    await partition.append("1", "2", "3", "4")
    await partition.analyze()
    await partition.redis.xtrim(streams.ticks(0), maxlen=1, approximate=False)  # as `trim` does behind the groups
    found = await log.read(redis, "ticks", 0, slow.cursor, count=10, block_ms=0)
    digest = StateMachine(slow).digest(found.entries, found.seq)
    committed = await partition.commit(slow, digest)
    assert (committed.answer, digest.missing) == (log.Answer.DUP, ((1, 3),))
    settings = AnalyzerSettings(redis_url=SecretStr("redis://unused"), sma_period=partition.period)
    worker = _Worker(redis, redis, Lease("analyzer", 0, "a"), settings, 0)
    # With the windows it has it would go on from the right cursor, and commit wrong averages.
    with pytest.raises(Reload):
        worker._settle(committed.answer, digest)
