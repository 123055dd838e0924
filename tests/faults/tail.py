"""A concurrent reader: it follows both streams while faults strike, and must have seen what stands there in the end."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

from redis.asyncio import Redis

from shared import streams
from shared.redis.client import connect

FOLLOWED = ("ticks", "enriched")
BLOCK_MS = 100
PATIENCE_SECONDS = 30.0
"""With an answer: the process of the tests may have to wait for its turn."""


class Tail:
    """`async with Tail(url, partitions)`: reads every partition of both streams from their beginning on."""

    def __init__(self, redis_url: str, partitions: int) -> None:
        self.seen: dict[str, list[tuple[str, dict[str, str]]]] = {
            streams.stream(name, p): [] for name in FOLLOWED for p in range(partitions)
        }
        self._redis_url = redis_url
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read_for_ever())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading

    async def _read_for_ever(self) -> None:
        async with connect(self._redis_url, service="tail", block_seconds=PATIENCE_SECONDS) as redis:
            while True:
                after = {key: entries[-1][0] if entries else "0-0" for key, entries in self.seen.items()}
                found = cast(Any, await redis.xread(cast(Any, after), block=BLOCK_MS)) or {}
                for key, rows in found.items():
                    self.seen[key] += [(entry_id, dict(zip(row[::2], row[1::2], strict=True))) for entry_id, row in rows]

    async def check(self, redis: Redis) -> None:
        """Fail unless it saw each entry of each stream once, in order, as it stands there now."""
        for key, entries in self.seen.items():
            there = cast(list[tuple[str, dict[str, str]]], await redis.xrange(key))
            while len(entries) < len(there):
                assert not self._reading.done()
                await asyncio.sleep(BLOCK_MS / 1000)
            assert entries == there, f"{key} is not what was read while it was written"
