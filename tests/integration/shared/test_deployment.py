"""What all services of a deployment agree on: who founds it, who is refused and why."""

import asyncio
import json

import pytest
from redis.asyncio import Redis

from services.admin.migrate import load_library, migrate_redis
from shared import streams
from shared.errors import ConfigurationError, NotReady, TransientError
from shared.redis import log
from shared.redis.deployment import REQUIRED_GROUPS, REQUIRED_WITHOUT_PERSISTER, Deployment, join, prepare


@pytest.fixture
async def ready(redis: Redis) -> Redis:
    """An empty Redis with the function library."""
    await load_library(redis)
    return redis


async def test_the_first_to_join_founds_the_deployment_and_prepares_every_partition(ready: Redis) -> None:
    deployment = await join(ready, 3, 5)
    assert deployment == Deployment(3, 5, json.dumps(REQUIRED_GROUPS, separators=(",", ":")))
    assert await ready.hgetall(streams.CONFIG) == {"partitions": "3", "sma_period": "5", "required": deployment.required}
    for partition in range(3):
        head = await log.head(ready, partition)
        assert (head.lineage, head.last_seq) == ((), {"ticks": 0, "enriched": 0, "events": 0})
        assert await ready.hget(streams.log(partition), "period") == "5"


async def test_whoever_joins_with_the_same_values_changes_nothing(ready: Redis) -> None:
    first = await join(ready, 2, 5)
    before = {p: await ready.hgetall(streams.log(p)) for p in range(2)}
    assert await join(ready, 2, 5) == first
    assert {p: await ready.hgetall(streams.log(p)) for p in range(2)} == before


async def test_of_many_that_join_at_once_with_different_values_one_founds_and_the_others_are_refused(ready: Redis) -> None:
    joined = await asyncio.gather(*(join(ready, partitions, 5) for partitions in range(1, 9)), return_exceptions=True)
    founders = [found for found in joined if isinstance(found, Deployment)]
    assert len(founders) == 1
    assert sum(isinstance(found, ConfigurationError) for found in joined) == 7
    assert await ready.hget(streams.CONFIG, "partitions") == str(founders[0].partitions)


async def refused(redis: Redis, partitions: int, sma_period: int) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        await join(redis, partitions, sma_period)
    return str(error.value).splitlines()


async def test_other_partitions_are_refused_naming_both(ready: Redis) -> None:
    await join(ready, 4, 5)
    assert await refused(ready, 8, 5) == ["PARTITIONS=8: this deployment was set up with PARTITIONS=4; it is fixed for a deployment"]


async def test_another_period_is_refused_naming_both_and_what_changes_it(ready: Redis) -> None:
    await join(ready, 4, 5)
    assert await refused(ready, 4, 20) == ["SMA_PERIOD=20: this deployment was set up with SMA_PERIOD=5; `tickstream migrate` changes it"]


async def test_both_are_named_at_once_and_nothing_is_written(ready: Redis) -> None:
    await join(ready, 1, 5)
    lines = await refused(ready, 2, 20)
    assert [line.split("=")[0] for line in lines] == ["PARTITIONS", "SMA_PERIOD"]
    assert await ready.exists(streams.log(1)) == 0


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_a_redis_that_may_evict_is_refused_with_the_reason(ready: Redis, policy: str) -> None:
    try:
        await ready.config_set("maxmemory-policy", policy)
        (line,) = await refused(ready, 4, 5)
    finally:
        await ready.config_set("maxmemory-policy", "noeviction")
    assert line == (
        f"REDIS_URL=(hidden): Redis has maxmemory-policy {policy}, which deletes whole streams when memory is short; set it to noeviction"
    )
    assert await ready.dbsize() == 0


async def test_a_missing_function_library_is_not_ready_and_says_what_to_do(ready: Redis) -> None:
    await ready.function_delete(log.LIBRARY)
    with pytest.raises(NotReady, match=r"configure_1 is not loaded in Redis; run `tickstream migrate`"):
        await join(ready, 4, 5)


async def test_a_config_of_a_wrong_type_is_waited_out_and_left_alone(ready: Redis) -> None:
    await ready.set(streams.CONFIG, "somebody's")
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await join(ready, 4, 5)
    assert await ready.get(streams.CONFIG) == "somebody's"


async def test_a_lost_config_is_written_again_and_heads_that_are_there_stay(ready: Redis) -> None:
    await join(ready, 2, 5)
    before = await log.head(ready, 0)
    await ready.delete(streams.CONFIG, streams.log(1))
    assert (await join(ready, 2, 5)).partitions == 2
    assert await log.head(ready, 0) == before
    assert (await log.head(ready, 1)).incarnation


async def test_who_knows_a_deployment_without_a_persister_founds_it_again_without(ready: Redis) -> None:
    await migrate_redis(ready, 1, 5, with_persister=False)
    known = await join(ready, 1, 5)
    assert json.loads(known.required) == REQUIRED_WITHOUT_PERSISTER
    await ready.flushdb()
    assert await join(ready, 1, 5, known=known) == known
    assert await ready.hget(streams.log(0), "required") == known.required


async def test_required_groups_that_changed_reach_the_head_of_a_partition(ready: Redis) -> None:
    deployment = await join(ready, 1, 5)
    incarnation = (await log.head(ready, 0)).incarnation
    other = Deployment.wanted(1, 5, with_persister=False)
    assert await prepare(ready, other, 0) == incarnation
    assert await ready.hget(streams.log(0), "required") == other.required != deployment.required


@pytest.mark.parametrize("required", ["", "nonsense", "{}", '{"ticks":["persister"]}'])
async def test_a_head_whose_analyzer_group_would_not_be_kept_is_refused(ready: Redis, required: str) -> None:
    with pytest.raises(TransientError, match="bad prepare"):
        await prepare(ready, Deployment(1, 5, required), 0)
    assert await ready.dbsize() == 0
