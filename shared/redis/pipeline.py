"""Reads a partition for operators, whatever its size: two round trips, no write.

`tickstream status` and `GET /api/pipeline` say the same of it, since both say what is read here.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import streams
from shared.pipeline import RATE_MS, DeadLetters, Group, Holding, PartitionState, StreamState, parsed, per_second, seconds_since
from shared.redis.cluster import at

LEASED = ("fetcher", "analyzer", "persister")
"""Services that work on partitions by leases."""
STREAMS = ("ticks", "enriched")
ONE_MOMENT_MS = 500
"""Entries closer to each other came together: one cycle, or one batch."""

_LEASE_FIELDS = ["owner", "token", "beats", "wanted_by"]


async def number_of_partitions(redis: Redis) -> int | None:
    """What `config` tells; None before a deployment was set up."""
    async with at(redis, streams.CONFIG) as server:
        number = await server.hget(streams.CONFIG, "partitions")
    return None if number is None else int(number)


async def read_members(redis: Redis, service: str) -> dict[str, str]:
    """The processes of a service with their counters; one that was killed is among them until another one misses it."""
    key = streams.members(service)
    async with at(redis, key) as server:
        found = await server.hgetall(key)
    return cast(dict[str, str], found)


async def read_partition(redis: Redis, partition: int) -> PartitionState:
    """Read one partition; what does not exist yet counts as empty. Raises as `at` does, and `ResponseError` for a key of a wrong type."""
    async with at(redis, streams.ticks(partition)) as server:
        heads = await _heads(server, partition)
        rest = await _rest(server, partition, heads)
    return PartitionState(
        partition=partition,
        now_ms=heads.now_ms,
        ticks=_stream("ticks", heads, rest),
        enriched=_stream("enriched", heads, rest),
        deadletters=_deadletters(heads),
        holdings=heads.holdings,
        consumers=heads.consumers,
    )


class _Heads:
    """Answers of the first round trip: what there is."""

    def __init__(self, answers: Sequence[Any]) -> None:
        (seconds, microseconds), required, *answers = answers
        self.now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        self.required: Mapping[str, Sequence[str]] = json.loads(required or "{}")
        self.info = dict(zip(STREAMS, answers[:2], strict=True))
        self.groups = {name: found or [] for name, found in zip(STREAMS, answers[2:4], strict=True)}
        groups = (streams.ANALYZER_GROUP, streams.PERSISTER_GROUP)
        self.consumers = {group: _names(found) for group, found in zip(groups, answers[4:6], strict=True)}
        self.holdings = {
            service: Holding(*(text or "" for text in texts)) for service, texts in zip(LEASED, answers[6 : 6 + len(LEASED)], strict=True)
        }
        self.deadletters, self.newest_deadletter = answers[6 + len(LEASED) :]

    def length(self, name: str) -> int:
        return int(self.info[name]["length"]) if self.info[name] else 0

    def newest(self, name: str) -> tuple[str, Mapping[str, str]] | None:
        return self.info[name]["last-entry"] if self.info[name] else None


async def _heads(server: Redis, partition: int) -> _Heads:
    ticks = streams.ticks(partition)
    async with server.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hget(streams.log(partition), "required")
        for name in STREAMS:
            pipe.xinfo_stream(streams.stream(name, partition))
        for name in STREAMS:
            pipe.xinfo_groups(streams.stream(name, partition))
        for group in (streams.ANALYZER_GROUP, streams.PERSISTER_GROUP):
            pipe.xinfo_consumers(ticks, group)
        for service in LEASED:
            pipe.hmget(streams.lease(service, partition), _LEASE_FIELDS)
        pipe.xlen(streams.deadletters(partition))
        pipe.xrevrange(streams.deadletters(partition), count=1)
        return _Heads([_or_none(answer) for answer in await pipe.execute(raise_on_error=False)])


async def _rest(server: Redis, partition: int, heads: _Heads) -> dict[str, list[Any]]:
    """The second round trip, by stream: its first entry of the last ten seconds, the one before the newest, and what each group needs."""
    counts = {}
    async with server.pipeline(transaction=False) as pipe:
        for name in STREAMS:
            key, newest = streams.stream(name, partition), heads.newest(name)
            pipe.xrange(key, min=str(max(0, heads.now_ms - RATE_MS)), count=1)
            pipe.xrevrange(key, max=str(max(0, parsed(newest[0])[0] - ONE_MOMENT_MS)) if newest else "0", count=1)
            for group in heads.groups[name]:
                pipe.xpending(key, group["name"])
                pipe.xrange(key, min=f"({group['last-delivered-id']}", count=1)
            counts[name] = 2 + 2 * len(heads.groups[name])
        answers = [_or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    ticks = counts["ticks"]
    return {"ticks": answers[:ticks], "enriched": answers[ticks:]}


def _stream(name: str, heads: _Heads, rest: Mapping[str, Sequence[Any]]) -> StreamState:
    first, before, *needs = rest[name]
    newest_id, newest = heads.newest(name) or ("", {})
    info = heads.info[name] or {}
    last_id = str(info.get("last-generated-id", "0-0"))
    seq = _number(newest.get("seq"))
    return StreamState(
        length=heads.length(name),
        seq=seq,
        per_second=_rate(info, first, seq, heads.now_ms),
        age_seconds=None if last_id == "0-0" else seconds_since(last_id, heads.now_ms),
        pause_seconds=round((parsed(newest_id)[0] - parsed(before[0][0])[0]) / 1000, 3) if newest_id and before else None,
        source=newest.get("source", ""),
        shed=_number(newest.get("shed")) or 0,
        groups=tuple(
            _group(group, pending, unread, heads.now_ms, heads.required.get(name, ()))
            for group, pending, unread in zip(heads.groups[name], needs[::2], needs[1::2], strict=True)
        ),
    )


def _rate(info: Mapping[str, Any], first: Sequence[Any], newest_seq: int | None, now_ms: int) -> float:
    """What a stranger wrote there has no seq, and makes no rate."""
    if not first or newest_seq is None or (first_seq := _number(first[0][1].get("seq"))) is None:
        return 0.0
    is_cut = info["first-entry"][0] == first[0][0] and info["entries-added"] > info["length"]
    return per_second((first[0][0], first_seq), newest_seq, now_ms, is_cut=is_cut)


def _group(info: Mapping[str, Any], pending: Any, unread: Any, now_ms: int, required: Sequence[str]) -> Group:
    oldest = str(pending["min"]) if pending and pending["min"] else str(unread[0][0]) if unread else None
    return Group(
        name=str(info["name"]),
        lag=None if info["lag"] is None else max(0, int(info["lag"])),
        pending=int(info["pending"]),
        last_id=str(info["last-delivered-id"]),
        oldest_id=oldest,
        waiting_seconds=None if oldest is None else seconds_since(oldest, now_ms),
        is_required=info["name"] in required,
    )


def _deadletters(heads: _Heads) -> DeadLetters:
    if not heads.newest_deadletter:
        return DeadLetters(int(heads.deadletters or 0))
    entry_id, fields = heads.newest_deadletter[0]
    age_seconds = seconds_since(entry_id, heads.now_ms)
    return DeadLetters(int(heads.deadletters), fields.get("stream", ""), fields.get("reason", ""), age_seconds)


def _number(text: str | None) -> int | None:
    """A whole number, or None: somebody may have written anything there."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 16 else None


def _names(consumers: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return [str(consumer["name"]) for consumer in consumers or ()]


def _or_none(answer: Any) -> Any:
    """Nothing for a stream or group that does not exist; every other error is one."""
    if isinstance(answer, ResponseError) and str(answer).startswith(("no such key", "NOGROUP")):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer
