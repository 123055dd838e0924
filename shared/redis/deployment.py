"""What all services of a deployment must agree on, kept in `config` and copied to the head of each partition."""

import json
from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import streams
from shared.errors import ConfigurationError, NotReady, Problem
from shared.redis.cluster import check_mode, each_primary
from shared.redis.log import call

REQUIRED_GROUPS = {"ticks": [streams.ANALYZER_GROUP, streams.PERSISTER_GROUP], "enriched": [streams.PERSISTER_GROUP]}
REQUIRED_WITHOUT_PERSISTER: dict[str, list[str]] = {"ticks": [streams.ANALYZER_GROUP]}


@dataclass(frozen=True)
class Deployment:
    """The values that `config` holds."""

    partitions: int
    sma_period: int
    required: str
    """Required groups per stream, as JSON: trimming never passes them."""

    @classmethod
    def wanted(cls, partitions: int, sma_period: int, *, with_persister: bool = True) -> Self:
        """The values that this process's environment asks for."""
        groups = REQUIRED_GROUPS if with_persister else REQUIRED_WITHOUT_PERSISTER
        return cls(partitions, sma_period, json.dumps(groups, separators=(",", ":")))


async def join(redis: Redis, partitions: int, sma_period: int, *, known: Deployment | None = None) -> Deployment:
    """Agree with the deployment, or found it if `config` is missing, prepare every partition, and return what holds.

    `known` is what held before it was lost: one without a persister is founded again without.
    Raise `NotReady` while the function library is missing, `ConfigurationError` if this environment differs, REDIS_CLUSTER does not fit,
    or a server may evict.
    """
    await check_mode(redis)
    await refuse_eviction(redis)
    mine = known or Deployment.wanted(partitions, sma_period)
    found = await call(redis, "configure", [streams.CONFIG], mine.partitions, mine.sma_period, mine.required)
    theirs = Deployment(int(found[0]), int(found[1]), found[2])
    advice = {
        "PARTITIONS": "it is fixed for a deployment",
        "SMA_PERIOD": "`tickstream migrate` changes it",
    }
    pairs = (("PARTITIONS", mine.partitions, theirs.partitions), ("SMA_PERIOD", mine.sma_period, theirs.sma_period))
    problems = [
        Problem(name, str(ours), f"this deployment was set up with {name}={there}; {advice[name]}")
        for name, ours, there in pairs
        if ours != there
    ]
    if problems:
        raise ConfigurationError(tuple(problems))
    for partition in range(theirs.partitions):
        await prepare(redis, theirs, partition)
    return theirs


async def prepare(redis: Redis, deployment: Deployment, partition: int) -> str:
    """Create the head of a partition if it is missing; return its incarnation."""
    keys = [streams.log(partition), streams.ticks(partition), streams.enriched(partition), streams.events(partition)]
    incarnation: str = await call(redis, "prepare", keys, deployment.sma_period, deployment.required)
    return incarnation


async def refuse_eviction(redis: Redis) -> None:
    """Raise `ConfigurationError` if a server would delete whole streams when memory is short, `NotReady` if it cannot tell."""
    async with each_primary(redis) as servers:
        for name, server in servers.items():
            try:
                memory = await server.info("memory")
            except ResponseError as error:
                raise NotReady(f"{name} does not tell its maxmemory-policy: {error}") from None
            policy = memory.get("maxmemory_policy", "noeviction")
            if policy != "noeviction":
                allowed = f"{name} has maxmemory-policy {policy}, which deletes whole streams when memory is short; set it to noeviction"
                raise ConfigurationError((Problem("REDIS_URL", "(hidden)", allowed),))
