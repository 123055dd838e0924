"""What an operator asks of the pipeline, read at most once in KEPT_SECONDS however many ask; whatever server is away, the rest is told.

Whether a process lives is judged as the leases do: its counter stands still by this process' own monotonic clock.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import asyncpg
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.api.database import Database
from services.api.pipeline_answer import Reading, Stored, encode
from services.api.settings import ApiSettings
from services.api.unavailable import Unavailable
from shared.events import Market
from shared.lease_rules import Standstill
from shared.pipeline import Heard, PartitionState
from shared.redis.client import TRY_AGAIN
from shared.redis.gateways import read_gateways
from shared.redis.market import newest
from shared.redis.pipeline import LEASED, read_members, read_partition

KEPT_SECONDS = 0.8
"""A page that asks every second gets a new answer each time."""
ANSWER_SECONDS = 2.0
"""A server that takes longer is told to be down, as by /healthz."""
LONGEST_STEP_SECONDS = 2.0
"""A look at a counter counts for so long at most: who asks less often learns later that a process stands still."""
EVENTS = 5

REFUSED: tuple[type[Exception], ...] = (*TRY_AGAIN, ResponseError, TimeoutError)
NOT_TOLD: tuple[type[Exception], ...] = (Unavailable, asyncpg.PostgresError, TimeoutError)

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Pipeline:
    """Reads it all when asked, for whoever asks meanwhile, too."""

    def __init__(self, redis: Redis, database: Database, settings: ApiSettings) -> None:
        self._redis = redis
        self._database = database
        self._settings = settings
        self._standing = _Standing()
        self._lock = asyncio.Lock()
        self._answer = b""
        self._read_at = -math.inf

    async def answer(self) -> bytes:
        """What is known now, or was a moment ago, as JSON."""
        async with self._lock:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                settings = self._settings
                self._answer = encode(await self._read(), lease_seconds=settings.lease_seconds, stream_cap=settings.stream_cap)
                self._read_at = time.monotonic()
            return self._answer

    async def _read(self) -> Reading:
        found, stored = await asyncio.gather(self._read_redis(), self._read_postgresql())
        known = [state for state in found.partitions if state is not None]
        if not known:
            self._standing.forget()
        return Reading(
            at_ms=max((state.now_ms for state in known), default=time.time_ns() // 1_000_000),
            down=tuple(name for name, is_up in (("redis", bool(known)), ("postgresql", stored is not None)) if not is_up),
            partitions=known,
            unknown=tuple(p for p, state in enumerate(found.partitions) if state is None),
            members=self._standing.of_members(found.members, time.monotonic()),
            still_seconds=self._standing.of_leases(known, time.monotonic()),
            gateways=found.gateways or (),
            market=found.market,
            stored=stored,
        )

    async def _read_redis(self) -> "_Found":
        redis = self._redis
        states, counters, gateways, heard = await asyncio.gather(
            asyncio.gather(*(_or_none(read_partition(redis, p)) for p in range(self._settings.partitions))),
            asyncio.gather(*(_or_none(read_members(redis, service)) for service in LEASED)),
            _or_none(read_gateways(redis)),
            _or_none(newest(redis)),
        )
        known = {service: found for service, found in zip(LEASED, counters, strict=True) if found is not None}
        return _Found(states, known, gateways, heard.market if heard else None)

    async def _read_postgresql(self) -> Stored | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                cursors = await self._database.pages.rows("cursors")
                return Stored(cursors, await self._database.pages.rows("newest_events", EVENTS))
        except NOT_TOLD as error:
            log.debug("does not answer", server="postgresql", reason=str(error) or type(error).__name__)
            return None


@dataclass(frozen=True)
class _Found:
    partitions: Sequence[PartitionState | None]
    members: Mapping[str, Mapping[str, str]]
    gateways: Sequence[Heard] | None
    market: Market | None


async def _or_none(question: Awaitable[T]) -> T | None:
    """The answer; None if there is none in time. In a cluster, one node may be away while the others answer."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await question
    except REFUSED as error:
        log.debug("does not answer", server="redis", reason=str(error) or type(error).__name__)
        return None


@dataclass
class _Standing:
    """For how long the counters of leases and members have stood still."""

    _leases: Standstill[tuple[str, int]] = field(default_factory=lambda: Standstill(LONGEST_STEP_SECONDS))
    _members: Standstill[tuple[str, str]] = field(default_factory=lambda: Standstill(LONGEST_STEP_SECONDS))

    def of_leases(self, states: Sequence[PartitionState], now: float) -> dict[tuple[str, int], float]:
        """By service and partition."""
        return {
            (service, state.partition): self._leases.look((service, state.partition), (holding.token, holding.beats), now)
            for state in states
            for service, holding in state.holdings.items()
            if holding.token
        }

    def of_members(self, counters: Mapping[str, Mapping[str, str]], now: float) -> dict[str, dict[str, float]]:
        """By service and name."""
        self._members.retain({(service, name) for service, found in counters.items() for name in found})
        return {
            service: {name: self._members.look((service, name), beats, now) for name, beats in sorted(found.items())}
            for service, found in counters.items()
        }

    def forget(self) -> None:
        """Nothing is known about the time in which nothing could be asked."""
        self._leases.forget()
        self._members.forget()
