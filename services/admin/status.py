"""`tickstream status`: what is in Redis, how far everyone has read, and who works on what. Reads only."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from redis.exceptions import RedisError

from services.admin.settings import StatusSettings
from shared import streams
from shared.errors import ConfigurationError, TransientError
from shared.logging import redact
from shared.pipeline import Hold, PartitionState, StreamState
from shared.redis import pipeline
from shared.redis.cluster import connect_to


@dataclass(frozen=True)
class Partition:
    """The state of one partition; lags in entries, None while a group does not exist."""

    partition: int
    ticks: int
    enriched: int
    analyzer_lag: int | None
    persister_ticks_lag: int | None
    persister_enriched_lag: int | None
    last_entry_age_seconds: float | None
    """Since the newest tick, by the clock of Redis; None if there never was one."""
    deadletters: int
    holders: Mapping[str, str]
    """Service to the process that holds its lease, empty for none."""
    consumers: Mapping[str, Sequence[str]]
    """Group of `ticks` to the names of its consumers."""
    held_by: Mapping[str, Hold | None]
    """Stream to who keeps it from being trimmed; None if every group has read everything."""


@dataclass(frozen=True)
class Totals:
    """Over all partitions."""

    ticks: int
    enriched: int
    analyzer_lag: int
    persister_lag: int
    deadletters: int


def show_status(settings: StatusSettings, *, as_json: bool) -> int:
    """Print the state of the deployment; return 0, or 1 if Redis does not answer."""
    url = settings.redis_url.get_secret_value()
    try:
        partitions = asyncio.run(read_status(settings))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except (RedisError, OSError, TransientError) as error:
        print(f"Redis at {redact(url)} does not answer: {redact(str(error)) or type(error).__name__}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({"partitions": [asdict(each) for each in partitions], "totals": asdict(total(partitions))}, indent=2))
        return 0
    from rich.console import Console

    from services.admin.status_table import print_status

    print_status(partitions, total(partitions), Console(highlight=False))
    return 0


async def read_status(settings: StatusSettings) -> list[Partition]:
    """Read every partition that `config` tells of; before a deployment was set up, PARTITIONS of the environment."""
    async with connect_to(settings, service="status") as redis:
        number = await pipeline.number_of_partitions(redis)
        return [describe(await pipeline.read_partition(redis, each)) for each in range(number or settings.partitions)]


def describe(state: PartitionState) -> Partition:
    """What is printed of a partition."""
    return Partition(
        partition=state.partition,
        ticks=state.ticks.length,
        enriched=state.enriched.length,
        analyzer_lag=_lag(state.ticks, streams.ANALYZER_GROUP),
        persister_ticks_lag=_lag(state.ticks, streams.PERSISTER_GROUP),
        persister_enriched_lag=_lag(state.enriched, streams.PERSISTER_GROUP),
        last_entry_age_seconds=state.ticks.age_seconds,
        deadletters=state.deadletters.count,
        holders={service: holding.owner for service, holding in state.holdings.items()},
        consumers=state.consumers,
        held_by={"ticks": state.ticks.held_by, "enriched": state.enriched.held_by},
    )


def _lag(stream: StreamState, name: str) -> int | None:
    group = stream.group(name)
    return group.lag if group else None


def total(partitions: Sequence[Partition]) -> Totals:
    """Add up all partitions."""
    return Totals(
        ticks=sum(each.ticks for each in partitions),
        enriched=sum(each.enriched for each in partitions),
        analyzer_lag=sum(each.analyzer_lag or 0 for each in partitions),
        persister_lag=sum((each.persister_ticks_lag or 0) + (each.persister_enriched_lag or 0) for each in partitions),
        deadletters=sum(each.deadletters for each in partitions),
    )
