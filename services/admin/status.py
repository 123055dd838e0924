"""`tickstream status`: what is in Redis, how far everyone has read, and who works on what. Reads only."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services.admin.settings import StatusSettings
from shared import streams
from shared.errors import ConfigurationError, TransientError
from shared.logging import redact
from shared.redis.cluster import at, connect_to

LEASED = ("fetcher", "analyzer", "persister")
"""Services whose holders are shown."""


@dataclass(frozen=True)
class Hold:
    """Who keeps a stream from being trimmed: the group that stands lowest."""

    group: str
    entries: int | None
    """That it has yet to read or to acknowledge; None if Redis cannot tell."""
    waiting_seconds: float
    """For how long the oldest of them has waited, by the clock of Redis."""
    is_required: bool
    """Whether the group is never passed; a group of your own is, at 95 % of STREAM_CAP."""


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
        async with at(redis, streams.CONFIG) as server:
            number = await server.hget(streams.CONFIG, "partitions")
        return [await read_partition(redis, each) for each in range(int(number or settings.partitions))]


async def read_partition(redis: Redis, partition: int) -> Partition:
    """Read one partition, its numbers in one round trip; what does not exist yet counts as empty."""
    ticks, enriched = streams.ticks(partition), streams.enriched(partition)
    async with at(redis, ticks) as server, server.pipeline(transaction=False) as pipe:
        for key in (ticks, enriched, streams.deadletters(partition)):
            pipe.xlen(key)
        pipe.time()
        pipe.xinfo_stream(ticks)
        for key in (ticks, enriched):
            pipe.xinfo_groups(key)
        for group in (streams.ANALYZER_GROUP, streams.PERSISTER_GROUP):
            pipe.xinfo_consumers(ticks, group)
        for service in LEASED:
            pipe.hget(streams.lease(service, partition), "owner")
        pipe.hget(streams.log(partition), "required")
        answers = [_or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    lengths, (time, info, on_ticks, on_enriched, analyzers, persisters), owners = answers[:3], answers[3:9], answers[9:-1]
    required = json.loads(answers[-1] or "{}")
    return Partition(
        partition=partition,
        ticks=lengths[0] or 0,
        enriched=lengths[1] or 0,
        analyzer_lag=lag_of(on_ticks, streams.ANALYZER_GROUP),
        persister_ticks_lag=lag_of(on_ticks, streams.PERSISTER_GROUP),
        persister_enriched_lag=lag_of(on_enriched, streams.PERSISTER_GROUP),
        last_entry_age_seconds=age_seconds(info, time),
        deadletters=lengths[2] or 0,
        holders={service: owner or "" for service, owner in zip(LEASED, owners, strict=True)},
        consumers={"analyzer": _names(analyzers), "persister": _names(persisters)},
        held_by={
            "ticks": await read_hold(redis, ticks, on_ticks or (), time, required.get("ticks", ())),
            "enriched": await read_hold(redis, enriched, on_enriched or (), time, required.get("enriched", ())),
        },
    )


async def read_hold(
    redis: Redis, key: str, groups: Sequence[Mapping[str, Any]], time: tuple[int, int], required: Sequence[str]
) -> Hold | None:
    """Find the group whose oldest needed entry is the oldest of all; None if no group needs anything."""
    oldest: tuple[tuple[int, int], Mapping[str, Any]] | None = None
    async with at(redis, key) as server:
        for group in groups:
            needed = await _oldest_needed(server, key, group)
            if needed is not None and (oldest is None or needed < oldest[0]):
                oldest = needed, group
    if oldest is None:
        return None
    (ms, _), group = oldest
    lag = group["lag"]
    entries = None if lag is None else max(0, int(lag)) + int(group["pending"])
    waiting = max(0.0, round(time[0] + time[1] / 1e6 - ms / 1000, 3))
    return Hold(str(group["name"]), entries, waiting, group["name"] in required)


async def _oldest_needed(server: Redis, key: str, group: Mapping[str, Any]) -> tuple[int, int] | None:
    """The id of the oldest entry that a group has pending, else of the first one it has not read."""
    if group["pending"]:
        pending = _or_none(await _answer(server.xpending(key, group["name"])))
        if pending and pending["min"]:
            return _id(str(pending["min"]))
    entries = _or_none(await _answer(server.xrange(key, f"({group['last-delivered-id']}", count=1)))
    return _id(str(entries[0][0])) if entries else None


async def _answer(asked: Awaitable[Any]) -> Any:
    """The answer, or the error that Redis answered."""
    try:
        return await asked
    except ResponseError as error:
        return error


def _id(text: str) -> tuple[int, int]:
    ms, _, number = text.partition("-")
    return int(ms), int(number)


def _or_none(answer: Any) -> Any:
    """Nothing for a stream or group that does not exist; every other error is one."""
    if isinstance(answer, ResponseError) and str(answer).startswith(("no such key", "NOGROUP")):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def lag_of(groups: Sequence[Mapping[str, Any]] | None, name: str) -> int | None:
    """Entries that the group has not read; None if it does not exist or Redis cannot tell."""
    for group in groups or ():
        if group["name"] == name:
            lag = group["lag"]
            return None if lag is None else int(lag)
    return None


def age_seconds(stream: Mapping[str, Any] | None, time: tuple[int, int]) -> float | None:
    """How long ago the newest entry was added, by the clock that gave it its id."""
    id_ms = int(str(stream["last-generated-id"]).partition("-")[0]) if stream else 0
    return max(0.0, round(time[0] + time[1] / 1e6 - id_ms / 1000, 3)) if id_ms else None


def _names(consumers: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return [str(consumer["name"]) for consumer in consumers or ()]


def total(partitions: Sequence[Partition]) -> Totals:
    """Add up all partitions."""
    return Totals(
        ticks=sum(each.ticks for each in partitions),
        enriched=sum(each.enriched for each in partitions),
        analyzer_lag=sum(each.analyzer_lag or 0 for each in partitions),
        persister_lag=sum((each.persister_ticks_lag or 0) + (each.persister_enriched_lag or 0) for each in partitions),
        deadletters=sum(each.deadletters for each in partitions),
    )
