"""The latest values, from Redis: one read of a hash per partition."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.api.unavailable import Unavailable
from shared import streams
from shared.errors import ConfigurationError, InvalidEntry, NotReady, Problem
from shared.events import Enriched
from shared.latest import parse_latest
from shared.partitions import partition_of
from shared.redis.client import TRY_AGAIN
from shared.redis.cluster import at, check_mode, ping
from shared.redis.market import Heard, newest

log = structlog.get_logger(__name__)

AWAY: tuple[type[Exception], ...] = (*TRY_AGAIN, ResponseError)


class Latest:
    """What Redis knows. Every method raises `Unavailable` while it does not answer."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self._redis = redis
        self._partitions = partitions

    async def all(self) -> list[Enriched]:
        """Of every ticker, by ticker."""
        try:
            hashes = await asyncio.gather(*(self._of(p) for p in range(self._partitions)))
        except AWAY as error:
            raise _away(error) from error
        return sorted((event for found in hashes for event in _events(found)), key=lambda event: event.ticker)

    async def _of(self, partition: int) -> Mapping[Any, Any]:
        key = streams.latest(partition)
        async with at(self._redis, key) as server:
            found: Mapping[Any, Any] = await server.hgetall(key)
            return found

    async def one(self, ticker: str) -> Enriched | None:
        """Of one ticker; None if it never had a price."""
        key = streams.latest(partition_of(ticker, self._partitions))
        try:
            async with at(self._redis, key) as server:
                text = await server.hget(key, ticker)
        except AWAY as error:
            raise _away(error) from error
        return next(_events({ticker: text}), None) if text is not None else None

    async def market(self) -> Heard:
        """What was said last of the exchange."""
        try:
            return await newest(self._redis)
        except AWAY as error:
            raise _away(error) from error

    async def ping(self) -> None:
        """Raise one of `TRY_AGAIN` if Redis does not answer."""
        await ping(self._redis)


def _away(error: Exception) -> Unavailable:
    return Unavailable("Redis", str(error) or type(error).__name__)


def _events(found: Mapping[Any, Any]) -> Iterator[Enriched]:
    for ticker, text in found.items():
        try:
            yield parse_latest(ticker, text)
        except InvalidEntry as error:
            log.warning("skipped a latest value", ticker=ticker[:40], reason=str(error))


async def agree(redis: Redis, partitions: int, sma_period: int) -> bool:
    """Raise `ConfigurationError` if the deployment has other values, `NotReady` while there is none; nothing is written."""
    try:
        await check_mode(redis)
        async with at(redis, streams.CONFIG) as server:
            found: list[Any] = await server.hmget(streams.CONFIG, ["partitions", "sma_period"])
    except ResponseError as error:
        raise NotReady(str(error)) from None
    if None in found:
        raise NotReady("Redis is not set up; run `tickstream migrate`")
    pairs = (("PARTITIONS", partitions, found[0]), ("SMA_PERIOD", sma_period, found[1]))
    problems = [
        Problem(name, str(ours), f"this deployment was set up with {name}={theirs}") for name, ours, theirs in pairs if str(ours) != theirs
    ]
    if problems:
        raise ConfigurationError(tuple(problems))
    return True
