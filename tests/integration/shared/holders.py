"""Holders of leases and their workers, as tasks of a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from shared import streams
from shared.redis.deployment import Deployment, join
from shared.redis.lease import Lease, Work, hold
from shared.runtime import wait_or_stop
from tests.integration.shared.polling import until

SERVICE = "analyzer"
KEY = streams.lease(SERVICE, 0)
SHORT, CALM, LONG = 0.2, 0.4, 30.0
"""LEASE_SECONDS of tests that wait for them to pass, of those in which they must not pass by accident, and in which they cannot."""
A_LEASE_AND_MORE = 7
"""Heartbeats; five of them are a lease."""


class Workers:
    """The work of a holder, noted as it begins and ends."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Lease] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def work(self, lease: Lease) -> None:
        """An idle worker: it finishes rounds, and there is nothing to do in them."""
        self.begun.put_nowait(lease)
        try:
            while not lease.ended.is_set():
                lease.progress()
                await wait_or_stop(lease.ended, 0.01)
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        self.ended.put_nowait("drained")

    async def hang(self, lease: Lease) -> None:
        """A worker that finishes no round."""
        self.begun.put_nowait(lease)
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.put_nowait("cancelled")

    async def next(self, seconds: float = 10) -> Lease:
        """The next lease that work began on."""
        async with asyncio.timeout(seconds):
            return await self.begun.get()


class Holders:
    """Starts holders; those that a test leaves running are stopped at its end."""

    def __init__(self, redis: Any, deployment: Deployment) -> None:
        self.redis = redis
        self.deployment = deployment
        self._running: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    async def start(self, work: Work, *, lease_seconds: float = LONG, redis: Any = None) -> Callable[[], asyncio.Task[None]]:
        """Start a holder and return when it has looked at every partition once; the result stops it."""
        stop, settled = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(hold(redis or self.redis, self.deployment, SERVICE, lease_seconds, work, stop, settled))
        self._running.append((stop, task))
        await settled.wait()

        def end() -> asyncio.Task[None]:
            stop.set()
            return task

        return end

    @property
    def newest(self) -> asyncio.Task[None]:
        return self._running[-1][1]

    async def stop(self) -> None:
        for stop, _ in self._running:
            stop.set()
        tasks = [task for _, task in self._running]
        if tasks:
            await asyncio.wait(tasks, timeout=2)  # a worker that hangs is cancelled with its holder
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def token(self, partition: int = 0) -> str:
        return await self.redis.hget(streams.lease(SERVICE, partition), "token") or ""

    async def owner(self, partition: int = 0) -> str:
        return await self.redis.hget(streams.lease(SERVICE, partition), "owner") or ""

    async def beats(self) -> int:
        return int(await self.redis.hget(KEY, "beats") or 0)

    async def wait_for_beats(self, count: int) -> None:
        """Wait until the counter went up so far."""
        goal = await self.beats() + count

        async def is_there() -> bool:
            return await self.beats() >= goal

        await until(is_there)


@asynccontextmanager
async def running(redis: Redis, partitions: int) -> AsyncIterator[Holders]:
    found = Holders(redis, await join(redis, partitions, 3))
    try:
        yield found
    finally:
        await found.stop()
